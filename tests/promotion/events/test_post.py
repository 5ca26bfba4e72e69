"""Requests go where the file allows, and nowhere else."""

from __future__ import annotations

import ipaddress
import socket
from typing import Any

import pytest
from tests.promotion.monitoring.receivers import receiving

from promotion.errors import ChannelFailed
from promotion.events.post import allows, post

PUBLIC = ["93.184.216.34", "2606:2800:220:1:248:1893:25c8:1946", "::ffff:93.184.216.34"]
PRIVATE = ["127.0.0.1", "10.1.2.3", "172.16.0.1", "192.168.1.1", "::1", "fd00::1", "::ffff:10.0.0.1", "64:ff9b::a00:1"]
NEVER = [
    *("169.254.169.254", "fe80::1", "::ffff:169.254.169.254", "64:ff9b::a9fe:a9fe", "2002:a9fe:a9fe::1"),
    *("0.0.0.0", "::", "224.0.0.1", "ff02::1", "255.255.255.255", "240.0.0.1"),  # noqa: S104  # refused
    *("192.0.0.192", "168.63.129.16", "100.100.100.200", "fd00:ec2::254", "fd20:ce::254"),
    *("::127.0.0.1", "::a9fe:a9fe", "::ffff:0:7f00:1", "64:ff9b:1::a9fe:a9fe", "fec0::1", "5f00::1"),
]


@pytest.mark.parametrize(
    ("address", "public", "private"),
    [
        *((address, True, True) for address in PUBLIC),
        *((address, False, True) for address in PRIVATE),
        *((address, False, False) for address in NEVER),
    ],
)
def test_what_an_address_is_decides(address: str, public: bool, private: bool) -> None:
    """Public ones always, private ones where the file says so, a cloud's credentials never, however spelled."""
    found = ipaddress.ip_address(address)

    assert (public, private) == (allows(found, is_private=False), allows(found, is_private=True))


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("http://ci.example.com/", "http is for a private network"),
        ("ftp://ci.example.com/", "is not https"),
        ("https://user:pass@ci.example.com/", "without a name or password"),
        ("https:///path", "is not https"),
        ("https://[::1/", "cannot be taken apart"),
        ("https://ci.example.com:99999/", "cannot be taken apart"),
        ("https://127.0.0.1/", "its host is at 127.0.0.1"),
        ("https://2130706433/", "its host is at 127.0.0.1"),
    ],
)
def test_addresses_that_are_none(url: str, why: str) -> None:
    """Each is refused before anything is sent, in one line."""
    with pytest.raises(ChannelFailed, match=why):
        post(url, b"{}", {}, is_private=False, seconds=1)


def test_a_name_is_looked_up_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A name server that answers differently a moment later changes nothing: what was checked is connected to."""
    asked: list[str] = []
    real = socket.getaddrinfo

    def look_up(host: Any, *arguments: Any, **options: Any) -> Any:
        if host == "ci.internal":
            asked.append(host)
            return real("127.0.0.1" if len(asked) == 1 else "127.0.0.2", *arguments, **options)
        return real(host, *arguments, **options)

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    with receiving() as ci:
        assert 200 == post(f"http://ci.internal:{ci.port}/x", b"{}", {}, is_private=True, seconds=2)

    assert 1 == len(asked)
    assert [f"ci.internal:{ci.port}"] == [headers["Host"] for headers in ci.headers]


def test_one_refused_address_refuses_the_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whichever the system would try first."""
    found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (ip, 443)) for ip in ("93.184.216.34", "169.254.169.254")]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_arguments, **_options: found)

    with pytest.raises(ChannelFailed, match=r"169\.254\.169\.254"):
        post("https://ci.example.com/", b"{}", {}, is_private=True, seconds=1)

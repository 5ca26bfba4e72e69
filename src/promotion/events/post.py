"""One HTTP POST to an address that the file allows: looked up once, checked, connected to, no redirect followed."""

from __future__ import annotations

import ipaddress
import socket
import ssl
from collections.abc import Mapping
from http.client import HTTPConnection, HTTPException, HTTPResponse
from urllib.parse import SplitResult, urlsplit

from promotion.errors import ChannelFailed

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
_PORTS = {"http": 80, "https": 443}
_NAT64 = (ipaddress.ip_network("64:ff9b::/96"), ipaddress.ip_network("64:ff9b:1::/48"))
_NEVER = (
    ipaddress.ip_network("168.63.129.16/32"),  # Azure tells its machines what they are
    ipaddress.ip_network("192.0.0.0/24"),  # protocols' own; Oracle does there
    ipaddress.ip_network("fd00:ec2::254/128"),  # AWS
    ipaddress.ip_network("fd20:ce::254/128"),  # Google
    ipaddress.ip_network("fec0::/10"),  # a site's, before there were private networks
)
_LARGEST_ANSWER = 1 << 16


def post(url: str, body: bytes, headers: Mapping[str, str], *, is_private: bool, seconds: float) -> int:
    """Send a request; what proxies the environment names are not asked.

    Args:
        url: Where to; its host may be a name, which is looked up here and nowhere else.
        body: What.
        headers: With its type.
        is_private: Whether addresses of a private network count, too, and http is enough.
        seconds: How long connecting, and each wait for an answer, may take.

    Returns:
        The status of the answer.

    Raises:
        ChannelFailed: The address is none that the file allows, or nobody answered.
    """
    parts, host, port = _parts(url, is_private=is_private)
    addresses = _allowed(host, port, is_private=is_private)
    connection = _Connection(host, port, addresses, seconds, is_encrypted=parts.scheme == "https")
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    try:
        connection.request("POST", path, body, dict(headers))
        answer: HTTPResponse = connection.getresponse()
        answer.read(_LARGEST_ANSWER)
    except (OSError, HTTPException, ValueError) as error:
        # Its words may quote the address, which may hold a token.
        raise ChannelFailed(f"no answer ({type(error).__name__})") from error
    else:
        return answer.status
    finally:
        connection.close()


def allows(address: Address, *, is_private: bool) -> bool:
    """Whether requests may go to an address; those that stand for another one are judged by that.

    Never to one where clouds answer with their machines' credentials, nor to what no network gives out.
    """
    if isinstance(address, ipaddress.IPv6Address) and (inner := _embedded(address)):
        return allows(inner, is_private=is_private)
    if address.is_loopback:
        return is_private
    is_nobodys = address.is_link_local or address.is_multicast or address.is_unspecified or address.is_reserved
    if is_nobodys or any(address in network for network in _NEVER):
        return False
    return address.is_global or (is_private and address.is_private)


def _embedded(address: ipaddress.IPv6Address) -> ipaddress.IPv4Address | None:
    if any(address in network for network in _NAT64):
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return address.ipv4_mapped or address.sixtofour or (address.teredo[1] if address.teredo else None)


def _parts(url: str, *, is_private: bool) -> tuple[SplitResult, str, int]:
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port or _PORTS.get(parts.scheme, 0)
    except ValueError as error:
        raise ChannelFailed("the address cannot be taken apart") from error
    if not host or parts.scheme not in _PORTS or parts.username is not None:
        raise ChannelFailed("the address is not https://host/path, without a name or password in it")
    if parts.scheme == "http" and not is_private:
        raise ChannelFailed("http is for a private network: use https, or write network: private")
    return parts, host, port


def _allowed(host: str, port: int, *, is_private: bool) -> list[Address]:
    """Where a host is; refused when one of its addresses is, whichever would be tried first."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise ChannelFailed("its host has no address") from error
    addresses = [ipaddress.ip_address(str(item[4][0]).partition("%")[0]) for item in found]
    if refused := [address for address in addresses if not allows(address, is_private=is_private)]:
        allowed = "public and private ones" if is_private else "public ones (network: private allows others)"
        raise ChannelFailed(f"its host is at {refused[0]}, and the file allows {allowed}")
    return list(dict.fromkeys(addresses))


class _Connection(HTTPConnection):
    """Connects to addresses that were checked, whatever the name means a moment later."""

    def __init__(self, host: str, port: int, addresses: list[Address], seconds: float, *, is_encrypted: bool) -> None:
        super().__init__(host, port, timeout=seconds)
        self._addresses = addresses
        self._encryption = ssl.create_default_context() if is_encrypted else None
        self.default_port = _PORTS["https" if is_encrypted else "http"]

    def connect(self) -> None:
        """Try one address after the other."""
        failed: OSError = OSError("no address")
        for address in self._addresses:
            try:
                plain = socket.create_connection((str(address), self.port), self.timeout)
                self.sock = (
                    self._encryption.wrap_socket(plain, server_hostname=self.host) if self._encryption else plain
                )
            except OSError as error:
                failed = error
            else:
                return
        raise failed

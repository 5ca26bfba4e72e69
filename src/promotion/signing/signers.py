"""Who may sign what: OpenSSH's list (`man ssh-keygen`, ALLOWED SIGNERS), read as ssh-keygen reads it.

Times without a Z are UTC. Certificates are not supported: a `cert-authority` line counts for nobody.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from promotion.errors import SigningFailed
from promotion.signing.sshsig import is_shortest, wire_type

_PRINCIPALS = re.compile(r'[ \t]*(?:"([^"]*)"|([^\s"]+))[ \t]+(.*)', re.DOTALL)
_KEY = re.compile(r"((?:ssh|ecdsa|sk)-[\w@.-]+)[ \t]+([A-Za-z0-9+/]+=*)(?:[ \t]|$)")
_OPTION = re.compile(r'([A-Za-z-]+)(?:="((?:[^"\\]|\\.)*)")?')
_TIMES = {8: "%Y%m%d", 12: "%Y%m%d%H%M", 14: "%Y%m%d%H%M%S"}
_WITH_VALUE = {"namespaces": True, "valid-after": True, "valid-before": True, "cert-authority": False}


@dataclass(frozen=True, slots=True)
class Signer:
    """A line of the list.

    Attributes:
        principals: The names it stands for: patterns with commas between them.
        key: In SSH's wire format.
        options: By name, in small letters.
        after: The key counts from then on.
        before: The key counts until then.
    """

    principals: str
    key: bytes
    options: Mapping[str, str] = field(default_factory=dict)
    after: datetime | None = None
    before: datetime | None = None

    def __str__(self) -> str:
        stated = ",".join(f'{name}="{value}"' if value else name for name, value in sorted(self.options.items()))
        return " ".join(part for part in (self.principals, stated, fingerprint(self.key)) if part)

    def refuses(self, namespace: str | None, at: datetime) -> str | None:
        """Why its key may not sign for this namespace (any, if None) at this time."""
        if "cert-authority" in self.options:
            return "cert-authority is not supported: list each person's own key"
        namespaces = self.options.get("namespaces")
        if namespace is not None and namespaces is not None and not matches(namespace, namespaces):
            return f'the key is not permitted for use in signature namespace "{namespace}"'
        if self.after and at < self.after:
            return f"the key is not yet valid: {at:%Y-%m-%d %H:%M:%S} is before {self.after:%Y-%m-%d %H:%M:%S} UTC"
        if self.before and at > self.before:
            return f"the key has expired: {at:%Y-%m-%d %H:%M:%S} is after {self.before:%Y-%m-%d %H:%M:%S} UTC"
        return None


def matches(name: str, patterns: str) -> bool:
    """Whether a list of patterns (`*`, `?`, `!` for not, commas between them) stands for a name."""
    found = False
    for pattern in patterns.split(","):
        if _pattern(pattern.removeprefix("!")).fullmatch(name):
            if pattern.startswith("!"):
                return False
            found = True
    return found


def read_signers(path: Path) -> tuple[dict[int, Signer], dict[int, str]]:
    """The lines that count, and why others do not; both by line number.

    Raises:
        SigningFailed: There is no such list, or it cannot be read.
    """
    signers: dict[int, Signer] = {}
    problems: dict[int, str] = {}
    for number, line in _lines(path):
        try:
            signers[number] = _signer(line)
        except ValueError as error:
            problems[number] = str(error)
    return signers, problems


def revoked_keys(signers: Path) -> list[bytes]:
    """The public keys that `<signers>.revoked` lists, one a line; no such file lists none.

    Raises:
        SigningFailed: A line is no public key, so nobody can say who is revoked.
    """
    path = signers.with_name(f"{signers.name}.revoked")
    found: list[bytes] = []
    for number, line in _lines(path) if path.exists() else ():
        try:
            found.append(public_key(line))
        except ValueError as error:
            raise SigningFailed(
                f"{path}:{number}: not a public key: expected one a line, such as 'ssh-ed25519 AAAA…'; "
                "a binary list (ssh-keygen -k) is not supported"
            ) from error
    return found


def fingerprint(key: bytes) -> str:
    """A public key in SSH's wire format as `ssh-keygen -l` names it."""
    return f"SHA256:{base64.b64encode(hashlib.sha256(key).digest()).decode().rstrip('=')}"


def public_key(text: str) -> bytes:
    """A public key as OpenSSH writes it (type, base64, comment) in SSH's wire format.

    Raises:
        ValueError: It is none.
    """
    match = _KEY.match(text)
    if match is None:
        raise ValueError("missing key")
    blob = base64.b64decode(match[2])
    if wire_type(blob) != match[1].encode():
        raise ValueError(f"the key is not of the type {match[1]}")
    if match[1] == "ssh-rsa" and not is_shortest(blob):
        raise ValueError("its numbers have leading zeros: another spelling of the key, as if it were another one")
    return blob


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    try:
        text = path.read_bytes().decode(errors="surrogateescape")
    except OSError as error:
        raise SigningFailed(
            f"{path}: no such list of signers, or not readable: expected lines such as "
            "'anna@example.org ssh-ed25519 AAAA…'; PROMOTION_ALLOWED_SIGNERS may name another"
        ) from error
    for number, line in enumerate(text.split("\n"), start=1):
        if (line := line.strip()) and not line.startswith("#"):
            yield number, line


def _signer(line: str) -> Signer:
    parts = _PRINCIPALS.fullmatch(line)
    if parts is None:
        raise ValueError("missing key")
    principals, rest = parts[1] or parts[2] or "", parts[3]
    options: dict[str, str] = {}
    if not _KEY.match(rest):
        options, rest = _options(rest)
    after, before = (_time(name, options.get(name)) for name in ("valid-after", "valid-before"))
    if after and before and before <= after:
        raise ValueError("valid-before is not after valid-after")
    return Signer(principals, public_key(rest), options, after, before)


def _options(text: str) -> tuple[dict[str, str], str]:
    found: dict[str, str] = {}
    while match := _OPTION.match(text):
        name, value = match[1].lower(), match[2]
        if name in found or _WITH_VALUE.get(name) is not (value is not None):
            raise ValueError(f"bad option {match[0]}: expected one of {', '.join(_WITH_VALUE)}, once")
        found[name] = (value or "").replace('\\"', '"')
        text = text[match.end() :]
        if not text.startswith(","):
            return found, text.lstrip()
        text = text[1:]
    raise ValueError("missing key")


def _time(name: str, text: str | None) -> datetime | None:
    if text is None:
        return None
    digits = text.removesuffix("Z").removesuffix("z")
    try:
        return datetime.strptime(digits, _TIMES[len(digits)]).replace(tzinfo=UTC)
    except (KeyError, ValueError) as error:
        raise ValueError(f'{name}="{text}" is no time: expected YYYYMMDD or YYYYMMDDHHMM[SS]') from error


def _pattern(text: str) -> re.Pattern[str]:
    return re.compile("".join({"*": ".*", "?": "."}.get(letter, re.escape(letter)) for letter in text), re.DOTALL)

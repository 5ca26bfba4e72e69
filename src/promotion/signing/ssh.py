"""SSH signatures over a text: how an approver, or a checkpoint, cannot be made up by who can write to the database.

The format is OpenSSH's: people sign with the keys they have, from an agent or a security key too, with or without this
project, and an auditor checks with `ssh-keygen -Y verify`.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from promotion.config.settings import Settings
from promotion.errors import SignatureRefused, SigningFailed
from promotion.signing.keys import ssh_form
from promotion.signing.signers import Signer, matches, public_key, read_signers, revoked_keys
from promotion.signing.ssh_agent import sign_by_agent
from promotion.signing.sshsig import Signature, armoured, sign_with, wire

if TYPE_CHECKING:
    from promotion.signing.sshsig import PrivateKey


def allowed_signers(settings: Settings) -> Path:
    """Who may sign what, in OpenSSH's format (`man ssh-keygen`, ALLOWED SIGNERS).

    `PROMOTION_ALLOWED_SIGNERS` if set, a path that the pipeline's account should not be able to write; else
    `config/allowed_signers` in the home folder. Times in it (`valid-before`) are read as UTC. Keys listed in a file
    `<path>.revoked` beside it are refused whenever they signed.
    """
    named = os.environ.get("PROMOTION_ALLOWED_SIGNERS")
    return Path(named) if named else settings.config_folder / "allowed_signers"


def sign(data: bytes, key: Path, namespace: str) -> str:
    """Sign bytes with an SSH key (Ed25519, EC) or an EC key in a PEM file; returns the armoured signature.

    Args:
        data: What is signed, to the byte.
        key: Private key file without a passphrase, or a public key file whose private half is in the SSH agent.
        namespace: `APPROVAL`, `CHECKPOINT` or `EXPORT`.

    Raises:
        SigningFailed: The key cannot be used.
    """
    try:
        text = key.read_bytes()
    except OSError as error:
        raise SigningFailed(f"{key}: the key cannot be read: {error.strerror}") from error
    try:
        if text.startswith(b"-----BEGIN"):
            return _sign_with_private(data, key, text, namespace)
        return _sign_with_agent(data, text, namespace)
    except SigningFailed as error:
        raise SigningFailed(
            f"{key}: cannot sign: {error}: expected a private key of mode 0600 without a passphrase, or the public key "
            "of one that ssh-add has loaded"
        ) from error


def verify(
    data: bytes,
    signature: str,
    identity: str,
    allowed_signers: Path,
    namespace: str,
    *,
    at: datetime | None = None,
) -> None:
    """Check that a signature over these bytes is of somebody who may sign such things under this name.

    Args:
        data: What was signed, to the byte.
        signature: Armoured, as `sign` returns it.
        identity: The name that signed, as `allowed_signers` lists it.
        allowed_signers: The list; see `allowed_signers()`.
        namespace: What the signature must have been made for.
        at: When the key must have been valid; now, if not given.

    Raises:
        SignatureRefused: Changed data, an unknown, expired or revoked key, another's key, or another namespace.
        SigningFailed: The list of signers is missing.
    """
    signers, problems = read_signers(allowed_signers)
    try:
        found = Signature.parse(signature)
        _require_for(namespace, found)
        found.require_of(data)
        _require_not_revoked(found.key, allowed_signers)
        _require_allowed(found.key, identity, namespace, signers, at or datetime.now(UTC))
    except SignatureRefused as error:
        lines = "".join(f"; line {number}: {problem}" for number, problem in problems.items())
        raise SignatureRefused(
            f"{identity}'s signature ({namespace}) is refused by {allowed_signers}: {error}{lines}"
        ) from error


def find_principals(signature: str, allowed_signers: Path) -> list[str]:
    """The names under which the list knows the key of a signature; the signature itself is not checked.

    Raises:
        SigningFailed: The list of signers is missing.
    """
    signers, _ = read_signers(allowed_signers)
    try:
        key = Signature.parse(signature).key
    except SignatureRefused:
        return []
    now = datetime.now(UTC)
    mine = (signer for signer in signers.values() if signer.key == key and not signer.refuses(None, now))
    return next((signer.principals.split(",") for signer in mine), [])


@contextmanager
def signers_file(trusted: Mapping[str, bytes], identity: str, namespace: str) -> Iterator[Path]:
    """A list of signers for `verify`: keys of `Keys.trusted`, which sign under this name, instead of people's."""
    with TemporaryDirectory(prefix="trusted-") as scratch:
        path = Path(scratch) / "allowed_signers"
        lines = [f'{identity} namespaces="{namespace}" {ssh_form(pem)}\n' for pem in trusted.values()]
        path.write_text("".join(lines), encoding="ascii")
        yield path


def _require_for(namespace: str, signature: Signature) -> None:
    if signature.namespace != namespace:
        raise SignatureRefused(f"namespace does not match: it was made for {signature.namespace!r}")


def _require_not_revoked(key: bytes, allowed_signers: Path) -> None:
    if key in revoked_keys(allowed_signers):
        raise SignatureRefused(f"the key is revoked in {allowed_signers}.revoked")


def _require_allowed(key: bytes, identity: str, namespace: str, signers: Mapping[int, Signer], at: datetime) -> None:
    """One line that allows it is enough."""
    mine = {number: signer for number, signer in signers.items() if signer.key == key}
    named = {number: signer for number, signer in mine.items() if matches(identity, signer.principals)}
    reasons = {number: signer.refuses(namespace, at) for number, signer in named.items()}
    if None in reasons.values():
        return
    if reasons:
        raise SignatureRefused("; ".join(f"line {number}: {reason}" for number, reason in reasons.items()))
    if mine:
        names = ", ".join(signer.principals.replace(",", ", ") for signer in mine.values())
        raise SignatureRefused(f"the key is that of {names}")
    raise SignatureRefused("the key is not listed there; ask who keeps the list")


def _sign_with_private(data: bytes, path: Path, text: bytes, namespace: str) -> str:
    status = path.stat()
    if status.st_uid == os.getuid() and status.st_mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise SigningFailed(f"its permissions {stat.S_IMODE(status.st_mode):04o} are too open")
    try:
        key = _loaded(text)
    except SigningFailed:
        # A locked key, or one on a security key: the agent may have it.
        public = path.with_name(f"{path.name}.pub")
        if not (os.environ.get("SSH_AUTH_SOCK") and public.exists()):
            raise
        return _sign_with_agent(data, public.read_bytes(), namespace)
    return armoured(data, namespace, wire(key.public_key()), lambda message: sign_with(key, message))


def _sign_with_agent(data: bytes, public: bytes, namespace: str) -> str:
    try:
        key = public_key(public.decode())
    except (ValueError, UnicodeDecodeError) as error:
        raise SigningFailed("neither a private nor a public key") from error
    return armoured(data, namespace, key, lambda message: sign_by_agent(key, message))


def _loaded(text: bytes) -> PrivateKey:
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
    from cryptography.hazmat.primitives.serialization import load_pem_private_key, load_ssh_private_key

    load = load_ssh_private_key if b"OPENSSH" in text[:64] else load_pem_private_key
    try:
        key = load(text, password=None)
    except (TypeError, ValueError, UnsupportedAlgorithm) as error:
        # Older releases of the library say it with a ValueError.
        is_locked = isinstance(error, TypeError) or "password-protected" in str(error)
        reason = "locked with a passphrase" if is_locked else "of a kind that cannot be read here"
        raise SigningFailed(f"it is {reason}") from error
    if not isinstance(key, (ec.EllipticCurvePrivateKey, ed25519.Ed25519PrivateKey, rsa.RSAPrivateKey)):
        raise SigningFailed("it is neither an Ed25519, an ECDSA nor an RSA key")
    return key

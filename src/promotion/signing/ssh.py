"""SSH signatures over a text: how an approver, or a checkpoint, cannot be made up by who can write to the database.

`ssh-keygen -Y` makes and checks them (the format is OpenSSH's PROTOCOL.sshsig), so that people sign with the keys they
have, from an agent or a security key too, and an auditor checks without this project.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from pathlib import Path
from tempfile import TemporaryDirectory

from promotion.config.settings import Settings
from promotion.errors import SignatureRefused, SigningFailed
from promotion.signing.keys import ssh_form, ssh_public_key

APPROVAL = "promotion-approval"
"""Namespace of approvals: a signature made for one namespace is worth nothing in another."""
CHECKPOINT = "promotion-checkpoint"
"""Namespace of the journal's exported checkpoints."""
EXPORT = "promotion-export"
"""Namespace of the manifests of exported models."""

# Long enough to touch a security key.
_TIMEOUT_SECONDS = 60


def allowed_signers(settings: Settings) -> Path:
    """Who may sign what, in OpenSSH's format (`man ssh-keygen`, ALLOWED SIGNERS).

    `PROMOTION_ALLOWED_SIGNERS` if set, a path that the pipeline's account should not be able to write; else
    `config/allowed_signers` in the home folder. Times in it (`valid-before`) are read as UTC. Keys listed in a file
    `<path>.revoked` beside it are refused whenever they signed.
    """
    named = os.environ.get("PROMOTION_ALLOWED_SIGNERS")
    return Path(named) if named else settings.config_folder / "allowed_signers"


def sign(data: bytes, key: Path, namespace: str) -> str:
    """Sign bytes with an SSH key (Ed25519, EC) or an EC key in a PEM file.

    Args:
        data: What is signed, to the byte.
        key: Private key file without a passphrase, or a public key file whose private half is in the SSH agent.
        namespace: `APPROVAL`, `CHECKPOINT` or `EXPORT`.

    Returns:
        The armoured signature.

    Raises:
        SigningFailed: ssh-keygen is missing, or the key cannot be used.
    """
    with _with_public_half(key) as usable:
        done = _ssh_keygen("sign", "-q", "-f", str(usable), "-n", namespace, data=data)
    if done.returncode:
        raise SigningFailed(
            f"{key}: cannot sign: {_reason(done) or 'ssh-keygen gives no reason'}: expected a private key of mode 0600 "
            "without a passphrase, or the public key of one that ssh-add has loaded"
        )
    return done.stdout.decode("ascii")


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
        SigningFailed: ssh-keygen or the list of signers is missing.
    """
    revoked = allowed_signers.with_name(f"{allowed_signers.name}.revoked")
    options = ["-n", namespace, "-I", identity]
    options += ["-O", f"verify-time={at.astimezone(UTC):%Y%m%d%H%M%S}"] if at else []
    options += ["-r", str(revoked)] if revoked.exists() else []
    done = _check("verify", signature, allowed_signers, *options, data=data)
    if done.returncode:
        reason = _reason(done) or _whose(signature, identity, allowed_signers, revoked)
        raise SignatureRefused(f"{identity}'s signature ({namespace}) is refused by {allowed_signers}: {reason}")


def find_principals(signature: str, allowed_signers: Path) -> list[str]:
    """The names under which the list knows the key of a signature; the signature itself is not checked.

    Raises:
        SigningFailed: ssh-keygen or the list of signers is missing.
    """
    done = _check("find-principals", signature, allowed_signers)
    return [] if done.returncode else done.stdout.decode(errors="replace").splitlines()


@contextmanager
def signers_file(trusted: Mapping[str, bytes], identity: str, namespace: str) -> Iterator[Path]:
    """A list of signers for `verify`, of this installation's keys instead of people's.

    Args:
        trusted: Public keys that are believed, from `Keys.trusted`.
        identity: The name they sign under.
        namespace: What they may sign.

    Yields:
        The file; it is gone afterwards.
    """
    with TemporaryDirectory(prefix="trusted-") as scratch:
        path = Path(scratch) / "allowed_signers"
        lines = [f'{identity} namespaces="{namespace}" {ssh_form(pem)}\n' for pem in trusted.values()]
        path.write_text("".join(lines), encoding="ascii")
        yield path


def _whose(signature: str, identity: str, allowed_signers: Path, revoked: Path) -> str:
    """Why, where ssh-keygen is silent: the key is somebody else's, nobody's or revoked."""
    names = find_principals(signature, allowed_signers)
    # A line of the list names several people, or a pattern, with commas between them.
    if any(fnmatchcase(identity, pattern) for name in names for pattern in name.split(",")):
        return f"the key is revoked in {revoked}"
    return f"the key is that of {', '.join(names)}" if names else "the key is not listed there; ask who keeps the list"


def _check(
    action: str, signature: str, allowed_signers: Path, *options: str, data: bytes = b""
) -> subprocess.CompletedProcess[bytes]:
    if not os.access(allowed_signers, os.R_OK):
        raise SigningFailed(
            f"{allowed_signers}: no such list of signers, or not readable: expected lines such as "
            "'anna@example.org ssh-ed25519 AAAA…'; PROMOTION_ALLOWED_SIGNERS may name another"
        )
    with TemporaryDirectory(prefix="signature-") as scratch:
        path = Path(scratch) / "signature"
        path.write_text(signature, encoding="utf-8")
        return _ssh_keygen(action, "-f", str(allowed_signers), "-s", str(path), *options, data=data)


@contextmanager
def _with_public_half(key: Path) -> Iterator[Path]:
    """ssh-keygen wants the public key beside a PEM file, where there may be no place to write one."""
    try:
        start = key.read_bytes()[:64]
    except OSError as error:
        raise SigningFailed(f"{key}: the key cannot be read: {error.strerror}") from error
    if key.with_name(f"{key.name}.pub").exists() or not start.startswith(b"-----BEGIN") or b"OPENSSH" in start:
        yield key
        return
    with TemporaryDirectory(prefix="signature-") as scratch:
        link = Path(scratch) / "key"
        link.symlink_to(key.resolve())
        link.with_name("key.pub").write_text(f"{ssh_public_key(key)}\n", encoding="ascii")
        yield link


def _ssh_keygen(action: str, *arguments: str, data: bytes) -> subprocess.CompletedProcess[bytes]:
    command = shutil.which("ssh-keygen")
    if not command:
        raise SigningFailed("ssh-keygen is missing: install openssh-client to sign and to verify")
    try:
        return subprocess.run(  # noqa: S603  # a list of arguments, no shell
            [command, "-Y", action, *arguments],
            input=data,
            capture_output=True,
            check=False,
            timeout=_TIMEOUT_SECONDS,
            # Without a terminal or a display nobody can be asked for a passphrase, so nothing waits for an answer.
            start_new_session=True,
            env={**os.environ, "LC_ALL": "C", "TZ": "UTC", "SSH_ASKPASS_REQUIRE": "never"},
        )
    except subprocess.TimeoutExpired as error:
        raise SigningFailed(f"ssh-keygen -Y {action} gave no answer in {_TIMEOUT_SECONDS} s") from error


def _reason(done: subprocess.CompletedProcess[bytes]) -> str:
    """Its own words on one line, without the decoration of its warnings."""
    lines = [line.strip("@ \r") for line in done.stderr.decode(errors="replace").splitlines()]
    return "; ".join(line for line in lines if line)

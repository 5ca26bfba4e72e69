"""The key this installation signs with, and the public keys whose signatures it believes.

One EC P-256 key serves both kinds of signature: model-signing reads its PEM file, and `promotion.signing.ssh` does.
"""

from __future__ import annotations

import hashlib
import os
import re
import stat
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Self

from promotion.errors import SigningFailed

if TYPE_CHECKING:
    # Only names for the type checker: the library is loaded when a key is used.
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey

_KEY_FILE = "signing-key.pem"
_CURVES = ("secp256r1", "secp384r1", "secp521r1")
_TRUSTED_SUFFIXES = frozenset({".pem", ".pub"})
_PEM_KEY = re.compile(rb"-----BEGIN PUBLIC KEY-----.+?-----END PUBLIC KEY-----", re.DOTALL)
_GROUP_AND_OTHERS = stat.S_IRWXG | stat.S_IRWXO


@dataclass(frozen=True, slots=True)
class Keys:
    """Where the keys are; nothing is read or written before one is used.

    Attributes:
        private_key: PEM file of the signing key.
        given: Somebody else provides `private_key` (a Jenkins credential), so it is never created here.
        trusted_folder: Holds the only public keys believed; None believes the own key and no other.
    """

    private_key: Path
    given: bool = False
    trusted_folder: Path | None = None

    @classmethod
    def from_environment(cls) -> Self:
        """Read `PROMOTION_SIGNING_KEY`, `PROMOTION_KEYS`, `XDG_CONFIG_HOME` and `PROMOTION_TRUSTED_KEYS`.

        Each is optional; without any, the key is `~/.config/promotion-layer/signing-key.pem` and trusts itself.

        Raises:
            SigningFailed: No home folder is known, and no variable says where the keys are.
        """
        given = os.environ.get("PROMOTION_SIGNING_KEY")
        trusted = os.environ.get("PROMOTION_TRUSTED_KEYS")
        return cls(
            private_key=Path(given) if given else key_folder() / _KEY_FILE,
            given=bool(given),
            trusted_folder=Path(trusted) if trusted else None,
        )

    def signing_key(self) -> Path:
        """The private key's file, created on first use: 0600, in a folder 0700, whole or not at all.

        Of several processes that create it at once, one wins and all use its key.

        Raises:
            SigningFailed: It is missing though given, cannot be created, is open to others, or is no EC key.
        """
        if not self.private_key.exists():
            if self.given:
                raise SigningFailed(f"PROMOTION_SIGNING_KEY: {self.private_key} does not exist: expected a PEM file")
            _create(self.private_key)
        _require_private(self.private_key)
        public_key_of(self.private_key)
        return self.private_key

    def trusted(self) -> Mapping[str, bytes]:
        """The public keys that are believed, key id to PEM text, as `trusted_keys`; empty where no key was made yet."""
        if self.trusted_folder is not None:
            return trusted_keys(self.trusted_folder, "PROMOTION_TRUSTED_KEYS")
        if not self.given and not self.private_key.exists():
            return {}
        pem = public_pem(self.signing_key())
        return {key_id(pem): pem}


def trusted_keys(folder: Path, variable: str) -> Mapping[str, bytes]:
    """The public keys in a folder's files (`*.pem`, `*.pub`): key id to PEM text.

    Raises:
        SigningFailed: The folder is missing or empty, or a file in it has no EC public key, or anything else.
    """
    try:
        files = sorted(path for path in folder.iterdir() if path.suffix in _TRUSTED_SUFFIXES)
    except OSError as error:
        raise SigningFailed(f"{variable}: {folder}: {error.strerror}: expected a folder") from error
    if not files:
        raise SigningFailed(f"{variable}: {folder}: no *.pem or *.pub file in it: no signature is believed")
    pems = [_pem(key) for path in files for key in _read_public_keys(path)]
    return {key_id(pem): pem for pem in pems}


def key_id(pem: bytes) -> str:
    """A public key's name in bundles: what `sha256sum` says of its PEM file, 64 hexadecimal digits."""
    return hashlib.sha256(pem).hexdigest()


def public_pem(private_key: Path) -> bytes:
    """The public half as PEM text: the content of a file for another installation's `PROMOTION_TRUSTED_KEYS`."""
    return _pem(public_key_of(private_key))


def ssh_public_key(private_key: Path) -> str:
    """The public half as OpenSSH writes it (type and base64): what follows the name in `allowed_signers`."""
    return ssh_form(public_pem(private_key))


def ssh_form(pem: bytes) -> str:
    """A public key in PEM as OpenSSH writes it: type and base64."""
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_public_key

    return load_pem_public_key(pem).public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode("ascii")


def public_key_of(private_key: Path) -> EllipticCurvePublicKey:
    """The public half of a PEM file.

    Raises:
        SigningFailed: The file cannot be read, has a passphrase, or is no EC key.
    """
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    try:
        key = load_pem_private_key(private_key.read_bytes(), password=None)
    except OSError as error:
        raise SigningFailed(f"{private_key}: the signing key cannot be read: {error.strerror}") from error
    except (ValueError, TypeError) as error:
        raise SigningFailed(
            f"{private_key}: not a signing key: expected an EC P-256 key in a PEM file, without a passphrase "
            "(openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256)"
        ) from error
    if not isinstance(key, EllipticCurvePrivateKey):
        raise SigningFailed(f"{private_key}: expected an EC P-256 key, found another kind")
    return _supported(key.public_key(), private_key)


def key_folder() -> Path:
    """`PROMOTION_KEYS` if set, else this account's own folder of keys.

    Raises:
        SigningFailed: No home folder is known.
    """
    if named := os.environ.get("PROMOTION_KEYS"):
        return Path(named)
    try:
        configuration = Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config")
    except RuntimeError as error:
        raise SigningFailed("no home folder for the signing key: set PROMOTION_KEYS to a private folder") from error
    return configuration / "promotion-layer"


@contextmanager
def private_draft(path: Path, content: bytes) -> Iterator[Path]:
    """A key's content in a file beside `path`, 0600 from its first byte on: linked there, the key appears finished."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix=".new-key-") as draft:
        draft.write(content)
        draft.flush()
        os.fsync(draft.fileno())
        yield Path(draft.name)


def _create(path: Path) -> None:
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    key = ec.generate_private_key(ec.SECP256R1())
    text = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    try:
        with private_draft(path, text) as draft:
            os.link(draft, path)
    except FileExistsError:
        return
    except OSError as error:
        raise SigningFailed(
            f"{path}: the signing key cannot be created ({error.strerror}): set PROMOTION_KEYS to a private folder"
        ) from error


def _require_private(path: Path) -> None:
    mode = stat.S_IMODE(path.stat().st_mode)
    if mode & _GROUP_AND_OTHERS:
        raise SigningFailed(
            f"{path}: the signing key is open to others (mode {mode:04o}, expected 0600): chmod 600 {path}; "
            "if others could have read it, delete it and trust a new one"
        )


def _read_public_keys(path: Path) -> list[EllipticCurvePublicKey]:
    """Those of a file: in PEM, or a line each as OpenSSH writes them; lines that begin with # are comments."""
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.serialization import load_pem_public_key, load_ssh_public_key

    try:
        text = path.read_bytes()
        others = (line.strip() for line in _PEM_KEY.sub(b"", text).splitlines())
        lines = [line for line in others if line and not line.startswith(b"#")]
        keys = [*map(load_pem_public_key, _PEM_KEY.findall(text)), *map(load_ssh_public_key, lines)]
    except (OSError, ValueError, UnsupportedAlgorithm):
        keys = []
    if not keys:
        raise SigningFailed(f"{path}: not a public key: expected EC P-256 keys as PEM or OpenSSH lines")
    return [_supported(key, path) for key in keys]


def _supported(key: object, path: Path) -> EllipticCurvePublicKey:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey

    if not isinstance(key, EllipticCurvePublicKey):
        raise SigningFailed(f"{path}: expected an EC P-256 public key, found another kind")
    if key.curve.name not in _CURVES:
        raise SigningFailed(f"{path}: the curve {key.curve.name} is not supported: expected P-256, P-384 or P-521")
    return key


def _pem(key: EllipticCurvePublicKey) -> bytes:
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    return key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)

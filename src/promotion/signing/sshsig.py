"""OpenSSH's signature format (PROTOCOL.sshsig), made and checked here: what `ssh-keygen -Y` writes and reads."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self, cast

from promotion.errors import SignatureRefused

if TYPE_CHECKING:
    # Only names for the type checker: the library is loaded when a key is used.
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurve, EllipticCurvePrivateKey
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
    from cryptography.hazmat.primitives.hashes import HashAlgorithm
    from cryptography.hazmat.primitives.serialization import SSHPublicKeyTypes

    PrivateKey = EllipticCurvePrivateKey | Ed25519PrivateKey | RSAPrivateKey

APPROVAL = "promotion-approval"
"""Namespace of approvals: a signature made for one namespace is worth nothing in another."""
CHECKPOINT = "promotion-checkpoint"
"""Namespace of the journal's exported checkpoints."""
EXPORT = "promotion-export"
"""Namespace of the manifests of exported models."""

_MAGIC = b"SSHSIG"
_VERSION = 1
_HASHES = frozenset({"sha256", "sha512"})
_ARMOUR = re.compile(r"\s*-----BEGIN SSH SIGNATURE-----\n(.*)\n-----END SSH SIGNATURE-----\s*", re.DOTALL)
_LINE = 70
_MALFORMED = "not an SSH signature: expected what ssh-keygen -Y sign writes"
_TOUCH = 5  # a byte of flags, four of a counter
_MADE_WITH = {
    "ssh-rsa": ("rsa-sha2-512", "rsa-sha2-256"),  # not SHA-1's ssh-rsa
    **{
        kind: (kind,)
        for kind in (
            *("ssh-ed25519", "ecdsa-sha2-nistp256", "ecdsa-sha2-nistp384", "ecdsa-sha2-nistp521"),
            *("sk-ssh-ed25519@openssh.com", "sk-ecdsa-sha2-nistp256@openssh.com"),
        )
    },
}
"""Which signatures count, by type of key."""


@dataclass(frozen=True, slots=True)
class Signature:
    """A signature as it was parsed; `require_of` checks it.

    Attributes:
        key: The public key that claims to have made it, in SSH's wire format.
        namespace: What it was made for.
        algorithm: Hash of the data.
        signed: What the key made, with its type.
    """

    key: bytes
    namespace: str
    algorithm: str
    signed: bytes

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read an armoured signature.

        Raises:
            SignatureRefused: It is none.
        """
        try:
            armour = _ARMOUR.fullmatch(text.replace("\r\n", "\n"))
            reader = Reader(base64.b64decode("".join(armour[1].split()) if armour else "", validate=True))
            head = reader.take(len(_MAGIC)), reader.number()
            key, namespace, _reserved, algorithm, signed = (reader.string() for _ in range(5))
            reader.end()
            found = cls(key, namespace.decode(), algorithm.decode(), signed)
            complete = head == (_MAGIC, _VERSION) and found.algorithm in _HASHES and found.kind and found.made_with
        except ValueError as error:
            raise SignatureRefused(_MALFORMED) from error
        if not complete:
            raise SignatureRefused(_MALFORMED)
        return found

    def require_of(self, data: bytes) -> None:
        """Check that its key signed these bytes; who owns the key is another question.

        Raises:
            SignatureRefused: It did not, or the key is of a kind that does not count.
        """
        from cryptography.exceptions import InvalidSignature

        if self.made_with not in _MADE_WITH.get(self.kind, ()):
            raise SignatureRefused(
                f"made with a key of type {self.kind} ({self.made_with}): "
                "expected an Ed25519, ECDSA or RSA key, no certificate"
            )
        try:
            _check(self.key, Reader(self.signed), _message(data, self.namespace, self.algorithm))
        except (InvalidSignature, ValueError) as error:
            raise SignatureRefused("incorrect signature: the data or the signature was changed") from error

    @property
    def kind(self) -> str:
        """The type of the key."""
        return wire_type(self.key).decode()

    @property
    def made_with(self) -> str:
        """The type of the signature."""
        return wire_type(self.signed).decode()


def armoured(data: bytes, namespace: str, key: bytes, sign: Callable[[bytes], bytes]) -> str:
    """Have bytes signed, and write the signature as text.

    Args:
        data: What is signed.
        namespace: What for.
        key: The public key in SSH's wire format.
        sign: Returns the signature of a message, with its type, in SSH's wire format.
    """
    signed = sign(_message(data, namespace, "sha512"))
    fields = (key, namespace.encode(), b"", b"sha512", signed)
    blob = _MAGIC + _VERSION.to_bytes(4) + b"".join(map(string, fields))
    text = base64.b64encode(blob).decode("ascii")
    lines = [text[start : start + _LINE] for start in range(0, len(text), _LINE)]
    return "\n".join(["-----BEGIN SSH SIGNATURE-----", *lines, "-----END SSH SIGNATURE-----", ""])


def sign_with(key: PrivateKey, message: bytes) -> bytes:
    """Sign a message with an Ed25519, RSA or ECDSA key: type and signature in SSH's wire format."""
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
    from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
    from cryptography.hazmat.primitives.hashes import SHA512

    if isinstance(key, ed25519.Ed25519PrivateKey):
        return string(b"ssh-ed25519") + string(key.sign(message))
    if isinstance(key, rsa.RSAPrivateKey):
        return string(b"rsa-sha2-512") + string(key.sign(message, padding.PKCS1v15(), SHA512()))
    numbers = decode_dss_signature(key.sign(message, ec.ECDSA(hash_of(key.curve))))
    return string(wire_type(wire(key.public_key()))) + string(b"".join(map(_mpint, numbers)))


def wire(key: SSHPublicKeyTypes) -> bytes:
    """A public key in SSH's wire format."""
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    return base64.b64decode(key.public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).split()[1])


def wire_form(pem: bytes) -> bytes:
    """A public key in PEM in SSH's wire format."""
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    return wire(cast("SSHPublicKeyTypes", load_pem_public_key(pem)))


def wire_type(key: bytes) -> bytes:
    """The type that a public key or a signature in SSH's wire format says it has."""
    return Reader(key).string()


def is_shortest(key: bytes) -> bool:
    """Whether an RSA key in SSH's wire format is spelled in the one way that is allowed (RFC 4251, mpint).

    Raises:
        ValueError: It is cut short.
    """
    reader = Reader(key)
    _, *numbers = (reader.string() for _ in range(3))
    return all(_mpint(int.from_bytes(number)) == string(number) for number in numbers)


def string(value: bytes) -> bytes:
    """SSH's `string`: the length, then the bytes."""
    return len(value).to_bytes(4) + value


class Reader:
    """Takes SSH's wire format apart; whatever does not fit is a ValueError."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def take(self, size: int) -> bytes:
        """The next bytes."""
        if size > len(self._data):
            raise ValueError("cut short")
        taken, self._data = self._data[:size], self._data[size:]
        return taken

    def number(self) -> int:
        """The next `uint32`."""
        return int.from_bytes(self.take(4))

    def string(self) -> bytes:
        """The next `string`."""
        return self.take(self.number())

    def end(self) -> None:
        """Nothing may follow."""
        if self._data:
            raise ValueError("more than expected")


def _message(data: bytes, namespace: str, algorithm: str) -> bytes:
    fields = (namespace.encode(), b"", algorithm.encode(), hashlib.new(algorithm, data).digest())
    return _MAGIC + b"".join(map(string, fields))


def _mpint(value: int) -> bytes:
    return string(value.to_bytes(value.bit_length() // 8 + 1))


def _check(key: bytes, signed: Reader, message: bytes) -> None:
    """Raise InvalidSignature, or ValueError where the parts do not even fit together."""
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
    from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
    from cryptography.hazmat.primitives.hashes import SHA256, SHA512

    public = _loaded(key)
    made_with, signature = signed.string(), signed.string()
    if made_with.startswith(b"sk-"):
        # A security key signs what it was asked to, and adds that it was touched, and how often.
        application = _application(key)
        touched = signed.take(_TOUCH)
        message = hashlib.sha256(application).digest() + touched + hashlib.sha256(message).digest()
    signed.end()
    if isinstance(public, ed25519.Ed25519PublicKey):
        public.verify(signature, message)
    elif isinstance(public, ec.EllipticCurvePublicKey):
        numbers = Reader(signature)
        encoded = encode_dss_signature(*(int.from_bytes(numbers.string()) for _ in range(2)))
        numbers.end()
        public.verify(encoded, message, ec.ECDSA(hash_of(public.curve)))
    elif isinstance(public, rsa.RSAPublicKey):
        hashed = SHA512() if made_with == b"rsa-sha2-512" else SHA256()
        public.verify(signature.rjust(public.key_size // 8, b"\0"), message, padding.PKCS1v15(), hashed)


def _loaded(key: bytes) -> SSHPublicKeyTypes:
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.serialization import load_ssh_public_key

    try:
        return load_ssh_public_key(wire_type(key) + b" " + base64.b64encode(key))
    except (UnsupportedAlgorithm, NotImplementedError) as error:
        raise ValueError(str(error)) from error


def _application(key: bytes) -> bytes:
    """The last field of a security key's public half: for whom it signs."""
    reader = Reader(key)
    for _ in range(2 if b"ed25519" in wire_type(key) else 3):
        reader.string()
    return reader.string()


def hash_of(curve: EllipticCurve) -> HashAlgorithm:
    """The hash a curve signs with: RFC 5656 gives each its own."""
    from cryptography.hazmat.primitives.hashes import SHA256, SHA384, SHA512

    return {"secp256r1": SHA256(), "secp384r1": SHA384(), "secp521r1": SHA512()}[curve.name]

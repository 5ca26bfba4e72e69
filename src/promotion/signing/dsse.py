"""DSSE envelopes (github.com/secure-systems-lab/dsse): bytes with their type, signed by an installation's key.

Any DSSE library opens one with the public key. The key's id is the one that `securesystemslib` gives it by default.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from promotion.errors import SignatureRefused
from promotion.signing.sshsig import hash_of

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey

_SCHEMES = {"secp256r1": "nistp256", "secp384r1": "nistp384", "secp521r1": "nistp521"}


def pre_authentication_encoding(kind: str, payload: bytes) -> bytes:
    """What is signed: media type and payload with their lengths, so that neither can be taken for the other."""
    name = kind.encode()
    return b"DSSEv1 %d %b %d %b" % (len(name), name, len(payload), payload)


def sign_envelope(payload: bytes, kind: str, key: Path) -> str:
    """Sign a payload of a media type with the installation's private key; returns the envelope, JSON on one line."""
    from cryptography.hazmat.primitives.asymmetric.ec import ECDSA
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

    private: EllipticCurvePrivateKey = load_pem_private_key(key.read_bytes(), password=None)  # type: ignore[assignment]
    public = private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    signature = private.sign(pre_authentication_encoding(kind, payload), ECDSA(hash_of(private.curve)))
    envelope = {
        "payload": base64.b64encode(payload).decode("ascii"),
        "payloadType": kind,
        "signatures": [{"keyid": envelope_key_id(public), "sig": base64.b64encode(signature).decode("ascii")}],
    }
    return json.dumps(envelope, sort_keys=True)


def open_envelope(text: str, kind: str, trusted: Mapping[str, bytes]) -> bytes:
    """The payload of an envelope, if it has that media type and a key of `Keys.trusted` signed it.

    Raises:
        SignatureRefused: It is no envelope of this type, no trusted key signed it, or it was changed since.
    """
    payload, signatures = _parsed(text, kind)
    keys = {envelope_key_id(pem): pem for pem in trusted.values()}
    known = [(keys[name], signature) for name, signature in signatures if name in keys]
    if not known:
        names = ", ".join(name[:16] for name, _ in signatures) or "no key"
        raise SignatureRefused(f"signed with {names!a}, which is not trusted")
    if not any(_is_signed(pem, signature, pre_authentication_encoding(kind, payload)) for pem, signature in known):
        raise SignatureRefused("not what was signed: payload or signature was changed")
    return payload


def envelope_key_id(pem: bytes) -> str:
    """A public key's name in envelopes: sha256 of its canonical JSON, 64 hexadecimal digits."""
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    key = load_pem_public_key(pem)
    curve = _SCHEMES[key.curve.name] if isinstance(key, EllipticCurvePublicKey) else ""
    # Canonical JSON as OLPC defines it escapes no line break.
    canonical = f'{{"keytype":"ecdsa","keyval":{{"public":"{pem.decode()}"}},"scheme":"ecdsa-sha2-{curve}"}}'
    return hashlib.sha256(canonical.encode()).hexdigest()


def _parsed(text: str, kind: str) -> tuple[bytes, list[tuple[str, bytes]]]:
    try:
        envelope = json.loads(text)
        found = envelope["payloadType"]
        payload = base64.b64decode(envelope["payload"], validate=True)
        signatures = [
            (str(item.get("keyid", "")), base64.b64decode(item["sig"], validate=True))
            for item in envelope["signatures"]
        ]
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise SignatureRefused(f"no DSSE envelope ({type(error).__name__})") from error
    if found != kind:
        raise SignatureRefused(f"expected a payload of type {kind}, found {found!a}")
    return payload, signatures


def _is_signed(pem: bytes, signature: bytes, message: bytes) -> bool:
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ec import ECDSA, EllipticCurvePublicKey
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    key = load_pem_public_key(pem)
    if not isinstance(key, EllipticCurvePublicKey):
        return False
    try:
        key.verify(signature, message, ECDSA(hash_of(key.curve)))
    except InvalidSignature:
        return False
    return True


def payload_digest(text: str) -> str:
    """sha256 of an envelope's payload, whoever signed it: the same for every signature on the same statement.

    Raises:
        ValueError: It is no envelope.
    """
    try:
        return hashlib.sha256(base64.b64decode(json.loads(text)["payload"], validate=True)).hexdigest()
    except (LookupError, TypeError, RecursionError) as error:
        raise ValueError(f"no envelope ({type(error).__name__})") from error

"""Envelopes: what a library that is not ours makes of them."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_public_key,
)
from securesystemslib.dsse import Envelope
from securesystemslib.exceptions import VerificationError
from securesystemslib.signer import SSlibKey  # type: ignore[attr-defined]

from promotion.errors import SignatureRefused
from promotion.signing.dsse import envelope_key_id, open_envelope, pre_authentication_encoding, sign_envelope
from promotion.signing.keys import Keys, public_pem

KIND = "application/vnd.in-toto+json"
PAYLOAD = '{"text":"größer"}'.encode()


@pytest.fixture
def keys(tmp_path: Path) -> Keys:
    keys = Keys(tmp_path / "keys" / "signing-key.pem")
    keys.signing_key()
    return keys


def theirs(pem: bytes) -> SSlibKey:
    return SSlibKey.from_crypto(load_pem_public_key(pem))


def with_payload(text: str, payload: bytes) -> str:
    return json.dumps(json.loads(text) | {"payload": base64.b64encode(payload).decode()})


def test_another_library_verifies_with_the_public_key_alone(keys: Keys) -> None:
    """Its default id of the key is the one in the envelope, and its encoding of what is signed is ours."""
    pem = public_pem(keys.private_key)
    envelope = Envelope.from_dict(json.loads(sign_envelope(PAYLOAD, KIND, keys.private_key)))

    assert [theirs(pem).keyid] == list(envelope.verify([theirs(pem)], 1))
    assert pre_authentication_encoding(KIND, PAYLOAD) == envelope.pae()
    assert PAYLOAD == envelope.payload
    assert PAYLOAD == open_envelope(sign_envelope(PAYLOAD, KIND, keys.private_key), KIND, keys.trusted())


def test_a_changed_byte_is_refused_here_and_there(keys: Keys) -> None:
    """Of the payload, of its type, of the signature."""
    text = sign_envelope(PAYLOAD, KIND, keys.private_key)
    signature = json.loads(text)["signatures"][0]
    raw = bytearray(base64.b64decode(signature["sig"]))
    raw[-1] ^= 1
    changed = [
        with_payload(text, PAYLOAD.replace(b"text", b"tent")),
        json.dumps(json.loads(text) | {"signatures": [signature | {"sig": base64.b64encode(bytes(raw)).decode()}]}),
    ]
    for envelope in changed:
        with pytest.raises(SignatureRefused, match="not what was signed"):
            open_envelope(envelope, KIND, keys.trusted())
        with pytest.raises(VerificationError):
            Envelope.from_dict(json.loads(envelope)).verify([theirs(public_pem(keys.private_key))], 1)
    with pytest.raises(SignatureRefused, match="expected a payload of type"):
        open_envelope(json.dumps(json.loads(text) | {"payloadType": "text/plain"}), KIND, keys.trusted())


def test_a_strangers_key_is_refused(keys: Keys, tmp_path: Path) -> None:
    """Also under the id of a trusted one."""
    stranger = Keys(tmp_path / "other" / "signing-key.pem")
    text = sign_envelope(PAYLOAD, KIND, stranger.signing_key())
    disguised = json.loads(text)
    disguised["signatures"][0]["keyid"] = envelope_key_id(public_pem(keys.private_key))

    with pytest.raises(SignatureRefused, match="which is not trusted"):
        open_envelope(text, KIND, keys.trusted())
    with pytest.raises(SignatureRefused, match="not what was signed"):
        open_envelope(json.dumps(disguised), KIND, keys.trusted())


@pytest.mark.parametrize("curve", [ec.SECP384R1(), ec.SECP521R1()], ids=["P-384", "P-521"])
def test_other_curves_sign_with_their_own_hash(curve: ec.EllipticCurve, tmp_path: Path) -> None:
    """As the other library expects it."""
    file = tmp_path / "key.pem"
    file.write_bytes(ec.generate_private_key(curve).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    key = theirs(public_pem(file))

    assert [key.keyid] == list(Envelope.from_dict(json.loads(sign_envelope(PAYLOAD, KIND, file))).verify([key], 1))


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", "7", '{"payload": "!", "payloadType": "x", "signatures": []}', "[" * 100_000]
)
def test_what_is_no_envelope_is_refused(text: str, keys: Keys) -> None:
    """In words, whatever it is."""
    with pytest.raises(SignatureRefused, match="no DSSE envelope"):
        open_envelope(text, KIND, keys.trusted())

"""OpenSSH's signature format, held against the real ssh-keygen in both directions."""

from __future__ import annotations

import base64
import hashlib
import subprocess
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed25519
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from tests.promotion.factories import make_key

from promotion.errors import SignatureRefused, SigningFailed
from promotion.signing.ssh import sign, verify
from promotion.signing.sshsig import APPROVAL, armoured, string, wire

DATA = b"two lines\nand a zero \0\n"
NAME = "anna@example.org"
KINDS = ("ed25519", "ecdsa", "ecdsa-384", "ecdsa-521", "rsa")
SECURITY_KEYS = ("sk-ssh-ed25519@openssh.com", "sk-ecdsa-sha2-nistp256@openssh.com")

RECORDED = """-----BEGIN SSH SIGNATURE-----
U1NIU0lHAAAAAQAAADMAAAALc3NoLWVkMjU1MTkAAAAgfw8bq/GQOpmwBrlbQF9n2psMmY
vmemNEQpcLuh+1ffkAAAACbnMAAAAAAAAABnNoYTUxMgAAAFMAAAALc3NoLWVkMjU1MTkA
AABAqBm1kD12dF4JYPHeujMXY2BTSGOYqBkTGAqrRPmkJKlkxhbgIOkH1P7ZLUW4um5uQF
Rqkl5LdbdYUCGdup/xAQ==
-----END SSH SIGNATURE-----
"""


def keygen(*arguments: str, data: bytes = DATA) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(["ssh-keygen", *arguments], input=data, check=False, capture_output=True)


def listed(key: Path) -> Path:
    signers = key.with_name("signers")
    signers.write_text(f"{NAME} {key.with_name(f'{key.name}.pub').read_text()}")
    return signers


def believes(signers: Path, signature: str, data: bytes = DATA) -> bool:
    """Whether ssh-keygen does."""
    path = signers.with_name("signature")
    path.write_text(signature)
    done = keygen("-Y", "verify", "-f", str(signers), "-I", NAME, "-n", APPROVAL, "-s", str(path), data=data)
    return done.returncode == 0


@pytest.mark.needs("ssh-keygen")
@pytest.mark.parametrize("kind", KINDS)
def test_ssh_keygen_believes_what_is_signed_here(tmp_path: Path, kind: str) -> None:
    """Every kind of key; and not when a byte is another."""
    key = make_key(tmp_path, "key", kind=kind)
    signature = sign(DATA, key, APPROVAL)

    assert believes(listed(key), signature)
    assert not believes(listed(key), signature, DATA + b".")


@pytest.mark.needs("ssh-keygen")
@pytest.mark.parametrize("algorithm", ["sha256", "sha512"])
@pytest.mark.parametrize("kind", ["ed25519", "ecdsa", "ecdsa-384", "ecdsa-521", "rsa-2048"])
def test_what_ssh_keygen_signs_is_believed_here(tmp_path: Path, kind: str, algorithm: str) -> None:
    """Every kind of key that it makes; and not when a byte is another. The same key signs here, to the same bytes."""
    key = tmp_path / "key"
    name, _, bits = kind.partition("-")
    assert 0 == keygen("-q", "-t", name, *(["-b", bits] if bits else []), "-N", "", "-f", str(key)).returncode
    options = ("-f", str(key), "-n", APPROVAL, "-O", f"hashalg={algorithm}")
    signature = keygen("-Y", "sign", "-q", *options).stdout.decode()

    verify(DATA, signature, NAME, listed(key), APPROVAL)
    with pytest.raises(SignatureRefused, match="incorrect signature"):
        verify(DATA + b".", signature, NAME, listed(key), APPROVAL)
    ours = sign(DATA, key, APPROVAL)
    assert believes(listed(key), ours)
    if name != "ecdsa" and algorithm == "sha512":  # ECDSA rolls dice
        assert signature == ours


@pytest.mark.needs("ssh-keygen")
@pytest.mark.system
def test_a_key_in_a_pem_file_signs(tmp_path: Path) -> None:
    """As older tools and openssl write them."""
    key = tmp_path / "key"
    assert 0 == keygen("-q", "-t", "rsa", "-b", "2048", "-m", "PEM", "-N", "", "-f", str(key)).returncode
    assert b"BEGIN RSA PRIVATE KEY" in key.read_bytes()
    assert believes(listed(key), sign(DATA, key, APPROVAL))


@pytest.mark.needs("ssh-keygen")
@pytest.mark.system
def test_a_locked_key_of_openssh_is_one_line(tmp_path: Path) -> None:
    """Nobody is asked for its passphrase."""
    key = tmp_path / "key"
    assert 0 == keygen("-q", "-t", "ed25519", "-N", "secret phrase", "-f", str(key)).returncode
    with pytest.raises(SigningFailed, match="key: cannot sign: it is locked with a passphrase"):
        sign(DATA, key, APPROVAL)


def test_a_signature_of_ssh_keygen_from_long_ago_is_believed(tmp_path: Path) -> None:
    """As records hold them: this one was made by OpenSSH 9.2."""
    signers = tmp_path / "signers"
    signers.write_text(f"{NAME} ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIH8PG6vxkDqZsAa5W0BfZ9qbDJmL5npjREKXC7oftX35\n")
    verify(b"hi\n", RECORDED, NAME, signers, "ns")


@pytest.mark.parametrize("kind", SECURITY_KEYS)
def test_what_a_security_key_signed_is_believed(tmp_path: Path, kind: str) -> None:
    """It signs more than it is given: for whom, whether it was touched, and how often."""
    signers, signature = _by_security_key(tmp_path, kind)
    verify(DATA, signature, NAME, signers, APPROVAL)
    with pytest.raises(SignatureRefused, match="incorrect signature"):
        verify(DATA + b".", signature, NAME, signers, APPROVAL)


@pytest.mark.needs("ssh-keygen")
@pytest.mark.parametrize("kind", SECURITY_KEYS)
def test_the_security_keys_that_are_played_here_are_real_to_ssh_keygen(tmp_path: Path, kind: str) -> None:
    """So that the test before means something."""
    assert believes(*_by_security_key(tmp_path, kind))


@pytest.mark.needs("ssh-keygen", "ssh-agent")
def test_a_certificate_is_refused_plainly(tmp_path: Path) -> None:
    """Who signs with one reads why it does not count."""
    authority, key = (make_key(tmp_path, name) for name in ("authority", "key"))
    assert 0 == keygen("-q", "-s", str(authority), "-I", "x", "-n", NAME, str(key.with_suffix(".pub"))).returncode
    made = keygen("-Y", "sign", "-q", "-f", str(tmp_path / "key-cert.pub"), "-n", APPROVAL).stdout.decode()
    signers = tmp_path / "signers"
    signers.write_text(f"{NAME} cert-authority {authority.with_suffix('.pub').read_text()}")

    assert believes(signers, made)
    with pytest.raises(SignatureRefused, match=r"key of type ssh-ed25519-cert-v01@openssh\.com .*no certificate"):
        verify(DATA, made, NAME, signers, APPROVAL)


def test_sha_1_does_not_count(tmp_path: Path) -> None:
    """An RSA signature of the old kind is refused, whatever it says."""
    key = make_key(tmp_path, "key", kind="rsa")
    made = armoured(DATA, APPROVAL, _blob(key), lambda _: string(b"ssh-rsa") + string(bytes(256)))
    with pytest.raises(SignatureRefused, match=r"key of type ssh-rsa \(ssh-rsa\)"):
        verify(DATA, made, NAME, listed(key), APPROVAL)


def test_a_signature_is_of_the_key_it_names(tmp_path: Path) -> None:
    """With another's key in it, cut short or with something behind it, none is believed."""
    key, other = make_key(tmp_path, "key"), make_key(tmp_path, "other")
    raw = base64.b64decode("".join(sign(DATA, key, APPROVAL).splitlines()[1:-1]))[-83:]
    assert armoured(DATA, APPROVAL, _blob(key), lambda _: raw) == sign(DATA, key, APPROVAL)
    for owner, forged in ((other, raw), (key, raw[:-1]), (key, raw + b"."), (key, b""), (key, raw[:-1] + b".")):
        made = armoured(DATA, APPROVAL, _blob(owner), lambda _, forged=forged: forged)  # type: ignore[misc]
        with pytest.raises(SignatureRefused, match=r"incorrect signature|not an SSH signature"):
            verify(DATA, made, NAME, listed(owner), APPROVAL)


def test_a_dsa_key_does_not_sign(tmp_path: Path) -> None:
    """Too short, and gone from OpenSSH."""
    path = tmp_path / "key"
    path.touch(mode=0o600)
    key = dsa.generate_private_key(1024)  # noqa: S505  # it is refused
    path.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    with pytest.raises(SigningFailed, match="neither an Ed25519, an ECDSA nor an RSA key"):
        sign(DATA, path, APPROVAL)


def _blob(key: Path) -> bytes:
    return base64.b64decode(key.with_suffix(".pub").read_text().split()[1])


def _by_security_key(folder: Path, kind: str) -> tuple[Path, str]:
    """A list with a security key's public half, and what the key signed; the key itself is played."""
    application, touched = b"ssh:", b"\x01\0\0\0\x07"
    private: ed25519.Ed25519PrivateKey | ec.EllipticCurvePrivateKey = ed25519.Ed25519PrivateKey.generate()
    if "ecdsa" in kind:
        private = ec.generate_private_key(ec.SECP256R1())
    plain = wire(private.public_key())
    blob = string(kind.encode()) + plain[4 + int.from_bytes(plain[:4]) :] + string(application)

    def touch(message: bytes) -> bytes:
        asked = hashlib.sha256(application).digest() + touched + hashlib.sha256(message).digest()
        if isinstance(private, ed25519.Ed25519PrivateKey):
            signed = private.sign(asked)
        else:
            numbers = decode_dss_signature(private.sign(asked, ec.ECDSA(SHA256())))
            signed = b"".join(string(number.to_bytes(number.bit_length() // 8 + 1)) for number in numbers)
        return string(kind.encode()) + string(signed) + touched

    signers = folder / "signers"
    signers.write_text(f"{NAME} {kind} {base64.b64encode(blob).decode()}\n")
    return signers, armoured(DATA, APPROVAL, blob, touch)

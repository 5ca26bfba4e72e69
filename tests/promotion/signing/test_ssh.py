"""SSH signatures: who may sign what. `test_sshsig.py` holds the format against the real ssh-keygen."""

from __future__ import annotations

import base64
import subprocess
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from tests.promotion.factories import make_key

from promotion.config.settings import Settings
from promotion.errors import SignatureRefused, SigningFailed
from promotion.signing.keys import Keys, ssh_public_key
from promotion.signing.signers import public_key
from promotion.signing.ssh import allowed_signers, find_principals, sign, verify
from promotion.signing.sshsig import APPROVAL, CHECKPOINT, Reader, string, wire

DATA = b"alzheimer_classifier 3 sha256:0123\n"
ANNA = "anna@example.org"


def _public(key: Path) -> str:
    return " ".join(key.with_suffix(".pub").read_text().split()[:2])


@pytest.fixture
def anna(tmp_path: Path) -> Path:
    return make_key(tmp_path, "anna")


@pytest.fixture
def bert(tmp_path: Path) -> Path:
    return make_key(tmp_path, "bert")


@pytest.fixture
def signers(tmp_path: Path, anna: Path) -> Path:
    path = tmp_path / "allowed_signers"
    path.write_text(f'# who may approve\n{ANNA} namespaces="{APPROVAL}" {_public(anna)}\n')
    return path


@pytest.mark.parametrize("kind", ["ed25519", "ecdsa", "rsa"])
def test_a_good_signature_is_accepted(tmp_path: Path, kind: str) -> None:
    """Keys as people have them; the key's owner is found by the signature."""
    key = make_key(tmp_path, "key", kind=kind)
    signers = tmp_path / "allowed_signers"
    signers.write_text(f"{ANNA} {_public(key)}\n")
    signature = sign(DATA, key, APPROVAL)
    assert signature.startswith("-----BEGIN SSH SIGNATURE-----")
    verify(DATA, signature, ANNA, signers, APPROVAL)
    assert [ANNA] == find_principals(signature, signers)


def test_the_artifact_key_signs_here_too(tmp_path: Path) -> None:
    """One key for both: the PEM file needs no public key beside it, and no new file appears there."""
    key = Keys(tmp_path / "keys" / "signing-key.pem").signing_key()
    signers = tmp_path / "allowed_signers"
    signers.write_text(f'promotion-layer namespaces="{CHECKPOINT}" {ssh_public_key(key)}\n')
    verify(DATA, sign(DATA, key, CHECKPOINT), "promotion-layer", signers, CHECKPOINT)
    assert [key] == list(key.parent.iterdir())


def test_changed_data_is_refused(anna: Path, signers: Path) -> None:
    """One byte more, and the signature is not for these data."""
    with pytest.raises(SignatureRefused, match=r"anna@example\.org's signature .*: .*incorrect signature") as caught:
        verify(DATA + b"!", sign(DATA, anna, APPROVAL), ANNA, signers, APPROVAL)
    assert "\n" not in str(caught.value)


def test_a_key_that_is_not_listed_is_refused(bert: Path, signers: Path) -> None:
    """Whoever is not in the list cannot sign, under whatever name."""
    signature = sign(DATA, bert, APPROVAL)
    for identity in (ANNA, "bert@example.org"):
        with pytest.raises(SignatureRefused, match="the key is not listed there"):
            verify(DATA, signature, identity, signers, APPROVAL)
    assert [] == find_principals(signature, signers)


def test_nobody_signs_under_anothers_name(anna: Path, bert: Path, signers: Path) -> None:
    """Bert is listed, and still cannot approve as Anna."""
    with signers.open("a") as file:
        file.write(f"bert@example.org {_public(bert)}\n")
    with pytest.raises(SignatureRefused, match=r"the key is that of bert@example\.org"):
        verify(DATA, sign(DATA, bert, APPROVAL), ANNA, signers, APPROVAL)


def test_a_signature_counts_in_its_namespace_only(anna: Path, signers: Path) -> None:
    """Neither is an approval a checkpoint, nor may an approver sign checkpoints."""
    with pytest.raises(SignatureRefused, match="namespace does not match"):
        verify(DATA, sign(DATA, anna, CHECKPOINT), ANNA, signers, APPROVAL)
    with pytest.raises(SignatureRefused, match="not permitted for use in signature namespace"):
        verify(DATA, sign(DATA, anna, CHECKPOINT), ANNA, signers, CHECKPOINT)


def test_an_expired_key_is_refused_but_was_good_before(anna: Path, signers: Path) -> None:
    """`valid-before` ends it, in UTC; what was signed earlier can be checked as of then."""
    signers.write_text(f'{ANNA} valid-before="20250301120000" {_public(anna)}\n')
    signature = sign(DATA, anna, APPROVAL)
    with pytest.raises(SignatureRefused, match="key has expired"):
        verify(DATA, signature, ANNA, signers, APPROVAL)
    verify(DATA, signature, ANNA, signers, APPROVAL, at=datetime(2025, 3, 1, 11, 59, tzinfo=UTC))
    with pytest.raises(SignatureRefused, match="key has expired"):
        verify(DATA, signature, ANNA, signers, APPROVAL, at=datetime(2025, 3, 1, 12, 1, tzinfo=UTC))


def test_a_revoked_key_is_refused_for_ever(anna: Path, signers: Path) -> None:
    """A key in the list of revoked keys never signed anything."""
    signature = sign(DATA, anna, APPROVAL)
    signers.with_name("allowed_signers.revoked").write_text(_public(anna) + "\n")
    with pytest.raises(SignatureRefused, match=r"the key is revoked in .*allowed_signers\.revoked"):
        verify(DATA, signature, ANNA, signers, APPROVAL, at=datetime(2025, 1, 1, tzinfo=UTC))


@pytest.mark.parametrize("text", ["", "junk", "-----BEGIN SSH SIGNATURE-----\nAAAA\n-----END SSH SIGNATURE-----\n"])
def test_a_malformed_signature_is_refused(signers: Path, text: str) -> None:
    """Whatever the database holds in its place."""
    with pytest.raises(SignatureRefused, match="not an SSH signature"):
        verify(DATA, text, ANNA, signers, APPROVAL)


def test_a_passphrase_is_never_asked_for(tmp_path: Path) -> None:
    """Nobody is there to type it: one line at once, without the key's content."""
    key = make_key(tmp_path, "locked", passphrase="secret phrase")  # noqa: S106  # of a key made for this test
    with pytest.raises(SigningFailed, match=r"locked: cannot sign: .*without a passphrase") as caught:
        sign(DATA, key, APPROVAL)
    assert "BEGIN" not in str(caught.value)


@pytest.mark.needs("ssh-agent")
def test_a_key_in_the_agent_signs(tmp_path: Path, anna: Path, signers: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """People keep keys with passphrases in the agent and name the public key."""
    socket = str(tmp_path / "agent")
    with subprocess.Popen(["ssh-agent", "-D", "-a", socket], stdout=subprocess.PIPE) as agent:
        try:
            assert agent.stdout is not None
            agent.stdout.readline()
            monkeypatch.setenv("SSH_AUTH_SOCK", socket)
            subprocess.run(["ssh-add", "-q", str(anna)], check=True, capture_output=True)
            anna.unlink()
            verify(DATA, sign(DATA, anna.with_suffix(".pub"), APPROVAL), ANNA, signers, APPROVAL)
            locked = make_key(tmp_path, "locked", passphrase="secret phrase")  # noqa: S106  # of a key made for this test
            with pytest.raises(SigningFailed, match="does not have this key"):
                sign(DATA, locked, APPROVAL)
        finally:
            agent.terminate()


def test_an_open_or_missing_key_is_one_line(anna: Path, tmp_path: Path) -> None:
    """As ssh refuses it."""
    anna.chmod(0o644)
    with pytest.raises(SigningFailed, match=r"anna: cannot sign: .*too open") as caught:
        sign(DATA, anna, APPROVAL)
    assert "\n" not in str(caught.value)
    with pytest.raises(SigningFailed, match="nobody: the key cannot be read: No such file"):
        sign(DATA, tmp_path / "nobody", APPROVAL)


def test_a_missing_list_is_not_a_refusal(anna: Path, tmp_path: Path) -> None:
    """Without a list nothing can be said about the signature."""
    with pytest.raises(SigningFailed, match="no such list of signers"):
        verify(DATA, sign(DATA, anna, APPROVAL), ANNA, tmp_path / "nowhere", APPROVAL)


def test_no_program_is_needed(anna: Path, signers: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine without OpenSSH signs and verifies."""
    monkeypatch.setenv("PATH", "/nowhere")
    verify(DATA, sign(DATA, anna, APPROVAL), ANNA, signers, APPROVAL)


def test_a_public_key_without_an_agent_is_one_line(anna: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither an agent that is not there, nor one that does not answer."""
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    with pytest.raises(SigningFailed, match=r"anna\.pub: cannot sign: no SSH agent"):
        sign(DATA, anna.with_suffix(".pub"), APPROVAL)
    monkeypatch.setenv("SSH_AUTH_SOCK", "/nowhere/agent")
    with pytest.raises(SigningFailed, match=r"the SSH agent at /nowhere/agent cannot be asked: .*No such file"):
        sign(DATA, anna.with_suffix(".pub"), APPROVAL)


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("{name} {key} any comment", None),
        ("  {name}\t{key}", None),
        ('"bert@example.org,{name}" {key}', None),
        ("*@example.org,!bert@example.org {key}", None),
        ("anna@example.or? {key}", None),
        ('{name} NAMESPACES="other,promotion-*" {key}', None),
        ('{name} namespaces="promotion-approval",valid-before="20990101" {key}', None),
        ('{name} valid-after="20200101Z" {key}', None),
        ("# a comment\n\nsomething else\n{name} {key}", None),
        ('{name} valid-before="20200101" {key}\n{name} {key}', None),
        ("ANNA@example.org {key}", "the key is that of ANNA@example.org"),
        ("*@example.org,!{name} {key}", "the key is that of"),
        ("anna@example.or[g] {key}", "the key is that of"),
        ('{name} namespaces="*,!promotion-approval" {key}', "not permitted for use in signature namespace"),
        ('{name} namespaces="" {key}', "not permitted for use in signature namespace"),
        ('{name} valid-after="20990101" {key}', "line 1: the key is not yet valid"),
        ('{name} valid-before="2099" {key}', 'line 1: valid-before="2099" is no time'),
        ("{name} valid-before=20990101 {key}", "line 1: bad option valid-before"),
        ('{name} valid-after="20300101",valid-before="20200101" {key}', "valid-before is not after valid-after"),
        ('{name} namespaces="a",namespaces="*" {key}', "line 1: bad option namespaces"),
        ('{name} shell="x" {key}', "line 1: bad option shell"),
        ("{name} cert-authority {key}", "line 1: cert-authority is not supported: list each person's own key"),
        ("{name}", "line 1: missing key"),
        ("{name} ssh-rsa {key}", "line 1: "),
    ],
)
def test_lines_are_read_as_ssh_keygen_reads_them(anna: Path, signers: Path, line: str, reason: str | None) -> None:
    """Names are patterns, options may be mixed, one good line is enough; whatever is not understood lets nobody in."""
    signers.write_text(line.format(name=ANNA, key=_public(anna)) + "\n")
    signature = sign(DATA, anna, APPROVAL)

    if reason is None:
        verify(DATA, signature, ANNA, signers, APPROVAL)
    else:
        with pytest.raises(SignatureRefused) as caught:
            verify(DATA, signature, ANNA, signers, APPROVAL)
        assert reason in str(caught.value)


@pytest.mark.parametrize("place", [1, 2])
def test_one_key_has_one_spelling(place: int) -> None:
    """RSA's numbers with leading zeros would be another fingerprint, and so another person, with the same key."""
    key = rsa.generate_private_key(65537, 1024).public_key()  # noqa: S505  # nothing is signed with it
    reader = Reader(wire(key))
    parts = [reader.string() for _ in range(3)]
    parts[place] = b"\0\0" + parts[place]
    spelled = base64.b64encode(b"".join(map(string, parts))).decode()

    assert wire(key) == public_key(f"ssh-rsa {base64.b64encode(wire(key)).decode()}")
    with pytest.raises(ValueError, match="leading zeros"):
        public_key(f"ssh-rsa {spelled}")


def test_a_list_of_revoked_keys_that_cannot_be_read_stops_everything(anna: Path, signers: Path) -> None:
    """Nobody could say who is revoked."""
    signers.with_name("allowed_signers.revoked").write_bytes(b"SSHKRL\n\0 binary")
    with pytest.raises(SigningFailed, match=r"allowed_signers\.revoked:1: not a public key"):
        verify(DATA, sign(DATA, anna, APPROVAL), ANNA, signers, APPROVAL)


def test_the_list_is_in_config_unless_named(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """PROMOTION_ALLOWED_SIGNERS names a path that the pipeline's account cannot write."""
    settings = Settings.from_environment()
    assert home / "config" / "allowed_signers" == allowed_signers(settings)
    monkeypatch.setenv("PROMOTION_ALLOWED_SIGNERS", "/etc/promotion/allowed_signers")
    assert Path("/etc/promotion/allowed_signers") == allowed_signers(settings)

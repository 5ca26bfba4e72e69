"""Signing an artifact's files, checking them, and the keys that do it."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from promotion.artifacts.signature import sign_artifact, signed_by, signed_files, verify_artifact
from promotion.errors import ArtifactMissing, ArtifactTampered, ArtifactUnsafe, SignatureRefused, SigningFailed
from promotion.signing.keys import Keys, key_id, public_pem, ssh_public_key, trusted_keys


@pytest.fixture
def artifact(tmp_path: Path) -> Path:
    folder = tmp_path / "model"
    (folder / "data").mkdir(parents=True)
    (folder / ".git").mkdir()
    for name in ("MLmodel", "data/model.skops", "requirements.txt", ".git/config", ".gitignore"):
        (folder / name).write_text(f"content of {name}\n")
    return folder


def _signed_with(folder: Path, keys: Keys, **options: object) -> str:
    """Sign as somebody who uses the library with options of their own."""
    from model_signing import hashing, signing

    manner = hashing.Config().set_ignored_paths(**options)  # type: ignore[arg-type]
    path = folder.parent / "bundle.json"
    config = signing.Config().use_elliptic_key_signer(private_key=keys.signing_key())
    config.set_hashing_config(manner).sign(folder, path)
    return path.read_text()


def test_what_was_signed_verifies_and_is_listed(artifact: Path) -> None:
    """All files count, git's too, and their digests are those of sha256sum."""
    keys = Keys.from_environment()
    signature = sign_artifact(artifact, keys)
    verify_artifact(artifact, signature, keys.trusted())
    listing = subprocess.run(
        ["sh", "-c", r"find . -type f -printf '%P\0' | xargs -0 sha256sum"],
        cwd=artifact,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    expected = {name: digest for digest, name in (line.split("  ") for line in listing.splitlines())}
    assert expected == signed_files(signature)
    assert key_id(public_pem(keys.signing_key())) == signed_by(signature)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda folder: (folder / "MLmodel").write_text("x"), "changed MLmodel"),
        (lambda folder: (folder / ".git" / "hook").write_text(""), r"added \.git/hook"),
        (lambda folder: (folder / ".gitattributes").write_text(""), r"added \.gitattributes"),
        (lambda folder: (folder / "data" / "model.skops").unlink(), "removed data/model.skops"),
        (lambda folder: (folder / "MLmodel").rename(folder / "MLMODEL"), "added MLMODEL; removed MLmodel"),
    ],
)
def test_a_change_is_named(artifact: Path, change: Callable[[Path], object], message: str) -> None:
    """A changed byte, an added, removed or renamed file is refused by its name."""
    keys = Keys.from_environment()
    signature = sign_artifact(artifact, keys)
    change(artifact)
    with pytest.raises(ArtifactTampered, match=message) as caught:
        verify_artifact(artifact, signature, keys.trusted())
    assert "\n" not in str(caught.value)


def test_links_and_nothing_are_refused(artifact: Path, tmp_path: Path) -> None:
    """A link cannot be signed nor slipped in later; a missing or empty folder has nothing to sign."""
    keys = Keys.from_environment()
    signature = sign_artifact(artifact, keys)
    (artifact / "link").symlink_to("MLmodel")
    with pytest.raises(ArtifactUnsafe, match="link: a link"):
        verify_artifact(artifact, signature, keys.trusted())
    with pytest.raises(ArtifactUnsafe, match="link: a link"):
        sign_artifact(artifact, keys)
    (tmp_path / "empty").mkdir()
    for folder in (tmp_path / "empty", tmp_path / "nowhere"):
        with pytest.raises(ArtifactMissing, match=folder.name):
            sign_artifact(folder, keys)


def test_another_key_is_not_trusted(artifact: Path, tmp_path: Path) -> None:
    """A signature by somebody else is refused with the id of the key, whatever it says about the files."""
    stranger = Keys(tmp_path / "stranger" / "key.pem")
    signature = sign_artifact(artifact, stranger)
    ours = Keys.from_environment()
    with pytest.raises(SignatureRefused, match=f"{signed_by(signature)[:16]}, which is not trusted .trusted: no key"):
        verify_artifact(artifact, signature, ours.trusted())
    ours.signing_key()
    with pytest.raises(SignatureRefused, match="which is not trusted"):
        verify_artifact(artifact, signature, ours.trusted())


def test_a_forged_manifest_is_refused(artifact: Path, tmp_path: Path) -> None:
    """A database writer who changes the manifest, or claims another's key, is caught by the signature."""
    keys = Keys.from_environment()
    bundle = json.loads(sign_artifact(artifact, keys))
    (artifact / "MLmodel").write_text("mine")
    other = json.loads(sign_artifact(artifact, Keys(tmp_path / "stranger" / "key.pem")))
    for forged in (
        {**bundle, "dsseEnvelope": {**bundle["dsseEnvelope"], "payload": other["dsseEnvelope"]["payload"]}},
        {**other, "verificationMaterial": bundle["verificationMaterial"]},
    ):
        with pytest.raises(SignatureRefused, match="the signature is forged"):
            verify_artifact(artifact, json.dumps(forged), keys.trusted())


def test_a_signature_that_leaves_files_out_is_refused(artifact: Path) -> None:
    """Even a trusted key's signature is worthless when it lets files be added unseen."""
    keys = Keys.from_environment()
    for options in ({"paths": ()}, {"paths": ["data"], "ignore_git_paths": False}):
        signature = _signed_with(artifact, keys, **options)
        with pytest.raises(SignatureRefused, match="nothing ignored"):
            verify_artifact(artifact, signature, keys.trusted())


@pytest.mark.parametrize("text", ["", "junk", "[]", "{}", '{"dsseEnvelope": {"payload": 1}}', "[" * 100_000])
def test_a_malformed_bundle_is_one_line(artifact: Path, text: str) -> None:
    """Whatever the database holds in its place is refused, not a traceback."""
    with pytest.raises(SignatureRefused, match="expected a model-signing v1 bundle"):
        verify_artifact(artifact, text, Keys.from_environment().trusted())


def test_a_bundle_without_signatures_is_refused(artifact: Path) -> None:
    """An envelope that nobody signed is malformed."""
    keys = Keys.from_environment()
    bundle = json.loads(sign_artifact(artifact, keys))
    bundle["dsseEnvelope"]["signatures"] = []
    with pytest.raises(SignatureRefused):
        verify_artifact(artifact, json.dumps(bundle), keys.trusted())
    assert json.loads(base64.b64decode(bundle["dsseEnvelope"]["payload"]))["subject"]


@pytest.mark.system
def test_the_library_alone_checks_the_bundle(artifact: Path, tmp_path: Path) -> None:
    """An auditor verifies with model_signing's own command and the public key."""
    keys = Keys.from_environment()
    bundle, key = tmp_path / "bundle.json", tmp_path / "key.pem"
    bundle.write_text(sign_artifact(artifact, keys))
    key.write_bytes(public_pem(keys.signing_key()))
    command = [sys.executable, "-m", "model_signing", "verify", "key", str(artifact)]
    command += ["--signature", str(bundle), "--public_key", str(key), "--no-ignore-git-paths"]
    assert 0 == subprocess.run(command, capture_output=True, check=False).returncode
    (artifact / "MLmodel").write_text("x")
    assert 0 != subprocess.run(command, capture_output=True, check=False).returncode


def test_the_key_is_made_private_and_kept(tmp_path: Path) -> None:
    """First use creates it, 0600 in a folder 0700; the second uses the same; trusting does not create."""
    keys = Keys.from_environment()
    assert {} == keys.trusted()
    assert not keys.private_key.exists()
    path = keys.signing_key()
    assert (tmp_path / "keys" / "signing-key.pem") == path
    assert [0o600, 0o700] == [path.stat().st_mode & 0o777, path.parent.stat().st_mode & 0o777]
    content = path.read_bytes()
    assert content == keys.signing_key().read_bytes()
    assert [path] == list(path.parent.iterdir())


def test_the_default_place_is_the_users_configuration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Outside the repository, where XDG_CONFIG_HOME or the home folder says."""
    monkeypatch.delenv("PROMOTION_KEYS")
    monkeypatch.setenv("HOME", str(tmp_path / "me"))
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    assert tmp_path / "me" / ".config" / "promotion-layer" / "signing-key.pem" == Keys.from_environment().private_key
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "xdg"))
    assert tmp_path / "xdg" / "promotion-layer" / "signing-key.pem" == Keys.from_environment().private_key


@pytest.mark.system
def test_processes_that_start_together_share_one_key(tmp_path: Path) -> None:
    """Whoever loses the race uses the winner's key, and nobody reads half a file."""
    code = "from promotion.signing.keys import *; print(key_id(public_pem(Keys.from_environment().signing_key())))"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    started = [
        subprocess.Popen([sys.executable, "-c", code], env=environment, stdout=subprocess.PIPE, text=True)
        for _ in range(4)
    ]
    answers = {process.communicate(timeout=60)[0].strip() for process in started}
    assert 1 == len(answers)
    assert 64 == len(answers.pop())


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o666])
def test_a_key_that_others_can_read_is_refused(mode: int) -> None:
    """As ssh does, in one line that says what to do."""
    keys = Keys.from_environment()
    keys.signing_key().chmod(mode)
    with pytest.raises(SigningFailed, match=f"mode {mode:04o}, expected 0600.: chmod 600"):
        keys.signing_key()


def test_a_given_key_is_used_and_never_made(artifact: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """PROMOTION_SIGNING_KEY names a Jenkins credential: a missing file is an error."""
    monkeypatch.setenv("PROMOTION_SIGNING_KEY", str(tmp_path / "credential"))
    with pytest.raises(SigningFailed, match=r"PROMOTION_SIGNING_KEY.*does not exist"):
        sign_artifact(artifact, Keys.from_environment())
    made = Keys(tmp_path / "elsewhere" / "key.pem").signing_key()
    (tmp_path / "credential").write_bytes(made.read_bytes())
    (tmp_path / "credential").chmod(0o400)
    keys = Keys.from_environment()
    verify_artifact(artifact, sign_artifact(artifact, keys), keys.trusted())


@pytest.mark.parametrize("kind", ["ed25519", "passphrase", "curve", "junk"])
def test_an_unusable_key_is_one_line(artifact: Path, tmp_path: Path, kind: str) -> None:
    """Another kind of key, a passphrase nobody can type, an exotic curve."""
    path = tmp_path / "key.pem"
    options = {
        "ed25519": "-algorithm ed25519",
        "passphrase": "-algorithm EC -pkeyopt ec_paramgen_curve:P-256 -aes256 -pass pass:x",
        "curve": "-algorithm EC -pkeyopt ec_paramgen_curve:secp256k1",
    }
    if kind in options:
        command = ["openssl", "genpkey", "-out", str(path), *options[kind].split()]
        subprocess.run(command, check=True, capture_output=True)
    else:
        path.write_text("junk")
    path.chmod(0o600)
    with pytest.raises(SigningFailed, match=r"key\.pem: .*expected .*P-256"):
        sign_artifact(artifact, Keys(path, given=True))


def test_a_folder_of_trusted_keys_is_the_only_truth(
    artifact: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """PROMOTION_TRUSTED_KEYS replaces the own key; PEM and OpenSSH files count, and a wrong one is named."""
    trusted = tmp_path / "trusted"
    monkeypatch.setenv("PROMOTION_TRUSTED_KEYS", str(trusted))
    ours = Keys.from_environment()
    signature = sign_artifact(artifact, ours)
    with pytest.raises(SigningFailed, match="trusted: No such file or directory"):
        ours.trusted()
    trusted.mkdir()
    with pytest.raises(SigningFailed, match="no signature is believed"):
        ours.trusted()
    release = Keys(tmp_path / "release" / "key.pem").signing_key()
    (trusted / "release.pem").write_bytes(public_pem(release))
    with pytest.raises(SignatureRefused, match="which is not trusted"):
        verify_artifact(artifact, signature, ours.trusted())
    (trusted / "builder.pub").write_text(f"{ssh_public_key(ours.signing_key())} builder\n")
    verify_artifact(artifact, signature, ours.trusted())
    (trusted / "wrong.pem").write_bytes(release.read_bytes())
    with pytest.raises(SigningFailed, match=r"wrong\.pem: not a public key"):
        ours.trusted()


@pytest.mark.parametrize("forms", ["pub pub", "pem pem", "pem pub", "pub pem"])
def test_every_key_of_a_file_is_trusted(forms: str, tmp_path: Path) -> None:
    """In either form, with what people write beside them; what is no key is never passed over."""
    both = [Keys(tmp_path / name / "key.pem").signing_key() for name in ("a", "b")]
    texts = [
        public_pem(key).decode() if form == "pem" else f"{ssh_public_key(key)} builder\n"
        for key, form in zip(both, forms.split(), strict=True)
    ]
    (tmp_path / "keys").mkdir()
    file = tmp_path / "keys" / "all.pub"
    file.write_text("# the builders\n\n" + "# and the other\n".join(texts))

    assert {public_pem(key) for key in both} == set(trusted_keys(tmp_path / "keys", "TRUSTED").values())

    file.write_text(f"{texts[0]}\nssh-ed25519 x\n{texts[1]}")
    with pytest.raises(SigningFailed, match=r"all\.pub: not a public key"):
        trusted_keys(tmp_path / "keys", "TRUSTED")

"""Approvers' keys: made outside the repository, listed once, and worth an approval's signature."""

from __future__ import annotations

import json
import stat
import subprocess
from pathlib import Path

import pytest
from tests.programs import needed

from promotion.approvals.approver_keys import SignerList, roles_of, without_key
from promotion.approvals.rules import NAMESPACE
from promotion.config.family import FamilyConfig, load_configs
from promotion.config.settings import REPOSITORY
from promotion.errors import SignatureRefused, SigningFailed, UsageError
from promotion.signing.signers import fingerprint
from promotion.signing.ssh import sign, verify
from promotion.signing.sshsig import CHECKPOINT

DANA, OLAF = "dana@company.com", "olaf@company.com"


@pytest.fixture
def signers(tmp_path: Path) -> SignerList:
    return SignerList(tmp_path / "config" / "allowed_signers")


def test_a_new_key_signs_approvals_and_nothing_else(signers: SignerList, tmp_path: Path) -> None:
    """Its public half is listed for approvals alone; the private one is readable by its owner alone."""
    made = signers.make_key(DANA)

    assert tmp_path / "keys" / "approvers" / DANA == made.private_key
    assert 0o600 == stat.S_IMODE(made.private_key.stat().st_mode)
    verify(b"word", sign(b"word", made.private_key, NAMESPACE), DANA, signers.path, NAMESPACE)
    with pytest.raises(SignatureRefused, match="not permitted"):
        verify(b"word", sign(b"word", made.private_key, CHECKPOINT), DANA, signers.path, CHECKPOINT)
    assert [made.private_key, made.private_key.with_name(f"{DANA}.pub")] == sorted(made.private_key.parent.iterdir())


@pytest.mark.needs("ssh-keygen")
def test_openssh_reads_the_key_and_shows_the_same_fingerprint(signers: SignerList) -> None:
    """A person goes on with it as with any other: a passphrase, an agent."""
    made = signers.make_key(DANA)
    shown = subprocess.run(
        [needed("ssh-keygen"), "-y", "-f", str(made.private_key)], capture_output=True, text=True, check=True
    ).stdout
    listed = subprocess.run(
        [needed("ssh-keygen"), "-l", "-f", f"{made.private_key}.pub"], capture_output=True, text=True, check=True
    ).stdout

    assert " ".join(shown.split()[:2]) in signers.path.read_text()
    assert made.fingerprint in listed


@pytest.mark.parametrize(
    "again", [DANA, "Dana@Company.com", "Dana <dana@company.com>", "dana@laptop"], ids=["same", "case", "name", "host"]
)
def test_a_person_is_listed_once(signers: SignerList, again: str) -> None:
    """However the name is written; the list and the key stay as they were."""
    made = signers.make_key(DANA)
    before = signers.path.read_bytes()
    assert made.private_key
    key = made.private_key.read_bytes()

    with pytest.raises(UsageError, match=r"listed already, in line 1|a key is there already"):
        signers.make_key(again)
    assert (before, key) == (signers.path.read_bytes(), made.private_key.read_bytes())


def test_on_request_the_new_key_takes_the_place_of_the_old_one(signers: SignerList) -> None:
    """The old one counts no more; other lines stay as they were."""
    olaf = signers.make_key(OLAF)
    signers.path.write_text("# who may approve\n" + signers.path.read_text())
    old = signers.make_key(DANA)
    assert old.private_key
    signature = sign(b"word", old.private_key, NAMESPACE)
    new = signers.make_key(DANA, replace=True)

    assert new.private_key
    assert new.fingerprint != old.fingerprint
    verify(b"word", sign(b"word", new.private_key, NAMESPACE), DANA, signers.path, NAMESPACE)
    with pytest.raises(SignatureRefused, match="not listed"):
        verify(b"word", signature, DANA, signers.path, NAMESPACE)
    assert "# who may approve" == signers.path.read_text().splitlines()[0]
    assert [olaf.fingerprint, new.fingerprint] == [fingerprint(item.key) for item in signers.lines()[0].values()]


def test_a_file_that_is_there_is_not_overwritten(signers: SignerList, tmp_path: Path) -> None:
    """Somebody's key may be in use elsewhere."""
    file = tmp_path / "mine"
    file.write_text("precious")

    with pytest.raises(UsageError, match="a key is there already"):
        signers.make_key(DANA, file)
    assert "precious" == file.read_text()
    assert not signers.path.exists()


def test_no_private_key_is_made_in_a_repository(signers: SignerList, tmp_path: Path) -> None:
    """Nor through a link; it would be committed sooner or later."""
    (tmp_path / "clone" / ".git").mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "clone")
    for file in (tmp_path / "clone" / "key", tmp_path / "clone" / "a" / "key", tmp_path / "link" / "key"):
        with pytest.raises(UsageError, match="inside the repository"):
            signers.make_key(DANA, file)
    assert not signers.path.exists()


@pytest.mark.parametrize(
    "name", ["", "dana @company.com", "d\N{CYRILLIC SMALL LETTER A}na@company.com", "*", "a,b", "../x", "!dana", '"d"']
)
def test_what_is_no_plain_name_of_a_person_is_refused(signers: SignerList, name: str) -> None:
    """A pattern would stand for others, too, and a path would leave the folder."""
    with pytest.raises(UsageError):
        signers.make_key(name)
    assert not signers.path.exists()


def test_a_key_of_ones_own_is_listed_and_stands_for_one_person(signers: SignerList, tmp_path: Path) -> None:
    """By its public half; under a second name it is refused."""
    made = SignerList(tmp_path / "elsewhere").make_key(DANA, tmp_path / "id")
    public = tmp_path / "id.pub"

    assert made.fingerprint == signers.add_key(DANA, public).fingerprint
    with pytest.raises(UsageError, match="one key is one person"):
        signers.add_key(OLAF, public)
    with pytest.raises(UsageError, match="not a public key"):
        signers.add_key(OLAF, tmp_path / "id")


def test_a_line_for_several_is_left_to_people(signers: SignerList) -> None:
    """To replace one of its names would take the key from the others."""
    made = signers.make_key(DANA)
    signers.path.write_text(signers.path.read_text().replace(DANA, f"{DANA},{OLAF}"))

    assert made.private_key
    with pytest.raises(UsageError, match="edit that line by hand"):
        signers.make_key(OLAF, replace=True)


def test_a_list_that_cannot_be_written_leaves_no_key_behind(signers: SignerList, tmp_path: Path) -> None:
    """The message holds the line, for whoever keeps the list."""
    signers.path.parent.write_text("in the way")

    with pytest.raises(SigningFailed, match=r"cannot be written: .* add this line: dana@company.com namespaces="):
        signers.make_key(DANA)
    assert [] == list((tmp_path / "keys" / "approvers").iterdir())


def test_who_may_approve_what_and_who_has_no_key() -> None:
    """A role without a list is open to anybody; one with a list only to those it names."""
    raw = load_configs(REPOSITORY / "config")["alzheimer_classifier"].model_dump(mode="json", exclude_unset=True)
    raw["approvals"] = {"roles": ["devops", "business"], "approvers": {"devops": [OLAF]}, "signed": True}
    config = FamilyConfig.model_validate_json(json.dumps(raw))

    assert {"alzheimer_classifier": ["devops", "business"]} == roles_of("olaf@laptop", [config])
    assert {"alzheimer_classifier": ["business"]} == roles_of(DANA, [config])
    assert [{"family": "alzheimer_classifier", "role": "devops", "approver": OLAF}] == without_key({}, [config])

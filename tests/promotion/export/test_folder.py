"""An export's folder: exactly what was signed, or refused in one line."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
from tests.promotion.factories import a_manifest

from promotion.errors import ArtifactRefused, ArtifactTampered, SignatureRefused, UsageError
from promotion.export.folder import MANIFEST, SIGNATURE, Manifest, open_export, seal
from promotion.signing.keys import Keys


@pytest.fixture
def keys(tmp_path: Path) -> Keys:
    return Keys(tmp_path / "keys" / "key.pem")


@pytest.fixture
def folder(tmp_path: Path, keys: Keys) -> Path:
    folder = tmp_path / "export"
    (folder / "model").mkdir(parents=True)
    (folder / "schema.json").write_text("{}\n")
    (folder / "model" / "weights").write_bytes(b"\x00\x01")
    seal(folder, a_manifest(), keys)
    return folder


def test_what_was_sealed_opens(folder: Path, keys: Keys) -> None:
    """The manifest lists every file but itself and its signature; its digest is what `sha256sum` says of it."""
    found = open_export(folder, keys)

    assert ["model/weights", "schema.json"] == sorted(found.manifest.files)
    said = subprocess.run(["sha256sum", folder / MANIFEST], capture_output=True, text=True, check=True).stdout
    assert found.digest == said.split()[0]


def _change(folder: Path) -> None:
    (folder / "model" / "weights").write_bytes(b"\x00\x02")


def _add(folder: Path) -> None:
    (folder / "extra.py").write_text("")


def _remove(folder: Path) -> None:
    (folder / "schema.json").unlink()


@pytest.mark.parametrize(
    ("tamper", "named"),
    [(_change, "changed model/weights"), (_add, "added extra.py"), (_remove, "removed schema.json")],
)
def test_other_files_than_signed_are_refused(folder: Path, keys: Keys, tamper: object, named: str) -> None:
    """Changed, added or removed: the message names the file."""
    assert callable(tamper)
    tamper(folder)

    with pytest.raises(ArtifactTampered, match=named):
        open_export(folder, keys)


def test_a_rewritten_manifest_is_refused(folder: Path, keys: Keys) -> None:
    """Whoever changes what the manifest says would need the key."""
    path = folder / MANIFEST
    path.write_text(path.read_text().replace('"version": 3', '"version": 4'))

    with pytest.raises(SignatureRefused, match="changed since"):
        open_export(folder, keys)


def test_another_installations_export_needs_its_key(folder: Path, tmp_path: Path) -> None:
    """A valid signature of a key nobody here trusts is worth nothing."""
    stranger = Keys(tmp_path / "other" / "key.pem")
    stranger.signing_key()

    with pytest.raises(SignatureRefused, match="PROMOTION_TRUSTED_KEYS"):
        open_export(folder, stranger)


def test_a_link_is_no_plain_file(folder: Path, keys: Keys) -> None:
    """It may lead out of the folder."""
    (folder / "link").symlink_to("/etc/hostname")

    with pytest.raises(ArtifactRefused, match="plain files only"):
        open_export(folder, keys)


@pytest.mark.parametrize("name", [MANIFEST, SIGNATURE])
def test_a_folder_without_an_export(folder: Path, keys: Keys, name: str) -> None:
    """Says which file is missing, and the command that writes it."""
    (folder / name).unlink()

    with pytest.raises(UsageError, match=rf"{name}: No such file.*export-model\.py"):
        open_export(folder, keys)


@pytest.mark.parametrize("text", ["[]", "{", '{"format": 1}', json.dumps({"format": 2})])
def test_a_malformed_manifest(text: str) -> None:
    """Refused with what was expected."""
    with pytest.raises(ArtifactRefused, match="expected"):
        Manifest.parse(text, Path(MANIFEST))

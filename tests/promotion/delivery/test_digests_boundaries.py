"""Digests of an export are compared whole: of its files, and of the manifest an image was built from."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import pytest

from promotion.delivery.export import read_expected
from promotion.delivery.records import Image
from promotion.errors import GateRefused
from promotion.export.folder import is_as_listed

CONTENT = b"content"
DIGEST = hashlib.sha256(CONTENT).hexdigest()


def other(digest: str, place: int) -> str:
    """The same with one digit changed."""
    return digest[:place] + ("0" if digest[place] != "0" else "1") + digest[place + 1 :]


WRONG = [other(DIGEST, 0), other(DIGEST, 63), DIGEST[:12], DIGEST[:63], DIGEST + "0", DIGEST.upper(), ""]


@pytest.mark.parametrize("listed", WRONG)
def test_a_file_is_the_one_that_was_listed(listed: str) -> None:
    """One digit, too few, too many, or none: another file; and so is one that is not listed."""
    assert is_as_listed({"file": DIGEST}, "file", CONTENT)
    assert not is_as_listed({"file": listed}, "file", CONTENT)
    assert not is_as_listed({"file": DIGEST}, "file", CONTENT + b"\n")
    assert not is_as_listed({"other": DIGEST}, "file", CONTENT)
    assert not is_as_listed({}, "file", CONTENT)


def exported(folder: Path) -> Image:
    """A folder with what an image must answer, and the image that was built from it."""
    contents = {
        "expected.json": json.dumps({"rows": [{"x": 1.0}], "labels": [1], "probabilities": [[0.25, 0.75]]}).encode(),
        "schema.json": json.dumps({"labels": ["no", "yes"]}).encode(),
    }
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    files = {name: hashlib.sha256(content).hexdigest() for name, content in contents.items()}
    manifest = json.dumps({"files": files}).encode()
    (folder / "manifest.json").write_bytes(manifest)
    return Image("image:1", "tiny", "tiny-linear", 1, "", "a" * 64, "", hashlib.sha256(manifest).hexdigest())


def test_an_image_is_held_against_the_export_it_was_built_from(tmp_path: Path) -> None:
    """And against no other: the whole digest of its manifest counts."""
    image = exported(tmp_path)

    assert ([{"x": 1.0}], [1], ["no", "yes"]) == (
        (found := read_expected(tmp_path, image)).rows,
        found.classes,
        found.labels,
    )
    for wrong in (other(image.manifest, 0), other(image.manifest, 63), image.manifest[:12], ""):
        with pytest.raises(GateRefused, match="is not the export image:1 was built from"):
            read_expected(tmp_path, replace(image, manifest=wrong))


@pytest.mark.parametrize("name", ["expected.json", "schema.json"])
def test_each_file_of_the_export_is_the_one_that_was_sealed(tmp_path: Path, name: str) -> None:
    """One more space is another file."""
    image = exported(tmp_path)
    with (tmp_path / name).open("ab") as file:
        file.write(b" ")

    with pytest.raises(GateRefused, match=rf"{name} was changed since the export"):
        read_expected(tmp_path, image)

"""A file appears whole or not at all."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from promotion.data.files import file_sha256, whole_file, write_whole
from promotion.errors import DataError


def test_what_had_the_name_stays_until_the_end(tmp_path: Path) -> None:
    """Readers see the old content or the new one, and nothing else is left in the folder."""
    path = tmp_path / "a.csv"
    path.write_text("old", encoding="utf-8")
    with whole_file(path) as file:
        file.write(b"new")
        file.flush()
        assert "old" == path.read_text(encoding="utf-8")
    assert "new" == path.read_text(encoding="utf-8")
    assert [path] == list(tmp_path.iterdir())


@pytest.mark.parametrize("failure", [OSError("disk"), KeyboardInterrupt(), SystemExit(143)])
def test_a_failure_changes_nothing(failure: BaseException, tmp_path: Path) -> None:
    """Neither an error nor a signal leaves half a file, under whatever name."""
    path = tmp_path / "a.csv"
    path.write_text("old", encoding="utf-8")

    def fail() -> None:
        with whole_file(path) as file:
            file.write(b"half")
            raise failure

    with pytest.raises(type(failure)):
        fail()
    assert "old" == path.read_text(encoding="utf-8")
    assert [path] == list(tmp_path.iterdir())


def test_a_text_makes_its_folder_and_keeps_its_line_ends(tmp_path: Path) -> None:
    """What was given is what is read, to the byte."""
    path = tmp_path / "new" / "a.txt"
    write_whole(path, "ä\r\nb\n")
    assert "ä\r\nb\n".encode() == path.read_bytes()
    assert hashlib.sha256(path.read_bytes()).hexdigest() == file_sha256(path)


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    """In one line."""
    with pytest.raises(DataError, match=r"nothing: cannot be read: No such file"):
        file_sha256(tmp_path / "nothing")

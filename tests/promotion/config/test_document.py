"""A YAML file that reads otherwise than it looks, or would take the machine down, is one line that says where."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from promotion.config.document import MAX_BYTES, read_yaml
from promotion.errors import ConfigError

BOMB = "a: &a [1, 1, 1, 1, 1, 1, 1, 1, 1, 1]\n" + "".join(
    f"{name}: &{name} [{', '.join([f'*{before}'] * 10)}]\n" for before, name in zip("abcdef", "bcdefg", strict=True)
)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"a: 1\nb: 2\na: 3\n", ":3: a: this key stands here and in line 1; keep one of the two"),
        (b"a:\n  - {x: 1,\n     x: 2}\n", ":3: a.0.x: this key stands here and in line 2; keep one of the two"),
        (b"a:\n\tb: 1\n", ":2: not readable as YAML: a tab in the indentation; YAML takes blanks only"),
        (b"a: 1\n<<<<<<< HEAD\nb: 1\n=======\nb: 2\n>>>>>>> x\n", ":2: a merge conflict was left here; keep one of"),
        (b"a: [1,\n", ":2: not readable as YAML: did not find expected node content"),
        (b"a: 'x\nb: 1\n", ":3: not readable as YAML: found unexpected end of stream, in what begins in line 1; look"),
        (b"a: x\nb: 2026-13-45\n", ":2: not readable as YAML: 2026-13-45 is no value: month must be in 1..12"),
        (b"a: 1\nb: *x\n", ":2: not readable as YAML: found undefined alias"),
        (b"a: 1\n---\nb: 1\n", ":2: not readable as YAML: but found another document"),
        (b"a: !!python/object/apply:os.system [ls]\n", ":1: not readable as YAML: could not determine a constructor"),
        (b"a: 1\nb: \xff\n", ":2: not readable as YAML: no UTF-8 text; save the file as UTF-8"),
        (b"a: 1\nb: \x07\n", ":2: not readable as YAML: a control character (0x07); remove it"),
        (
            b"a:\n  On: 1\n",
            ':2: a.On: a key is a text, and YAML reads this one as a yes/no value; write it in quotes: "On"',
        ),
        (b"3: x\n", ':1: 3: a key is a text, and YAML reads this one as a number; write it in quotes: "3"'),
        (b"a: 1\nb: &b\n  c: *b\n", ":2: b.c: an alias to itself; write the value out"),
        (BOMB.encode(), ":5: e: aliases that stand for more than 100,000 values; write out what is meant"),
        (b"a: 1\nb: " + b"[" * 41 + b"]" * 41, ":2: sections in sections, more than 40 deep; check the brackets"),
        (b"a: 1\nb: " + b"[" * 400_000, ":2: sections in sections, more than 40 deep; check the brackets"),
        (b"- " * 200_000, ":1: sections in sections, more than 40 deep; check the brackets"),
        (b"#" * (MAX_BYTES + 1), ": larger than 1,000,000 bytes: this is no file that people write; shorten it"),
    ],
)
def test_it_is_refused_in_one_line(content: bytes, expected: str, tmp_path: Path) -> None:
    """File, line, key and what to do; the process lives on."""
    path = tmp_path / "odd.yaml"
    path.write_bytes(content)

    with pytest.raises(ConfigError) as caught:
        read_yaml(path)

    assert str(caught.value).startswith(f"{path}:")
    assert expected in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_folder_and_a_missing_file_are_said(tmp_path: Path) -> None:
    """What cannot be opened is named with the system's reason."""
    with pytest.raises(ConfigError, match=r"cannot be read: Is a directory"):
        read_yaml(tmp_path)
    with pytest.raises(ConfigError, match=r"none.yaml: cannot be read: No such file"):
        read_yaml(tmp_path / "none.yaml")


def test_anchors_and_merges_that_people_write_are_read(tmp_path: Path) -> None:
    """A key that overrides a merged one is no duplicate, and a merged key has the line where it was written."""
    path = tmp_path / "fine.yaml"
    path.write_text("base: &base\n  x: 1\n  y: 2\nmore:\n  <<: *base\n  y: 3\n", encoding="utf-8")

    document = read_yaml(path)

    assert {"base": {"x": 1, "y": 2}, "more": {"x": 1, "y": 3}} == document.content
    assert (2, 6) == (document.place(["more", "x"]).line, document.place(["more", "y"]).line)


def test_a_wide_file_is_not_taken_for_a_deep_one(tmp_path: Path) -> None:
    """Hundreds of columns in brackets are read."""
    path = tmp_path / "wide.yaml"
    path.write_text("".join(f"c{number}: {{codes: [0, 1]}}\n" for number in range(1000)), encoding="utf-8")

    assert 1000 == len(read_yaml(path).content)


@pytest.mark.parametrize(
    ("written", "read"), [("012", "10"), ("-010", "-8"), ("3:00", "180"), ("12:30:00", "45000"), ("1:30.5", "90.5")]
)
def test_a_number_that_yaml_reads_in_another_base_is_refused(tmp_path: Path, written: str, read: str) -> None:
    """Eight and sixty are YAML's, and nobody's who writes a file; in quotes it is a text."""
    path = tmp_path / "a.yaml"
    path.write_text(f"a:\n  b: {written}\n", encoding="utf-8")
    with pytest.raises(ConfigError, match=rf"a\.yaml:2: a\.b: YAML reads {re.escape(written)} as {re.escape(read)};"):
        read_yaml(path)
    path.write_text(f'a: ["{written}", 007, 1_000, 0x1F, 0]\n', encoding="utf-8")
    assert [written, 7, 1000, 31, 0] == read_yaml(path).content["a"]

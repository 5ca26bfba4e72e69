"""What every earlier event format recorded, this version verifies; what it records anew has a golden file as well.

A golden file is never changed. When a new key appears in an event, or a column in an export, record one more:
`RECORD=name-of-the-format python -m pytest tests/compatibility/test_recorded.py -m system`, and commit the folder.
"""

from __future__ import annotations

import json
import os
from collections import defaultdict
from pathlib import Path

import pytest
from tests.compatibility.recording import keep, record
from tests.promotion.factories import Store

from promotion.audit import verify_journal
from promotion.audit.attestations import read_attestations
from promotion.audit.export import ExportSource
from promotion.config.settings import Settings

RECORDED = Path(__file__).parent / "recorded"
GOLDEN = [*sorted(path.parent for path in RECORDED.glob("*/journal.jsonl"))]
EARLIEST = Path(__file__).parent / "made_earlier" / "journal.jsonl"


def keys_of(export: Path) -> dict[str, set[str]]:
    """The payload keys of each action, and the columns of each other kind of line."""
    found: dict[str, set[str]] = defaultdict(set)
    for line in export.read_text(encoding="utf-8").splitlines():
        document = json.loads(line)
        kind = document.pop("kind")
        found[f"the line {kind!r}"] |= set(document)
        if kind == "event":
            found[f"the event {document['action']!r}"] |= set(json.loads(document["details"]))
    return found


@pytest.mark.parametrize("folder", GOLDEN, ids=lambda folder: folder.name)
def test_what_was_recorded_then_is_sound_now(folder: Path) -> None:
    """Chain, signed checkpoints, rows and attestations, byte for byte as they were taken away."""
    source = ExportSource(folder / "journal.jsonl")
    trusted = {"recorded": (folder / "signer.pem").read_bytes()}

    report = verify_journal(source, source.checkpoints, trusted, attestations=read_attestations(folder))

    assert [] == report.findings
    assert {"signed"} == set(report.checkpoints)
    assert len(list(folder.glob("*.intoto.jsonl"))) == report.attestations


def test_a_byte_of_a_golden_file_is_missed(tmp_path: Path) -> None:
    """They are verified, not merely read."""
    folder = GOLDEN[-1]
    text = (folder / "journal.jsonl").read_text(encoding="utf-8")
    assert "better on October" in text
    (tmp_path / "journal.jsonl").write_text(text.replace("better on October", "better on Tuesday"), encoding="utf-8")
    source = ExportSource(tmp_path / "journal.jsonl")

    report = verify_journal(source, source.checkpoints, {"recorded": (folder / "signer.pem").read_bytes()})

    assert report.count


@pytest.mark.system
def test_every_key_that_is_recorded_today_stands_in_a_golden_file(settings: Settings, tmp_path: Path) -> None:
    """A new one needs a golden file of its format, made before the format is released."""
    store = Store(settings, tmp_path / "artifacts")
    journal = record(store)
    keep(store, journal, tmp_path / "now")
    if name := os.environ.get("RECORD"):
        keep(store, journal, RECORDED / name)
    known: dict[str, set[str]] = defaultdict(set)
    for export in (EARLIEST, *sorted(RECORDED.glob("*/journal.jsonl"))):
        for where, keys in keys_of(export).items():
            known[where] |= keys

    new = {where: sorted(keys - known[where]) for where, keys in keys_of(tmp_path / "now" / "journal.jsonl").items()}
    assert {} == {where: keys for where, keys in new.items() if keys}, (
        "NEW PAYLOAD KEYS WITHOUT A GOLDEN FILE: later versions would not be held to verify them. Record one: "
        "RECORD=name-of-the-format python -m pytest tests/compatibility/test_recorded.py -m system"
    )

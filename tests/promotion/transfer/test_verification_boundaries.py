"""Both sides of a transfer held against each other: each claim broken alone, and what makes none."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from tests.promotion.factories import a_version

from promotion.errors import RecordsAltered, UnknownVersion
from promotion.journal.chain import canonical
from promotion.signing.dsse import sign_envelope
from promotion.signing.keys import Keys, public_pem
from promotion.transfer import verification
from promotion.transfer.evidence import PAYLOAD, SealedEvidence
from promotion.transfer.records import TransferOrigin, TransferRequest, departure
from promotion.transfer.verification import compare_sides

DIGEST, OTHER = "a" * 64, "b" * 64
ORIGIN = TransferOrigin("http://***@here", "churn", "1", "run", DIGEST)
ARRIVED = replace(a_version("churn", 7), tags=ORIGIN.tags)
STRANGER = replace(a_version("churn", 6), tags=replace(ORIGIN, server="http://elsewhere").tags)
UNTAGGED = a_version("churn", 5)


class Sides:
    """Two services of which a test breaks what it likes.

    Attributes:
        files: Digest of the files that arrived.
        there: Digest in the target's record; no record without one.
        here: In the source's; no record without one.
        left: What the source's journal says of transfers.
        came: What the target's does.
        versions: What MLflow has there.
    """

    def __init__(self, evidence: dict[str, str] | None) -> None:
        self.files: str = DIGEST
        self.there: str | None = DIGEST
        self.here: str | None = DIGEST
        self.left = [departure(ORIGIN, "http://there", "churn", 7, evidence)]
        self.came = [departure(ORIGIN, "http://there", "churn", 7, evidence)]
        self.versions = [UNTAGGED, STRANGER, ARRIVED]
        self.is_entered = False

    def compare(self, name: str | None = None) -> dict[str, Any]:
        """Hold both against each other."""
        settings = cast("Any", SimpleNamespace(registry_uri="http://anna:secret@here"))
        target = cast("Any", SimpleNamespace(shown="http://there", entered=self._entered))
        return compare_sides(cast("Any", self.service("here")), settings, target, TransferRequest("churn", "1", name))

    @contextmanager
    def _entered(self) -> Iterator[str]:
        self.is_entered = True
        yield "there"
        self.is_entered = False

    def service(self, place: str) -> SimpleNamespace:
        """The journal and the registry of one side, which are asked for this version only."""
        digest, acts, number = (self.here, self.left, 1) if place == "here" else (self.there, self.came, 7)

        def entry(*version: Any) -> SimpleNamespace | None:
            assert ("churn", number) == version
            return None if digest is None else SimpleNamespace(digest=digest or None)

        def told(action: str, *, family: str) -> list[SimpleNamespace]:
            assert ("transfer", "family of churn") == (action, family)
            return [SimpleNamespace(details=details) for details in acts]

        def versions(model: str) -> list[Any]:
            return self.versions if model == "churn" else []

        return SimpleNamespace(
            candidate=lambda _model, _version: a_version("churn", 1),
            registered_model=lambda name: name,
            family=lambda model: f"family of {model}",
            journal=SimpleNamespace(entry=entry, acts=told),
            registry=SimpleNamespace(versions=versions),
        )


def a_seal(folder: Path, origin: TransferOrigin = ORIGIN) -> SealedEvidence:
    """What a key says of a version."""
    key = Keys(folder / "signing-key.pem").signing_key()
    document: dict[str, Any] = {"origin": asdict(origin), "attestation": None, "approvals": []}
    return SealedEvidence(sign_envelope(canonical(document).encode(), PAYLOAD, key), public_pem(key).decode())


@pytest.fixture
def evidence(tmp_path: Path) -> dict[str, str]:
    """What both records keep of it."""
    return a_seal(tmp_path).as_json()


@pytest.fixture(params=[True, False], ids=["sealed", "bare"])
def sides(request: pytest.FixtureRequest, evidence: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> Sides:
    """Two sides that say the same, with evidence or without."""
    found = Sides(evidence if request.param else None)

    @contextmanager
    def files(_registry: Any, version: Any) -> Iterator[str]:
        assert found.is_entered
        yield str(version)

    def digest(path: str) -> str:
        assert str(ARRIVED) == path
        return found.files

    monkeypatch.setattr(verification, "open_promotions", found.service)
    monkeypatch.setattr(verification, "local_artifact", files)
    monkeypatch.setattr(verification, "artifact_digest", digest)
    return found


def test_what_left_and_arrived_is_told(sides: Sides) -> None:
    """The digest, and both places."""
    assert {
        "digest": DIGEST,
        "source": {"server": "http://***@here", "model": "churn", "version": "1"},
        "target": {"server": "http://there", "number": 7},
    } == sides.compare()


@pytest.mark.parametrize(
    ("changes", "differing"),
    [
        ({"files": OTHER}, ["the files there"]),
        ({"files": "0" * 64}, ["the files there"]),
        ({"files": DIGEST[:12]}, ["the files there"]),
        ({"there": OTHER}, ["the record there"]),
        ({"there": "0" * 64}, ["the record there"]),
        ({"there": None}, ["the record there"]),
        ({"here": OTHER}, ["the record here"]),
        ({"here": "0" * 64}, ["the record here"]),
        ({"here": None}, []),  # who registered nothing here says nothing else
        ({"here": ""}, []),
        ({"left": []}, ["the event here"]),
        ({"came": []}, ["the event there"]),
        ({"left": [], "came": []}, ["the event here", "the event there"]),
        ({"files": OTHER, "there": OTHER, "here": OTHER}, ["the files there", "the record there", "the record here"]),
    ],
)
def test_each_claim_that_fails_is_named(sides: Sides, changes: dict[str, Any], differing: list[str]) -> None:
    """All of them, in one line with both digests; digests are compared whole."""
    for name, value in changes.items():
        setattr(sides, name, value)
    if not differing:
        assert DIGEST == sides.compare()["digest"]
        return

    with pytest.raises(RecordsAltered) as caught:
        sides.compare()

    assert differing == caught.value.details["found"]
    digests = f"(expected sha256 {DIGEST[:12]}, found {sides.files[:12]})"
    assert f"are not what left and arrived: {', '.join(differing)} {digests}" in str(caught.value)


@pytest.mark.parametrize("place", ["server", "model", "version", "digest"])
def test_an_event_about_another_transfer_is_none(sides: Sides, place: str) -> None:
    """On either side: from elsewhere, of another version, or of other files."""
    other = departure(replace(ORIGIN, **{place: "other"}), "http://there", "churn", 7)
    for side, name in (("left", "the event here"), ("came", "the event there")):
        kept = getattr(sides, side)
        setattr(sides, side, [other])
        with pytest.raises(RecordsAltered) as caught:
            sides.compare()
        assert [name] == caught.value.details["found"]
        setattr(sides, side, [other, *kept])
        assert DIGEST == sides.compare()["digest"]
        setattr(sides, side, kept)


def test_a_version_that_is_not_there_was_not_transferred(sides: Sides) -> None:
    """Neither where others are, nor under another name."""
    with pytest.raises(UnknownVersion, match="churn v1 was not transferred to churn-production of http://there"):
        sides.compare("churn-production")
    sides.versions = [UNTAGGED, STRANGER]
    with pytest.raises(UnknownVersion, match="was not transferred to churn of http://there"):
        sides.compare()


@pytest.mark.parametrize("sides", [True], indirect=True)
@pytest.mark.parametrize(
    "case", ["gone here", "gone there", "another's key", "another version", "a part", "no envelope"]
)
def test_evidence_that_is_not_what_was_sealed_is_named(
    sides: Sides, evidence: dict[str, str], tmp_path: Path, case: str
) -> None:
    """Of one record alone, or the same in both and yet not what the key signed of these files."""
    changed: dict[str, Any] = {
        "another's key": evidence | {"public": a_seal(tmp_path / "b").public},
        "another version": a_seal(tmp_path, replace(ORIGIN, digest=OTHER)).as_json(),
        "a part": {name: evidence[name] for name in ("key", "envelope")},
        "no envelope": evidence | {"envelope": "{"},
    }
    whole, bare = departure(ORIGIN, "http://there", "churn", 7, evidence), departure(ORIGIN, "http://there", "churn", 7)
    wrong = departure(ORIGIN, "http://there", "churn", 7, changed.get(case))
    sides.left = [{"gone here": bare, "gone there": whole}.get(case, wrong)]
    sides.came = [{"gone here": whole, "gone there": bare}.get(case, wrong)]

    with pytest.raises(RecordsAltered) as caught:
        sides.compare()

    assert ["the evidence"] == caught.value.details["found"]


@pytest.mark.parametrize("sides", [True], indirect=True)
def test_evidence_says_whose_key_it_is(sides: Sides, evidence: dict[str, str]) -> None:
    """A key's name beside it that is not the key's own is not what was sealed."""
    wrong = departure(ORIGIN, "http://there", "churn", 7, evidence | {"key": "0" * 64})
    sides.left = sides.came = [wrong]

    with pytest.raises(RecordsAltered, match="the evidence"):
        sides.compare()

"""Groups of rows are watched as all of them are, and against each other."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError
from tests.promotion.monitoring.logs import (
    Traffic,
    a_watch,
    churn,
    known,
    rewrite_reference,
    write_export,
    write_labels,
    write_log,
)

from promotion.errors import DataError
from promotion.monitoring.alerts.rules import _measured
from promotion.monitoring.finding import Finding
from promotion.monitoring.observe.observation import Observation
from promotion.monitoring.observe.observe import observe
from promotion.monitoring.report.page import write_monitoring_page
from promotion.monitoring.thresholds import judge


def watched(folder: Path, traffic: list[Traffic], segments: dict[str, Any] | None = None, **added: Any) -> Observation:
    """What a family that watches the code c saw; with statistics of its groups, or an export that has none."""
    config = churn(monitoring={"segments": ["c"]})
    export = write_export(folder / "export")
    document = json.loads((export / "reference.json").read_text(encoding="utf-8"))
    if segments is not None:
        document["segments"] = {name: document | changes for name, changes in segments.items()}
    rewrite_reference(export, json.dumps(document | added))
    log, labels = write_log(folder / "log.jsonl", traffic), write_labels(folder / "labels.csv", traffic)
    return observe(a_watch(log, labels, config=config), known(export))[0]


def found(observation: Observation) -> dict[str, Finding]:
    """What has a level."""
    policy = churn(monitoring={"segments": ["c"]}).monitoring_policy
    return {finding.key: finding for finding in judge(observation, policy) if finding.level}


def only(code: int, **changes: Any) -> Traffic:
    """Rows of one code."""
    return Traffic(codes=[float(place == code) for place in range(3)], seed=code + 10, **changes)


@pytest.mark.system
def test_a_group_that_is_answered_badly_is_found_behind_a_good_average(tmp_path: Path) -> None:
    """Against its own value at promotion, and against the other group."""
    traffic = [only(0, rows=4000), only(1, rows=500, accuracy=0.7)]
    seen = watched(tmp_path, traffic, {"c=0": {}, "c=1": {}})
    told = found(seen)

    assert {"c=0", "c=1"} == set(seen.groups)
    assert (4000, 500) == (seen.groups["c=0"].rows, seen.groups["c=1"].labelled)
    assert "critical" == told["c=1:accuracy"].level
    assert told["c=1:accuracy"].text.startswith("c=1: accuracy 0.700 on 500 labelled rows")
    assert "c=0:accuracy" not in told
    assert told["fairness:c:accuracy"].text == (
        "accuracy of c=1 is 0.700 on 500 labelled rows, of c=0 0.900 on 4,000; warning beyond a difference of 0.1"
    )
    assert {"c=1:accuracy", "fairness:c:accuracy", "c=0:drift:x"} <= _measured(seen)


@pytest.mark.parametrize("is_one_group_labelled", [True, False])
@pytest.mark.system
def test_labels_of_one_group_say_nothing_of_all_rows(tmp_path: Path, *, is_one_group_labelled: bool) -> None:
    """Only of a group that is answered badly labels come: of itself they speak, as a sample of both does of all."""
    traffic = [only(0, rows=2000, accuracy=0.95), only(1, rows=1000, accuracy=0.7)]
    del traffic[0].labels[:: 1 if is_one_group_labelled else 3]
    del traffic[1].labels[:: 5 if is_one_group_labelled else 3]
    seen = watched(tmp_path, traffic, {"c=0": {}, "c=1": {}})

    said = "the group c=1 is 100% of them and 33% of all" if is_one_group_labelled else ""
    assert (said, "") == (seen.label_bias, seen.groups["c=1"].label_bias)
    assert is_one_group_labelled is ("accuracy" not in found(seen))
    assert "critical" == found(seen)["c=1:accuracy"].level


@pytest.mark.system
def test_groups_that_are_answered_alike_raise_nothing(tmp_path: Path) -> None:
    """Neither drift nor fairness, with statistics of the groups or without."""
    traffic = [only(0, rows=600), only(1, rows=600)]

    for name, segments in (("old", None), ("new", {"c=0": {}, "c=1": {}})):
        (tmp_path / name).mkdir()
        assert not {
            key for key in found(watched(tmp_path / name, traffic, segments)) if "c=" in key or "fair" in key
        } - {
            "c=0:drift:c",
            "c=1:drift:c",
        }


@pytest.mark.system
def test_a_group_that_drifts_is_found_where_the_export_knows_it(tmp_path: Path) -> None:
    """Of an older export nothing is said."""
    traffic = [only(0, rows=9000), only(1, rows=400, shift=2)]
    (tmp_path / "old").mkdir()

    assert "warning" == found(watched(tmp_path, traffic, {"c=0": {}, "c=1": {}}))["c=1:drift:x"].level
    assert "c=1:drift:x" not in found(watched(tmp_path / "old", traffic))


@pytest.mark.system
def test_the_importance_of_a_feature_is_that_of_every_group(tmp_path: Path) -> None:
    """It is the model's; an older export says none."""
    traffic = [only(0, rows=9000), only(1, rows=400, shift=2)]
    (tmp_path / "old").mkdir()

    seen = watched(tmp_path, traffic, {"c=0": {}, "c=1": {}}, importance={"x": 0.0, "c": 1.0})
    old = watched(tmp_path / "old", traffic, {"c=0": {}, "c=1": {}})

    assert "info" == found(seen)["c=1:drift:x"].level
    assert "warning" == found(old)["c=1:drift:x"].level
    assert {"x": 0.0, "c": 1.0} == {it.name: it.importance for it in seen.drift if it.of == "feature"}
    assert {None} == {it.importance for it in (*old.drift, *old.groups["c=1"].drift)}
    for observation, words in ((seen, ">100.0%<"), (old, "export does not say it, so nothing is weighed")):
        page = tmp_path / "reports" / "monitoring" / "churn.html"
        write_monitoring_page(page, churn(), [(observation, [])], [], [], at=seen.until)
        assert words in page.read_text(encoding="utf-8")


@pytest.mark.parametrize("importance", [{"x": 0.5}, {"x": 2.0, "c": 0.0}, {"x": "much", "c": 0}, [1]])
def test_an_importance_that_is_none_is_refused(tmp_path: Path, importance: Any) -> None:
    """A share of each feature, or nothing."""
    with pytest.raises(DataError, match=r"reference\.json: not the statistics of an export"):
        watched(tmp_path, [only(0, rows=10)], importance=importance)


def test_a_small_group_is_neither_good_nor_bad(tmp_path: Path) -> None:
    """Few labels are not measured, so an alert of it goes on."""
    seen = watched(tmp_path, [only(0, rows=600), only(1, rows=20, accuracy=0.0)], {"c=0": {}, "c=1": {}})

    assert not {key for key in found(seen) if key.startswith(("c=1:acc", "fairness"))}
    assert not {key for key in _measured(seen) if key.startswith(("c=1:", "fairness"))}


@pytest.mark.system
def test_the_page_shows_the_groups_and_their_trends(tmp_path: Path) -> None:
    """A family without segments has no such section."""
    traffic = [only(0, rows=4000), only(1, rows=500, accuracy=0.7)]
    seen = watched(tmp_path, traffic, {"c=0": {}, "c=1": {}})
    page = tmp_path / "reports" / "monitoring" / "churn.html"

    write_monitoring_page(page, churn(monitoring={"segments": ["c"]}), [(seen, [])], [], [], at=seen.until)
    with_groups = page.read_text(encoding="utf-8")
    write_monitoring_page(page, churn(), [(replace(seen, groups={}), [])], [], [], at=seen.until)

    assert "accuracy of c=1 over time" in with_groups
    assert "accuracy 0.700 (0.658 – 0.739), 0.900 at promotion" in with_groups
    assert "Groups" not in page.read_text(encoding="utf-8")


@pytest.mark.parametrize("column", ["x", "z", "y"])
def test_a_segment_is_a_feature_of_codes(column: str) -> None:
    """A measured feature has no groups; neither has what is none, or the target."""
    with pytest.raises(ValidationError, match=f"column {column!r} is no feature of codes"):
        churn(monitoring={"segments": [column]})

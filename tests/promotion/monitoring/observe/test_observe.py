"""From a log to observations: versions, roles, clocks, and labels that arrive late."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pyarrow as pa
import pytest
from tests.promotion.monitoring.logs import (
    DAY,
    MODEL,
    NOON,
    Traffic,
    a_watch,
    churn,
    known,
    rewrite_reference,
    write_export,
    write_labels,
    write_log,
)

from promotion.config.policy import Monitoring
from promotion.errors import ArtifactRefused, DataError, UsageError
from promotion.monitoring.observe.log_rows import MetRows
from promotion.monitoring.observe.observation import LeftOut, Observation
from promotion.monitoring.observe.observe import observe
from promotion.monitoring.rollback_trigger import triggers
from promotion.monitoring.thresholds import judge

HOUR = timedelta(hours=1)


def loud(observation: Observation) -> dict[str, str]:
    return {finding.key: finding.level for finding in judge(observation, Monitoring()) if finding.level}


@pytest.fixture
def export(tmp_path: Path) -> Path:
    return write_export(tmp_path / "export")


@pytest.mark.system
def test_healthy_traffic_raises_nothing(tmp_path: Path, export: Path) -> None:
    """A long run: ten days, none of them with an alarm, and none without an answer where there was data."""
    for day in range(10):
        traffic = [Traffic(600, seed=day)]
        log, labels = write_log(tmp_path / "log.jsonl", traffic), write_labels(tmp_path / "labels.csv", traffic)
        (observation,) = observe(a_watch(log, labels), known(export))
        quiet = {finding.key for finding in judge(observation, Monitoring())}

        assert {} == loud(observation)
        assert {"error_rate"} == quiet  # nobody was asked


def test_figures_are_those_of_the_rows(tmp_path: Path, export: Path) -> None:
    """Counts, accuracy, missing share, latency and coverage, as the traffic was made."""
    traffic = Traffic(1000, accuracy=0.8, missing=0.2, latency=30.0)
    log = write_log(tmp_path / "log.jsonl", [traffic])
    labels = write_labels(tmp_path / "labels.csv", [traffic])
    (seen,) = observe(a_watch(log, labels), known(export))
    missing = sum(line["features"]["x"] is None for line in traffic.lines) / 1000

    assert (1000, 1000, 1.0) == (seen.rows, seen.labelled, seen.coverage)
    assert 0.8 == seen.metrics["accuracy"].value
    assert missing == next(it.missing for it in seen.quality if it.feature == "x")
    assert pytest.approx(30.0, rel=0.02) == seen.service.latency_p95_ms
    assert 1000 == sum(step.rows for step in seen.slices)
    assert 1000 == sum(step.labelled for step in seen.slices)
    assert {"x", "c", "predicted class", "probability"} == {it.name for it in seen.drift}


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"accuracy": 0.82}, {"accuracy": "critical"}),
        ({"accuracy": 0.868}, {"accuracy": "warning"}),
        ({"shift": 1.0}, {"drift:x": "warning"}),
        ({"codes": (0.2, 0.3, 0.5)}, {"drift:c": "warning"}),
        ({"missing": 0.3}, {"drift:x": "warning", "missing:x": "warning"}),
        ({"shift": 200.0}, {"drift:x": "warning", "out_of_range:x": "warning"}),
        ({"latency": 900.0}, {"latency": "warning"}),
    ],
)
def test_each_fault_has_its_own_alarm(
    tmp_path: Path, export: Path, change: dict[str, float], expected: dict[str, str]
) -> None:
    """Only metrics of the same labels, which say the same, come along."""
    traffic = Traffic(4000, **change)  # type: ignore[arg-type]  # one field each
    log, labels = write_log(tmp_path / "log.jsonl", [traffic]), write_labels(tmp_path / "labels.csv", [traffic])
    (seen,) = observe(a_watch(log, labels), known(export))
    along = (
        {"precision", "recall", "f1", "roc_auc", "concept:y > 0", "concept:not y > 0"}
        if "accuracy" in change
        else set()
    )

    assert expected == {key: level for key, level in loud(seen).items() if key not in along}


def test_every_version_is_held_against_its_own_snapshot(tmp_path: Path) -> None:
    """A version change in the window: two observations, the one that answers now first, the change marked."""
    before = Traffic(500, version=1, until=NOON - 12 * HOUR, accuracy=0.7)
    after = Traffic(500, version=2, since=NOON - 12 * HOUR)
    log = write_log(tmp_path / "log.jsonl", [before, after])
    labels = write_labels(tmp_path / "labels.csv", [before, after])
    exports = [write_export(tmp_path / "one", version=1), write_export(tmp_path / "two")]
    new, old = observe(a_watch(log, labels), known(*exports))

    assert [(2, True, True), (1, False, False)] == [(it.version, it.serves, it.is_production) for it in (new, old)]
    assert (0.9, 0.7) == (new.metrics["accuracy"].value, old.metrics["accuracy"].value)
    assert [1, 2] == [arrival.version for arrival in new.arrivals]
    assert [str(exports[1]), str(exports[0])] == [new.reference, old.reference]
    assert "accuracy" not in loud(new)


def test_a_version_without_an_export_has_no_drift_to_tell(tmp_path: Path, export: Path) -> None:
    """Unknown, said so, and neither an alarm nor an all-clear."""
    log = write_log(tmp_path / "log.jsonl", [Traffic(500, version=3, shift=5.0)])
    seen = observe(a_watch(log), known(export, production=(MODEL, 3)))[0]

    assert {None} == {it.psi for it in seen.drift}
    assert {} == loud(seen)


def test_roles_are_kept_apart(tmp_path: Path, export: Path) -> None:
    """A shadow's and a challenger's rows are theirs; the champion is the one that serves."""
    parts = [
        Traffic(300),
        Traffic(200, version=3, role="shadow", shift=9.0),
        Traffic(100, version=3, role="challenger"),
    ]
    champion, *others = observe(a_watch(write_log(tmp_path / "log.jsonl", parts)), known(export))

    assert ("champion", 300, True) == (champion.role, champion.rows, champion.serves)
    assert {("shadow", 200, False), ("challenger", 100, False)} == {(it.role, it.rows, it.serves) for it in others}
    assert {} == loud(champion)


def test_rows_from_the_future_are_counted_and_left_out(tmp_path: Path, export: Path) -> None:
    """A clock that is a day ahead; seconds are nothing to speak of."""
    parts = [Traffic(300), Traffic(50, since=NOON + DAY, until=NOON + 2 * DAY, seed=2)]
    just = Traffic(1, since=NOON + timedelta(seconds=5), seed=3)
    (seen,) = observe(a_watch(write_log(tmp_path / "log.jsonl", [*parts, just])), known(export))

    assert (300, 50) == (seen.rows, seen.left_out.from_the_future)


def test_rows_before_the_window_do_not_count(tmp_path: Path, export: Path) -> None:
    """They are no damage either, and told all the same: a log may have nothing else."""
    parts = [Traffic(300), Traffic(70, since=NOON - 2 * DAY, until=NOON - DAY, seed=2)]
    (seen,) = observe(a_watch(write_log(tmp_path / "log.jsonl", parts)), known(export))

    assert (300, LeftOut(before_the_window=70)) == (seen.rows, seen.left_out)


def test_rows_of_other_families_and_unknown_roles_are_left_out(tmp_path: Path, export: Path) -> None:
    """Counted, so that a wrong log is noticed."""
    parts = [Traffic(300), Traffic(20, family="tiny", seed=2), Traffic(10, role="understudy", seed=3)]
    (seen,) = observe(a_watch(write_log(tmp_path / "log.jsonl", parts)), known(export))

    assert (300, 20, 10) == (seen.rows, seen.left_out.other_families, seen.left_out.bad_lines)
    (why,) = [flaw.example for flaw in seen.flaws if flaw.name == "unreadable_lines"]
    assert "role 'understudy' is none of champion, challenger, shadow" == why


def test_labels_that_arrive_days_later_are_used(tmp_path: Path, export: Path) -> None:
    """Nothing of the last three days has a label: performance is that of the last day that has."""
    old = Traffic(500, since=NOON - 5 * DAY, until=NOON - 4 * DAY, accuracy=0.7, seed=2)
    newest = Traffic(500, since=NOON - 4 * DAY, until=NOON - 3 * DAY, accuracy=0.8, seed=3)
    today = Traffic(500, seed=4)
    log = write_log(tmp_path / "log.jsonl", [old, newest, today])
    (seen,) = observe(a_watch(log, write_labels(tmp_path / "labels.csv", [old, newest])), known(export))

    assert 500 == seen.rows
    assert 0.8 == pytest.approx(seen.metrics["accuracy"].value, abs=0.01)
    assert seen.labelled_until is not None
    assert NOON - 3 * DAY - HOUR < seen.labelled_until < NOON - 3 * DAY
    assert "critical" == loud(seen)["accuracy"]


def test_labels_later_than_the_family_waits_are_not_looked_for(tmp_path: Path, export: Path) -> None:
    """`label_delay` says how far back the log is read."""
    old = Traffic(500, since=NOON - 5 * DAY, until=NOON - 4 * DAY, seed=2)
    log = write_log(tmp_path / "log.jsonl", [old, Traffic(500)])
    config = churn(monitoring={"label_delay": "2d"})
    (seen,) = observe(a_watch(log, write_labels(tmp_path / "labels.csv", [old]), config=config), known(export))

    assert (0, None) == (seen.labelled, seen.coverage)


def test_labels_for_some_rows_are_a_share(tmp_path: Path, export: Path) -> None:
    """Coverage is said, because rows that are labelled early may be special ones."""
    traffic = Traffic(400)
    half = Traffic(400)
    half.labels = half.labels[200:]
    log = write_log(tmp_path / "log.jsonl", [traffic])
    (seen,) = observe(a_watch(log, write_labels(tmp_path / "labels.csv", [half])), known(export))

    assert (200, 0.5) == (seen.labelled, seen.coverage)


def test_an_empty_log_says_not_enough_of_the_version_in_production(tmp_path: Path, export: Path) -> None:
    """No rows are no all-clear."""
    log = tmp_path / "log.jsonl"
    log.touch()
    (seen,) = observe(a_watch(log), known(export))
    found = judge(seen, Monitoring())

    assert (2, 0, True) == (seen.version, seen.rows, seen.serves)
    assert {None} == {finding.level for finding in found}
    assert {"drift:x", "accuracy", "missing:x", "latency"} <= {finding.key for finding in found}


def test_nothing_in_the_log_and_nothing_in_production_is_nothing(tmp_path: Path) -> None:
    """No observation, and no error either: a family before its first promotion."""
    log = tmp_path / "log.jsonl"
    log.touch()

    assert [] == observe(a_watch(log), known(production=None))


def test_an_observation_is_plain_data(tmp_path: Path, export: Path) -> None:
    """For `--json` and for the journal."""
    traffic = Traffic(300)
    log, labels = write_log(tmp_path / "log.jsonl", [traffic]), write_labels(tmp_path / "labels.csv", [traffic])
    (seen,) = observe(a_watch(log, labels), known(export))
    document = json.loads(json.dumps(seen.as_json(), allow_nan=False))

    assert "2026-11-21T12:00:00+00:00" == document["until"]
    assert 0.9 == document["metrics"]["accuracy"]["value"]


def test_an_export_that_is_none_or_broken_is_said(tmp_path: Path) -> None:
    """Missing is a matter of usage, malformed one of the data."""
    with pytest.raises(UsageError, match="no export here"):
        known(tmp_path)
    folder = write_export(tmp_path / "export")
    for content in ('{"rows": 3}', "{"):
        rewrite_reference(folder, content)
        with pytest.raises(DataError, match=r"reference\.json: not the statistics"):
            known(folder)
    (folder / "manifest.json").write_text("{}", encoding="utf-8")
    with pytest.raises(ArtifactRefused, match=r"manifest\.json: not a manifest"):
        known(folder)


def test_statistics_of_another_export_are_refused(tmp_path: Path) -> None:
    """A file that was changed, or copied beside the wrong manifest, would tell of drift that is none."""
    first, second = (write_export(tmp_path / str(version), version) for version in (1, 2))
    (first / "reference.json").write_bytes((second / "reference.json").read_bytes())

    with pytest.raises(DataError, match=r"reference\.json: not the file that manifest\.json was made with"):
        known(first)


def test_a_canary_or_a_fast_clock_does_not_change_what_answers(tmp_path: Path) -> None:
    """One row in ten is the canary's, and the newest of all, look after look: what answers most stays what answers."""
    minute = timedelta(minutes=1)
    served = []
    for look in range(4):
        until = NOON + look * 5 * minute
        stable = Traffic(450, version=1, until=until, seed=look)
        canary = Traffic(50, version=2, until=until + timedelta(seconds=47), seed=look)
        log = write_log(tmp_path / "log.jsonl", [stable, canary])
        first = observe(a_watch(log, until=until), replace(known(), last_served=(MODEL, 1)))[0]
        served.append((first.version, {name: round(share, 1) for name, share in first.answers.items()}))

    assert [(1, {f"{MODEL} v1": 0.9, f"{MODEL} v2": 0.1})] * 4 == served


@pytest.mark.system
def test_a_rolling_update_changes_what_answers_once(tmp_path: Path) -> None:
    """Instance by instance: the old version stays until the new one clearly answers more, and does not come back."""
    served, last = [], (MODEL, 1)
    for look in range(11):
        new = Traffic(100 * look, version=2, since=NOON - HOUR / 2)
        old = Traffic(1000 - 100 * look, version=1, since=NOON - HOUR / 2)
        log = write_log(tmp_path / "log.jsonl", [part for part in (new, old) if part.rows])
        first = observe(a_watch(log), replace(known(), last_served=last))[0]
        last = (first.model, first.version)
        served.append(first.version)

    assert [1] * 7 + [2] * 4 == served


@pytest.mark.parametrize(("is_deployed", "level"), [(True, None), (False, "warning")])
def test_a_canary_that_was_deployed_from_here_is_known(tmp_path: Path, *, is_deployed: bool, level: str | None) -> None:
    """What is in Production answers one row in ten, as it should; deployed by somebody else it is to be looked at."""
    log = write_log(tmp_path / "log.jsonl", [Traffic(900, version=1), Traffic(100, version=2)])
    first = observe(a_watch(log), replace(known(), is_deployed=is_deployed))[0]

    assert level == loud(first).get("stage")


def test_few_rows_are_looked_at_further_back(tmp_path: Path) -> None:
    """The last hour has one row, of the canary: that is no majority."""
    stable = Traffic(300, version=2, until=NOON - 2 * HOUR)
    canary = Traffic(1, version=3, since=NOON - HOUR / 2)
    log = write_log(tmp_path / "log.jsonl", [stable, canary])

    assert 2 == observe(a_watch(log), known())[0].version


def test_a_trickle_of_early_labels_does_not_hide_the_days_that_are_labelled(tmp_path: Path, export: Path) -> None:
    """Three labels of today, all of the days until the day before yesterday: these are judged, and as well covered."""
    labelled = Traffic(1000, since=NOON - 4 * DAY, until=NOON - 2 * DAY, accuracy=0.8, seed=2)
    fresh = Traffic(1000, since=NOON - 2 * DAY, seed=3)
    early = Traffic(0)
    log = write_log(tmp_path / "log.jsonl", [labelled, fresh])
    early.labels = fresh.labels[-3:]
    (seen,) = observe(a_watch(log, write_labels(tmp_path / "labels.csv", [labelled, early])), known(export))

    assert seen.labelled_until is not None
    assert NOON - 2 * DAY - HOUR < seen.labelled_until < NOON - 2 * DAY + HOUR
    assert pytest.approx(1.0, abs=0.05) == seen.coverage
    assert "critical" == loud(seen)["accuracy"]


def test_a_small_family_is_judged_over_a_longer_stretch(tmp_path: Path, export: Path) -> None:
    """Sixty rows a day: a hundred labels take two days, three windows of two hundred eight; both find the drop."""
    traffic = Traffic(480, since=NOON - 8 * DAY, accuracy=0.6)
    log, labels = write_log(tmp_path / "log.jsonl", [traffic]), write_labels(tmp_path / "labels.csv", [traffic])
    (seen,) = observe(a_watch(log, labels), known(export, live_since=NOON - 30 * DAY))
    (trigger,) = (it for it in triggers(seen, Monitoring()) if it.key == "accuracy")

    assert 100 == seen.labelled
    assert "critical" == loud(seen)["accuracy"]
    assert [80, 200, 200] == [it.rows for it in trigger.stretches]
    assert trigger.fires


@pytest.mark.parametrize(
    ("since", "labels", "expected"),
    [
        (30, 0, "no label in 8 days"),
        (30, 20, "not enough data, 20 labelled rows, 100 needed"),
        (30, 1000, None),
        (7, 0, None),  # they may still come
    ],
)
def test_a_version_that_nobody_can_judge_is_a_finding(
    tmp_path: Path, export: Path, since: int, labels: int, expected: str | None
) -> None:
    """Once labels are due: there is a file of them, and the version serves for longer than they take."""
    traffic = Traffic(1000)
    some = Traffic(0)
    some.labels = traffic.labels[:labels]
    log = write_log(tmp_path / "log.jsonl", [traffic])
    file = write_labels(tmp_path / "labels.csv", [some])
    (seen,) = observe(a_watch(log, file), known(export, live_since=NOON - since * DAY))
    found = [it for it in judge(seen, Monitoring()) if it.key == "labels"]

    assert ([] if expected is None else ["warning"]) == [it.level for it in found]
    assert expected is None or expected in found[0].text


def test_a_line_that_was_shipped_twice_counts_once(tmp_path: Path, export: Path) -> None:
    """Figures, labelled rows and latencies are those of the lines without their copies, which are counted apart."""
    traffic = Traffic(300)
    once = write_log(tmp_path / "once.jsonl", [traffic])
    lines = once.read_text(encoding="utf-8").splitlines()
    twice = tmp_path / "twice.jsonl"
    twice.write_text("\n".join([*lines, *reversed(lines), ""]), encoding="utf-8")
    labels = write_labels(tmp_path / "labels.csv", [traffic])
    (single,), (double,) = (observe(a_watch(log, labels), known(export)) for log in (once, twice))

    assert (300, 300, 0) == (single.rows, single.labelled, single.left_out.repeated_rows)
    assert (300, 300, 300) == (double.rows, double.labelled, double.left_out.repeated_rows)
    assert single.metrics == double.metrics
    assert single.service == double.service


def test_rows_that_two_workers_met_are_told() -> None:
    """What several counted apart is added up; of what they share is said how much."""
    rows = pa.table(
        {"request_id": ["a", "b", "b"], "row": [0, 0, 1], "role": 3 * ["r"], "model": 3 * ["m"], "version": [1, 1, 1]}
    )
    here, there = MetRows(), MetRows()
    assert [True, True, True] == list(here.first(rows))
    assert [False, False, True] == list(here.first(rows.set_column(1, "row", pa.array([0, 0, 2]))))
    assert [True, False] == list(there.first(rows.take(pa.array([0, 0]))))
    assert 1 == here.add(there)


def test_which_of_the_rows_that_stand_there_again_counts() -> None:
    """The first of each, whoever answered; the commonest one is named. A row without its number is the first."""
    ids, versions = ["c", "a", "c", "b", "a", "c", "c", ""], [1, 1, 1, 1, 1, 2, 1, 1]
    table = {"request_id": ids, "row": [0, 0, None, 0, 1, 0, 0, 0], "version": versions}
    met = MetRows()

    found = met.first(pa.table(table | {"role": 8 * ["r"], "model": 8 * ["m"]}))
    assert [True, True, False, True, True, True, False, True] == list(found)
    assert (6, (3, "c")) == (met.rows, met.most)


@pytest.mark.parametrize("change", [str.upper, lambda text: f"{text} "])
def test_labels_that_name_no_row_are_a_warning(tmp_path: Path, export: Path, change: Callable[[str], str]) -> None:
    """Ids in capitals or with blanks are none of the log's: one of either side is shown."""
    traffic = Traffic(300)
    labels = write_labels(tmp_path / "labels.csv", [traffic])
    header, *lines = labels.read_text(encoding="utf-8").splitlines()
    changed = [",".join([change(line.partition(",")[0]), line.partition(",")[2]]) for line in lines]
    labels.write_text("\n".join([header, *changed, ""]), encoding="utf-8")
    (seen,) = observe(a_watch(write_log(tmp_path / "log.jsonl", [traffic]), labels), known(export))

    assert "300 labels, none belongs to a row of the log since" in seen.stray_labels
    assert "warning" == loud(seen)["labels"]

"""What belongs together is never on both sides of a split, and what a split cannot see is said."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from pydantic import ValidationError

from promotion.config.family import FamilyConfig
from promotion.config.training import Split
from promotion.data.datasets import load_dataset, split_dataset
from promotion.data.leakage import _copies, leaks
from promotion.data.splits import Belonging, belonging, folds
from promotion.errors import DataError

PATIENTS, VISITS = 80, 3


def a_family(**split: Any) -> FamilyConfig:
    columns: dict[str, Any] = {name: {"type": "number"} for name in ("age", "dose", "pulse")}
    columns |= {"patient": {"type": "ignored"}, "day": {"type": "ignored"}, "ill": {"type": "code", "codes": [0, 1]}}
    return FamilyConfig.model_validate(
        {
            "family": "visits",
            "registered_model": "visits",
            "task": "binary",
            "data": {"path": "visits.csv", "columns": columns},
            "target": {"column": "ill", "positive_above": 0},
            "numeric": ["age", "dose", "pulse"],
            "split": split,
            "cross_validation": {"folds": 3, "repeats": 2},
            "candidates": {"logistic_regression": {}},
        }
    )


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """Patients who come three times, each visit a little different."""
    random = np.random.default_rng(1)
    lines = ["age,dose,pulse,patient,day,ill"]
    for patient in range(PATIENTS):
        age, ill = random.normal(60, 9), random.random() < 0.4
        for visit in range(VISITS):
            day = f"2024-{visit + 1:02}-{random.integers(1, 29):02}"
            measured = f"{age + visit / 2:.3f},{random.normal():.3f},{random.normal(70, 9):.3f}"
            lines.append(f"{measured},p{patient},{day},{int(ill)}")
    (tmp_path / "visits.csv").write_text("\n".join([*lines, ""]), encoding="utf-8")
    return tmp_path


def exchange(home: Path, line: int, old: str, new: str) -> None:
    lines = (home / "visits.csv").read_text(encoding="utf-8").splitlines()
    assert old in lines[line - 1]
    lines[line - 1] = lines[line - 1].replace(old, new)
    (home / "visits.csv").write_text("\n".join([*lines, ""]), encoding="utf-8")


def test_a_group_is_on_one_side_of_the_split_and_of_every_fold(home: Path) -> None:
    """All visits of a patient are learned from, or none is; sizes and classes stay near what was asked for."""
    config = a_family(groups="patient")
    dataset = load_dataset(config, home)
    part = split_dataset(dataset, config)
    patients = dataset.others["patient"].to_numpy()

    assert not set(patients[part.train_features.index]) & set(patients[part.test_features.index])
    assert 0.15 < len(part.test_target) / len(dataset.target) < 0.25
    assert abs(part.test_target.mean() - dataset.target.mean()) < 0.05
    assert part.train_belonging is not None
    groups = part.train_belonging.groups
    assert groups is not None
    drawn = folds(part.train_belonging, config)
    assert 6 == len(drawn)
    assert all(not set(groups[learn]) & set(groups[check]) for learn, check in drawn)
    assert [] == leaks(dataset, config)


def test_the_newest_rows_are_tested_and_each_fold_foretells(home: Path) -> None:
    """Nothing is learned from a day on or after one that is tested, in the split and in every fold."""
    config = a_family(time="day", test_size=0.3)
    dataset = load_dataset(config, home)
    part = split_dataset(dataset, config)
    days = dataset.others["day"].to_numpy()

    assert max(days[part.train_features.index]) < min(days[part.test_features.index])
    assert 0.25 < len(part.test_target) / len(dataset.target) < 0.4
    assert part.train_belonging is not None
    times = part.train_belonging.times
    assert times is not None
    drawn = folds(part.train_belonging, config)
    assert 3 == len(drawn)
    assert all(times[learn].max() < times[check].min() for learn, check in drawn)


def test_columns_are_spread_alike(home: Path) -> None:
    """With `stratify` each value of the column has its share on both sides."""
    lines = (home / "visits.csv").read_text(encoding="utf-8").splitlines()
    for number, line in enumerate(lines[1:], start=1):
        cells = line.split(",")
        cells[3] = "clinic a" if number % 4 else "clinic b"
        lines[number] = ",".join(cells)
    (home / "visits.csv").write_text("\n".join([*lines, ""]), encoding="utf-8")
    config = a_family(stratify="patient")
    dataset = load_dataset(config, home)
    tested = dataset.others["patient"].to_numpy()[split_dataset(dataset, config).test_features.index]

    assert abs((tested == "clinic b").mean() - 0.25) < 0.02


def test_rows_of_one_time_are_on_one_side(home: Path) -> None:
    """A table of one day cannot be split by time, and says so."""
    lines = (home / "visits.csv").read_text(encoding="utf-8").splitlines()
    one_day = [line.replace(line.split(",")[4], "2024-01-01") for line in lines[1:]]
    (home / "visits.csv").write_text("\n".join([lines[0], *one_day, ""]), encoding="utf-8")
    config = a_family(time="day")
    with pytest.raises(DataError, match="too many are of one time"):
        split_dataset(load_dataset(config, home), config)


@pytest.mark.parametrize(
    ("split", "cell", "message"),
    [
        ({"groups": "patient"}, "p3", "column 'patient': must not be empty, as split.groups names it: 1 of 240 rows"),
        (
            {"time": "day"},
            "2024-01",
            "column 'day': must be a number such as 1.5 or a date such as",
        ),
    ],
)
def test_a_row_that_belongs_nowhere_is_refused(home: Path, split: dict[str, str], cell: str, message: str) -> None:
    """A missing group or time is named with its line."""
    exchange(home, 11, cell, "" if cell == "p3" else "January")
    with pytest.raises(DataError) as refused:
        load_dataset(a_family(**split), home)
    assert message in str(refused.value)
    assert "line 11" in str(refused.value)


@pytest.mark.parametrize(
    ("column", "split", "change", "message"),
    [
        ("patient", {"groups": "patient"}, lambda _: "p1", r"all rows are of one group of 'patient'"),
        ("ill", {}, lambda _: 0, "240 of class 'not ill > 0', 0 of class 'ill > 0'.*no row of some class"),
        ("ill", {"time": "day"}, lambda rows: (rows["day"] < "2024-03") * 1, "no row of some class"),
        (
            "patient",
            {"stratify": "patient"},
            lambda _: range(240),
            "240 of the values, beside the class those of patient",
        ),
    ],
)
def test_a_side_without_a_class_is_said_before_anything_learns(
    home: Path, column: str, split: dict[str, str], change: Any, message: str
) -> None:
    """The data is at fault, not a candidate's parameters; the message has one line whatever the table holds."""
    rows = pd.read_csv(home / "visits.csv")
    rows.assign(**{column: change(rows)}).to_csv(home / "visits.csv", index=False)
    config = a_family(**split)

    with pytest.raises(DataError, match=message) as refused:
        split_dataset(load_dataset(config, home), config)
    assert "every class is needed on both sides" in str(refused.value)
    assert len(str(refused.value)) < 400


def test_a_window_without_a_class_is_said(home: Path) -> None:
    """The illness comes up late: what the first window is foretold from knows none of it."""
    rows = pd.read_csv(home / "visits.csv").sort_values("day", ignore_index=True)
    rows.assign(ill=np.where(rows.index < 120, 0, rows.index % 2)).to_csv(home / "visits.csv", index=False)
    config = a_family(time="day")
    part = split_dataset(load_dataset(config, home), config)
    assert part.train_belonging is not None

    with pytest.raises(DataError, match=r"a fold of 3 windows of 'day'.* has no row of some class"):
        folds(part.train_belonging, config)


@pytest.mark.parametrize(
    ("first", "later"), [("p{}", "P{}"), ("p{}", "p{} "), ("{}", "{}.0"), ("{}", "00{}"), ("p{}", "ｐ{}")]
)
def test_a_name_written_in_two_ways_is_one_group(home: Path, first: str, later: str) -> None:
    """Capitals, blanks, a number's nulls and wide letters make no patient new to the model."""
    rows = pd.read_csv(home / "visits.csv")
    names = [(later if place % 2 else first).format(place // VISITS) for place in range(len(rows))]
    rows.assign(patient=names).to_csv(home / "visits.csv", index=False)
    config = a_family(groups="patient")

    groups = load_dataset(config, home).belonging.groups

    assert groups is not None
    assert PATIENTS == len(np.unique(groups))


def test_too_few_groups_for_the_folds_are_said() -> None:
    """Two groups make no three folds."""
    rows = Belonging(np.array([0, 1, 0, 1]), groups=np.array([0, 0, 1, 1]))
    with pytest.raises(DataError, match=r"the 2 groups of 'patient' .* lower cross_validation\.folds"):
        folds(rows, a_family(groups="patient"))


@pytest.mark.parametrize(
    ("split", "message"),
    [
        ({"groups": "patients"}, "did you mean 'patient'"),
        ({"groups": "ill"}, "the target decides already"),
        ({"groups": "patient", "time": "day"}, "rows are split by time alone"),
        ({"stratify": ["sex"]}, "column 'sex' is not described"),
    ],
)
def test_a_split_that_cannot_be_is_a_mistake_in_the_file(split: dict[str, Any], message: str) -> None:
    """Columns that are not there, and ways that exclude each other."""
    with pytest.raises(ValidationError, match=message):
        a_family(**split)


def test_a_name_that_repeats_across_a_random_split_is_said(home: Path) -> None:
    """Patients on both sides are warned of, with what to write."""
    config = a_family()
    (warning,) = leaks(load_dataset(config, home), config)
    assert "column 'patient' names 80 things, and " in warning
    assert "write split: {groups: patient}" in warning


@pytest.mark.parametrize(("noise", "columns", "told"), [(0.005, 5, 1), (0.5, 5, 0), (0.005, 3, 0)])
def test_copies_with_a_little_noise_are_said(noise: float, columns: int, told: int) -> None:
    """Every measured value is another one, by a hair, and a code and a gap are the same; unlike rows are no copies."""
    draw = np.random.default_rng(1)
    once = pd.DataFrame(draw.normal(50, 10, (300, columns)), columns=[f"m{place}" for place in range(columns)])
    once["code"], once.iloc[::7, 0] = draw.integers(0, 3, 300).astype(float), np.nan
    twice = once + draw.normal(0, 10 * noise, once.shape) * (once.columns != "code")
    rows = pd.concat([once, twice], ignore_index=True)
    order = draw.permutation(len(rows))

    found = list(_copies(rows, order[:480], order[480:]))

    assert told == len(found)
    assert all("differ from a training row by next to nothing" in line for line in found)


@pytest.mark.parametrize(
    ("patient", "day", "split", "is_refused"),
    [
        ("q1", "2024-01-01", {}, True),
        ("q1", "2024-01-01", {"groups": "patient"}, False),
        ("p0", "2024-05-09", {"time": "day"}, False),
        ("p0", "2024-05-09", {"groups": "patient"}, True),
        ("p0", None, {"time": "day"}, True),
    ],
)
def test_a_row_repeats_one_of_the_same_group_and_time(
    patient: str, day: str | None, split: dict[str, str], is_refused: bool, home: Path
) -> None:
    """What decides the split counts as a value does, although nothing is learned from it."""
    lines = (home / "visits.csv").read_text(encoding="utf-8").splitlines()
    age, dose, pulse, _, first_day, ill = lines[1].split(",")
    again = f"{age},{dose},{pulse},{patient},{day or first_day},{ill}"
    (home / "visits.csv").write_text("\n".join([*lines, again, ""]), encoding="utf-8")

    if is_refused:
        with pytest.raises(DataError, match=rf"repeats an earlier row: 1 of .* first: line {len(lines) + 1}"):
            load_dataset(a_family(**split), home)
    else:
        assert len(lines) == len(load_dataset(a_family(**split), home).features)


def test_copies_on_both_sides_are_said(home: Path) -> None:
    """The same measurements under another label are a copy all the same."""
    lines = (home / "visits.csv").read_text(encoding="utf-8").splitlines()
    copies = [f"{','.join(line.split(',')[:3])},q{number},2024-05-01,1" for number, line in enumerate(lines[1:80])]
    (home / "visits.csv").write_text("\n".join([*lines, *copies, ""]), encoding="utf-8")
    config = a_family(groups="patient")
    config = config.model_copy(update={"data": config.data.model_copy(update={"allow_duplicates": True})})
    (warning,) = leaks(load_dataset(config, home), config)
    assert "have all values of a training row: remove the copies, or name" in warning


def test_time_is_written_as_the_file_writes_numbers() -> None:
    """With a comma for the fraction, too."""
    when = pd.Series(["10,5", "9,25", "10,25"], index=[2, 3, 4])
    times = belonging(np.zeros(3, dtype=np.int64), {"hour": when}, Split(time="hour"), ",").times
    assert times is not None
    assert [2, 0, 1] == times.tolist()
    with pytest.raises(DataError, match=r"must be a number such as 1,5 or a date .* line 3 \('9.25'\)"):
        belonging(np.zeros(3, dtype=np.int64), {"hour": when.replace("9,25", "9.25")}, Split(time="hour"), ",")

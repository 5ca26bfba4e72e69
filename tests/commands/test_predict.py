"""`predict.py` uses the version in a stage, on sample rows or on a CSV."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from click.testing import CliRunner, Result

from models.predict import main
from promotion.settings import Settings
from promotion.stages import Stage

Register = Callable[..., int]
LOGISTIC = "heart-disease-logistic_regression"
DATA = "data/heart-disease.csv"


def predict(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["--model-name", "heart-disease", *arguments])


def test_without_input_the_test_split_is_predicted_and_compared(register: Register, settings: Settings) -> None:
    """The table shows rows no model learned from, their actual class, and which version answered."""
    register(LOGISTIC, Stage.PRODUCTION)

    result = predict("--rows", "3")
    lines = result.stdout.splitlines()
    raw = pd.read_csv(settings.home / DATA)

    assert 0 == result.exit_code, result.stderr
    assert f"3 rows of {DATA}, predicted by {LOGISTIC} v1 (Production)" == lines[0]
    assert ["row", "prediction", "probability", "actual"] == lines[1].split()
    assert 5 == len(lines)
    for line in lines[2:]:
        row, _prediction, _probability, actual = line.split()
        assert str(int(raw["num"].iloc[int(row)] > 0)) == actual


@pytest.mark.parametrize(("stage", "number"), [("staging", 1), ("None", 2), ("2", 2)])
def test_another_stage_or_version_can_be_asked_for(
    stage: str, number: int, register: Register, settings: Settings
) -> None:
    """`--stage` takes a stage in any case, or a version number."""
    register(LOGISTIC, Stage.STAGING)
    register(LOGISTIC)

    assert f"{LOGISTIC} v{number} " in predict("--stage", stage).stdout


def test_output_holds_every_row_with_the_version_that_made_it(
    register: Register, settings: Settings, tmp_path: Path
) -> None:
    """All 303 patients are predicted from the raw file, and the CSV says by what; standard output stays empty."""
    register(LOGISTIC, Stage.PRODUCTION)
    output = tmp_path / "predictions.csv"

    result = predict("--input", str(settings.home / DATA), "--output", str(output))
    predictions = pd.read_csv(output)

    assert 0 == result.exit_code, result.stderr
    assert "" == result.stdout
    assert 303 == len(predictions)
    assert ["row", "prediction", "probability", "model", "version", "run_id"] == list(predictions.columns)
    assert {(LOGISTIC, 1)} == set(zip(predictions["model"], predictions["version"], strict=True))
    assert predictions["probability"].between(0, 1).all()
    assert predictions["prediction"].equals((predictions["probability"] > 0.5).astype(int))
    assert [output.name] == [path.name for path in tmp_path.glob("*predictions*")]


def test_a_stage_without_version_is_one_line_and_exit_2(register: Register, settings: Settings) -> None:
    """The line names the stages that have one."""
    register(LOGISTIC)

    result = predict()

    assert 2 == result.exit_code
    assert f"no version of 'heart-disease' is in Production; None: {LOGISTIC} v1\n" == result.stderr


def test_rows_that_break_the_contract_are_refused(register: Register, settings: Settings, tmp_path: Path) -> None:
    """Kaggle's recoded chest pain is named, nothing is predicted, and no file appears."""
    register(LOGISTIC, Stage.PRODUCTION)
    rows = pd.read_csv(settings.home / DATA)
    rows["cp"] -= 1
    rows.to_csv(tmp_path / "kaggle.csv", index=False)

    result = predict("--input", str(tmp_path / "kaggle.csv"), "--output", str(tmp_path / "out.csv"))

    assert 1 == result.exit_code
    assert "cp" in result.stderr
    assert not (tmp_path / "out.csv").exists()


def test_an_output_that_cannot_be_written_leaves_nothing(
    register: Register, settings: Settings, tmp_path: Path
) -> None:
    """A missing folder is one line that names it."""
    register(LOGISTIC, Stage.PRODUCTION)
    output = tmp_path / "missing" / "out.csv"

    result = predict("--output", str(output))

    assert 1 == result.exit_code
    assert f"{output}: cannot write predictions: No such file or directory; nothing was written\n" == result.stderr


def test_a_model_without_family_cannot_be_predicted(register: Register, settings: Settings) -> None:
    """Without a configuration nobody knows its columns; the line says what to use instead."""
    register("churn", Stage.PRODUCTION)

    result = CliRunner().invoke(main, ["--model-name", "churn"])

    assert 2 == result.exit_code
    assert "belongs to no family" in result.stderr

"""`src/models/predict.py` for sales: which days are forecast, what the output holds, and the review of two versions."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from datetime import date
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner, Result
from tests.models.forecast.conftest import STORES

from models.forecast import ENSEMBLE
from models.forecast.data.generator import invent_sales
from models.forecast.data.inputs import PLAN_DAYS, SalesDays, SalesFileRows, Span
from models.forecast.data.sales import Sales, load_sales
from models.forecast.rows import INPUT_COLUMNS
from models.forecast.training.learning import Learned
from models.predict import main
from promotion.bootstrap import open_promotions
from promotion.cli.check import report_command
from promotion.cli.validate import validate_command
from promotion.config.family import load_config
from promotion.config.settings import Settings
from promotion.data.files import file_sha256
from promotion.errors import DataError, UsageError
from promotion.registry.stages import Stage

pytestmark = pytest.mark.system

Register = Callable[..., int]
FAMILY = "rossmann-ensemble"
LAST = date(2015, 7, 31)


def predict(*arguments: str) -> Result:
    return CliRunner().invoke(main, arguments)


@pytest.fixture(scope="session")
def artifact(learned: Learned, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The learned ensemble's native files, where a version keeps them."""
    folder = tmp_path_factory.mktemp("ensemble") / "model"
    learned.ensemble.save(folder / ENSEMBLE)
    return folder


@pytest.fixture(scope="session")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Both of Kaggle's files, invented: the rows `learned` has learned from."""
    folder = tmp_path_factory.mktemp("rossmann")
    invented = invent_sales(STORES, 942, 42)
    invented.train.to_csv(folder / "train.csv", index=False)
    invented.store.to_csv(folder / "store.csv", index=False)
    return folder


@pytest.fixture
def shop(settings: Settings, files: Path) -> Settings:
    """A home with that data."""
    shutil.copytree(files, settings.home / "data" / "rossmann")
    return settings


def test_without_arguments_production_forecasts_the_holdout(
    shop: Settings, register: Register, artifact: Path, sales: Sales, learned: Learned
) -> None:
    """The documents' bare command: the last 42 days with what was sold, saved, and the first rows shown."""
    register(FAMILY, Stage.PRODUCTION, artifact)

    result = predict()
    output = shop.home / "reports" / "predictions" / f"{FAMILY}-v1.csv"
    found = pd.read_csv(output, parse_dates=["Date"])
    held = sales.rows[sales.rows["Date"] > pd.Timestamp(LAST) - pd.Timedelta(days=42)].reset_index(drop=True)

    assert 0 == result.exit_code, result.stderr
    assert f"{len(held)} rows of data/rossmann/train.csv, predicted by {FAMILY} v1 (Production)" in result.stdout
    assert ["row", "Store", "Date", "prediction", "actual", "model", "version", "run_id"] == list(found.columns)
    assert list(held["Store"]) == list(found["Store"])
    assert (held["Date"] == found["Date"]).all()
    assert list(held["Sales"]) == list(found["actual"])
    assert list(learned.ensemble.predict(held[list(INPUT_COLUMNS)])) == list(found["prediction"])
    document = json.loads(output.with_name(f"{output.name}.json").read_text(encoding="utf-8"))
    assert {"first": "2015-06-20", "last": "2015-07-31"} == document["time_range"]
    assert load_sales(load_config(shop.config_folder, FAMILY), shop.home).sha256 == document["data_sha256"]


def test_invented_rows_are_said_by_whatever_uses_them(shop: Settings, register: Register, artifact: Path) -> None:
    """Predictions, the review and the gates, on the console, in the JSON and on the pages; other rows are not."""
    folder = shop.home / "data" / "rossmann"
    digests = {name: file_sha256(folder / name) for name in ("train.csv", "store.csv")}
    (folder / "invented.json").write_text(json.dumps(digests), encoding="utf-8")
    register(FAMILY, Stage.PRODUCTION, artifact)
    register(FAMILY, Stage.STAGING, artifact)
    own = shop.home / "own.csv"
    pd.read_csv(folder / "train.csv").tail(3).drop(columns="Sales").to_csv(own, index=False)
    runs = [
        predict("--json"),
        predict("--compare", "Staging", "Production", "--json"),
        CliRunner().invoke(validate_command, ["--version", "2", "--promote-to-production", "--json"]),
        CliRunner().invoke(report_command, ["--model-name", FAMILY, "--version", "2", "--json"]),
    ]

    said = "rows invented by a seeded generator"
    assert [True] * 4 == [said in run.stdout for run in runs], runs[2].output
    pages = list((shop.home / "reports").rglob("*.html"))
    assert [True, True] == [said in page.read_text(encoding="utf-8") for page in pages]
    assert said not in predict("--input", str(own), "--output", str(shop.home / "out.csv")).output
    (folder / "invented.json").write_text("{}", encoding="utf-8")
    assert said not in predict("--json").output


def test_kaggles_test_file_is_answered_row_by_row(
    shop: Settings, register: Register, artifact: Path, sales: Sales, learned: Learned, tmp_path: Path
) -> None:
    """Its Id and an empty Open are taken as they are; dates choose rows, whose numbers stay the file's."""
    register(FAMILY, Stage.STAGING, artifact)
    rows = sales.rows[sales.rows["Date"] > pd.Timestamp(LAST) - pd.Timedelta(days=42)].drop(columns="Sales")
    rows = rows.assign(Id=range(1, len(rows) + 1), Open=np.where(rows["Store"] == 1, np.nan, rows["Open"]))
    rows.sort_values(["Store", "Date"]).to_csv(tmp_path / "test.csv", index=False)
    output = tmp_path / "out.parquet"

    result = predict(
        *("--stage", "Staging", "--input", str(tmp_path / "test.csv"), "--output", str(output)),
        *("--start-date", "2015-07-01", "--end-date", "2015-07-02"),
    )
    found = pd.read_parquet(output)

    assert 0 == result.exit_code, result.stderr
    assert "" == result.stdout
    assert ["row", "Id", "Store", "Date", "prediction", "model", "version", "run_id"] == list(found.columns)
    assert [11, 12, 53, 54] == list(found["row"])[:4]
    chosen = rows.assign(Open=rows["Open"].fillna(1)).set_index("Id").loc[found["Id"]]
    assert list(learned.ensemble.predict(chosen[list(INPUT_COLUMNS)])) == list(found["prediction"])
    assert {pd.Timestamp("2015-07-01"), pd.Timestamp("2015-07-02")} == set(found["Date"])


def test_days_behind_the_data_have_last_years_plan(
    shop: Settings, register: Register, artifact: Path, sales: Sales, learned: Learned, tmp_path: Path
) -> None:
    """The same weekday 52 weeks before says whether a store opens; it is said, here and in the JSON."""
    register(FAMILY, Stage.PRODUCTION, artifact)
    output = tmp_path / "out.csv"

    result = predict("--start-date", "2015-08-01", "--output", str(output), "--json")
    found = pd.read_csv(output, parse_dates=["Date"])
    document = json.loads(result.stdout)

    plan = sales.rows.assign(Date=sales.rows["Date"] + pd.Timedelta(days=PLAN_DAYS))
    plan = plan[(plan["Date"] > pd.Timestamp(LAST)) & (plan["Date"] <= pd.Timestamp("2015-09-11"))]
    assert {"first": "2015-08-01", "last": "2015-09-11"} == document["time_range"]
    assert list(learned.ensemble.predict(plan[list(INPUT_COLUMNS)])) == list(found["prediction"])
    assert found["actual"].isna().all()
    assert f"{len(found)} rows lie behind the data: opening, promotions and holidays are assumed" in result.stderr
    assert 1 == len(document["notes"])


@pytest.mark.parametrize(
    ("first", "last", "expected"),
    [
        (None, None, ("2015-06-20", "2015-07-31")),
        (date(2015, 7, 30), None, ("2015-07-30", "2015-07-31")),
        (None, date(2015, 3, 1), ("2015-01-19", "2015-03-01")),
        (date(2015, 7, 30), date(2015, 8, 2), ("2015-07-30", "2015-08-02")),
        (date(2015, 8, 10), None, ("2015-08-10", "2015-09-20")),
    ],
)
def test_an_open_end_means_the_holdout_or_as_far_as_a_forecast_reaches(
    first: date | None, last: date | None, expected: tuple[str, str], shop: Settings, learned: Learned
) -> None:
    """Every row lies in the span, and its first and last day are there."""
    asked = SalesDays(load_config(shop.config_folder, FAMILY), shop.home, Span(first, last))
    (chunk,) = asked.chunks(learned.ensemble)

    days = chunk.shown["Date"]
    assert expected == (f"{days.min():%Y-%m-%d}", f"{days.max():%Y-%m-%d}")


def test_days_that_nobody_knows_are_refused(shop: Settings) -> None:
    """Before the data, more than a year behind it, or ending before they begin."""
    config = load_config(shop.config_folder, FAMILY)

    for first, last in ((date(2000, 1, 1), date(2000, 2, 1)), (date(2016, 9, 1), None)):
        with pytest.raises(UsageError, match="2015-07-31"):
            SalesDays(config, shop.home, Span(first, last))
    with pytest.raises(UsageError, match="lies before --start-date"):
        Span(date(2015, 2, 1), date(2015, 1, 1))


def test_days_far_behind_what_a_version_knows_are_said(sales: Sales, learned: Learned, tmp_path: Path) -> None:
    """Kaggle's own test file reaches further than 42 days: answered, with a warning."""
    rows = sales.rows.tail(STORES).drop(columns="Sales")
    rows.assign(Date="2015-09-17").to_csv(tmp_path / "far.csv", index=False)
    asked = SalesFileRows(tmp_path / "far.csv", Span())

    assert STORES == sum(len(chunk.features) for chunk in asked.chunks(learned.ensemble))
    assert f"{STORES} rows lie more than 42 days behind 2015-07-31" in asked.notes[0]


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"Store": 4711}, "column 'Store' must be in the store table: 6 of 6 rows, first: line 2"),
        ({"Open": 2}, "column 'Open' must be one of 0, 1"),
        ({"Date": "31.07.2015"}, "column 'Date' must be a date such as 2015-07-31"),
    ],
)
def test_rows_that_break_the_contract_are_named(
    changes: dict[str, int | str], says: str, sales: Sales, learned: Learned, tmp_path: Path
) -> None:
    """File, column, rule and line."""
    path = tmp_path / "rows.csv"
    sales.rows.tail(STORES).assign(**changes).to_csv(path, index=False)
    asked = SalesFileRows(path, Span())

    with pytest.raises(DataError) as refusal:
        list(asked.chunks(learned.ensemble))

    assert f"{path} breaks the data contract: {says}" in str(refusal.value)


def test_missing_columns_are_said_before_a_model_is_loaded(tmp_path: Path) -> None:
    """All of them in one line."""
    path = tmp_path / "rows.csv"
    path.write_text("Shop,Date\n1,2015-07-31\n")

    with pytest.raises(DataError, match="missing columns Store, Open, Promo, StateHoliday, SchoolHoliday"):
        SalesFileRows(path, Span()).check()


def test_no_version_in_the_stage_is_one_line(shop: Settings, register: Register, artifact: Path) -> None:
    """It names the stages that have one; before there is any, the command that trains."""
    untrained = predict()
    register(FAMILY, Stage.STAGING, artifact)
    empty = predict()

    assert 2 == untrained.exit_code == empty.exit_code
    assert "python src/models/train_ensemble.py --model rossmann-ensemble" in untrained.stderr
    assert f"no version of '{FAMILY}' is in Production; Staging: {FAMILY} v1\n" == empty.stderr


@pytest.fixture(scope="session")
def biased(learned: Learned, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same ensemble with weights that add up to 1.4."""
    folder = tmp_path_factory.mktemp("biased") / "model"
    weights = {name: 1.4 * weight for name, weight in learned.ensemble.weights.items()}
    replace(learned.ensemble, weights=weights).save(folder / ENSEMBLE)
    return folder


def test_the_checklist_finds_a_bias(shop: Settings, register: Register, artifact: Path, biased: Path) -> None:
    """A Staging version that overestimates by two fifths is worse and biased, and every line says so."""
    register(FAMILY, Stage.PRODUCTION, artifact)
    register(FAMILY, Stage.STAGING, biased)

    result = predict("--compare", "Staging", "Production")
    page = shop.home / "reports" / "review" / f"{FAMILY}-v2-against-{FAMILY}-v1.html"
    document = json.loads(page.with_suffix(".json").read_text(encoding="utf-8"))
    verdicts = {check["question"]: check["verdict"] for check in document["checks"]}

    assert 0 == result.exit_code, result.stderr
    assert {
        "RMSPE of Staging v2 is better than that of Production v1": "no",
        "Predictions look reasonable across store types": "no",
        "No obvious bias": "no",
        "Performs well on the last 14 days": "no",
        "No anomalies": "no",
    } == verdicts
    assert "overestimates all stores by" in result.stdout
    bias = document["metrics"]["bias"]
    assert pytest.approx(1.4) == (1 + bias["first"]["value"]) / (1 + bias["second"]["value"])
    assert document["rows"] == sum(part["rows"] for part in document["store_types"])
    assert document["rows"] == sum(part["rows"] for part in document["weeks"])
    assert "worse" in page.read_text(encoding="utf-8")


def test_the_promotion_report_has_both_with_intervals_by_store_type_and_over_time(
    shop: Settings, register: Register, artifact: Path, biased: Path
) -> None:
    """Beside Production where one serves; the days they disagree on say who was nearer."""
    register(FAMILY, Stage.STAGING, artifact)
    alone = CliRunner().invoke(report_command, ["--model-name", FAMILY, "--version", "1"])
    page = shop.home / "reports" / "promotion" / f"{FAMILY}-v1.html"
    first = page.read_text(encoding="utf-8")
    register(FAMILY, Stage.PRODUCTION, biased)
    open_promotions(shop).synchronise(FAMILY)

    beside = CliRunner().invoke(report_command, ["--model-name", FAMILY, "--version", "1"])
    text = page.read_text(encoding="utf-8")

    assert (0, 0) == (alone.exit_code, beside.exit_code), alone.output + beside.output
    for section in ("metrics", "store_types", "residuals", "anomalies"):
        assert f'<section id="{section}">' in first
        assert f'<section id="{section}">' in text
        assert f'<a href="#{section}">' in text
    assert "RMSPE of the other" not in first
    assert '<section id="disagreements">' not in first
    assert re.search(r"forecasts lie more than 5% of the sales apart: this one is nearer in [\d,]{2,}", text)
    assert re.search(r"RMSPE<small[^>]*> decides</small></th>\s*<td[^>]*><b>0\.\d{4}</b><small>0\.\d{4} to 0", text)


def test_the_other_way_round_the_checklist_praises(
    shop: Settings, register: Register, artifact: Path, biased: Path
) -> None:
    """The honest version against the biased one: better by RMSPE, and its figures are the evaluator's."""
    from models.forecast.evaluation.holdout import ForecastEvaluator

    register(FAMILY, Stage.PRODUCTION, biased)
    register(FAMILY, Stage.STAGING, artifact)

    result = predict("--compare", "Staging", "Production", "--json")
    document = json.loads(result.stdout)
    evaluator = ForecastEvaluator(load_config(shop.config_folder, FAMILY), shop.home)
    first, second = evaluator.evaluate(artifact), evaluator.evaluate(biased)

    assert "yes" == document["checks"][0]["verdict"]
    assert "better" == document["metrics"]["RMSPE"]["reading"]
    assert first.metrics == {
        name: pytest.approx(document["metrics"][key]["first"]["value"])
        for name, key in (("rmspe", "RMSPE"), ("mape", "MAPE"), ("bias", "bias"))
    }
    difference = evaluator.difference(first, second, "rmspe")
    assert (difference.value, difference.low, difference.high) == pytest.approx(
        tuple(document["metrics"]["RMSPE"]["difference"].values())
    )


def test_a_version_that_knows_the_days_cannot_be_judged_by_them(
    shop: Settings, register: Register, artifact: Path, learned: Learned, tmp_path: Path
) -> None:
    """It is said, and the first question stays open."""
    replace(learned.ensemble, learned_until=learned.ensemble.history.last_day).save(tmp_path / "seen" / ENSEMBLE)
    register(FAMILY, Stage.PRODUCTION, artifact)
    register(FAMILY, Stage.STAGING, tmp_path / "seen")

    result = predict("--compare", "Staging", "Production")

    assert "? RMSPE of Staging v2" in result.stdout
    assert "Staging v2 has learned from some of these days: its figures flatter it" in result.stdout

"""Kaggle's two tables are refused by line where they are not what they should be, and nothing is read differently."""

from __future__ import annotations

import gzip
import hashlib
import re
import sys
from collections.abc import Callable
from dataclasses import replace
from io import StringIO
from pathlib import Path

import pandas as pd
import pytest
from tests.models.forecast.conftest import make_sales, quick_plan

from models.forecast.data.sales import read_sales
from models.forecast.training.learning import Learner
from promotion.config.training import Data
from promotion.errors import DataError

SALES = """Store,Date,Sales,Open,Promo,StateHoliday,SchoolHoliday
1,2015-07-30,5020,1,1,0,1
2,2015-07-30,5567,1,1,0,1
1,2015-07-31,5263,1,1,0,1
2,2015-07-31,6064,1,1,0,1
"""
STORES = """Store,StoreType,Assortment,CompetitionDistance,CompetitionOpenSinceMonth,CompetitionOpenSinceYear,Promo2,\
Promo2SinceWeek,Promo2SinceYear,PromoInterval
1,c,a,1270,9,2008,0,,,
2,a,a,570,11,2007,1,13,2010,"Jan,Apr,Jul,Oct"
"""
AS_KAGGLE = Data(path="train.csv", columns={})


@pytest.fixture
def read(tmp_path: Path) -> Callable[..., pd.DataFrame]:
    """Reads two tables, each with one text exchanged in it, and gives the sales and stores that came out."""

    def read_both(old: str = "", new: str = "", *, stores: bool = False) -> pd.DataFrame:
        texts = {"train.csv": SALES, "store.csv": STORES}
        name = "store.csv" if stores else "train.csv"
        assert old in texts[name]
        texts[name] = texts[name].replace(old, new, 1) if old else texts[name]
        for file, text in texts.items():
            (tmp_path / file).write_text(text, encoding="utf-8")
        found = read_sales(tmp_path / "train.csv", tmp_path / "store.csv", AS_KAGGLE)
        return found.stores if stores else found.rows

    return read_both


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            "5263",
            '"5,263"',
            "'Sales' must be 0 or more whole euros.*thousands separators: 1 of 4 rows, first: line 4 ('5,263')",
        ),
        ("5263", "5.263", "'Sales' must be 0 or more whole euros.*line 4 ('5.263')"),
        (SALES, SALES.replace("5263", "5.000"), "'Sales' must not be written such that 5.000 may be 5 or 5000"),
        ("5263", "closed", "first: line 4 ('closed')"),
        ("5263", "-1", "first: line 4 ('-1')"),
        ("5263", "inf", "first: line 4"),
        ("5263", "1e300", "first: line 4"),
        ("5263", "", "first: line 4 (empty)"),
        ("1,2015-07-31", "1,2015-07-30 22:00:00+00:00", "'Date' must be a date.*offset.*line 4 ('2015-07-30 22:00"),
        ("1,2015-07-31", "1,2015-07-31T08:00", "'Date' must be a date"),
        ("1,2015-07-31", "1,42216", "'Date' must be a date.*spreadsheet"),
        ("1,2015-07-31", "1,1900-01-01", "'Date' must be a date such as 2015-07-31, from 1980 to 2099"),
        ("1,2015-07-31", "1,9999-12-31", "'Date' must be a date such as 2015-07-31, from 1980 to 2099"),
        ("1,2015-07-31,5263", "\n1,2015-07-31,x", "'Sales' must be.*1 of 4 rows, first: line 5 ('x')"),
        ("1,2015-07-31,5263,1,1,0,1", "1,2015-07-31,5263,1,1,0,1,1", "line 4 has 8 cells, the header 7 names"),
        (SALES[SALES.index("\n") :], SALES[SALES.index("\n") :].replace("\n", "\n0,"), "more cells than the header"),
        ("Sales", "Umsatz", "missing columns Sales; its header names Store, Date, Umsatz,"),
        ("1,2015-07-31", "1,31.07.2015", "'Date' must be a date"),
        ("1,2015-07-31", "one,2015-07-31", "'Store' must be in the store table: 1 of 4 rows, first: line 4 ('one')"),
        ("5263,1", "5263,yes", "'Open' must be one of 0, 1: 1 of 4 rows, first: line 4 ('yes')"),
        ("5263,1,1,0", "5263,1,1,A", "'StateHoliday' must be one of 0, a, b, c: 1 of 4 rows, first: line 4 ('A')"),
        ("Open", "Sales", "the header names Sales more than once"),
        (SALES[:7], "sep=,\n" + SALES[:7], "line 1 (sep=…) tells a spreadsheet the separator"),
        (SALES, SALES.replace(",", ";"), "separated by a semicolon, expected a comma"),
        (SALES[:7], "<<<<<<< HEAD\n" + SALES[:7], "a mark of an unfinished merge"),
        (SALES[: SALES.index("\n") + 1], "", "the first line holds values, not names"),
    ],
)
def test_sales_are_refused_by_line(read: Callable[..., pd.DataFrame], old: str, new: str, message: str) -> None:
    """What is no number, no day or no header is named where it stands, and nothing else is."""
    with pytest.raises(DataError) as refused:
        read(old, new)
    parts = map(re.escape, message.split(".*"))
    assert re.search(".*".join(parts), str(refused.value)), refused.value
    assert "train.csv" in str(refused.value)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("1270", "-1", "'CompetitionDistance' must be whole metres above 0"),
        ("1270", "0", "for which 0 and -1 do not stand: 1 of 2 rows, first: line 2"),
        ("1270", "inf", "'CompetitionDistance' must be whole metres"),
        ("1270", '"1,270"', "without thousands separators.*line 2 ('1,270')"),
        (
            "1270",
            "1.000",
            "'CompetitionDistance' must not be written.*1 of 2 rows, first: line 2 ('1.000')",
        ),
        ("1270", "1.270", "'CompetitionDistance' must be whole metres"),
        ("2007,1,13", "2007,0,13", "'PromoInterval' must be there where Promo2 is 1, and only there.*line 3 ('Jan,Apr"),
        ("13,2010", ",2010", "'Promo2SinceWeek' must be there where Promo2 is 1, and only there: 1 of 2 rows"),
        ('"Jan,Apr,Jul,Oct"', "", "'PromoInterval' must be there where Promo2 is 1.*line 3 (empty)"),
        ("9,2008", ",2008", "'CompetitionOpenSinceMonth' must be there with CompetitionOpenSinceYear, or both"),
        ("0,,,", "0,0,0,0", "'Promo2SinceWeek' must be a whole number from 1 to 53, or empty"),
        ("9,2008", "13,2008", "'CompetitionOpenSinceMonth' must be a whole number from 1 to 12"),
        ("13,2010", "53,2010", "'Promo2SinceWeek' must be a week of Promo2SinceYear"),
        ("Jan,Apr,Jul,Oct", "Jan,Apr,Jul,Okt", "'PromoInterval' must be Jan,Apr,Jul,Oct or"),
        ("Jan,Apr,Jul,Oct", "JAN,APR,JUL,OCT", "'PromoInterval' must be"),
        ("2,a,a", "1,a,a", "'Store' repeats an earlier store: 1 of 2 rows, first: line 3"),
        ("2,a,a", "2,A,a", "'StoreType' must be one of a, b, c, d"),
        ("Assortment", "StoreType", "the header names StoreType more than once"),
    ],
)
def test_stores_are_refused_by_line(read: Callable[..., pd.DataFrame], old: str, new: str, message: str) -> None:
    """A mark for a missing value, another spelling or a week that a year has not is never taken for something else."""
    with pytest.raises(DataError) as refused:
        read(old, new, stores=True)
    assert re.search(".*".join(map(re.escape, message.split(".*"))), str(refused.value)), refused.value
    assert "store.csv" in str(refused.value)


def test_each_broken_rule_has_a_line_of_its_own(read: Callable[..., pd.DataFrame]) -> None:
    """The command prints them below each other, and the gate of the data's quality counts them."""
    with pytest.raises(DataError) as refused:
        read("0,,,", "0,0,0,0", stores=True)

    assert refused.value.lines[0].endswith("breaks the data contract: ")
    assert ["- column 'Promo2SinceWeek'", "- column 'Promo2SinceYear'"] == [
        line.split(" must")[0] for line in refused.value.lines[1:3]
    ]


def test_what_means_the_same_is_read_the_same(read: Callable[..., pd.DataFrame]) -> None:
    """Blanks between months and a midnight written out change nothing."""
    pd.testing.assert_frame_equal(
        read(stores=True), read("Jan,Apr,Jul,Oct", "Jan, Apr, Jul, Oct", stores=True), check_dtype=False
    )
    pd.testing.assert_frame_equal(read(), read("1,2015-07-31", "1,2015-07-31 00:00:00"), check_dtype=False)


def test_files_are_read_as_the_family_says_that_they_are_written(
    tmp_path: Path, read: Callable[..., pd.DataFrame]
) -> None:
    """Separator, encoding, decimal mark, missing marks, a packed file and Parquet; the digest is of their bytes."""
    data = Data(path="train.csv", columns={}, delimiter=";", encoding="utf-16", decimal=",", na_values=["?"])
    sales, stores = tmp_path / "train.csv.gz", tmp_path / "store.csv"
    sales.write_bytes(gzip.compress(SALES.replace(",", ";").encode("utf-16")))
    text = pd.read_csv(StringIO(STORES)).to_csv(index=False, sep=";", decimal=",", na_rep="?", float_format="%.1f")
    assert "9;2008" in text
    assert "?;?" in text
    stores.write_text(text, encoding="utf-16")

    found = read_sales(sales, stores, data)

    assert hashlib.sha256(sales.read_bytes() + stores.read_bytes()).hexdigest() == found.sha256
    pd.testing.assert_frame_equal(read(stores=True), found.stores, check_dtype=False)
    pd.testing.assert_frame_equal(read(), found.rows)
    parquet = tmp_path / "train.parquet"
    pd.read_csv(StringIO(SALES), parse_dates=["Date"]).to_parquet(parquet)
    pd.testing.assert_frame_equal(
        read(), read_sales(parquet, tmp_path / "store.csv", AS_KAGGLE).rows, check_dtype=False
    )
    with pytest.raises(DataError, match=r"train\.csv\.gz: line 1 is not UTF-8 text .*encoding: utf-16"):
        read_sales(sales, stores, AS_KAGGLE)


def test_a_history_that_is_too_short_says_how_much_is_needed() -> None:
    """One day less than the oldest fold needs is refused, with the sum that it comes from."""
    plan = quick_plan(folds=3, warm_up=56)
    with pytest.raises(DataError, match=r"266 days of sales are too few, at least 267 are needed: 42 held out"):
        Learner(make_sales(days=266), plan).learn()
    with pytest.raises(DataError, match="12 days of sales"):
        Learner(make_sales(days=12), plan).learn()


@pytest.mark.system
def test_a_history_that_just_suffices_is_learned_from() -> None:
    """The number that the refusal names is enough."""
    plan = replace(quick_plan(folds=3, warm_up=56), rounds=2, params={"lightgbm": {"num_leaves": 4}}, views={})
    assert 3 == len(Learner(make_sales(days=267), plan).learn().folds["lightgbm"])


@pytest.fixture
def workbook(tmp_path: Path) -> Path:
    """The sales as a spreadsheet saves them: days are days, numbers are numbers."""
    path = tmp_path / "train.xlsx"
    rows = pd.read_csv(StringIO(SALES)).assign(StateHoliday=["0", 0, "a", 0])
    rows.assign(Date=pd.to_datetime(rows["Date"])).to_excel(path, index=False)
    (tmp_path / "store.csv").write_text(STORES, encoding="utf-8")
    return path


@pytest.mark.system
def test_a_workbook_means_what_its_csv_means(workbook: Path, read: Callable[..., pd.DataFrame]) -> None:
    """A day comes back without the clock time that a workbook gives it."""
    found = read_sales(workbook, workbook.with_name("store.csv"), AS_KAGGLE).rows

    pd.testing.assert_frame_equal(read("1,2015-07-31,5263,1,1,0", "1,2015-07-31,5263,1,1,a"), found)


def test_what_is_no_workbook_or_has_no_reader_is_a_line(workbook: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever its reader stumbles over."""
    stores = workbook.with_name("store.csv")
    content = workbook.read_bytes()
    for broken in (b"", b"Store,Date\n", content[: len(content) // 2]):
        workbook.write_bytes(broken)
        with pytest.raises(DataError, match=r"train\.xlsx: not readable as a workbook"):
            read_sales(workbook, stores, AS_KAGGLE)
    workbook.write_bytes(content)
    monkeypatch.setitem(sys.modules, "openpyxl", None)
    with pytest.raises(DataError, match=r"a workbook is read with openpyxl: pip install openpyxl, or save it as CSV"):
        read_sales(workbook, stores, AS_KAGGLE)

"""What a family's file must hold before anything is learned from it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

from promotion.config.family import FamilyConfig, load_config
from promotion.config.training import Column
from promotion.data.datasets import checked_features, feature_schema_hash, load_dataset, split_dataset
from promotion.data.files import file_sha256
from promotion.data.splits import Belonging
from promotion.errors import DataError
from promotion.prediction.inputs import FileRows

REPOSITORY = Path(__file__).resolve().parents[3]
CLEVELAND = (REPOSITORY / "data" / "heart-disease.csv").read_text(encoding="utf-8").splitlines()
HEADER, *ROWS = CLEVELAND
NAMES = HEADER.split(",")

EMPTY = "(max_missing of a feature's column allows a share of them)"
ENCODING = "save the file as UTF-8 CSV, or write its encoding under data (encoding: latin-1)"
MARK = "('?' marks a missing value in many files: leave such cells empty, or list it under data: na_values)"

Write = Callable[[list[str] | bytes], Path]


@pytest.fixture(scope="session")
def config() -> FamilyConfig:
    return load_config(REPOSITORY / "config", "heart-disease")


@pytest.fixture
def write(tmp_path: Path, config: FamilyConfig) -> Write:
    def write_file(content: list[str] | bytes) -> Path:
        path = tmp_path / config.data.path
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else "\n".join([*content, ""]).encode())
        return path

    return write_file


def with_cell(line: int, column: str, value: str) -> list[str]:
    """The Cleveland file with one cell changed; lines count from 1, the header."""
    lines = list(CLEVELAND)
    cells = lines[line - 1].split(",")
    cells[NAMES.index(column)] = value
    lines[line - 1] = ",".join(cells)
    return lines


def refusal(config: FamilyConfig, home: Path) -> str:
    with pytest.raises(DataError) as caught:
        load_dataset(config, home)
    return str(caught.value)


def with_data(config: FamilyConfig, **changes: object) -> FamilyConfig:
    return config.model_copy(update={"data": config.data.model_copy(update=changes)})


def with_column(config: FamilyConfig, name: str, **changes: object) -> FamilyConfig:
    columns = config.data.columns | {name: config.data.columns[name].model_copy(update=changes)}
    return with_data(config, columns=columns)


def test_cleveland_is_read(config: FamilyConfig) -> None:
    """The bundled file yields 303 rows of 13 float64 features, 6 cells of them missing, and 139 positives."""
    dataset = load_dataset(config, REPOSITORY)
    assert (303, 13) == dataset.features.shape
    assert config.features == list(dataset.features.columns)
    assert {np.dtype(np.float64)} == set(dataset.features.dtypes)
    assert {"ca": 4, "thal": 2} == {name: n for name, n in dataset.features.isna().sum().items() if n}
    assert np.int64 == dataset.target.dtype
    assert 139 == dataset.target.sum()
    assert file_sha256(REPOSITORY / config.data.path) == dataset.sha256
    assert REPOSITORY / config.data.path == dataset.path


def test_column_order_is_the_configs(config: FamilyConfig, write: Write, tmp_path: Path) -> None:
    """Columns in another order in the file come out in the config's order."""
    write([",".join(reversed(line.split(","))) for line in CLEVELAND])
    pd.testing.assert_frame_equal(
        load_dataset(config, REPOSITORY).features, load_dataset(config, tmp_path).features, check_exact=True
    )


def test_excel_and_windows_files_are_read(config: FamilyConfig, write: Write, tmp_path: Path) -> None:
    """A byte-order mark, CRLF line ends and blank lines change nothing."""
    write(b"\xef\xbb\xbf" + "\r\n".join([HEADER, "", *ROWS, "", ""]).encode())
    assert (303, 13) == load_dataset(config, tmp_path).features.shape


def test_kaggle_codes_are_refused_with_the_hint(config: FamilyConfig, write: Write, tmp_path: Path) -> None:
    """A file with cp coded 0-3 is refused; the message names column, rule, count, first lines and the hint."""
    lines = [HEADER]
    for row in ROWS:
        cells = row.split(",")
        cells[2] = str(int(cells[2]) - 1)
        lines.append(",".join(cells))
    write(lines)
    message = refusal(config, tmp_path)
    expected = (
        "column 'cp': must be one of 1, 2, 3, 4: 23 of 303 rows, first: line 2 ('0'), line 22 ('0'), line 23 ('0')"
    )
    assert expected in message
    assert str(config.data.columns["cp"].hint) in message
    assert "\n" not in message


@pytest.mark.parametrize(
    ("line", "column", "value", "expected"),
    [
        (5, "age", "0", "column 'age': must be at least 1: 1 of 303 rows, first: line 5 ('0')"),
        (304, "chol", "701", "column 'chol': must be at most 700: 1 of 303 rows, first: line 304 ('701')"),
        (2, "thalach", "150.5", "column 'thalach': must be a whole number: 1 of 303 rows, first: line 2 ('150.5')"),
        (9, "oldpeak", "abc", "column 'oldpeak': must be a number: 1 of 303 rows, first: line 9 ('abc')"),
        (9, "oldpeak", "inf", "column 'oldpeak': must be a number: 1 of 303 rows, first: line 9 ('inf')"),
        (9, "oldpeak", "True", "column 'oldpeak': must be a number: 1 of 303 rows, first: line 9 ('True')"),
        (7, "sex", "", f"column 'sex': must not be empty: 1 of 303 rows, first: line 7 {EMPTY}"),
        (7, "sex", "?", f"column 'sex': must be a number: 1 of 303 rows, first: line 7 ('?') {MARK}"),
        (7, "thal", "4", "column 'thal': must be one of 3, 6, 7: 1 of 303 rows, first: line 7 ('4')"),
        (7, "num", "", f"column 'num': must not be empty: 1 of 303 rows, first: line 7 {EMPTY}"),
    ],
)
def test_one_wrong_cell_is_named(
    line: int, column: str, value: str, expected: str, config: FamilyConfig, write: Write, tmp_path: Path
) -> None:
    """One wrong cell is one line that names the column, the rule, the count, the line and what was found."""
    path = write(with_cell(line, column, value))
    message = refusal(config, tmp_path)
    hint = config.data.columns[column].hint
    assert f"{path} breaks the data contract: {expected}" + (f" ({hint})" if hint else "") == message


def test_blank_lines_do_not_shift_line_numbers(config: FamilyConfig, write: Write, tmp_path: Path) -> None:
    """The line named is the line an editor shows, blank ones counted."""
    lines = with_cell(5, "age", "0")
    write([*lines[:2], "", "", *lines[2:]])
    assert "first: line 7 ('0')" in refusal(config, tmp_path)


@pytest.mark.system
def test_missing_share_is_bounded(config: FamilyConfig, write: Write, tmp_path: Path) -> None:
    """Where 5 % of the cells may be empty, 15 of 303 pass and 16 are refused."""
    position = NAMES.index("thal")
    rows = [row.split(",") for row in ROWS]
    full = [row for row in rows if row[position]]
    for row in full[:13]:
        row[position] = ""
    write([HEADER, *(",".join(row) for row in rows)])
    assert 15 == load_dataset(config, tmp_path).features["thal"].isna().sum()
    exact = with_column(config, "thal", max_missing=15 / 303)
    assert 15 == load_dataset(exact, tmp_path).features["thal"].isna().sum()
    full[13][position] = ""
    write([HEADER, *(",".join(row) for row in rows)])
    assert "column 'thal': at most 5 % of the cells may be empty: 16 of 303 rows" in refusal(config, tmp_path)


def test_missing_target_is_refused_whatever_its_column_allows(
    config: FamilyConfig, write: Write, tmp_path: Path
) -> None:
    """A row without target never counts as negative."""
    write(with_cell(7, "num", ""))
    assert "column 'num': must not be empty" in refusal(with_column(config, "num", max_missing=0.5), tmp_path)


def test_duplicates_are_refused_unless_allowed(config: FamilyConfig, write: Write, tmp_path: Path) -> None:
    """A repeated row is named by its line, `1.0` repeats `1`, and `allow_duplicates` lets it pass."""
    write([*CLEVELAND, ROWS[2], ROWS[1].replace("67,1,", "67.0,1.0,")])
    assert "rows: repeats an earlier row: 2 of 305 rows, first: line 305, line 306" in refusal(config, tmp_path)
    assert 305 == len(load_dataset(with_data(config, allow_duplicates=True), tmp_path).features)


def test_duplicates_with_empty_cells_are_found(config: FamilyConfig, write: Write, tmp_path: Path) -> None:
    """Two rows that miss the same cell and agree on the rest are identical."""
    write([*CLEVELAND, next(row for row in ROWS if ",," in row)])
    assert "rows: repeats an earlier row: 1 of 304 rows, first: line 305" in refusal(config, tmp_path)


def test_all_violations_are_reported_together(config: FamilyConfig, write: Write, tmp_path: Path) -> None:
    """Several violations come at once: a summary line, then one line each."""
    lines = with_cell(5, "chol", "abc")
    lines[9] = lines[9].replace(lines[9].split(",")[0], "-3", 1)
    path = write([line.replace("restecg", "resteck") for line in lines] + [ROWS[0]])
    summary, *details = refusal(config, tmp_path).splitlines()
    assert f"{path} breaks the data contract in 5 ways:" == summary
    assert sorted(
        [
            "- column 'resteck': unknown; remove it or check its spelling",
            "- column 'restecg': missing; add it",
            "- column 'chol': must be a number: 1 of 304 rows, first: line 5 ('abc')",
            "- column 'age': must be at least 1: 1 of 304 rows, first: line 10 ('-3')",
            "- rows: repeats an earlier row: 1 of 304 rows, first: line 305",
        ]
    ) == sorted(line.partition(" (allow_duplicates")[0] for line in details)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", "the file is empty, expected a CSV file with a header and rows"),
        (b"\n \n", "the file is empty, expected a CSV file with a header and rows"),
        (f"{HEADER}\n".encode(), "has a header but no rows"),
        (f"\n{HEADER}\n{ROWS[0]}\n".encode(), "the first line is blank, expected the header"),
        (
            f"{HEADER}\n{ROWS[0]}\n".encode("utf-16"),
            f"line 1 is not UTF-8 text (byte 0xff); {ENCODING.replace('latin-1', 'utf-16')}",
        ),
        (
            f"{HEADER}\n{ROWS[0]}\nÄ".encode("latin-1"),
            f"line 3 is not UTF-8 text (byte 0xc4); {ENCODING}",
        ),
        (
            f"{HEADER}\n{ROWS[0]},9\n".encode(),
            "line 2 has 15 cells, the header 14 names (a separator at each line's end, or an index without a name?)",
        ),
        (f'{HEADER}\n"{ROWS[0]}\n'.encode(), "not readable as CSV: EOF inside string starting at row 1"),
        (f"{HEADER},cp\n{ROWS[0]},1\n".encode(), "the header names cp more than once; keep one column of each"),
    ],
)
def test_unreadable_files_are_one_clear_line(
    content: bytes, expected: str, config: FamilyConfig, write: Write, tmp_path: Path
) -> None:
    """A file that is no table is one line that names the file and what is wrong with it."""
    path = write(content)
    message = refusal(config, tmp_path)
    assert message.startswith(str(path))
    assert message.removeprefix(str(path)).lstrip(": ") == expected


def test_missing_file_and_folder(config: FamilyConfig, tmp_path: Path) -> None:
    """A path without a file, and a folder in the file's place, are told apart."""
    path = tmp_path / config.data.path
    assert f"{path}: no such file" in refusal(config, tmp_path)
    path.mkdir(parents=True)
    assert f"{path}: is a folder, expected a CSV file" == refusal(config, tmp_path)


def read_rows(config: FamilyConfig, path: Path) -> pd.DataFrame:
    """The rows of a file as `predict.py` hands them to a model."""
    return pd.concat([chunk.features for chunk in FileRows(config, path).chunks(None)])


def test_rows_for_prediction_need_no_target(config: FamilyConfig, write: Write) -> None:
    """Feature columns are enough to predict; a target column that is there is left out, whatever it holds."""
    without = read_rows(config, write([line.rpartition(",")[0] for line in CLEVELAND]))
    with_target = read_rows(config, write(with_cell(3, "num", "unknown")))
    pd.testing.assert_frame_equal(load_dataset(config, REPOSITORY).features, without)
    pd.testing.assert_frame_equal(without, with_target)


def test_rows_for_prediction_keep_the_column_rules(config: FamilyConfig, write: Write) -> None:
    """Wrong codes are refused at prediction as in training."""
    with pytest.raises(DataError, match="column 'cp': must be one of 1, 2, 3, 4"):
        read_rows(config, write(with_cell(2, "cp", "0")))


def test_one_patient_may_miss_what_training_may_miss(config: FamilyConfig, write: Write) -> None:
    """A single row without `thal` can be predicted, and so can the same row twice; one without `age` cannot."""
    row = ROWS[0].split(",")
    row[NAMES.index("thal")] = ""
    frame = read_rows(config, write([HEADER, ",".join(row), ",".join(row)]))
    assert (2, 13) == frame.shape
    assert frame["thal"].isna().all()
    with pytest.raises(DataError, match="column 'age': must not be empty"):
        read_rows(config, write([HEADER, "," + ROWS[0].split(",", 1)[1]]))


def test_split_is_stratified_and_repeatable(config: FamilyConfig) -> None:
    """20 % of the rows are held out, with the same share of positives, the same ones each time, none on both sides."""
    dataset = load_dataset(config, REPOSITORY)
    first, second = split_dataset(dataset, config), split_dataset(dataset, config)
    assert (242, 61) == (len(first.train_features), len(first.test_features))
    assert (111, 28) == (first.train_target.sum(), first.test_target.sum())
    assert set(range(303)) == set(first.train_features.index) | set(first.test_features.index)
    pd.testing.assert_frame_equal(first.test_features, second.test_features)
    np.testing.assert_array_equal(dataset.target[first.test_features.index], first.test_target)


def test_split_needs_both_classes_on_both_sides(config: FamilyConfig) -> None:
    """A single positive row cannot be on both sides: one clear line."""
    whole = load_dataset(config, REPOSITORY)
    target = np.zeros_like(whole.target)
    target[0] = 1
    expected = r"303 rows, 302 of class 'not num > 0', 1 of class 'num > 0', cannot be split with test_size 0\.2"
    with pytest.raises(DataError, match=expected):
        split_dataset(replace(whole, target=target, belonging=Belonging(target)), config)


def test_schema_hash_ignores_order_and_documentation(config: FamilyConfig, tmp_path: Path) -> None:
    """Neither the order of keys in the YAML nor hints and descriptions change the fingerprint."""
    document = yaml.safe_load((REPOSITORY / "config" / "heart-disease.yaml").read_text(encoding="utf-8"))
    columns = document["data"]["columns"]
    document["data"]["columns"] = {
        name: dict(reversed(columns[name].items())) | {"description": "other words"} for name in reversed(columns)
    }
    document["data"]["columns"]["cp"]["codes"].reverse()
    (tmp_path / "heart-disease.yaml").write_text(yaml.safe_dump(document, sort_keys=False), encoding="utf-8")
    assert feature_schema_hash(config) == feature_schema_hash(load_config(tmp_path, "heart-disease"))


@pytest.mark.parametrize(
    ("column", "changes"),
    [
        ("age", {"type": "number"}),
        ("age", {"minimum": 0.0}),
        ("age", {"maximum": None}),
        ("cp", {"codes": [0, 1, 2, 3]}),
        ("ca", {"max_missing": 0.1}),
    ],
)
def test_schema_hash_changes_with_what_is_fed(config: FamilyConfig, column: str, changes: dict[str, object]) -> None:
    """Another type, range, code list or missing share is another fingerprint."""
    assert feature_schema_hash(config) != feature_schema_hash(with_column(config, column, **changes))


def test_schema_hash_is_about_features_by_name(config: FamilyConfig) -> None:
    """The target is not fed, so its codes do not matter; a renamed feature does."""
    assert feature_schema_hash(config) == feature_schema_hash(with_column(config, "num", codes=[0, 1]))
    renamed: dict[str, Column] = {
        "years" if name == "age" else name: column for name, column in config.data.columns.items()
    }
    assert feature_schema_hash(config) != feature_schema_hash(with_data(config, columns=renamed))


def test_schema_hash_is_pinned(config: FamilyConfig) -> None:
    """The fingerprint recorded with earlier versions stays the same until the contract itself changes."""
    assert "c11dc8c0afafb4ed9f93c51c89ab92c2481d1f15a81f3e2311aab53259d98443" == feature_schema_hash(config)


def test_missing_marks_of_others_are_explained(config: FamilyConfig, write: Write, tmp_path: Path) -> None:
    """UCI's own `?` is said to be a missing value, not another coding; `na_values` reads it as one."""
    path = write(with_cell(2, "thal", "?"))
    message = refusal(config, tmp_path)
    assert (
        "'?' marks a missing value in many files: leave such cells empty, or list it under data: na_values" in message
    )
    assert "Kaggle" not in message
    named = with_data(config, na_values=["?"])
    assert 3 == load_dataset(named, tmp_path).features["thal"].isna().sum()
    cells = pd.DataFrame([with_cell(2, "thal", "?")[1].split(",")], columns=NAMES, index=[2])
    assert checked_features(named, cells, path)["thal"].isna().all()


def test_the_key_that_would_allow_it_is_named(config: FamilyConfig, write: Write, tmp_path: Path) -> None:
    """An empty cell and a row twice name what in the family's file lets them pass."""
    write(with_cell(2, "age", ""))
    assert f"must not be empty: 1 of 303 rows, first: line 2 {EMPTY}" in refusal(config, tmp_path)
    write([*CLEVELAND, CLEVELAND[1]])
    assert "allow_duplicates: true under data allows them" in refusal(config, tmp_path)


@pytest.mark.system
def test_fractions_may_have_a_comma(config: FamilyConfig, write: Write, tmp_path: Path) -> None:
    """With `decimal: ","` a comma separates the fraction, and a point is no number, which it would change by 1,000."""
    written = with_data(config, decimal=",", delimiter=";")
    write([line.replace(",", ";").replace(".", ",") for line in CLEVELAND])
    assert 2.3 == load_dataset(written, tmp_path).features["oldpeak"].iloc[0]
    write([line.replace(",", ";") for line in with_cell(2, "chol", "1.233")])
    assert "column 'chol': must be a number" in refusal(written, tmp_path)

"""Texts and truths among the columns: what a file and a request may say, and what the model is fed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from tests.promotion.houses import houses, table

from models.training.candidates import build_pipeline
from promotion.data.datasets import Dataset, checked_features, feature_schema_hash, load_dataset, split_dataset
from promotion.errors import DataError
from promotion.evaluation.row_order import order_problems
from promotion.evaluation.signature import data_problems, signature_types
from promotion.export.contract import contract_of
from promotion.export.documents import emptied, reference_document, schema_document
from promotion.export.generated import generated_rows
from promotion.export.onnx import answers, prove, translate
from promotion.serving.errors import Refusal
from promotion.serving.exported.folder import Schema
from promotion.serving.exported.rows import RowReader
from promotion.serving.protocols.typed import row_schema

ROW = {
    "area": 70.5,
    "floor": 1,
    "style": "loft",
    "district": "north",
    "garden": True,
    "lift": None,
    "built": "1972-02-29",
}


ENDS = ("01-01", "02-28", "02-29", "03-01", "06-30", "07-01", "12-30", "12-31")


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Dataset]:
    """A home, and the rows of its file."""
    home = tmp_path_factory.mktemp("home")
    return home, load_dataset(houses(home), home)


@pytest.mark.system
def test_texts_stay_texts_and_truths_become_numbers(loaded: tuple[Path, Dataset]) -> None:
    """As whoever asks the model writes them; an empty cell is missing in both."""
    home, dataset = loaded
    first = dataset.features.iloc[1]
    assert (table(300)["style"].iloc[1], table(300)["district"].iloc[1]) == (first["style"], first["district"])
    assert float(table(300)["garden"].iloc[1] == "yes") == first["garden"]
    assert dataset.features["style"].isna().sum() == table(300)["style"].isna().sum() > 0
    assert {"style": "string", "garden": "boolean", "lift": "double"}.items() <= signature_types(houses()).items()
    assert [] == data_problems(houses(), home)


@pytest.mark.system
def test_every_door_reads_the_same_cells(loaded: tuple[Path, Dataset]) -> None:
    """Rows to predict on, in whatever spelling, are those of training."""
    home, dataset = loaded
    cells = table(300).astype(object)
    cells["garden"] = cells["garden"].map({"yes": "TRUE", "no": "0"})
    found = checked_features(houses(), cells.drop(columns="price"), home / "rows.csv")
    pd.testing.assert_frame_equal(found, dataset.features)
    # As a Parquet file has days, in both of its ways.
    for days in (pd.to_datetime(cells["built"]), pd.to_datetime(cells["built"]).dt.date):
        read = checked_features(houses(), cells.assign(built=days).drop(columns="price"), home / "rows.parquet")
        pd.testing.assert_frame_equal(read, dataset.features)
        cells.assign(built=days, floor=cells["floor"].astype(int), area=cells["area"].astype(float)).to_parquet(
            home / "data" / "houses.parquet"
        )
        stored = load_dataset(houses(data={"path": "data/houses.parquet"}), home).features
        pd.testing.assert_frame_equal(stored, dataset.features)


@pytest.mark.parametrize(
    ("column", "cell", "rule"),
    [
        ("style", "tent", "must be one of flat, house, loft"),
        ("garden", "perhaps", "must be true or false"),
        ("district", None, "must not be empty"),
        ("built", "29.02.1972", "must be a date such as 2024-03-09"),
        ("built", "1973-02-29", "must be a date such as 2024-03-09"),
        ("built", "1972-02-29 00:00", "must be a date such as 2024-03-09"),
        ("built", "1972-02-29T00:00:00+02:00", "must be a date such as 2024-03-09"),
        ("built", "26359", "must be a date such as 2024-03-09"),
    ],
)
def test_a_cell_that_is_none_is_named(tmp_path: Path, column: str, cell: str | None, rule: str) -> None:
    """With its line; a text that is not listed only where the file does not take others."""
    rows = table(30).astype(object)
    rows.loc[3, column] = cell
    houses(tmp_path)
    rows.to_csv(tmp_path / "data" / "houses.csv", index=False)
    with pytest.raises(DataError, match=rf"column '{column}': {rule}.*line 5"):
        load_dataset(houses(), tmp_path)


@pytest.mark.parametrize("algorithm", ["ridge", "random_forest"])
@pytest.mark.system
def test_the_graph_takes_texts_and_truths(loaded: tuple[Path, Dataset], algorithm: str) -> None:
    """Also a text nobody has listed, which is of no category, and empty cells."""
    params = {"n_estimators": 10} if algorithm == "random_forest" else {}
    config = houses(candidates={algorithm: {"params": params}})
    part = split_dataset(loaded[1], config)
    model = build_pipeline(config, algorithm).fit(part.train_features, part.train_target)
    contract = contract_of(config)
    rows = pd.concat([part.test_features, emptied(contract, part.test_features)], ignore_index=True)
    graph = translate(model, contract)

    assert 2 * len(part.test_target) == prove(graph, model, contract, rows).rows
    assert model.score(part.test_features, part.test_target) > 0.9
    new, other = (answers(graph, pd.DataFrame([ROW | {"district": name}]).fillna(np.nan)) for name in ("mars", "venus"))
    assert new[0] == other[0] != answers(graph, pd.DataFrame([ROW]).fillna(np.nan))[0]
    # Rows as a program holds them, truths as truths.
    assert model.predict(pd.DataFrame([ROW])) == pytest.approx(answers(graph, pd.DataFrame([ROW]))[0][0])


@pytest.mark.system
def test_every_day_of_the_calendar_is_counted_alike(loaded: tuple[Path, Dataset]) -> None:
    """Year, month, weekday and distance, by the model and by its graph: at the ends of years, leap years, centuries."""
    config = houses()
    days = pd.Series([f"{year:04}-{end}" for year in (1, 1899, 1900, 1970, 2000, 2024, 9999) for end in ENDS])
    texts = days.where(pd.to_datetime(days, errors="coerce", format="ISO8601").notna(), "2000-02-29").astype(object)
    rows = pd.concat([loaded[1].features.iloc[1:2]] * len(texts), ignore_index=True).assign(built=texts)
    when = np.array(texts.tolist(), dtype="datetime64[D]")
    months = when.astype("datetime64[M]").astype(np.int64) % 12
    target = 1000 * months + 100 * ((when.astype(np.int64) + 3) % 7) + (when.astype("datetime64[Y]").astype(np.int64))
    model = build_pipeline(config, "ridge").set_params(estimator__alpha=1e-6).fit(rows, target)

    assert model.predict(rows) == pytest.approx(target, abs=1e-2)
    assert len(rows) == prove(translate(model, contract_of(config)), model, contract_of(config), rows).rows


def test_a_request_keeps_the_contract() -> None:
    """The server names what a text may be, and takes any other where the family does."""
    schema = Schema.model_validate(schema_document(contract_of(houses())))
    reader = RowReader(schema, 10)
    assert ["loft", "mars"] == reader.from_rows([ROW | {"district": "mars"}])[2:4, 0].tolist()
    with pytest.raises(Refusal, match="style is 'tent'; allowed: flat, house or loft, or null"):
        reader.from_rows([ROW | {"style": "tent"}])
    assert [[789.0]] == reader.from_table(list(ROW), [list(ROW.values())])[-1:].tolist()
    for value in ("29.02.1972", "1973-02-29", "19720229", 789):
        with pytest.raises(Refusal, match=f"built is {value!r}; allowed: a date such as 2024-03-09, or null"):
            reader.from_rows([ROW | {"built": value}])
    with pytest.raises(Refusal, match="garden is 'maybe'; allowed: true or false"):
        reader.from_rows([ROW | {"garden": "maybe"}])
    assert ["flat", "house", "loft", None] == row_schema(schema)["properties"]["style"]["enum"]


def test_live_rows_have_something_to_be_compared_with(loaded: tuple[Path, Dataset]) -> None:
    """Texts and truths are counted, and rows that are drawn from the counts keep the contract."""
    contract, features = contract_of(houses()), loaded[1].features
    found = reference_document(contract, features, loaded[1].target, {}, "0")["features"]
    assert found["style"]["texts"] == features["style"].value_counts().to_dict()
    assert {"0", "1"} == set(found["garden"]["codes"])
    drawn = generated_rows(contract, found, features, 50)
    RowReader(Schema.model_validate(schema_document(contract)), 50).from_rows(
        [{**row, "garden": bool(row["garden"])} for row in drawn.to_dict("records")]
    )


def test_what_a_text_may_be_is_part_of_the_schema() -> None:
    """Another label is another schema, their order is not; a hash of a family without texts is what it was."""
    family = houses()
    style = family.data.columns["style"]

    def hash_with(labels: list[str]) -> str:
        columns = {**family.data.columns, "style": style.model_copy(update={"labels": labels})}
        data = family.data.model_copy(update={"columns": columns})
        return feature_schema_hash(family.model_copy(update={"data": data}))

    assert hash_with(["loft", "house", "flat"]) == feature_schema_hash(family) != hash_with(["loft", "house"])


@pytest.mark.system
def test_rows_with_texts_are_looked_at_in_order(loaded: tuple[Path, Dataset]) -> None:
    """A forest that looks for rows of another kind takes texts, too."""
    dataset = loaded[1]
    target = (dataset.target > np.median(dataset.target)).astype(np.int64)
    classes = Dataset(dataset.features, target, "", dataset.path, dataset.belonging, dataset.others)
    assert [] == order_problems(classes, 1)

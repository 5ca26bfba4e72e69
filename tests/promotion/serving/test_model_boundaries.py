"""What a server takes for the model that was exported: answers on the tolerance, beyond it, and no numbers."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.facts import is_fact
from tests.promotion.factories import a_manifest, seal_unsigned
from tests.promotion.serving.graphs import echo

from promotion.serving.errors import ConfigurationError, ExportRefused
from promotion.serving.exported.folder import ExportFolder, Feature, read_export
from promotion.serving.exported.model import TOLERANCE, Model, _require_numbers, check_alike, open_model

BEYOND = math.nextafter(TOLERANCE, 1)
SCHEMA: dict[str, Any] = {
    "features": [{"name": "x", "type": "number"}],
    "target": "y",
    "labels": ["no", "yes"],
    "positive": 1,
}


def exported(folder: Path, *, classes: int = 2, schema: dict[str, Any] | None = None, **expected: Any) -> ExportFolder:
    """A model that answers [1 - x, x], with what it is expected to answer to x = 0 and x = 1."""
    folder.mkdir(exist_ok=True)
    answers = {"rows": [{"x": 0.0}, {"x": 1.0}], "labels": [0, 1], "probabilities": [[1.0, 0.0], [0.0, 1.0]]}
    (folder / "model.onnx").write_bytes(echo(classes))
    (folder / "schema.json").write_text(json.dumps(SCHEMA | (schema or {})))
    (folder / "expected.json").write_text(json.dumps(answers | expected))
    seal_unsigned(folder, a_manifest())
    return read_export(folder)


@pytest.mark.parametrize(
    ("answer", "passed"),
    [
        ([1.0, 0.0], True),
        ([1.0, TOLERANCE], True),
        ([1.0, -TOLERANCE], True),
        ([1.0, BEYOND], False),
        ([1.0, -BEYOND], False),
        ([1.0, 0.5], False),
        ([math.nan, 0.0], False),
        ([1.0, math.nan], False),
        ([math.nan, math.nan], False),
        ([1.0, math.inf], False),
        ([-math.inf, 0.0], False),
    ],
)
@pytest.mark.parametrize("place", [0, 1])
def test_an_answer_may_differ_by_the_tolerance(
    tmp_path: Path, answer: list[float], place: int, *, passed: bool
) -> None:
    """In every row and every class; what is no number was never the model's answer."""
    probabilities = [[1.0, 0.0], [1.0, 0.0]]
    probabilities[place] = answer
    export = exported(tmp_path, rows=[{"x": 0.0}, {"x": 0.0}], labels=[0, 0], probabilities=probabilities)

    if passed:
        assert "champion" == open_model(export, "champion").role
    else:
        with pytest.raises(ExportRefused, match=rf"answers differently here: .*\(row {place}, at most 1e-05\)"):
            open_model(export, "champion")


@pytest.mark.parametrize(("labels", "passed"), [([0, 1], True), ([0, 0], False), ([1, 1], False), ([1, 0], False)])
def test_every_class_must_agree(tmp_path: Path, labels: list[int], *, passed: bool) -> None:
    """One of them is enough to refuse, however alike the probabilities are."""
    export = exported(tmp_path, labels=labels)

    if passed:
        open_model(export, "champion")
    else:
        with pytest.raises(ExportRefused, match=r"probabilities by up to 0 \(row 0"):
            open_model(export, "champion")


@pytest.mark.parametrize(
    "expected",
    [
        {"labels": [0]},
        {"labels": []},
        {"labels": [0, 1, 1]},
        {"probabilities": [[1.0, 0.0]]},
        {"probabilities": [[1.0], [0.0]]},
        {"probabilities": [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]},
        {"schema": {"labels": ["no", "yes", "perhaps"], "positive": None}},
        {"classes": 3, "probabilities": [[1.0, 0.0, 0.0], [0.0, 1.0, 1.0]]},
    ],
)
def test_as_many_answers_as_rows_and_classes(tmp_path: Path, expected: dict[str, Any]) -> None:
    """Too few or too many prove nothing, and without rows there is nothing to prove."""
    with pytest.raises(ExportRefused, match=r"expected\.json: not as many rows or classes as the model answers"):
        open_model(exported(tmp_path, **expected), "champion")
    with pytest.raises(ExportRefused, match=r"expected\.json: no rows to prove the model on; export the model again"):
        open_model(exported(tmp_path, rows=[], labels=[], probabilities=[]), "champion")


def test_a_model_that_answers_no_number_does_not_start(tmp_path: Path) -> None:
    """Not even where the export says so."""
    export = exported(
        tmp_path,
        schema={"features": [{"name": "x", "type": "number", "nullable": True}]},
        rows=[{"x": None}],
        labels=[0],
        probabilities=[[math.nan, math.nan]],
    )

    with pytest.raises(ExportRefused, match=r"expected\.json: the model's probability is not a number; do not serve"):
        open_model(export, "champion")


@pytest.mark.parametrize("positive", [0, 1, None])
def test_the_score_is_the_positive_classs(tmp_path: Path, positive: int | None) -> None:
    """Of two; where there is none, that of the class it chose."""
    model = open_model(exported(tmp_path, schema={"positive": positive}), "champion")
    prediction = model.predict(_matrix([0.25, 0.75]))

    assert {0: [0.75, 0.25], 1: [0.25, 0.75], None: [0.75, 0.75]}[positive] == model.scores(prediction).tolist()


def test_a_request_without_a_number_for_an_answer_fails(tmp_path: Path) -> None:
    """It is not answered with NaN."""
    model = open_model(exported(tmp_path), "champion")

    for value in (math.nan, math.inf):
        with pytest.raises(ArithmeticError, match="the model's probability is not a number"):
            model.predict(_matrix([0.5, value]))


def _matrix(values: list[float]) -> Any:
    import numpy as np

    return np.array([values])


def twin(tmp_path: Path, **schema: Any) -> Model:
    """A second version with some of its contract changed."""
    return open_model(exported(tmp_path / "twin", schema=schema), "challenger")


@pytest.mark.parametrize(
    ("schema", "named"),
    [
        ({"features": [{"name": "x", "type": "number", "minimum": 0}]}, "features"),
        ({"features": [{"name": "x", "type": "number", "nullable": True}]}, "features"),
        ({"features": [{"name": "x", "type": "integer"}]}, "features"),
        ({"target": "z"}, "target"),
        ({"labels": ["yes", "no"]}, "labels"),
        ({"positive": 0}, "positive"),
        ({"positive": None}, "positive"),
        ({"features": [{"name": "x", "type": "number", "unit": "cm", "hint": "h", "description": "d"}]}, None),
        ({}, None),
    ],
)
def test_only_one_contract_is_compared(tmp_path: Path, schema: dict[str, Any], named: str | None) -> None:
    """What a column allows counts, the words about it do not."""
    champion = open_model(exported(tmp_path / "champion"), "champion")
    challenger = twin(tmp_path, **schema)

    if named is None:
        check_alike(champion, challenger)
    else:
        with pytest.raises(ConfigurationError, match=f"has other {named} than churn 3"):
            check_alike(champion, challenger)


def test_a_digest_is_compared_whole(tmp_path: Path) -> None:
    """The manifest's digest of a file with its last digit changed, or its beginning alone, is another file's."""
    exported(tmp_path)
    text = (tmp_path / "manifest.json").read_text()
    digest = json.loads(text)["files"]["model.onnx"]
    other = digest[:-1] + ("0" if digest[-1] != "0" else "1")

    for wrong in (other, digest[:12], "", digest + "0"):
        (tmp_path / "manifest.json").write_text(text.replace(digest, wrong))
        with pytest.raises(ExportRefused, match=rf"model\.onnx was changed after the export: sha256 {digest}"):
            read_export(tmp_path)
    (tmp_path / "manifest.json").write_text(text)
    assert read_export(tmp_path).manifest.files["model.onnx"] == digest
    assert Feature(name="x", type="number") == read_export(tmp_path).data_schema.features[0]


@pytest.mark.parametrize("kind", [Model])
def test_a_loaded_model_stays_as_it_was_proven(kind: type) -> None:
    """Nobody exchanges its engine."""
    assert is_fact(kind)


@pytest.mark.parametrize(
    ("wanted", "found", "passed"),
    [
        ([0.0, 0.0], [0.0, 0.0], True),
        ([5.0, 5.0], [5.0, 5.0], True),
        ([5.0, 5.0], [5.0, 5.00004], True),
        ([5.0, 5.0], [5.0, 5.00006], False),
        ([5.0, 5.0], [4.99994, 5.0], False),
        ([-5.0, -5.0], [-5.0, -5.00004], True),
        ([-5.0, -5.0], [-5.0, -5.00006], False),
        # A small number among others that are spread by a hundred: of their spread, not of its own size.
        ([-100.0, 0.0, 100.0], [-100.0, 0.0008, 100.0], True),
        ([-100.0, 0.0, 100.0], [-100.0, 0.0009, 100.0], False),
        ([5.0], [math.nan], False),
        ([math.nan], [5.0], False),
        ([math.nan], [math.nan], False),
        ([5.0], [math.inf], False),
        ([5.0], [5.0, 5.0], False),
        ([5.0, 5.0], [5.0], False),
    ],
)
def test_a_number_may_differ_by_a_share_of_it_or_of_their_spread(
    wanted: list[float], found: list[float], *, passed: bool
) -> None:
    """In either direction; what is no number is never alike, and as many there must be."""
    numbers = np.array(found).reshape(-1, 1)

    if passed:
        _require_numbers("expected.json", np.array(wanted), numbers)
    else:
        what = "answers differently here" if len(wanted) == len(found) else "not as many rows as the model answers"
        with pytest.raises(ExportRefused, match=what):
            _require_numbers("expected.json", np.array(wanted), numbers)

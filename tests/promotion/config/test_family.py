"""A family's configuration is read strictly: a mistake is one line naming file, key and what was expected."""

from __future__ import annotations

from pathlib import Path

import pytest

from promotion.config.family import load_config, load_configs
from promotion.config.settings import REPOSITORY
from promotion.errors import ConfigError, UnknownFamily

FOLDER = REPOSITORY / "config"
TEXT = (FOLDER / "heart-disease.yaml").read_text(encoding="utf-8")


def test_every_bundled_configuration_is_valid() -> None:
    """What the repository brings along can be read, and heart-disease is as documented."""
    heart = load_configs(FOLDER)["heart-disease"]

    assert "auto" == heart.promotion
    assert "num" == heart.target.column
    assert 13 == len(heart.features)
    assert ["sex", "cp", "fbs", "restecg", "exang", "slope", "ca", "thal"] == heart.categorical
    assert "heart-disease-random_forest" == heart.model_name("random_forest")


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("promotion: auto", "promotoin: auto", "promotoin: unknown key"),
        ("task: binary-classification", "", 1, "task: missing"),
        ("test_size: 0.2", "test_size: '0.2'", "split.test_size: "),
        ("test_size: 0.2", "test_size: 1.2", "split.test_size: "),
        ("minimum: 0.80", "", "gates.thresholds.roc_auc: "),
        ("selection_metric: roc_auc", "selection_metric: auc", "selection_metric: "),
        ("numeric: [age", "numeric: [ages", "column 'ages' is not described under data.columns"),
        ("sex: {type: code, codes: [0, 1]", "sex: {type: code", "data.columns.sex: "),
        ("family: heart-disease", "family: other", "family: expected 'heart-disease', the file's name, found 'other'"),
        ("family: heart-disease", "family: [", "not readable as YAML"),
    ],
)
def test_a_mistake_names_file_and_key(old: str, new: str, expected: str, tmp_path: Path) -> None:
    """Unknown keys, wrong types, missing values and broken YAML are refused in one line."""
    path = tmp_path / "heart-disease.yaml"
    path.write_text(TEXT.replace(old, new, 1), encoding="utf-8")

    with pytest.raises(ConfigError) as caught:
        load_config(tmp_path, "heart-disease")

    assert str(caught.value).startswith(f"{path}: ")
    assert expected in str(caught.value)
    assert "\n" not in str(caught.value)


def test_several_mistakes_are_reported_together(tmp_path: Path) -> None:
    """Nobody has to run five times to find five mistakes."""
    (tmp_path / "heart-disease.yaml").write_text(
        TEXT.replace("promotion: auto", "promotoin: auto").replace("folds: 5", "folds: 1"), encoding="utf-8"
    )

    with pytest.raises(ConfigError, match=r"cross_validation\.folds: .*; promotoin: unknown key"):
        load_config(tmp_path, "heart-disease")


def test_an_unknown_family_names_the_known_ones() -> None:
    """A misspelt family is answered with what there is."""
    with pytest.raises(UnknownFamily, match=r"unknown family 'hart': .*families: .*heart-disease"):
        load_config(FOLDER, "hart")


@pytest.mark.parametrize(
    ("model", "owned"),
    [
        ("heart-disease-random_forest", True),
        ("heart-disease-", False),
        ("heart-disease-random-forest", False),
        ("my-heart-disease-random_forest", False),
        ("iris", False),
    ],
)
def test_a_family_owns_the_models_its_pattern_describes(model: str, owned: bool) -> None:
    """`{algorithm}` stands for one word; anything else belongs to somebody else."""
    config = load_configs(FOLDER).owner(model)

    assert owned == (config is not None and config.family == "heart-disease")

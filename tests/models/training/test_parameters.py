"""The file of hyper-parameters a person edits between two trainings."""

from __future__ import annotations

from pathlib import Path

import pytest

from models.training.candidates import build_candidates
from models.training.parameters import with_params_file
from promotion.config.family import FamilyConfig, load_config
from promotion.config.settings import REPOSITORY
from promotion.errors import ConfigError


@pytest.fixture
def config() -> FamilyConfig:
    return load_config(REPOSITORY / "config", "iris-classifier")


def test_the_file_overlays_the_candidate(config: FamilyConfig, tmp_path: Path) -> None:
    """What the file names is replaced, null included; what it does not name stays; an empty file changes nothing."""
    (tmp_path / "params.yaml").write_text("max_depth: null\nmin_samples_leaf: 3\n", encoding="utf-8")
    overlaid = with_params_file(config, tmp_path)
    expected = {"n_estimators": 100, "max_depth": None, "min_samples_leaf": 3}
    assert expected == overlaid.candidates["random_forest"].params
    forest = build_candidates(overlaid)["random_forest"].named_steps["estimator"]
    assert (100, None, 3) == (forest.n_estimators, forest.max_depth, forest.min_samples_leaf)
    (tmp_path / "params.yaml").write_text("# nothing\n", encoding="utf-8")
    assert config == with_params_file(config, tmp_path)


def test_the_bundled_file_says_what_the_configuration_says(config: FamilyConfig) -> None:
    """The documented parameters stand in both."""
    assert config == with_params_file(config, REPOSITORY)


def test_a_family_without_the_key(tmp_path: Path) -> None:
    """Other families do not read the file, whatever it holds."""
    (tmp_path / "params.yaml").write_text("[", encoding="utf-8")
    heart = load_config(REPOSITORY / "config", "heart-disease")
    assert heart == with_params_file(heart, tmp_path)


def test_a_parameter_twice_names_both_lines(config: FamilyConfig, tmp_path: Path) -> None:
    """Which of the two counts is not left to the reader."""
    path = tmp_path / "params.yaml"
    path.write_text("max_depth: 1\nn_estimators: 5\nmax_depth: 2\n", encoding="utf-8")

    with pytest.raises(ConfigError, match=r"params.yaml:3: max_depth: this key stands here and in line 1; keep one"):
        with_params_file(config, tmp_path)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("max_dept: 2", "max_dept: unknown parameter of random_forest; expected one of n_estimators, criterion,"),
        ("n_estimators: many", "'n_estimators' parameter of RandomForestClassifier must be an int"),
        ("n_estimators: 10.5", "'n_estimators' parameter of RandomForestClassifier must be an int"),
        ("n_estimators: yes", "n_estimators: expected a number or a text, found true"),
        ("max_depth: -1", "'max_depth' parameter of RandomForestClassifier must be an int in the range"),
        ("max_depth: [5]", r"max_depth: expected one value, found a list of 1"),
        ("max_depth: 2026-01-01", "max_depth: expected one value"),
        ("random_forest: {max_depth: 5}", "random_forest: expected one value"),
        ("- max_depth", r"expected lines such as `n_estimators: 100`, found a list of 1"),
        ("max_depth: [", "not readable as YAML"),
    ],
)
def test_a_mistake_names_file_and_key(content: str, expected: str, config: FamilyConfig, tmp_path: Path) -> None:
    """Whatever is wrong in the file is one line that begins with its path."""
    path = tmp_path / "params.yaml"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(ConfigError, match=expected) as caught:
        with_params_file(config, tmp_path)
    assert str(caught.value).startswith(f"{path}:1: ")
    assert "\n" not in str(caught.value)
    assert 2 == caught.value.exit_code


def test_no_file(config: FamilyConfig, tmp_path: Path) -> None:
    """A missing file says which key asks for it; a folder in its place says so."""
    with pytest.raises(ConfigError, match=r"no such file.*iris-classifier.yaml:\d+: params_file"):
        with_params_file(config, tmp_path)
    (tmp_path / "params.yaml").mkdir()
    with pytest.raises(ConfigError, match=r"params.yaml: cannot be read: Is a directory"):
        with_params_file(config, tmp_path)

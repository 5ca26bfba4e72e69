"""A family's configuration is read strictly: a mistake is one line naming file, key and what was expected."""

from __future__ import annotations

import re
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
        ("promotion: auto", "promotoin: auto", "6: promotoin: unknown key; did you mean 'promotion'?"),
        (
            "licence:",
            "copyright: x\n  licence:",
            "14: data.copyright: unknown key; remove it, known here are allow_dup",
        ),
        ("task: binary-classification", "", "1: task: missing; add it"),
        ("family: heart-disease", "", "1: family: missing; add it"),
        (
            "test_size: 0.2",
            "test_size: '0.2'",
            "47: split.test_size: expected a number, found '0.2'; remove the quotes",
        ),
        (
            "test_size: 0.2",
            "test_size: 1.2",
            "47: split.test_size: expected a value less than 1, found 1.2; correct it, or",
        ),
        (
            "test_size: 0.2",
            "test_size: null",
            "47: split.test_size: expected a number, found nothing; give it a value, or rem",
        ),
        ("{test_size: 0.2, seed: 42}", "[0.2]", "47: split: expected a section of keys, found a list of 1; correct it"),
        ("folds: 5", "folds: 5.5", "48: cross_validation.folds: expected a whole number, found 5.5"),
        ("{minimum: 0.80}", "{}", "57: gates.thresholds.roc_auc: a threshold needs minimum, maximum or below; add one"),
        (
            "{minimum: 0.80}",
            "{minimum: .nan}",
            "57: gates.thresholds.roc_auc.minimum: expected a finite number, found .nan",
        ),
        ("selection_metric: roc_auc", "selection_metric: roc", "found 'roc'; did you mean 'roc_auc'?"),
        (
            "numeric: [age",
            "numeric: [ages",
            "45: numeric.0: column 'ages' is not described under data.columns; did you me",
        ),
        (
            "{type: code, codes: [0, 1], desc",
            "{type: code, desc",
            "17: data.columns.sex: a column of type code lists its codes",
        ),
        (
            "C: 1.0",
            "C: [1, 2]",
            "51: candidates.logistic_regression.params.C: expected true or false or a whole number or",
        ),
        (
            "family: heart-disease",
            "family: other",
            "3: family: expected 'heart-disease', the file's name, found 'other'",
        ),
        (
            "not_better: stay",
            "not_better: No",
            "7: not_better: expected 'stay' or 'staging', found No; YAML reads it as a yes",
        ),
        (
            "licence:",
            "licence: 5 #",
            '14: data.licence: expected a text, found 5; YAML reads it as a number: write it in quotes, "5"',
        ),
        (
            "unit: years",
            "unit: On",
            "16: data.columns.age.unit: expected a text, found On; YAML reads it as a yes/no value: write it",
        ),
        ("gates:", "gates:\n  data_quality: 'yes'", "expected true or false, found 'yes'; remove the quotes"),
        (
            "gates:",
            "monitoring: {window: 5 minutes}\ngates:",
            "55: monitoring.window: expected a time span such as 90s",
        ),
        (
            "gates:",
            "review: {last_process: today}\ngates:",
            "55: review.last_process: expected a date such as 2026-11-21",
        ),
        (
            "target: {",
            "classes: {0: healthy}\ntarget: {",
            "44: classes: names 0; expected one name for each of 0, 1",
        ),
        (
            "target: {",
            "classes: {0: ill, 1: ill}\ntarget: {",
            "44: classes: 'ill' names two classes; name each of its own",
        ),
        ("target: {", "classes: {0: healthy, 1: 5}\ntarget: {", "44: classes.1: expected a text, found 5; YAML reads"),
        ("target: {", "classes: {0: healthy, 1: ''}\ntarget: {", "44: classes.1: expected a text of 1 or more"),
        (
            "registered_model:",
            "registered_model: {a: b} #",
            "5: registered_model: expected the name of a registered model, or",
        ),
    ],
)
def test_a_mistake_names_file_line_and_key(old: str, new: str, expected: str, tmp_path: Path) -> None:
    """Each is one line: where, what was found, what was expected, what to do."""
    path = tmp_path / "heart-disease.yaml"
    assert old in TEXT
    path.write_text(TEXT.replace(old, new, 1), encoding="utf-8")

    with pytest.raises(ConfigError) as caught:
        load_config(tmp_path, "heart-disease")

    assert re.match(rf"{re.escape(str(path))}:\d+: ", str(caught.value))
    assert expected in str(caught.value)
    assert "\n" not in str(caught.value)
    assert "{'" not in str(caught.value)


def test_several_mistakes_are_a_line_each(tmp_path: Path) -> None:
    """Nobody has to run five times to find five mistakes."""
    path = tmp_path / "heart-disease.yaml"
    path.write_text(
        TEXT.replace("promotion: auto", "promotoin: auto").replace("folds: 5", "folds: 1"), encoding="utf-8"
    )

    with pytest.raises(ConfigError) as caught:
        load_config(tmp_path, "heart-disease")

    first, second = str(caught.value).splitlines()
    assert f"{path}:6: promotoin: unknown key; did you mean 'promotion'?" == first
    assert second.startswith(f"{path}:48: cross_validation.folds: expected a value greater than or equal to 2, found 1")


def test_a_secret_is_not_repeated(tmp_path: Path) -> None:
    """Whoever writes a channel's address where its variable's name belongs does not find it in a log."""
    text = TEXT + "monitoring: {channels: {slack: 'https://hooks.example/T0/secret'}}\n"
    (tmp_path / "heart-disease.yaml").write_text(text, encoding="utf-8")

    with pytest.raises(ConfigError, match="name the environment variable that holds the channel's URL") as caught:
        load_config(tmp_path, "heart-disease")

    assert "hooks" not in str(caught.value)


@pytest.mark.parametrize("suffix", [".yaml", ".yml"])
def test_either_suffix_is_found(suffix: str, tmp_path: Path) -> None:
    """A family's file ends in .yaml or in .yml."""
    (tmp_path / f"heart-disease{suffix}").write_text(TEXT, encoding="utf-8")

    assert "heart-disease" == load_config(tmp_path, "heart-disease").family
    assert ["heart-disease"] == list(load_configs(tmp_path))


def test_both_suffixes_at_once_are_refused(tmp_path: Path) -> None:
    """Nobody is left to guess which of two files counts."""
    for suffix in (".yaml", ".yml"):
        (tmp_path / f"heart-disease{suffix}").write_text(TEXT, encoding="utf-8")

    with pytest.raises(
        ConfigError, match=r"heart-disease\.yaml: heart-disease\.yml stands beside it; keep one of the two"
    ):
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


def test_measured_columns_need_no_list(tmp_path: Path) -> None:
    """A number is a measurement whether `numeric` names it or not; a code becomes one only where it does."""
    text = (REPOSITORY / "config" / "heart-disease.yaml").read_text(encoding="utf-8")
    listed = "numeric: [age, trestbps, chol, thalach, oldpeak]"
    assert listed in text
    for stated, expected in (
        ("", ["age", "trestbps", "chol", "thalach", "oldpeak"]),
        ("numeric: [ca, oldpeak]", ["ca", "oldpeak", "age", "trestbps", "chol", "thalach"]),
    ):
        (tmp_path / "heart-disease.yaml").write_text(text.replace(listed, stated), encoding="utf-8")
        config = load_config(tmp_path, "heart-disease")
        assert expected == config.numeric
        assert not set(expected) & set(config.categorical)

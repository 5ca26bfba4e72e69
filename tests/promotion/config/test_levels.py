"""A family's file says as much as its owner wants known; what it does not say is asked for in one line where needed."""

from __future__ import annotations

from pathlib import Path

import pytest

from promotion.config.family import FamilyConfig, load_config
from promotion.errors import ConfigError

RULES = "family: churn\nregistered_model: churn-model\n"


def read(folder: Path, text: str) -> FamilyConfig:
    (folder / "churn.yaml").write_text(text, encoding="utf-8")
    return load_config(folder, "churn")


def test_two_keys_are_a_family(tmp_path: Path) -> None:
    """Rules need neither rows nor candidates, and nothing of either is invented."""
    config = read(tmp_path, RULES + "gates: {thresholds: {auc: {minimum: 0.8}}}\napprovals: {roles: [risk]}\n")

    assert (False, False) == (config.trains_here, config.has_holdout)
    assert config.owns("churn-model")
    assert not config.is_forecast


@pytest.mark.parametrize("kind", ["binary", "multiclass"])
def test_a_task_may_be_said_for_short(kind: str, tmp_path: Path) -> None:
    """It is the same rule either way: approvals stand, whichever is written."""
    text = RULES + "task: KIND\nholdout: {path: holdout.csv, target: left}\n"
    short, full = (read(tmp_path, text.replace("KIND", said)) for said in (kind, f"{kind}-classification"))

    assert f"{kind}-classification" == short.task
    assert full.model_dump() == short.model_dump()


@pytest.mark.parametrize("section", ["data", "task", "target", "candidates"])
def test_what_the_file_does_not_have_is_named(section: str, tmp_path: Path) -> None:
    """Whoever needs a section that is not there says file and section, and does not advise to train."""
    config = read(tmp_path, RULES)

    with pytest.raises(ConfigError, match=rf"^config/churn\.yaml:1: {section}: this needs a section that") as caught:
        getattr(config, section)

    assert "train" not in str(caught.value)


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        (
            "task: binary-classification",
            "3: task: needs the section data or holdout, which the file does not have; add that, or",
        ),
        ("split: {seed: 1}", "3: split: needs the section data"),
        ("numeric: []", "3: numeric: needs the section data"),
        ("selection_metric: f1", "3: selection_metric: needs the section data"),
        ("candidates: {forest: {}}", "3: candidates: needs the section data"),
        ("metadata: a.json", "3: metadata: needs the section candidates"),
        ("data: {path: a.csv, columns: {}}", "1: task: missing; add it: it says what is learned"),
        (
            "gates:\n  latency_p95_ms: 5",
            "4: gates.latency_p95_ms: runs the model on rows, and the file has no section data",
        ),
        ("gates: {better_than_production: {}}", "3: gates.better_than_production: runs the model on rows"),
        ("gates: {rollback_plan: true}", "3: gates.rollback_plan: runs the model on rows"),
    ],
)
def test_a_key_without_what_it_speaks_of_is_refused(more: str, expected: str, tmp_path: Path) -> None:
    """No rule stands in a file without effect."""
    with pytest.raises(ConfigError) as caught:
        read(tmp_path, f"{RULES}{more}\n")

    assert expected in str(caught.value).splitlines()[0]


def test_rows_without_candidates_are_a_holdout(tmp_path: Path) -> None:
    """Models that were trained elsewhere can be scored here; the metric has a default for each task."""
    data = "data: {path: a.csv, columns: {x: {type: number}, y: {type: code, codes: [0, 1]}}}\n"
    config = read(tmp_path, f"{RULES}task: binary-classification\n{data}target: {{column: y, positive_above: 0}}\n")

    assert (False, True) == (config.trains_here, config.has_holdout)
    assert "roc_auc" == config.selection_metric
    assert ["x"] == config.features


@pytest.mark.parametrize(
    ("stated", "owned", "foreign"),
    [
        ("churn", ["churn"], ["churn-2", "Churn", "churn\n"]),
        ("[churn, 'old.churn']", ["churn", "old.churn"], ["old-churn"]),
        ("'churn-*'", ["churn-", "churn-a-b"], ["churn", "my-churn-a"]),
        ("'churn-{algorithm}'", ["churn-forest"], ["churn-", "churn-my-forest"]),
        ("['churn-*', exact]", ["churn-x", "exact"], ["exact-x"]),
    ],
)
def test_a_family_owns_the_models_it_names(stated: str, owned: list[str], foreign: list[str], tmp_path: Path) -> None:
    """One name, a list, or patterns."""
    config = read(tmp_path, f"family: churn\nregistered_model: {stated}\n")

    assert all(config.owns(model) for model in owned)
    assert not any(config.owns(model) for model in foreign)


def test_a_copy_takes_the_names_of_the_file(tmp_path: Path) -> None:
    """A section goes by its name in the file, and a name that the file does not know is a mistake."""
    config = read(tmp_path, RULES)

    assert ["other"] == config.model_copy(update={"registered_model": ["other"]}).stated_models
    with pytest.raises(KeyError):
        config.model_copy(update={"registred_model": ["other"]})


@pytest.mark.parametrize(
    ("aliases", "expected"),
    [
        (
            "{production: latest}",
            "3: aliases.production: expected an alias as MLflow takes it: letters, digits, _ and -",
        ),
        ("{staging: [V12]}", "3: aliases.staging.0: expected an alias as MLflow takes it"),
        ("{staging: 'the best'}", "3: aliases.staging: expected an alias as MLflow takes it"),
        ("{staging: 5}", "3: aliases.staging: expected the name of an alias, or a list of names, found 5"),
        ("{staging: Production, production: production}", "3: aliases: alias 'production' stands here twice"),
        ("{champion: production}", "3: aliases.champion: unknown key; remove it, known here are previous, production"),
    ],
)
def test_what_is_no_alias_is_refused(aliases: str, expected: str, tmp_path: Path) -> None:
    """MLflow reserves some names, takes letters and digits, and lets an alias point at one version."""
    with pytest.raises(ConfigError) as caught:
        read(tmp_path, RULES + f"aliases: {aliases}\n")

    (line,) = str(caught.value).splitlines()
    assert line.startswith(f"{tmp_path / 'churn.yaml'}:{expected}")

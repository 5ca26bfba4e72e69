"""What a consumer gets when it asks for a family or a registered model by stage or version."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from models.datasets import load_dataset, split
from models.model_registry import (
    AmbiguousStage,
    EmptyStage,
    UnloadableModel,
    get_model_info,
    get_model_version,
    list_registered_models,
    load_model,
)
from promotion.config import load_config
from promotion.database import Database
from promotion.errors import PromotionError, UnknownModel, UnknownVersion, UsageError
from promotion.journal import Journal
from promotion.records import Authority, Change, Registration
from promotion.registry import open_registry
from promotion.settings import Settings
from promotion.stages import Stage

Register = Callable[..., int]
LOGISTIC = "heart-disease-logistic_regression"
FOREST = "heart-disease-random_forest"


def test_a_family_loads_its_champion_whatever_the_algorithm(register: Register, settings: Settings) -> None:
    """`load_model("heart-disease")` finds Production across the family's registered models; raw rows go in."""
    register(LOGISTIC)
    register(FOREST)
    register(LOGISTIC, Stage.PRODUCTION)
    config = load_config(settings.config_folder, "heart-disease")
    parts = split(load_dataset(config, settings.home), config)

    predictions = load_model("heart-disease").predict(parts.test_features)

    assert "2" == get_model_version("heart-disease")
    assert 0.88 < (predictions == parts.test_target).mean()


@pytest.mark.parametrize("stage", ["Production", "production", "PRODUCTION", "2", 2])
def test_a_stage_is_read_in_any_case_and_a_number_as_text_or_integer(stage: str | int, register: Register) -> None:
    """All spellings mean the same version."""
    register(LOGISTIC, Stage.STAGING)
    register(LOGISTIC, Stage.PRODUCTION)

    assert "2" == get_model_version(LOGISTIC, stage)


def test_of_several_versions_in_staging_the_newest_answers(register: Register) -> None:
    """As MLflow itself does, for every stage but Production."""
    register(LOGISTIC, Stage.STAGING)
    register(LOGISTIC, Stage.STAGING)

    assert "2" == get_model_version(LOGISTIC, "Staging")


def test_an_empty_stage_names_the_stages_that_have_a_version(register: Register) -> None:
    """Nobody has to guess what to ask for instead."""
    register(LOGISTIC, Stage.STAGING)
    register(FOREST)

    with pytest.raises(EmptyStage) as caught:
        load_model("heart-disease")

    assert f"no version of 'heart-disease' is in Production; None: {FOREST} v1; Staging: {LOGISTIC} v1" == str(
        caught.value
    )


@pytest.mark.parametrize("models", [(LOGISTIC, LOGISTIC), (LOGISTIC, FOREST)])
def test_two_versions_in_production_are_refused(models: tuple[str, str], register: Register) -> None:
    """MLflow would hide the lower number; we name both, in one registered model or across the family."""
    for model in models:
        register(model, Stage.PRODUCTION)

    with pytest.raises(AmbiguousStage, match=f"{LOGISTIC} v1") as caught:
        get_model_version("heart-disease")

    assert "Production of 'heart-disease' is ambiguous" in str(caught.value)


def test_a_number_that_several_models_of_a_family_have_is_refused(register: Register) -> None:
    """A family's version numbers belong to its registered models."""
    register(LOGISTIC)
    register(FOREST)
    register(FOREST)

    with pytest.raises(AmbiguousStage, match="name a registered model and its version"):
        get_model_version("heart-disease", 1)
    assert "2" == get_model_version("heart-disease", 2)


@pytest.mark.parametrize(
    ("name", "stage", "error"),
    [
        ("unknown", "Production", UnknownModel),
        (LOGISTIC, 7, UnknownVersion),
        ("heart-disease", 7, UnknownVersion),
        (LOGISTIC, "Live", UsageError),
        (LOGISTIC, "v1", UsageError),
    ],
)
def test_a_name_that_does_not_exist_is_a_usage_error(
    name: str, stage: str | int, error: type[PromotionError], register: Register
) -> None:
    """Unknown models, versions and stages end with exit code 2 and name what was asked."""
    register(LOGISTIC)

    with pytest.raises(error, match=str(stage) if error is not UnknownModel else name) as caught:
        get_model_version(name, stage)

    assert 2 == caught.value.exit_code


def test_a_family_without_registered_models_says_to_train(settings: Settings) -> None:
    """The first thing a newcomer may try has an answer that helps."""
    with pytest.raises(UnknownModel, match="train it first"):
        load_model("heart-disease")


def test_information_about_one_version_and_about_all(register: Register) -> None:
    """The keys are the documented ones: `current_stage` and `run_id` of one version, `versions` of all."""
    register(LOGISTIC)
    register(LOGISTIC, Stage.PRODUCTION)

    info = get_model_info(LOGISTIC, version="2")
    everything = get_model_info(LOGISTIC)

    assert ("2", "Production", None) == (info["version"], info["current_stage"], info["run_id"])
    assert "0.9665" == info["tags"]["roc_auc"]
    assert [("2", "Production"), ("1", "None")] == [(item["version"], item["stage"]) for item in everything["versions"]]


def test_registered_models_are_listed_by_name(register: Register) -> None:
    """Every registered model, configured or not."""
    register(FOREST)
    register("churn")

    assert ["churn", FOREST] == list_registered_models()


def test_a_familys_model_is_never_loaded_by_what_its_files_say(
    register: Register, fitted_model: Path, tmp_path: Path
) -> None:
    """A pickle registered under a family's name is refused before anything in it runs."""
    import mlflow.sklearn

    folder = tmp_path / "pickled"
    model = load_model(LOGISTIC, register(LOGISTIC))
    mlflow.sklearn.save_model(model, str(folder), serialization_format="cloudpickle", pip_requirements=[])

    with pytest.raises(PromotionError, match="pickle"):
        load_model(LOGISTIC, register(LOGISTIC, source=folder))


def test_a_pickle_of_others_is_refused_unless_allowed(
    register: Register, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Models without configuration load through MLflow; a pickle needs the environment's explicit word."""
    import mlflow.sklearn

    folder = tmp_path / "pickled"
    model = load_model(LOGISTIC, register(LOGISTIC))
    mlflow.sklearn.save_model(model, str(folder), serialization_format="cloudpickle", pip_requirements=[])
    register("churn", source=folder)

    monkeypatch.setenv("MLFLOW_ALLOW_PICKLE_DESERIALIZATION", "false")
    with pytest.raises(UnloadableModel, match=r"churn v1 cannot be loaded"):
        load_model("churn", 1)
    monkeypatch.setenv("MLFLOW_ALLOW_PICKLE_DESERIALIZATION", "true")
    assert hasattr(load_model("churn", 1), "predict")


def test_a_family_with_approvals_serves_what_the_journal_holds(settings: Settings, register: Register) -> None:
    """A version that somebody moved in MLflow's user interface past the approvals is not the one that is loaded."""
    path = settings.config_folder / "heart-disease.yaml"
    path.write_text(path.read_text() + "\napprovals: {roles: [business]}\n")
    for _ in range(2):
        register(LOGISTIC)
    registry = open_registry(settings)
    journal = Journal(Database(settings.database_url))
    first = registry.version(LOGISTIC, 1)
    journal.move(
        "heart-disease",
        [Change(first, Stage.PRODUCTION)],
        Authority("promote", "anna", "approved"),
        expected_production=None,
    )
    for number, stage in ((1, Stage.ARCHIVED), (2, Stage.PRODUCTION)):
        registry.set_stage(LOGISTIC, number, stage)

    assert "1" == get_model_version("heart-disease")

    (entry,) = journal.entries("heart-disease")
    journal.move(
        "heart-disease",
        [Change(entry, Stage.ARCHIVED)],
        Authority("archive", "anna", "bad"),
        expected_production=entry.id,
    )
    with pytest.raises(EmptyStage, match=r"the journal .* decides, not MLflow"):
        get_model_version("heart-disease")


def test_a_semantic_version_is_as_good_as_a_number(settings: Settings, register: Register) -> None:
    """The journal says which number it is; an unknown one is a usage error that names the journal."""
    register(LOGISTIC)
    registration = Registration("d" * 64, None, "tess", "f" * 64, {}, {})
    version = open_registry(settings).version(LOGISTIC, 1)
    Journal(Database(settings.database_url)).register(
        "heart-disease", [(version, registration)], actor="tess", semver="2.3.0"
    )

    assert "1" == get_model_version(LOGISTIC, stage="2.3.0")
    with pytest.raises(UnknownVersion, match=r"has a version 2\.4\.0"):
        get_model_version(LOGISTIC, stage="2.4.0")

"""A broken file stops the commands about its own family, and no others; what it may own, nobody gets by breaking it."""

from __future__ import annotations

from pathlib import Path

import pytest

from promotion.config.family import FamilyConfigs, load_configs
from promotion.errors import ConfigError

GOOD = "family: {name}\nregistered_model: '{models}'\n"
STRICT = "family: strict\n{models}\napprovals: {{roles: [risk]}}\n{mistake}\n"


def families(folder: Path, models: str = "registered_model: risk-model", mistake: str = "oops: 1") -> FamilyConfigs:
    """A sound family `good`, and one whose file is broken."""
    (folder / "good.yaml").write_text(GOOD.format(name="good", models="good-{algorithm}"), encoding="utf-8")
    (folder / "strict.yaml").write_text(STRICT.format(models=models, mistake=mistake), encoding="utf-8")
    return load_configs(folder)


def test_the_others_are_as_if_it_were_not_there(tmp_path: Path) -> None:
    """Sound families are iterated over and found; the broken one raises what is wrong, by any way of asking."""
    configs = families(tmp_path)

    assert ["good"] == list(configs)
    assert "good" in configs
    owner = configs.owner("good-forest")
    assert owner is not None
    assert "good" == owner.family
    assert configs.get("nobody") is None
    for ask in (configs.get, configs.__getitem__, configs.__contains__):
        with pytest.raises(ConfigError, match=r"strict\.yaml:4: oops: unknown key"):
            ask("strict")


@pytest.mark.parametrize(
    "models",
    [
        "registered_model: risk-model",
        "registered_model: [other, 'risk-*']  # both",
        'registered_model:\n  - "risk-{algorithm}"\n  - other',
        '"registered_model": risk-model',
        "registered_model: other\nregistered_model: risk-model",
        "<<<<<<< HEAD\nregistered_model: other\n=======\nregistered_model: risk-model\n>>>>>>> x",
    ],
)
@pytest.mark.parametrize("mistake", ["oops: 1", "x: [", "x:\n\ty: 1"], ids=["schema", "no YAML", "tab"])
def test_its_models_stay_its_own(models: str, mistake: str, tmp_path: Path) -> None:
    """What the file names, however broken it is, is not treated as a model without rules; others are."""
    configs = families(tmp_path, models, mistake)

    model = "risk-model" if "algorithm" not in models else "risk-forest"
    with pytest.raises(ConfigError, match=f"'{model}' belongs to family 'strict', whose file is broken: ") as caught:
        configs.owner(model)

    assert "\n" not in str(caught.value)
    assert configs.owner("somebody-elses") is None


@pytest.mark.parametrize("models", ["registred_model: risk-model", "registered_model: {a: 1}", "registered_model:", ""])
def test_where_it_does_not_say_what_it_owns_every_free_model_may_be_meant(models: str, tmp_path: Path) -> None:
    """A model that no sound family names is refused; the sound families' own are not."""
    configs = families(tmp_path, models)

    with pytest.raises(ConfigError, match="'risk-model' may belong to family 'strict', whose file is broken"):
        configs.owner("risk-model")
    assert not configs.is_certain("risk-model")
    assert configs.owns("good", "good-forest")


def test_the_most_exact_name_counts(tmp_path: Path) -> None:
    """A name before a pattern, a longer pattern before a shorter one; a broken file keeps what is its own."""
    for name, models in (("all", "*"), ("risks", "risk-*"), ("one", "risk-one")):
        (tmp_path / f"{name}.yaml").write_text(GOOD.format(name=name, models=models), encoding="utf-8")
    configs = load_configs(tmp_path)
    owners = {model: getattr(configs.owner(model), "family", None) for model in ("x", "risk-two", "risk-one")}
    assert {"x": "all", "risk-two": "risks", "risk-one": "one"} == owners

    with (tmp_path / "one.yaml").open("a", encoding="utf-8") as file:
        file.write("oops: 1\n")
    broken = load_configs(tmp_path)
    with pytest.raises(ConfigError, match="'risk-one' belongs to family 'one'"):
        broken.owner("risk-one")
    assert broken.owns("risks", "risk-two")


def test_two_families_that_name_the_same_model_are_said(tmp_path: Path) -> None:
    """Which rules count is not left to the order of the files."""
    for name in ("one", "two"):
        (tmp_path / f"{name}.yaml").write_text(GOOD.format(name=name, models="shared"), encoding="utf-8")
    configs = load_configs(tmp_path)

    with pytest.raises(
        ConfigError, match=r"config/one\.yaml and config/two\.yaml: registered_model: each owns 'shared'"
    ):
        configs.owner("shared")


def test_several_mistakes_are_summed_up_in_a_line(tmp_path: Path) -> None:
    """A command about all families says one line for each broken file."""
    configs = families(tmp_path, mistake="oops: 1\nretention: {days: 0}")

    assert configs.broken["strict"].summary.endswith("(and 1 more in this file)")
    assert "\n" not in configs.broken["strict"].summary

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from markdown_it import MarkdownIt

from models.data.sources import make_missing
from models.training.model_card import CardFacts, model_card
from promotion.config.commit import Commit
from promotion.config.family import FamilyConfig, load_config
from promotion.config.settings import REPOSITORY
from promotion.config.training import Candidate
from promotion.data.files import file_sha256
from promotion.gates.evidence import Interval

ODD = "a | b `c` ``d`` *e* _f_ <b>g</b> [h](http://i) &amp; \\ # $j$\n\n# K\n| l |\x00 ~~m~~"
SHOWN = "a | b `c` ``d`` *e* _f_ <b>g</b> [h](http://i) &amp; \\ # $j$ # K | l | ~~m~~"


@pytest.fixture(scope="module")
def config() -> FamilyConfig:
    return load_config(REPOSITORY / "config", "heart-disease")


def facts(**changed: Any) -> CardFacts:
    known: dict[str, Any] = {
        "algorithm": "random_forest",
        "params": {"n_estimators": 100, "criterion": "gini", "max_depth": 10},
        "cross_validation": {"roc_auc": np.array([0.90, 0.92]), "f1": np.array([0.8, 0.8])},
        "test": {"roc_auc": Interval(0.95, 0.891, 0.99), "f1": Interval(0.84, 0.7, 0.9)},
        "data_sha256": "ab" * 32,
        "train_rows": 242,
        "test_rows": 61,
        "trainer": "anna",
        "timestamp": "2026-11-21T10:00:00.000000+00:00",
        "commit": Commit("c0ffee", dirty=False),
    }
    return CardFacts(**(known | changed))


def tables(card: str) -> list[list[str]]:
    """Every table row as a Markdown reader shows it."""
    rows: list[list[str]] = []
    inside = False
    for token in MarkdownIt("commonmark").enable("table").parse(card):
        inside = (inside or token.type == "tr_open") and token.type != "tr_close"
        if token.type == "tr_open":
            rows.append([])
        elif token.type == "inline" and inside:
            rows[-1].append("".join(child.content for child in token.children or []))
    return rows


def items(card: str) -> list[str]:
    """Every list item as a Markdown reader shows it."""
    found, inside = [], False
    for token in MarkdownIt("commonmark").enable("table").parse(card):
        inside = (inside or token.type == "list_item_open") and token.type != "list_item_close"
        if inside and token.type == "inline":
            found.append("".join(child.content for child in token.children or []))
    return found


def test_says_what_a_reviewer_asks(config: FamilyConfig) -> None:
    """Purpose, algorithm, choice, test figures with intervals, data, inputs, limits and origin are all there."""
    card = model_card(config, facts())
    rows = tables(card)

    assert card.startswith("# Model card: heart-disease-random\\_forest\n")
    assert ["n_estimators", "100", "configured"] in rows
    assert ["criterion", "gini", "default"] in rows
    assert ["roc_auc", "0.9100 ± 0.0141"] in rows
    assert ["roc_auc", "0.9500", "0.8910 – 0.9900"] in rows
    assert ["trestbps", "integer", "50 – 260", "mm Hg", "no", "resting blood pressure"] in rows
    assert ["thal", "code", "3, 6, 7", "", "up to 5 %"] == next(row for row in rows if row[0] == "thal")[:5]
    assert {
        "Predicts: num, vessels narrowed: 0 healthy, 1-4 disease",
        "File: data/heart-disease.csv",
        f"SHA 256: {'ab' * 32}",
        f"Licence: {config.data.licence}",
        "Rows: 242 to learn from, 61 to test on (stratified, 20 %, seed 42)",
        "Trained by: anna",
        "Trained at: 2026-11-21T10:00:00.000000+00:00",
        "Commit: c0ffee",
    } <= set(items(card))
    assert "## Limits" in card


def test_every_feature_and_not_the_target_is_an_input(config: FamilyConfig) -> None:
    """The table of inputs holds the family's features in the file's order."""
    inputs = [row[0] for row in tables(model_card(config, facts())) if len(row) == 6]
    assert ["column", *config.features] == inputs


def test_same_facts_same_bytes(config: FamilyConfig) -> None:
    """The order in which hyper-parameters arrive does not show: the card is part of the version's digest."""
    turned = dict(reversed(list(facts().params.items())))
    assert model_card(config, facts()) == model_card(config, facts(params=turned))


def test_odd_text_stays_text(config: FamilyConfig) -> None:
    """Whatever a configuration or a name holds is shown literally: no table, heading, link or HTML breaks out."""
    columns = dict(config.data.columns)
    columns["age"] = columns["age"].model_copy(update={"description": ODD, "unit": ODD})
    columns["num"] = columns["num"].model_copy(update={"description": ODD})
    data = config.data.model_copy(update={"columns": columns, "licence": ODD, "path": ODD})
    odd = config.model_copy(update={"data": data})
    card = model_card(odd, facts(params={ODD: ODD}, trainer=ODD, commit=Commit(ODD, dirty=True)))
    rows, parsed = tables(card), MarkdownIt("commonmark").enable("table").parse(card)

    assert [SHOWN, SHOWN, "default"] in rows
    assert ["age", "integer", "1 – 120", SHOWN, "no", SHOWN] in rows
    assert {f"Licence: {SHOWN}", f"Trained by: {SHOWN}", f"File: {SHOWN}"} <= set(items(card))
    assert f"Commit: {SHOWN}, with uncommitted changes" in items(card)
    assert 1 + 8 == sum(token.type == "heading_open" for token in parsed)
    kinds = {child.type for token in parsed for child in token.children or []}
    assert {"text", "text_special", "code_inline"} >= kinds


def test_what_is_unknown_is_said(config: FamilyConfig) -> None:
    """No commit, no name, no licence: the card says so instead of leaving a gap."""
    data = config.data.model_copy(update={"licence": "", "url": None})
    card = model_card(config.model_copy(update={"data": data}), facts(commit=None, trainer=""))
    expected = ("Commit", "Trained by", "Licence", "Source")
    assert set() == {f"{name}: not recorded" for name in expected} - set(items(card))


def test_only_candidate_was_not_chosen(config: FamilyConfig) -> None:
    """With one candidate the card claims no choice."""
    single = config.model_copy(update={"candidates": {"random_forest": Candidate(params={})}})
    assert "It was the only candidate; 5-fold cross-validation, 2 rounds," in model_card(single, facts())
    assert "are ranked by" not in model_card(single, facts())
    assert "are ranked by the mean `roc_auc` of 5-fold" in model_card(config, facts())


def test_invented_rows_are_the_first_limit(tmp_path: Path) -> None:
    """Who trains on the generator's rows cannot hand out a card that looks like medicine."""
    invented = load_config(REPOSITORY / "config", "alzheimer_classifier")
    make_missing(invented, tmp_path)
    trained_on = file_sha256(tmp_path / invented.data.path)
    said = "no figure here says anything about real cases"

    assert said in model_card(invented, facts(data_sha256=trained_on)).partition("## Limits")[2].splitlines()[2]
    assert said not in model_card(invented, facts())

"""A home with one family under full governance, for the tests of its commands."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import yaml
from tests.promotion.shared_home import ARTIFACTS, SharedHome

from promotion.artifacts.files import artifact_digest
from promotion.artifacts.signature import sign_artifact
from promotion.bootstrap import open_promotions
from promotion.config.family import FamilyConfig
from promotion.config.settings import REPOSITORY
from promotion.evaluation.signature import signature_types
from promotion.journal.records import Registration
from promotion.registry.stages import Stage
from promotion.service import Mover
from promotion.signing.keys import Keys

GOVERNED = "alzheimer_classifier"


def governed_home(folder: Path, empty_store: Path, fitted_model: Path) -> SharedHome:
    """A family under all rules that need no waiting: 1.0.0 and 1.1.0 served, 1.2.0 entered Staging on 1 December.

    The model is a small one, under the documented name; tina trained all three.
    """
    made = SharedHome(folder, empty_store)
    store = made.store
    shutil.copytree(REPOSITORY / "data", store.home / "data", dirs_exist_ok=True)
    config = yaml.safe_load((REPOSITORY / "config" / "heart-disease.yaml").read_text())
    config |= {"family": GOVERNED, "registered_model": GOVERNED, "promotion": "manual"}
    path = store.home / "config" / f"{GOVERNED}.yaml"
    path.write_text(yaml.safe_dump(config))
    rules = {"staging": {"minimum": 7.0}, "incidents": True, "better_than_production": {"policy": "not_worse"}}
    roles = ["data-science", "devops", "business", "security"]
    strict = config | {"gates": config["gates"] | rules, "approvals": {"roles": roles}}
    strict["contacts"] = {"stakeholders": ["ds-team@duetmind.ai"]}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PROMOTION_CLOCK", "2026-11-01T09:00:00")
        service = open_promotions(store.settings)
        for number, version in enumerate(("1.0.0", "1.1.0", "1.2.0"), start=1):
            artifact = store.home / ARTIFACTS / version
            shutil.copytree(fitted_model, artifact)
            _write_signature(artifact, signature_types(FamilyConfig.model_validate(config)))
            if number == 1:
                store.client.create_registered_model(GOVERNED)
            store.client.create_model_version(GOVERNED, source=str(artifact))
            known = service.candidate(GOVERNED, number)
            patch.setenv("PROMOTION_KEYS", str(store.home / "keys"))
            signature = sign_artifact(artifact, Keys.from_environment())
            facts = Registration(artifact_digest(artifact), signature, "tina", "f" * 64, {}, {})
            service.journal.register(GOVERNED, [(known, facts)], actor="tina", semver=version)
        mover = Mover("anna", "before the rules")
        changes = [(1, Stage.PRODUCTION), (2, Stage.PRODUCTION), (3, Stage.STAGING)]
        for number, stage in changes:
            patch.setenv("PROMOTION_CLOCK", f"2026-12-01T09:0{number}:00")
            service.commit(service.check(service.candidate(GOVERNED, number), stage), mover)
    path.write_text(yaml.safe_dump(strict))
    made.keep("staged")
    return made


def _write_signature(artifact: Path, columns: dict[str, str]) -> None:
    """Say in the MLmodel file which columns the model takes, as training does."""
    path = artifact / "MLmodel"
    inputs = [{"name": name, "type": kind} for name, kind in columns.items()]
    path.write_text(yaml.safe_dump(yaml.safe_load(path.read_text()) | {"signature": {"inputs": json.dumps(inputs)}}))

"""`scripts/deploy-model.py`: options, exit codes and what it prints; the cluster is a scripted stand-in."""

from __future__ import annotations

import json
import runpy
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner, Result
from tests.commands.conftest import LOGISTIC, Promote
from tests.promotion.delivery.scripted_cluster import ScriptedCluster
from tests.promotion.factories import Store, a_family

from promotion.audit.attestations import PAYLOAD, Attestations
from promotion.config.settings import REPOSITORY
from promotion.containers.build import BaseImage, image_labels
from promotion.export.folder import open_export
from promotion.service import Mover
from promotion.signing.dsse import sign_envelope
from promotion.signing.keys import Keys

pytestmark = pytest.mark.system

Deploy = Callable[..., Result]
MODEL = "churn"
PRODUCTION = ("--model", MODEL, "--environment", "production")


@pytest.fixture
def deploy(monkeypatch: pytest.MonkeyPatch) -> Deploy:
    """Call the command without paying for a new process; acts as anna."""
    monkeypatch.setenv("PROMOTION_ACTOR", "anna")
    main = runpy.run_path(str(REPOSITORY / "scripts" / "deploy-model.py"), run_name="deploy_model")["main"]
    return lambda *arguments: CliRunner().invoke(main, arguments)


@pytest.fixture
def cluster(store: Store, promote: Promote, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> ScriptedCluster:
    """An empty cluster; version 1 of a model without configuration is in Production."""
    made = ScriptedCluster(tmp_path / "cluster")
    for name, value in made.environment.items():
        monkeypatch.setenv(name, value)
    store.register(MODEL)
    assert 0 == promote(MODEL, "1").exit_code
    return made


def an_image(store: Store, cluster: ScriptedCluster, behaviour: str = "well") -> str:
    """An image of version 1."""
    service = store.service()
    entry = service.journal.entry(MODEL, 1)
    assert entry is not None
    assert entry.digest is not None
    kept = Attestations(service.journal, store.home / "checkpoints", Keys.from_environment)
    (attestation,) = kept.digests(MODEL, entry)
    return cluster.image(MODEL, 1, entry.digest, family=MODEL, behaviour=behaviour, attestation=attestation).reference


def test_a_deployment_from_plan_to_status(store: Store, cluster: ScriptedCluster, deploy: Deploy) -> None:
    """The dry run shows a diff and changes nothing; then it runs; then it runs already; the status shows both sides."""
    image, export = an_image(store, cluster), ("--export", str(cluster.export(1)))

    planned = deploy(*PRODUCTION, "--image", image, *export, "--dry-run")

    assert 0 == planned.exit_code, planned.stderr
    assert f"📋 churn v1 would run as models-production/churn: {image}" in planned.stdout
    assert f'"image": "{image}"' in planned.stdout
    assert cluster.runs(MODEL) is None

    done = deploy(*PRODUCTION, "--image", image, *export, "--json")

    assert 0 == done.exit_code, done.stderr
    said = json.loads(done.stdout)
    assert (0, "deployed", None, image) == (
        said["exit_code"],
        said["state"],
        said["replaced"],
        said["image"]["reference"],
    )
    assert image == cluster.runs(MODEL)
    assert "1 of 1 pods are new, 1 available" in done.stderr
    assert 5 == deploy(*PRODUCTION, "--image", image, *export).exit_code

    status = deploy(*PRODUCTION, "--status", "--json")

    # The played image's label names another gate report than the journal.
    assert 3 == status.exit_code
    assert ["churn v1", "churn v1"] == [json.loads(status.stdout)[side]["version"] for side in ("registry", "cluster")]
    assert 1 == len(json.loads(status.stdout)["drift"])


@pytest.mark.parametrize(
    "options",
    [
        ("--shadow", "2", "--ab", "3", "--percent", "10"),
        ("--ab", "2"),
        ("--percent", "10"),
        ("--ab", "2", "--percent", "60"),
        ("--challenger-image", "x"),
        ("--shadow", "2", "--canary"),
        ("--shadow", "2", "--status"),
    ],
)
def test_a_challenger_is_named_whole(deploy: Deploy, options: tuple[str, ...]) -> None:
    """One of both kinds, with its share, beside stable pods."""
    refused = deploy(*PRODUCTION, "--image", "churn:1", *options)

    assert 2 == refused.exit_code
    assert any(word in refused.stderr for word in ("--shadow VERSION", "go with --image", "--percent"))


@pytest.mark.system
def test_a_failed_version_exits_1_and_explains(store: Store, cluster: ScriptedCluster, deploy: Deploy) -> None:
    """One line of data says whose fault it was; the console shows what cluster and server said."""
    image = an_image(store, cluster, "crash")

    failed = deploy(*PRODUCTION, "--image", image, "--export", str(cluster.export(1)), "--json")

    assert 1 == failed.exit_code
    said = json.loads(failed.stdout)
    assert ("version", "failed") == (said["verdict"], said["state"])
    assert "NO VERSION IS IN PRODUCTION" in said["message"]
    assert "weights are damaged" in failed.stderr
    assert 3 == deploy(*PRODUCTION, "--image", image, "--export", str(cluster.export(1))).exit_code


def test_a_version_is_deployed_with_its_attestation(
    store: Store, cluster: ScriptedCluster, deploy: Deploy, promote: Promote, tmp_path: Path
) -> None:
    """Missing, of another artifact, or a stranger's: exit 3, nothing is applied; written again from the record: 0."""
    image, export = an_image(store, cluster), ("--export", str(cluster.export(1)))
    (file,) = (store.home / "checkpoints").glob("*.intoto.jsonl")
    genuine = file.read_text()
    foreign = sign_envelope(b"{}", PAYLOAD, Keys(tmp_path / "strangers.pem").signing_key())
    for text, said in (
        (foreign, "not trusted"),
        (genuine.replace("A", "B"), "not what was signed"),
        (None, "--reconc"),
    ):
        if text is None:
            file.unlink()
        else:
            file.write_text(text)
        for option in ((), ("--dry-run",)):
            refused = deploy(*PRODUCTION, "--image", image, *export, *option)
            assert (3, True) == (refused.exit_code, said in refused.stderr), refused.stderr
    assert cluster.runs(MODEL) is None

    assert 0 == promote("--reconcile", "--model", MODEL).exit_code
    assert 0 == deploy(*PRODUCTION, "--image", image, *export).exit_code


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"io.promotion.sbom": ""}, "without its bill of materials (label io.promotion.sbom)"),
        ({"io.promotion.attestation": ""}, "its promotion's attestation (it has no attestation)"),
        ({"io.promotion.attestation": "0" * 64}, "(it has an attestation that is none of this version's)"),
    ],
)
def test_a_new_image_without_its_proofs_is_refused_and_one_that_ran_is_not(
    store: Store, cluster: ScriptedCluster, deploy: Deploy, changed: dict[str, str], said: str
) -> None:
    """Exit 3 before anything is applied; what answered rightly here before images had any is let through, and told."""
    image, export = an_image(store, cluster), ("--export", str(cluster.export(1)))
    with cluster.changed() as state:
        state["images"][image]["labels"] |= changed

    refused = deploy(*PRODUCTION, "--image", image, *export)

    assert (3, True, None) == (refused.exit_code, said in refused.stderr, cluster.runs(MODEL)), refused.stderr
    with pytest.MonkeyPatch.context() as before:
        before.setattr("promotion.delivery.checks.DeploymentChecks._require_proofs", lambda *_, **__: None)
        assert 0 == deploy(*PRODUCTION, "--image", image, *export).exit_code
    again = deploy(*PRODUCTION, "--image", image, *export, "--dry-run")
    assert (0, True) == (again.exit_code, f"{said}; it answered rightly here before" in again.stderr), again.stderr


def test_a_version_from_before_attestations_is_deployed_with_a_remark(
    store: Store, cluster: ScriptedCluster, deploy: Deploy
) -> None:
    """Its record makes none due."""
    service = store.service()
    store.register(MODEL)
    service.commit(service.check(service.candidate(MODEL, 2)), Mover("anna", "as it was done then"))
    entry = service.journal.entry(MODEL, 2)
    assert entry
    assert entry.digest
    image = cluster.image(MODEL, 2, entry.digest, family=MODEL).reference

    done = deploy(*PRODUCTION, "--image", image, "--export", str(cluster.export(2)))

    assert 0 == done.exit_code, done.stderr
    assert "⚠️ churn v2 has no attestation" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "--image is missing"),
        (("--status", "--resume"), "exclude each other"),
        (("--image", "churn:latest"), "names no certain image"),
        (("--image", "churn:1"), "nobody knows the image churn:1"),
        (("--image", "churn:1", "--timeout", "30"), "--timeout 30 is less than the 60 s that the startup probe gives"),
        (("--resume", "--timeout", "59"), "give a rollout 60 s or more"),
    ],
)
def test_wrong_options_exit_2(cluster: ScriptedCluster, deploy: Deploy, arguments: tuple[str, ...], said: str) -> None:
    """In one line, before the cluster is asked."""
    result = deploy(*PRODUCTION, *arguments)

    assert 2 == result.exit_code
    assert said in result.stderr


def test_a_shared_registry_with_a_local_journal_is_refused(
    cluster: ScriptedCluster, deploy: Deploy, monkeypatch: pytest.MonkeyPatch, home: Path
) -> None:
    """Every workspace would decide for itself what is in Production."""
    (home / "config" / "churn.yaml").write_text(
        (home / "config" / "iris-classifier.yaml").read_text().replace("iris-classifier", MODEL)
    )
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")

    result = deploy(*PRODUCTION, "--status")

    assert 2 == result.exit_code
    assert "set PROMOTION_DATABASE_URL to a database where the registry is" in result.stderr


def test_a_paused_deployment_exits_1_before_anything_is_applied(
    store: Store, cluster: ScriptedCluster, deploy: Deploy
) -> None:
    """One line with the command that resumes it; the status names it as well."""
    image = an_image(store, cluster)
    assert 0 == deploy(*PRODUCTION, "--image", image, "--export", str(cluster.export(1))).exit_code
    with cluster.changed() as state:
        state["objects"]["models-production"][f"deployment/{MODEL}"]["spec"]["paused"] = True
        state["calls"] = []

    result = deploy(*PRODUCTION, "--image", image, "--export", str(cluster.export(1)))

    assert 1 == result.exit_code
    assert f"rollout resume deployment/{MODEL}, then again; nothing was applied" in result.stderr
    assert "apply" not in cluster.verbs()
    status = deploy(*PRODUCTION, "--status", "--json")
    assert 3 == status.exit_code
    assert "the rollout is paused" in json.loads(status.stdout)["drift"]


def test_nothing_interrupted_is_nothing_to_resume(cluster: ScriptedCluster, deploy: Deploy) -> None:
    """Exit 5, as everywhere."""
    assert 5 == deploy(*PRODUCTION, "--resume").exit_code


@pytest.mark.system
def test_from_training_to_the_real_server_behind_a_scripted_service(
    trained: Store,
    promote: Promote,
    deploy: Deploy,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    run: Callable[..., subprocess.CompletedProcess[str]],
) -> None:
    """A trained version is promoted, exported, deployed, answers as the registry's model, and both sides agree."""
    cluster = ScriptedCluster(tmp_path / "cluster")
    for name, value in cluster.environment.items():
        monkeypatch.setenv(name, value)
    assert 0 == promote(LOGISTIC, "2").exit_code
    exported = run("scripts/export-model.py", "--model", "heart-disease")
    assert 0 == exported.returncode, exported.stderr
    export = open_export(trained.home / "build" / "export" / "heart-disease", Keys.from_environment())
    image = cluster.real_image(
        export.folder,
        image_labels(export, "c" * 40, BaseImage("python", "sha256:0", "python")) | {"io.promotion.sbom": "5" * 64},
    )
    family = ("--model", "heart-disease", "--environment", "production")

    done = deploy(*family, "--image", image)

    assert 0 == done.exit_code, done.stderr
    assert "20 rows answered as the registry's model does" in done.stderr
    status = deploy(*family, "--status")
    assert 0 == status.exit_code, status.stderr
    assert "cluster and registry agree" in status.stdout


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--analyse",), "--analyse is about a canary: add --canary"),
        (("--canary", "--steps", "10,100"), "add --analyse, since a step is left on evidence alone"),
        (("--canary", "--analyse", "--steps", "50,10"), "--steps '50,10': expected ascending percentages"),
        (("--canary", "--analyse", "--steps", ""), "--steps '': expected ascending percentages"),
        (("--abort", "--resume"), "--dry-run, --status, --resume and --abort exclude each other"),
    ],
)
def test_an_analysis_that_lacks_something_is_refused_at_once(
    cluster: ScriptedCluster, deploy: Deploy, options: tuple[str, ...], said: str
) -> None:
    """Nothing hangs for an argument that is missing."""
    refused = deploy(*PRODUCTION, "--image", "registry.example/churn:1", *options)

    assert (2, None) == (refused.exit_code, cluster.runs(MODEL))
    assert said in refused.stderr


def test_without_an_attempt_there_is_nothing_to_give_up(cluster: ScriptedCluster, deploy: Deploy) -> None:
    """Exit 5, as everywhere."""
    assert cluster.runs(MODEL) is None
    assert 5 == deploy(*PRODUCTION, "--abort").exit_code


def test_labels_without_a_log_are_said_and_keep_no_canary(
    store: Store, cluster: ScriptedCluster, deploy: Deploy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The family's file names labels and nobody names a log: the analysis goes on without; others are not told."""
    monkeypatch.delenv("PREDICTION_LOG_SOURCE", raising=False)
    assert "without labels" not in deploy(*PRODUCTION, "--resume").stderr
    document = a_family(MODEL, monitoring={"labels": "labels.csv"}).model_dump(mode="json", exclude_unset=True)
    (store.home / "config").mkdir(exist_ok=True)
    (store.home / "config" / f"{MODEL}.yaml").write_text(yaml.safe_dump(document), encoding="utf-8")

    found = deploy(*PRODUCTION, "--resume")

    assert 5 == found.exit_code, found.stderr
    assert "going on without labels: no prediction log" in found.stdout + found.stderr

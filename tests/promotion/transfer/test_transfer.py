"""A version from one MLflow store to another: whole, verified and recorded on either side, or not there at all."""

from __future__ import annotations

import base64
import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from mlflow import MlflowClient
from mlflow.entities import Dataset, DatasetInput, Metric
from tests.promotion.factories import Store

from promotion.approving import Approving, Opinion
from promotion.artifacts.provenance import Registered, registered
from promotion.bootstrap import open_promotions
from promotion.cli.delivery.transfer import transfer_command
from promotion.config.schema import FamilyConfig
from promotion.config.settings import Settings
from promotion.errors import (
    ArtifactTampered,
    ArtifactUnsafe,
    GateRefused,
    NothingToDo,
    RecordsAltered,
    RegistryForbidden,
    SignatureRefused,
    UnknownVersion,
    UsageError,
)
from promotion.journal.reader import JournalReader
from promotion.journal.records import Approval, Authority, Event
from promotion.journal.reviews import Reviews
from promotion.registration import register_version
from promotion.registry.sqlite import SqliteRegistry
from promotion.registry.stages import Stage
from promotion.service import Mover
from promotion.signing.dsse import sign_envelope
from promotion.signing.keys import Keys, key_id, public_pem
from promotion.transfer import transfer as carrying
from promotion.transfer.evidence import PAYLOAD, SealedEvidence, seal_evidence, trained_elsewhere
from promotion.transfer.files import Stored, local_files
from promotion.transfer.records import TransferOrigin, Transferred, TransferRequest, origin_of
from promotion.transfer.runs import KEY_TAG, TargetRuns, read_run
from promotion.transfer.target import Target
from promotion.transfer.transfer import transfer
from promotion.transfer.verification import compare_sides

FILES = {"MLmodel": b"flavors: {}\n", "data/model.bin": b"\x00\x01" * 3000, "MODEL_CARD.md": b"# churn\n"}


class Pair:
    """Two installations on this machine.

    Attributes:
        here: Where a version is: churn v1, from a run, registered as 1.2.0.
        target: Where it goes, whose families' files are in a home of its own.
        there: MLflow's client of the target.
    """

    def __init__(self, here: Store, target: Target, home: Path) -> None:
        self.here, self.target, self.home = here, target, home
        self.there = MlflowClient(target.uri, target.uri)
        self.number = here.log("churn", {"auc": 0.9}, FILES)
        run = here.client.get_model_version("churn", str(self.number)).run_id
        here.client.log_batch(run, [Metric("loss", 1 / step, step, step) for step in range(1, 4)])
        here.client.log_param(run, "depth", "7")
        here.client.log_inputs(run, [DatasetInput(Dataset("rows", "d1g35t", "local", "{}"))])
        here.client.update_model_version("churn", str(self.number), "the October model")
        here.client.set_model_version_tag("churn", str(self.number), "team", "retention")
        here.client.set_model_version_tag("churn", str(self.number), "promotion.operation", "of here alone")
        service = self.service()
        register_version(service, service.candidate("churn", 1), semver="1.2.0")
        self.said: list[str] = []

    def service(self) -> Any:
        """What a command here works with."""
        return open_promotions(self.here.settings)

    def carry(self, **request: Any) -> Transferred:
        """Bring the version over."""
        options = {"dry_run": request.pop("dry_run", False), "progress": request.pop("progress", lambda *_told: None)}
        wanted = TransferRequest("churn", "1", **request)
        return transfer(self.service(), self.here.settings, self.target, wanted, self.said.append, **options)

    def entered(self, ask: Callable[[Any], Any]) -> Any:
        """Ask the target's service."""
        with self.target.entered() as settings:
            return ask(open_promotions(settings))


@pytest.fixture
def pair(store: Store, empty_store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Pair]:
    for path in (store.home / "config").glob("*.yaml"):
        path.unlink()
    home = tmp_path / "production"
    (home / "config").mkdir(parents=True)
    shutil.copy(empty_store, home / "mlflow.db")
    monkeypatch.setenv("PROMOTION_KEYS", str(tmp_path / "keys"))
    monkeypatch.setenv("TARGET_PROMOTION_HOME", str(home))
    yield Pair(store, Target(f"sqlite:///{home / 'mlflow.db'}", "TARGET_", store.home), home)
    shutil.rmtree(store.home / ".transfers", ignore_errors=True)


@pytest.mark.system
def test_all_of_a_version_arrives(pair: Pair) -> None:
    """ByteProgress, run with every value of every metric, data sets, tags, description, and where it comes from."""
    done = pair.carry()

    assert ("churn", 1, "1.2.0", "None", 3) == (done.model, done.number, done.semver, done.stage, done.files)
    (version,) = pair.there.search_model_versions()
    assert ("the October model", "retention", "None") == (
        version.description,
        version.tags["team"],
        version.current_stage,
    )
    assert "promotion.operation" not in version.tags
    arrived = Path(version.source.removeprefix("file://"))
    assert FILES == {path: (arrived / path).read_bytes() for path in local_files(arrived)}
    run = pair.there.get_run(version.run_id)
    assert ({"depth": "7"}, "tina") == (run.data.params, run.data.tags["mlflow.user"])
    assert [(1, 1.0), (2, 0.5), (3, 1 / 3)] == [
        (item.step, item.value) for item in pair.there.get_metric_history(version.run_id, "loss")
    ]
    assert [("rows", "d1g35t")] == [(it.dataset.name, it.dataset.digest) for it in run.inputs.dataset_inputs]
    origin = pair.entered(lambda service: origin_of(service.registry.version("churn", 1)))
    assert (done.origin, pair.here.settings.registry_uri, "1") == (origin, origin.server, origin.version)


@pytest.mark.system
@pytest.mark.parametrize("there", [None, "", "ours"])
def test_what_the_registered_model_is_for_comes_along(pair: Pair, there: str | None) -> None:
    """Where nobody has written there yet what theirs is for."""
    pair.here.client.update_registered_model("churn", "who leaves next month")
    if there is not None:
        pair.there.create_registered_model("churn", description=there)

    pair.carry()

    assert (there or "who leaves next month") == pair.there.get_registered_model("churn").description


@pytest.mark.system
def test_metrics_leave_their_logged_model_behind(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    """MLflow 3 ties a value to a logged model, which the target does not have and may ask for."""
    tied = [Metric("auc", 0.9, 1, 0, model_id="m-1")]
    monkeypatch.setattr(MlflowClient, "get_metric_history", lambda *_arguments: tied)
    run = pair.here.client.get_model_version("churn", "1").run_id

    found = read_run(pair.here.settings.tracking_uri, run, "churn").metrics
    assert {(0.9, None)} == {(item.value, item.model_id) for item in found}


@pytest.mark.system
def test_what_is_not_written_whole_is_said(pair: Pair) -> None:
    """A tag that is longer than what every MLflow takes."""
    run = pair.here.client.get_model_version("churn", "1").run_id
    pair.here.client.set_tag(run, "notes", "n" * 6000)

    (remark,) = pair.carry().remarks

    assert remark.startswith("the run's tag 'notes' is cut to 5,000 characters")
    assert any(remark in line for line in pair.said)


@pytest.mark.system
def test_either_record_says_what_left_and_what_arrived(pair: Pair) -> None:
    """The same facts in both journals; comparing finds them equal, and nothing is left behind here."""
    done = pair.carry(target_name="churn-production")

    (left,) = pair.service().journal.acts("transfer")
    (came,) = pair.entered(lambda service: service.journal.acts("transfer"))
    assert left.details["target"] == came.details["target"]
    assert left.details["origin"]["digest"] == came.details["digest"] == done.origin.digest
    assert ("churn", "churn-production") == (left.model, came.model)
    found = compare_sides(
        pair.service(), pair.here.settings, pair.target, TransferRequest("churn", "1.2.0", "churn-production")
    )
    assert (done.origin.digest, 1) == (found["digest"], found["target"]["number"])
    assert [] == [path for path in (pair.here.home / ".transfers").rglob("*") if path.suffix != ".lock"]


@pytest.mark.system
def test_a_second_time_there_is_nothing_to_do(pair: Pair) -> None:
    """Nothing is fetched, nothing is written."""
    pair.carry()

    with pytest.raises(NothingToDo, match="is there already, as churn v1"):
        pair.carry()

    assert 1 == len(pair.there.search_model_versions())
    assert 1 == len(pair.service().journal.acts("transfer"))


@pytest.mark.system
def test_a_rehearsal_writes_nothing(pair: Pair) -> None:
    """It says how much there is to carry."""
    done = pair.carry(dry_run=True)

    assert (None, 3, sum(map(len, FILES.values()))) == (done.number, done.files, done.size)
    assert [] == list(pair.there.search_registered_models())
    assert not (pair.here.home / ".transfers").exists()
    pair.target = Target(f"sqlite:///{pair.home / 'new' / 'mlflow.db'}", "TARGET_", pair.here.home)
    assert 3 == pair.carry(dry_run=True).files
    assert not (pair.home / "new").exists()
    (version,) = pair.here.client.search_model_versions("name='churn'")
    (Path(version.source.removeprefix("file://")) / "elsewhere").symlink_to("/etc/passwd")
    with pytest.raises(ArtifactUnsafe, match="elsewhere is a symbolic link"):
        pair.carry(dry_run=True)


STEPS: dict[str, tuple[Any, str]] = {
    "fetching": (Stored, "fetch"),
    "writing the run": (TargetRuns, "write"),
    "sending": (Stored, "put"),
    "verifying": (Stored, "differing"),
    "registering": (MlflowClient, "create_model_version"),
    "recording there": (carrying, "register_version"),
    "recording here": (carrying._Transfer, "_leave"),
}


@pytest.mark.system
@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("step", STEPS)
def test_an_interrupted_transfer_is_gone_on_with(
    pair: Pair, monkeypatch: pytest.MonkeyPatch, step: str, when: str
) -> None:
    """Whatever it was in the middle of: at the end one run, one version, one record on either side, no byte missing."""
    owner, name = STEPS[step]
    real = getattr(owner, name)

    def killed(*arguments: Any, **options: Any) -> Any:
        if when == "after":
            real(*arguments, **options)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(owner, name, killed)
        with pytest.raises(KeyboardInterrupt):
            pair.carry()
    if step in {"fetching", "writing the run", "sending", "verifying"} or (step, when) == ("registering", "before"):
        assert [] == list(pair.there.search_model_versions()), "consumers see whole versions only"
    if (step, when) == ("recording here", "after"):
        with pytest.raises(NothingToDo):
            pair.carry()
    else:
        assert 1 == pair.carry().number

    assert 1 == len(pair.there.search_model_versions())
    assert 1 == len(pair.there.search_runs(["0", "1"], f"tags.`{KEY_TAG}` != ''"))
    (version,) = pair.there.search_model_versions()
    assert 3 == len(pair.there.get_metric_history(version.run_id, "loss"))
    compare_sides(pair.service(), pair.here.settings, pair.target, TransferRequest("churn", "1"))
    for service in (pair.service(), pair.entered(lambda service: service)):
        assert 1 == len(service.journal.acts("transfer"))
        assert 1 == len(service.journal.acts("register"))


def test_changed_files_go_nowhere(pair: Pair) -> None:
    """What is not what was recorded here is not sent."""
    (pair.here.artifact("churn", 1) / "data" / "model.bin").write_bytes(b"\x00\x02" * 3000)

    with pytest.raises(ArtifactTampered, match="is not what the journal recorded"):
        pair.carry()

    assert [] == list(pair.there.search_registered_models())


@pytest.mark.system
def test_a_byte_that_changes_on_the_way_is_sent_again(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    """Once; something that changes it every time keeps the version from being registered."""
    real = Stored.put
    damaged: list[str] = []

    def put(stored: Stored, folder: Path, paths: Any, progress: Any) -> None:
        real(stored, folder, paths, progress)
        if len(damaged) < limit:
            arrived = Path(stored.uri.removeprefix("file://")) / "data" / "model.bin"
            arrived.write_bytes(b"\x00\x03" * 3000)
            damaged.append("once")

    monkeypatch.setattr(Stored, "put", put)
    limit = 2
    with pytest.raises(ArtifactTampered, match=r"data/model\.bin does not arrive as it was sent"):
        pair.carry()
    assert [] == list(pair.there.search_model_versions())
    damaged.clear()
    limit = 1

    assert 1 == pair.carry().number
    compare_sides(pair.service(), pair.here.settings, pair.target, TransferRequest("churn", "1"))


@pytest.mark.system
def test_files_under_other_names_keep_it_from_being_registered(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that reads a name as another gives the file when it is asked for; whoever lists finds another one."""
    real = Stored.put

    def put(stored: Stored, folder: Path, paths: Any, progress: Any) -> None:
        real(stored, folder, paths, progress)
        arrived = Path(stored.uri.removeprefix("file://"))
        shutil.copy(arrived / "MLmodel", arrived / "MLmodel 2")

    monkeypatch.setattr(Stored, "put", put)

    with pytest.raises(ArtifactTampered, match="'MLmodel 2' is there and was not sent"):
        pair.carry()

    assert [] == list(pair.there.search_model_versions())


@pytest.mark.system
def test_what_differs_later_is_named(pair: Pair) -> None:
    """A file that is changed at the target, or a record that is missing."""
    pair.carry()
    (version,) = pair.there.search_model_versions()
    (Path(version.source.removeprefix("file://")) / "MLmodel").write_bytes(b"flavors: {python_function: {}}\n")

    with pytest.raises(RecordsAltered, match="the files there"):
        compare_sides(pair.service(), pair.here.settings, pair.target, TransferRequest("churn", "1"))
    pair.there.create_registered_model("other")
    with pytest.raises(UnknownVersion, match="was not transferred"):
        compare_sides(pair.service(), pair.here.settings, pair.target, TransferRequest("churn", "1", "other"))


@pytest.mark.system
def test_numbers_that_are_taken_there_are_left_alone(pair: Pair) -> None:
    """MLflow gives the next number, the journal there the next semantic version."""
    other = pair.home / "other"
    other.mkdir()
    (other / "MLmodel").write_text("flavors: {}\n")
    pair.there.create_registered_model("churn")
    pair.there.create_model_version("churn", str(other))
    pair.entered(lambda service: register_version(service, service.candidate("churn", 1), semver="1.2.0"))

    done = pair.carry()

    assert (2, "1.3.0") == (done.number, done.semver)
    assert any("1.2.0 is another version" in line for line in pair.said)


@pytest.mark.system
def test_the_gates_of_the_target_decide(pair: Pair) -> None:
    """The version is there, and outside every stage until its rules are met; its own file counts, not ours."""
    rules = "family: churn\nregistered_model: churn\ngates: {thresholds: {auc: {minimum: 0.95, from: run}}}\n"
    (pair.home / "config" / "churn.yaml").write_text(rules)

    with pytest.raises(GateRefused, match="auc"):
        pair.carry(to_stage=Stage.STAGING)
    assert ["None"] == [version.current_stage for version in pair.there.search_model_versions()]
    (pair.home / "config" / "churn.yaml").write_text(rules.replace("0.95", "0.8"))

    assert ("Staging", 1) == ((done := pair.carry(to_stage=Stage.STAGING)).stage, done.number)
    assert ["Staging"] == [version.current_stage for version in pair.there.search_model_versions()]
    with pytest.raises(NothingToDo):
        pair.carry(to_stage=Stage.STAGING)


APPROVED = "family: churn\nregistered_model: churn\napprovals: {roles: [lead, security], signed: false"


@pytest.mark.system
def test_approvals_count_where_the_target_names_the_key(pair: Pair, tmp_path: Path) -> None:
    """As long as at the source; without the key, or where they must be signed, they are given anew."""
    (pair.here.home / "config" / "churn.yaml").write_text(APPROVED + ", expire_days: 2}\n")
    service = pair.service()
    approving = Approving(service, service.check(service.candidate("churn", 1)))
    approving.record_now(Opinion("lead", "anna@example.com", approved=True, comment="looked at it"), "jenkins")
    own = key_id(public_pem(tmp_path / "keys" / "signing-key.pem"))
    rules = APPROVED.replace("model: churn", "model: churn*")
    accepted = f", accept_approvals_from: [{own}]}}"

    def given(name: str, rest: str) -> tuple[Transferred, list[Approval]]:
        (pair.home / "config" / "churn.yaml").write_text(rules + rest)
        done = pair.carry(target_name=name)
        return done, pair.entered(lambda there: Reviews(there.journal).approvals(there.journal.entry(name, 1)))

    for name, rest, why in (
        ("churn1", "}", f"accept_approvals_from does not name {own}"),
        ("churn2", accepted, ""),
    ):
        done, words = given(name, rest)
        assert (bool(why), not why) == (any(why in line for line in done.remarks), bool(words))
    rules = rules.replace("signed: false", "signed: true")
    done, nothing = given("churn3", accepted)
    assert ([], True) == (nothing, "their signatures are about" in done.remarks[0])

    (word,) = words
    assert ("lead", "anna@example.com", True) == (word.role, word.approver, word.approved)
    assert "looked at it (given at churn v1 of" in word.comment
    (original,) = Reviews(pair.service().journal).approvals(pair.service().journal.entry("churn", 1))
    assert (original.expires_at, False) == (word.expires_at, original.evidence == word.evidence)


TRAINED = "family: churn\nregistered_model: churn\n"


def trained_at_the_source(pair: Pair) -> str:
    """The version as a training there registers it, with a gate report; returns the key's fingerprint."""
    service = pair.service()
    version = service.candidate("churn", 1)
    (kept,) = (service.journal.registration(entry.id) for entry in [service.journal.entry("churn", 1)] if entry)
    assert kept
    ours = replace(kept, provenance="trained", feature_hash="f3a7", lineage={"round": "r1"}, trainer="tina@example.com")
    service.journal.register("churn", [(version, ours)], actor="jenkins", semver="1.2.0")
    service.check(version)
    return key_id(public_pem(Keys.from_environment().signing_key()))


def registration_there(pair: Pair) -> Registered:
    """As the target's chain tells it."""
    found = pair.entered(lambda there: registered(there.journal, there.journal.entry("churn", 1).id))
    assert isinstance(found, Registered)
    return found


@pytest.mark.system
def test_a_training_of_the_source_counts_where_its_key_is_named(pair: Pair) -> None:
    """Otherwise it is received, with the line to add; once that is there, the same command makes it count."""
    own = trained_at_the_source(pair)
    (pair.home / "config" / "churn.yaml").write_text(TRAINED)

    pair.carry()

    known = registration_there(pair)
    assert ("received", own) == (known.provenance, known.origin_key)
    assert f"trusted_origins: [{own}]" in known.advice("churn")
    with pytest.raises(NothingToDo):
        pair.carry()
    (pair.home / "config" / "churn.yaml").write_text(f"{TRAINED}trusted_origins: [{own}]\n")

    assert 1 == pair.carry().number
    known = registration_there(pair)
    assert ("trained", own, "tina@example.com") == (known.provenance, known.origin_key, known.trainer)
    assert f"trained elsewhere (key {own[:16]}), registered by" in known.story
    (row,) = pair.entered(lambda there: [there.journal.registration(there.journal.entry("churn", 1).id)])
    assert ("f3a7", "r1") == (row.feature_hash, row.lineage["round"])
    with pytest.raises(NothingToDo):
        pair.carry()
    compare_sides(pair.service(), pair.here.settings, pair.target, TransferRequest("churn", "1"))


@pytest.mark.system
def test_a_key_that_is_not_its_own_counts_for_nothing(pair: Pair) -> None:
    """Neither another's name on it, nor a word about other files, makes a training of it."""
    own = trained_at_the_source(pair)
    (pair.home / "config" / "churn.yaml").write_text(f"{TRAINED}trusted_origins: [{own}]\n")
    service = pair.service()
    entry = service.journal.entry("churn", 1)
    assert entry
    origin = TransferOrigin("http://x", "churn", "1", "r", str(entry.digest))
    seal = seal_evidence(service, entry, origin)
    config = FamilyConfig.model_validate({"family": "churn", "registered_model": "churn", "trusted_origins": [own]})
    assert seal

    found = trained_elsewhere(seal, origin, config)

    assert found is not None
    assert (own, True) == (found.key, found.is_trusted)
    assert None is trained_elsewhere(None, origin, config)
    other = Keys(pair.home / "other" / "signing-key.pem").signing_key()
    with pytest.raises(SignatureRefused, match="not trusted"):
        trained_elsewhere(replace(seal, public=public_pem(other).decode()), origin, config)
    with pytest.raises(SignatureRefused, match="another version"):
        trained_elsewhere(seal, replace(origin, digest="0" * 64), config)
    stranger = SealedEvidence(sign_envelope(seal_payload(seal), PAYLOAD, other), public_pem(other).decode())
    found = trained_elsewhere(stranger, origin, config)
    assert found is not None
    assert not found.is_trusted


def seal_payload(seal: SealedEvidence) -> bytes:
    """What is sealed, to the byte."""
    return base64.b64decode(json.loads(seal.envelope)["payload"])


@pytest.mark.system
def test_evidence_comes_along_and_both_records_hold_it(pair: Pair) -> None:
    """Gate report and provenance, said in the target's history; what is changed in a record later is named."""
    (pair.here.home / "config" / "churn.yaml").write_text(
        TRAINED + "gates: {thresholds: {auc: {minimum: 0.5, from: run}}}\n"
    )
    own = trained_at_the_source(pair)
    service = pair.service()
    service.promote(service.check(service.candidate("churn", 1)), Mover("anna", "good"))

    done = pair.carry(target_name="churn-production")

    (came,) = pair.entered(lambda there: there.journal.acts("transfer"))
    assert f"gates passed there, attested, signed with {own[:16]}" in came.reason
    kept = came.details["evidence"]
    document = SealedEvidence(kept["envelope"], kept["public"]).opened(done.origin)
    assert done.origin.digest == document["report"]["digest"]
    assert {"key": own, "statement": kept["statement"]} == done.as_json()["evidence"]
    (left,) = pair.service().journal.acts("transfer")
    assert left.details["evidence"] == kept
    acts = JournalReader.acts

    def altered(reader: JournalReader, *what: Any, **which: Any) -> list[Event]:
        found = acts(reader, *what, **which)
        return [
            replace(it, details={**it.details, "evidence": None}) if it.model == "churn-production" else it
            for it in found
        ]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(JournalReader, "acts", altered)
        with pytest.raises(RecordsAltered, match="the evidence"):
            compare_sides(
                pair.service(), pair.here.settings, pair.target, TransferRequest("churn", "1", "churn-production")
            )


def test_without_the_right_nothing_is_written(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is asked for before anything is fetched."""

    def refuse(*_arguments: Any, **_options: Any) -> None:
        raise RegistryForbidden("answered 403")

    monkeypatch.setattr(SqliteRegistry, "require_rights", refuse)
    with pytest.raises(RegistryForbidden):
        pair.carry()

    assert [] == list(pair.there.search_registered_models())
    assert 1 == len(pair.there.search_experiments())


@pytest.mark.system
def test_known_bad_versions_stay(pair: Pair) -> None:
    """And so does what would go where it is."""
    service = pair.service()
    version = service.candidate("churn", 1)
    service.journal.mark("churn", version, Authority("known bad", "anna", "it lies"), known_bad="it lies")

    with pytest.raises(GateRefused, match="known bad"):
        pair.carry()
    pair.target = Target(pair.here.settings.registry_uri, "TARGET_", pair.here.home)
    with pytest.raises(UsageError, match="is where churn v1 is already"):
        pair.carry()


@pytest.mark.system
def test_progress_is_in_bytes(pair: Pair) -> None:
    """Of each step, up to all of them."""
    told: list[tuple[str, int, int]] = []
    pair.carry(progress=lambda *what: told.append(what))

    total = sum(map(len, FILES.values()))
    assert {("sending", total, total), ("verifying", total, total)} <= set(told)
    assert all(done <= whole == total for _, done, whole in told)


def test_a_targets_credentials_are_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is said to the source is not said to the target, and the other way round; afterwards all is as before."""
    import os

    monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", "ours")
    monkeypatch.setenv("PROMOTION_DATABASE_URL", "sqlite:///ours.db")
    monkeypatch.setenv("PROD_MLFLOW_TRACKING_USERNAME", "bert")
    before = dict(os.environ)

    with Target("https://mlflow.example.com", "PROD_", tmp_path).entered() as settings:
        assert ("bert", None) == (os.environ["MLFLOW_TRACKING_USERNAME"], os.environ.get("MLFLOW_TRACKING_TOKEN"))
        assert ("https://mlflow.example.com", tmp_path) == (settings.registry_uri, settings.home)
        assert settings.database_url.startswith(f"sqlite:///{tmp_path}/promotion-at-")

    assert before == dict(os.environ)
    with (
        pytest.raises(UsageError, match=r"^--to names a place for files"),
        Target("ftp://x", "PROD_", tmp_path).entered(),
    ):
        pass
    with (
        pytest.raises(RegistryForbidden, match=r"check PROD_MLFLOW_TRACKING_TOKEN, not TARGET_MLFLOW_TRACKING_TOKEN$"),
        Target("https://mlflow.example.com", "PROD_", tmp_path).entered(),
    ):
        raise RegistryForbidden("check MLFLOW_TRACKING_TOKEN, not TARGET_MLFLOW_TRACKING_TOKEN")
    with pytest.raises(UsageError, match="beginning of a variable"):
        Target("https://mlflow.example.com", "prod", tmp_path)


@pytest.mark.system
def test_settings_of_the_source_are_untouched(pair: Pair) -> None:
    """A command goes on where it was."""
    pair.carry()

    assert pair.here.settings == Settings.from_environment()


@pytest.mark.system
def test_the_command_says_what_it_did(pair: Pair) -> None:
    """Each exit code, and an answer for programs."""
    to = ("churn", "1.2.0", "--to", pair.target.uri)

    def call(*arguments: str) -> Result:
        return CliRunner().invoke(transfer_command, arguments)

    rehearsed, done, again = (call(*to, *more, "--json") for more in (["--dry-run"], [], []))
    assert (0, 0, 5) == (rehearsed.exit_code, done.exit_code, again.exit_code), done.output
    answer = json.loads(done.stdout)
    assert (1, "1.2.0", 3) == (answer["target"]["number"], answer["target"]["semver"], answer["files"])
    assert answer["source"] == json.loads(again.stdout)["source"]
    verified = call(*to, "--verify")
    assert (0, True) == (verified.exit_code, verified.stdout.startswith("✅ churn v1.2.0 is the same here and at"))
    for arguments, code, said in (
        (("churn", "1", "--to", "mlflow.example.com"), 2, "is no address"),
        (("churn", "9", "--to", pair.target.uri), 2, "no version 9"),
        (("churn", "1", "--to", pair.here.settings.registry_uri), 2, "is where churn v1 is already"),
        (("churn", "1", "--to", "http://127.0.0.1:9"), 1, "is the server up, and --to right?"),
    ):
        refused = call(*arguments)
        assert (code, True) == (refused.exit_code, said in refused.stderr), refused.output

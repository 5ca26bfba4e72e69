"""Bring a version from one MLflow server to another: whole and verified, or not there at all."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from promotion.approvals.people import actor
from promotion.artifacts.files import artifact_digest
from promotion.artifacts.provenance import registered
from promotion.artifacts.signature import verify_artifact
from promotion.bootstrap import open_promotions
from promotion.config.settings import Settings
from promotion.errors import ArtifactTampered, GateRefused, NothingToDo, RegistryError, UnknownModel, UsageError
from promotion.journal.records import Authority, Entry
from promotion.registration import TrainedElsewhere, register_version
from promotion.registry.contract import ModelVersion, served_artifact_uri, without_password
from promotion.registry.semver import is_semantic
from promotion.registry.tracking import bound_patience, quiet, readable_failures, require_registered_model
from promotion.service import Mover, PromotionService
from promotion.signing.keys import Keys
from promotion.transfer.evidence import (
    SealedEvidence,
    accept_approvals,
    evidence_line,
    seal_evidence,
    trained_elsewhere,
)
from promotion.transfer.files import ByteProgress, Stored, file_sizes
from promotion.transfer.records import (
    ACTION,
    TransferOrigin,
    Transferred,
    TransferRequest,
    arrivals,
    departure,
    is_own_tag,
    origin_of,
    same_transfer,
)
from promotion.transfer.runs import CarriedRun, TargetRuns, read_run
from promotion.transfer.target import Target

FOLDER = "model"
"""Where a version's files are in its run at the target."""
_SPOOL = ".transfers"


@dataclass(slots=True)
class _Transfer:
    """One version between two installations."""

    source: PromotionService
    settings: Settings
    target: Target
    request: TransferRequest
    report: Callable[[str], None]
    progress: ByteProgress

    def run(self) -> Transferred:
        """Carry it out, or what an interrupted attempt left of it."""
        version, entry = self._version()
        folder = self._spool(version)
        with _only_one(folder):
            if (there := self._found(version, entry)) and not self._unrecorded(version, *there):
                return self._known(*there)
            files, digest = self._fetched(version, entry, folder)
            origin = self._origin(version, digest)
            seal = seal_evidence(self.source, entry, origin)
            run = read_run(self.settings.tracking_uri, version.run_id, self.source.family(version.model))
            run = replace(run, model_description=self._description(version))
            with self.target.entered() as settings:
                service = open_promotions(settings, self._report_there)
                arrived = self._arrive(service, settings, version, entry, origin, run, files, seal)
                arrived = self._approved(service, arrived, seal)
            self._leave(version, origin, arrived)
            shutil.rmtree(folder)
        return self._staged(arrived)

    def rehearse(self) -> Transferred:
        """What it would do: everything is looked at, nothing is written."""
        version, entry = self._version()
        if (there := self._found(version, entry)) and not self._unrecorded(version, *there):
            return self._known(*there)
        sizes = Stored(self.source.registry.artifact_uri(version)).listing()
        origin = self._origin(version, (entry and entry.digest) or "")
        return Transferred(
            origin, self.target.shown, self._name(version), None, "", "None", len(sizes), sum(sizes.values())
        )

    # The source

    def _version(self) -> tuple[ModelVersion, Entry | None]:
        model = self.source.registered_model(self.request.name)
        version = self.source.candidate(model, self.request.version)
        entry = self.source.journal.entry(version.model, version.number)
        if without_password(self.settings.registry_uri) == self.target.shown:
            raise UsageError(f"--to {self.target.shown} is where {version} is already: name another server")
        if entry and entry.known_bad:
            raise GateRefused(f"{version} is known bad ({entry.known_bad}) and goes nowhere")
        return version, entry

    def _spool(self, version: ModelVersion) -> Path:
        key = TransferOrigin(self._server, version.model, str(version.number), self.target.shown, "").key
        return self.settings.home / _SPOOL / key

    @property
    def _server(self) -> str:
        return without_password(self.settings.registry_uri)

    def _origin(self, version: ModelVersion, digest: str) -> TransferOrigin:
        return TransferOrigin(self._server, version.model, str(version.number), version.run_id or "", digest)

    def _fetched(self, version: ModelVersion, entry: Entry | None, folder: Path) -> tuple[Path, str]:
        """The version's files, here, and the ones that were recorded; with their digest."""
        files = folder / "files"
        Stored(self.source.registry.artifact_uri(version)).fetch(files, self.progress)
        digest = artifact_digest(files)
        if entry and entry.digest not in {None, digest}:
            shutil.rmtree(files)
            raise ArtifactTampered(
                f"{version}: what was fetched is not what the journal recorded (sha256 {digest[:12]}, recorded "
                f"{str(entry.digest)[:12]}): changed at the source, or on the way; nothing was sent"
            )
        registration = self.source.journal.registration(entry.id) if entry else None
        if registration and registration.signature:
            verify_artifact(files, registration.signature, Keys.from_environment().trusted())
        else:
            self.report(f"⚠️ {version}: nobody registered it at the source: no signature vouches for its files")
        return files, digest

    def _description(self, version: ModelVersion) -> str:
        """What people wrote at the source about the registered model."""
        from mlflow import MlflowClient

        with quiet(), readable_failures(self.settings.registry_uri):
            client = MlflowClient(self.settings.tracking_uri, self.settings.registry_uri)
            return client.get_registered_model(version.model).description or ""

    def _leave(self, version: ModelVersion, origin: TransferOrigin, arrived: Transferred) -> None:
        assert arrived.number is not None  # noqa: S101  # it is there
        kept = departure(origin, arrived.server, arrived.model, arrived.number, arrived.evidence)
        family = self.source.family(version.model)
        if any(same_transfer(act, kept) for act in self.source.journal.acts(ACTION, family=family)):
            return
        self.source.journal.record(family, version, Authority(ACTION, actor(), self.request.reason, details=kept))

    # The target

    def _report_there(self, line: str) -> None:
        self.report(self.target.spelled(line))

    def _name(self, version: ModelVersion) -> str:
        return self.request.target_name or version.model

    def _found(self, version: ModelVersion, entry: Entry | None) -> tuple[ModelVersion, TransferOrigin] | None:
        """The version at the target that came from this one; looks whether another may be written, too."""
        with self.target.entered() as settings:
            registry = open_promotions(settings).registry
            registry.require_rights(self._name(version), deletes=False)
            try:
                known = registry.versions(self._name(version))
            except UnknownModel:
                return None
        digest = entry.digest if entry else None
        for item, said in arrivals(known, self._server, version):
            if digest in {None, said.digest}:
                return item, said
            self.report(f"⚠️ {item} of {self.target.shown} came from {said}, with other files than it has now")
        return None

    def _unrecorded(self, version: ModelVersion, there: ModelVersion, origin: TransferOrigin) -> bool:
        """Whether an interrupted transfer left out a record, or the rules there trust the origin since."""
        kept = departure(origin, self.target.shown, there.model, there.number)
        left = self.source.journal.acts(ACTION, family=self.source.family(version.model))
        with self.target.entered() as settings:
            service = open_promotions(settings)
            came = service.journal.acts(ACTION, family=service.family(there.model))
            config, entry = service.configs.owner(there.model), service.journal.entry(there.model, there.number)
            known = registered(service.journal, entry.id) if entry else None
            if config and known and known.provenance == "received" and known.origin_key in config.trusted_origins:
                return True
        return not all(any(same_transfer(act, kept) for act in acts) for acts in (left, came))

    def _known(self, there: ModelVersion, origin: TransferOrigin) -> Transferred:
        """Nothing is left to do but the stage."""
        with self.target.entered() as settings:
            service = open_promotions(settings, self._report_there)
            entry = service.journal.entry(there.model, there.number)
            stage = service.stage_of(there)
        semver = entry.version if entry else str(there.number)
        found = Transferred(origin, self.target.shown, there.model, there.number, semver, stage.value, 0, 0)
        if self.request.to_stage in {None, stage}:
            raise NothingToDo(
                f"{origin} is there already, as {there} of {self.target.shown}: nothing to do", **found.as_json()
            )
        return self._staged(found)

    def _arrive(  # what came from the source
        self,
        service: PromotionService,
        settings: Settings,
        version: ModelVersion,
        entry: Entry | None,
        origin: TransferOrigin,
        run: CarriedRun,
        files: Path,
        seal: SealedEvidence | None,
    ) -> Transferred:
        """Write the run, its files, the version and the record, in this order: consumers see whole versions only."""
        name = self._name(version)
        with service.journal.family_lock(f"transfer to {name}"):
            there = next((it for it in self._versions(service, name) if origin_of(it) == origin), None)
            if there is None:
                run_id, place = TargetRuns(settings.tracking_uri, self.target.artifacts).write(
                    run, origin.key, origin.tags
                )
                root = served_artifact_uri(place, settings.tracking_uri)
                self._sent(Stored(f"{root}/{FOLDER}"), files)
                there = self._registered(
                    service, settings, version, origin, run.model_description, run_id, f"{place}/{FOLDER}"
                )
                self.report(f"{self.target.shown}: {there} is registered, outside every stage")
            family = service.family(name)
            training = trained_elsewhere(seal, origin, service.configs.owner(there.model))
            known = self._recorded_as(service, there, entry, files, training)
            evidence = self._received(service, family, there, origin, seal)
        sizes = file_sizes(files).values()
        return Transferred(
            origin,
            self.target.shown,
            there.model,
            there.number,
            known.version,
            known.stage.value,
            len(sizes),
            sum(sizes),
            remarks=run.remarks,
            evidence=evidence,
        )

    def _received(
        self,
        service: PromotionService,
        family: str,
        there: ModelVersion,
        origin: TransferOrigin,
        seal: SealedEvidence | None,
    ) -> Mapping[str, Any] | None:
        """Record the arrival at the target, with what the source said; what an earlier attempt recorded stands."""
        kept = departure(origin, self.target.shown, there.model, there.number)
        acts = service.journal.acts(ACTION, family=family)
        if recorded := next((act for act in acts if same_transfer(act, kept)), None):
            return recorded.details.get("evidence")
        reason = f"{self.request.reason}: from {origin}"
        if seal:
            reason += f" ({evidence_line(seal.opened(origin), seal)})"
            kept = departure(origin, self.target.shown, there.model, there.number, seal.as_json())
        service.journal.record(family, there, Authority(ACTION, actor(), reason, details=kept))
        return kept.get("evidence")

    @staticmethod
    def _versions(service: PromotionService, name: str) -> list[ModelVersion]:
        with suppress(UnknownModel):
            return service.registry.versions(name)
        return []

    def _sent(self, stored: Stored, files: Path) -> None:
        """Store what is not there yet, then read everything again: registered is only what arrived as it left."""
        sizes = file_sizes(files)
        there = stored.listing()
        missing = [path for path, size in sizes.items() if there.get(path) != size]
        for attempt in (1, 2):
            stored.put(files, missing, self.progress)
            missing = stored.differing(files, sizes if attempt == 1 else missing, self.progress)
            if not missing:
                break
            self.report(f"⚠️ {len(missing)} files arrived with other bytes ({missing[0]}): sent again")
        else:
            raise ArtifactTampered(
                f"{stored.shown}: {missing[0]} does not arrive as it was sent: something on the way or there changes "
                "it; nothing was registered"
            )
        # Of a name such as a%20b or a#b a server reads another, and gives the file all the same.
        listed = stored.listing()
        if odd := [*sorted(sizes.keys() - listed.keys()), *sorted(listed.keys() - sizes.keys())]:
            what = "is not listed there under this name" if odd[0] in sizes else "is there and was not sent"
            raise ArtifactTampered(
                f"{stored.shown}: {odd[0]!r} {what}: others would get other files; nothing was registered: give the "
                "file a plain name where the model is made, or take it away there"
            )

    def _registered(
        self,
        service: PromotionService,
        settings: Settings,
        version: ModelVersion,
        origin: TransferOrigin,
        about: str,
        run_id: str,
        source: str,
    ) -> ModelVersion:
        from mlflow import MlflowClient

        name = self._name(version)
        tags = {key: text for key, text in version.tags.items() if not is_own_tag(key)}
        with quiet(), readable_failures(settings.registry_uri):
            client = MlflowClient(settings.tracking_uri, settings.registry_uri)
            require_registered_model(client, name)
            if about and not client.get_registered_model(name).description:
                client.update_registered_model(name, about)
            made = client.create_model_version(
                name,
                source,
                run_id,
                tags={**tags, **origin.tags},
                description=version.description or None,
                await_creation_for=0,
            )
        return service.registry.version(name, int(made.version))

    def _recorded_as(
        self,
        service: PromotionService,
        there: ModelVersion,
        entry: Entry | None,
        files: Path,
        training: TrainedElsewhere | None,
    ) -> Entry:
        """Registered in the target's journal, under its semantic version where that is free there."""
        known = service.journal.entry(there.model, there.number)
        semver = entry.version if entry and is_semantic(entry.version) else None
        if semver:
            try:
                service.journal.require_free(service.family(there.model), semver)
            except UsageError:
                if known is None or known.version != semver:
                    self.report(f"⚠️ {semver} is another version at {self.target.shown}: it gets the next one there")
                    semver = None
        trainer = entry.trainer if entry and entry.trainer and "," not in entry.trainer else None
        if training and training.is_trusted:
            trainer = None
        with suppress(NothingToDo):
            register_version(service, there, semver=semver, trainer=trainer, files=files, training=training)
        self._advise(service, there)
        known = service.journal.entry(there.model, there.number)
        assert known  # noqa: S101  # it is registered already
        return known

    def _advise(self, service: PromotionService, there: ModelVersion) -> None:
        """Say how a training at the source comes to count, in a family that takes no other."""
        config, entry = service.configs.owner(there.model), service.journal.entry(there.model, there.number)
        known = registered(service.journal, entry.id) if entry else None
        if config and config.trains_here and known and (advice := known.advice(config.family)):
            self.report(f"⚠️ {there} is received there, not trained: {advice}")

    def _approved(self, service: PromotionService, arrived: Transferred, seal: SealedEvidence | None) -> Transferred:
        """Let approvals of the source count, where the target's rules say so; what did not come along is said."""
        remarks = arrived.remarks
        if seal and arrived.number is not None:
            there = service.registry.version(arrived.model, arrived.number)
            remarks += tuple(accept_approvals(service, there, seal, arrived.origin))
        for line in remarks:
            self.report(f"⚠️ {line}")
        return replace(arrived, remarks=remarks)

    def _staged(self, arrived: Transferred) -> Transferred:
        """Move it at the target, if that is asked for and its gates let it."""
        to = self.request.to_stage
        if to is None or arrived.number is None:
            return arrived
        with self.target.entered() as settings:
            service = open_promotions(settings, self._report_there)
            candidate = service.registry.version(arrived.model, arrived.number)
            service.synchronise(service.family(candidate.model))
            move = service.promote(service.check(candidate, to), Mover(actor(), self.request.reason))
            move.require_shown(**move.as_json())
        return replace(arrived, stage=move.to.value)


def transfer(  # both installations, what to carry, and whom to tell
    source: PromotionService,
    settings: Settings,
    target: Target,
    request: TransferRequest,
    report: Callable[[str], None],
    progress: ByteProgress = lambda _task, _done, _total: None,
    *,
    dry_run: bool = False,
) -> Transferred:
    """Bring a version to another server, or finish what an interrupted transfer began.

    Consumers there see it when every byte was read again and is what the source's record says, not before.

    Args:
        source: Where it is.
        settings: The source's places.
        target: Where it goes.
        request: Which version, under which name and into which stage.
        report: Told every step.
        progress: Told how many bytes of a step are done.
        dry_run: Whether only to look.

    Raises:
        NothingToDo: It is there already.
        ArtifactTampered: Its files are not those that were recorded, or do not arrive as they were sent.
        GateRefused: It is known bad here, or the target's gates keep it out of the stage; it is registered then.
        RegistryError: A server does not answer, or refuses; running it again goes on from there.
        UsageError: There is no such version, or the target is the source.
    """
    bound_patience()
    carrying = _Transfer(source, settings, target, request, report, progress)
    return carrying.rehearse() if dry_run else carrying.run()


@contextmanager
def _only_one(folder: Path) -> Iterator[None]:
    """Two transfers of one version on this machine would write the same files."""
    from filelock import FileLock, Timeout

    try:
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder.with_suffix(".lock"), timeout=0):
            yield
    except Timeout as error:
        raise RegistryError("another transfer of this version is running on this machine: wait for its end") from error

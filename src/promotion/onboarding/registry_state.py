"""Examine what is registered: places taken twice, aliases against stages, files, runs, and what nobody signed."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from promotion.artifacts.files import artifact_digest, local_artifact
from promotion.artifacts.provenance import ACTION, registered
from promotion.artifacts.scanning import problems as scan
from promotion.artifacts.signature import verify_artifact
from promotion.config.family import FamilyConfig
from promotion.config.policy import Aliases
from promotion.errors import ArtifactUnsafe, PromotionError, RegistryError, UnknownVersion
from promotion.gates.artifact import sandbox_line
from promotion.journal.records import Entry, Place, place_of
from promotion.listing import families_in_question, with_every_version
from promotion.onboarding.diagnosis import Diagnosis
from promotion.reconcile.outside_changes import production_line
from promotion.reconcile.reconciler import Reconciler
from promotion.registry.contract import ModelVersion, RegisteredModel, Registry, TrackedRun, has_lost_logged_model
from promotion.registry.stages import Stage
from promotion.signing.keys import Keys

_THREADS = 8
_RECONCILE = "python scripts/promote-model.py --reconcile --model"
_REGISTER = "python scripts/register-model.py"
_INIT = "python scripts/init-family.py"
_HOLDOUT = "with a section holdout and `artifacts: {code: sandbox}` it can be scored in the sandbox"
_STAGED = (Stage.PRODUCTION, Stage.STAGING)


@dataclass(frozen=True, slots=True)
class _Known:
    """What the journal holds, read once.

    Attributes:
        is_read: Whether it could be read.
        entries: Every version it knows.
        trained: Those that our own training registered.
    """

    is_read: bool = False
    entries: Mapping[Place, Entry] = field(default_factory=dict)
    trained: frozenset[Place] = frozenset()


def check_registry(
    reconciler: Reconciler,
    models: Sequence[RegisteredModel],
    diagnosis: Diagnosis,
    *,
    is_deep: bool = False,
    is_recorded: bool = True,
    progress: Callable[[int, int], None] = lambda _done, _total: None,
) -> None:
    """Look at every registered model, and at the files of the versions that are in a stage or have an alias.

    Args:
        reconciler: Knows journal, registry and families.
        models: The listing.
        diagnosis: Is told.
        is_deep: Whether the files of every version are looked at.
        is_recorded: Whether the journal can be read; without it nothing is compared with it.
        progress: Told how many versions of how many were looked at.
    """
    _check_owners(reconciler, models, diagnosis)
    known = _Known()
    if is_recorded:
        _check_places(reconciler, models, diagnosis)
        journal = reconciler.journal
        trained = {
            (act.model, act.number) for act in journal.acts(ACTION) if act.details.get("provenance") != "received"
        }
        entries = {place_of(entry): entry for entry in journal.entries()}
        known = _Known(is_read=True, entries=entries, trained=frozenset(trained))
    versions = _versions_to_look_at(reconciler, models, diagnosis, is_deep=is_deep)
    runs = reconciler.registry.runs(version.run_id for version in versions if version.run_id)
    look = _Look(reconciler, known, runs)
    with _looking(reconciler.registry) as look_at_all:
        for done, found in enumerate(look_at_all(look.at, versions), start=1):
            for kind, problem, remedy in found:
                diagnosis.find("registry", kind, str(versions[done - 1]), problem, remedy)
            progress(done, len(versions))
    which = "every version" if is_deep else "those in a stage or with an alias"
    diagnosis.said["registry"] = (
        f"{len(models):,} registered models; the files of {len(versions):,} versions were looked at, {which}"
    )


@contextmanager
def _looking(registry: Registry) -> Iterator[Callable[..., Iterable[list[tuple[str, str, str]]]]]:
    """How many versions are looked at: of a server several at once, of a file one after the other."""
    if registry.uri.startswith("http"):
        with ThreadPoolExecutor(_THREADS) as pool:
            yield pool.map
    else:
        with registry.reading():
            yield map


def _check_owners(reconciler: Reconciler, models: Iterable[RegisteredModel], diagnosis: Diagnosis) -> None:
    """No registered model belongs to two families."""
    for model in models:
        if reconciler.configs.is_certain(model.name) or reconciler.configs.broken:
            continue
        owners = [name for name, config in reconciler.configs.items() if config.owns(model.name)]
        files = " and ".join(f"config/{name}.yaml" for name in owners)
        remedy = f"leave it to one of them: change registered_model in {files}"
        diagnosis.find("registry", "ownership", model.name, f"{files} each own it", remedy)


def _check_places(reconciler: Reconciler, models: Sequence[RegisteredModel], diagnosis: Diagnosis) -> None:
    """What the journal, MLflow's stages and its aliases say of each family is the same."""
    journal = reconciler.journal
    recorded = {family for family in journal.families() if journal.knows(family)}
    for family in sorted(families_in_question(models, reconciler, None, journal.standing()) & recorded):
        found = reconciler.unsettled(family)
        if found.lines:
            kind = "production" if found.is_ambiguous else "outside"
            diagnosis.find("registry", kind, family, "; ".join(found.lines), found.advice)
    unrecorded: dict[str, list[RegisteredModel]] = defaultdict(list)
    for model in models:
        if reconciler.configs.is_certain(model.name) and (family := reconciler.family(model.name)) not in recorded:
            unrecorded[family].append(model)
    for family, theirs in sorted(unrecorded.items()):
        for kind, problem in _contradictions(theirs, reconciler.aliases(family)):
            diagnosis.find("registry", kind, family, problem, f"{_RECONCILE} {family}")


def _contradictions(models: Sequence[RegisteredModel], names: Aliases) -> Iterator[tuple[str, str]]:
    """Of a family that nobody recorded yet: several versions in Production, and aliases beside the stage they name."""
    staged = {
        stage: sorted((it for model in models for it in model.versions if it.stage is stage), key=place_of)
        for stage in _STAGED
    }
    if len(staged[Stage.PRODUCTION]) > 1:
        yield "production", production_line(staged[Stage.PRODUCTION], None)
    follow = {**dict.fromkeys(names.production, Stage.PRODUCTION), **dict.fromkeys(names.staging, Stage.STAGING)}
    for alias, stage in follow.items():
        targets = [(model.name, model.aliases[alias]) for model in models if alias in model.aliases]
        if len(targets) > 1:
            named = " and ".join("{} v{}".format(*target) for target in targets)
            yield "alias", f"alias {alias} points at {named}"
        shown = {place_of(version) for version in staged[stage]}
        for model, number in targets:
            if shown and (model, number) not in shown:
                others = ", ".join(str(version) for version in staged[stage])
                yield "alias", f"alias {alias} points at {model} v{number}, the stage {stage} holds {others}"


def _versions_to_look_at(
    reconciler: Reconciler, models: Iterable[RegisteredModel], diagnosis: Diagnosis, *, is_deep: bool
) -> list[ModelVersion]:
    """Those in a stage or with an alias, or all of them; an alias that leads nowhere is told."""
    registry, chosen = reconciler.registry, []
    for model in with_every_version(models, registry.every_version()) if is_deep else models:
        shown = {version.number: version for version in model.versions}
        for alias, number in sorted(model.aliases.items()):
            try:
                shown[number] = shown.get(number) or registry.version(model.name, number)
            except UnknownVersion:
                code = f"MlflowClient().delete_registered_model_alias({model.name!r}, {alias!r})"
                remedy = f'python -c "from mlflow import MlflowClient; {code}"'
                diagnosis.find(
                    "registry", "alias", model.name, f"alias {alias} points at v{number}, which is gone", remedy
                )
        wanted = set(model.aliases.values())
        chosen += [
            version
            for number, version in sorted(shown.items())
            if is_deep or version.stage in _STAGED or number in wanted
        ]
    return chosen


@dataclass(frozen=True, slots=True)
class _Look:
    """Looks at one version: its run, its files, and who vouches for them; writes nothing."""

    reconciler: Reconciler
    known: _Known
    runs: Mapping[str, TrackedRun]

    def at(self, version: ModelVersion) -> list[tuple[str, str, str]]:
        """What is wrong with a version: kind, problem, remedy."""
        config = self._config(version)
        return [
            *self._run(version),
            *self._logged_model(version),
            *self._files(version, config),
            *self._signature(version, config),
        ]

    def _config(self, version: ModelVersion) -> FamilyConfig | None:
        configs = self.reconciler.configs
        return configs.owner(version.model) if configs.is_certain(version.model) else None

    def _run(self, version: ModelVersion) -> Iterator[tuple[str, str, str]]:
        if not version.run_id:
            return
        try:
            run = self.runs.get(version.run_id) or self.reconciler.registry.run(version.run_id)
        except RegistryError:  # whoever may read the registry need not be allowed to read its runs
            return
        if run is None:
            trainer = f"{_REGISTER} {version.model} {version.number} --trainer WHO records who trained it"
            yield "run", f"its run {version.run_id} is gone, and with it metrics and trainer", trainer
        elif run.is_deleted:
            restore = f"mlflow runs restore --run-id {version.run_id}"
            yield "run", f"its run {version.run_id} is deleted: `mlflow gc` would remove its files", restore

    def _logged_model(self, version: ModelVersion) -> Iterator[tuple[str, str, str]]:
        if has_lost_logged_model(self.reconciler.registry, version):
            what = f"its logged model {version.logged_model} is deleted: `mlflow gc` would remove its files"
            yield "logged model", what, self._way_out(version)

    def _files(self, version: ModelVersion, config: FamilyConfig | None) -> Iterator[tuple[str, str, str]]:
        entry = self.known.entries.get(place_of(version))
        is_boxed = config is not None and not config.has_contract and config.artifacts.code == "sandbox"
        try:
            with local_artifact(self.reconciler.registry, version, is_copied=False) as folder:
                if entry and entry.digest and artifact_digest(folder) != entry.digest:
                    what = f"its files are not those that the journal recorded ({entry.digest[:12]})"
                    yield "files", what, "restore them, or take it out: " + self._way_out(version)
                found = scan(folder, code_is_vouched=self._is_vouched(entry, folder), code_is_boxed=is_boxed)
        except ArtifactUnsafe as error:
            yield "files", str(error).removeprefix(f"{version}: "), f"register it again; {self._way_out(version)}"
        except PromotionError as error:
            yield "missing", str(error).removeprefix(f"{version}: "), self._way_out(version)
        else:
            if found:
                kind = "pickle" if any("pickle" in line for line in found) else "unsafe"
                rest = f" (and {len(found) - 1} more)" if len(found) > 1 else ""
                yield kind, f"{found[0]}{rest}", self._safer(version, config)

    def _signature(self, version: ModelVersion, config: FamilyConfig | None) -> Iterator[tuple[str, str, str]]:
        """What serves is vouched for by somebody."""
        if version.stage is not Stage.PRODUCTION or not self.known.is_read:
            return
        journal, entry = self.reconciler.journal, self.known.entries.get(place_of(version))
        known = registered(journal, entry.id) if entry else None
        if entry is None or known is None:
            register = f"{_REGISTER} {version.model} {version.number}"
            train = f"python src/models/train.py --model {config.family}" if config and config.trains_here else ""
            yield "unsigned", "serves, and nobody signed its files: no registration", train or register
        elif lost := known.contradiction(journal.registration(entry.id)):
            yield "unsigned", lost, "python scripts/audit.py verify names what differs"

    def _is_vouched(self, entry: Entry | None, folder: Path) -> bool:
        """Whether our own training signed these very files, so that code in them is ours."""
        if entry is None or place_of(entry) not in self.known.trained:
            return False
        registration = self.reconciler.journal.registration(entry.id)
        if registration is None or registration.signature is None:
            return False
        with suppress(PromotionError):
            verify_artifact(folder, registration.signature, Keys.from_environment().trusted())
            return True
        return False

    def _way_out(self, version: ModelVersion) -> str:
        """The command that takes a version whose files cannot be used out of its place."""
        family = self.reconciler.family(version.model) if self._config(version) else version.model
        if version.stage is Stage.PRODUCTION:
            return f"python mlops/registry/rollback_model.py --model-name {family} --reason WHY"
        return f"python mlops/registry/known_bad.py {version.model} {version.number} --reason WHY"

    def _safer(self, version: ModelVersion, config: FamilyConfig | None) -> str:
        """What makes of a version that runs code when it is loaded one that can be scored."""
        if config is None:
            return (
                f"{_INIT} {version.model} {version.number} --holdout FILE writes a file that lets it be scored in the "
                "sandbox"
            )
        if config.trains_here:
            return f"python src/models/train.py --model {config.family} trains it again, without pickles"
        return sandbox_line(config) if config.has_holdout else f"{_HOLDOUT}: {config.at('holdout')}"

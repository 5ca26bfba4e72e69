"""Gather the evidence about a candidate that the gates are asked with; changes nothing."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from promotion.approvals.identities import Identities
from promotion.approvals.rules import NAMESPACE, Standing, standing
from promotion.artifacts.files import artifact_digest, local_artifact
from promotion.artifacts.provenance import Registered, registered
from promotion.artifacts.requirements import foreign_requirements
from promotion.artifacts.scanning import problems as scan
from promotion.artifacts.signature import verify_artifact
from promotion.config.family import FamilyConfig
from promotion.errors import ArtifactMissing, ArtifactUnsafe, DataError, PromotionError, RegistryError
from promotion.gates import RUNS, Context, ab_test
from promotion.gates.cost import is_measured
from promotion.gates.custom import CustomAnswer, ask
from promotion.gates.evidence import Evaluation, Evaluator, Interval, Measurement
from promotion.gates.quality import is_split_asked
from promotion.journal import clock
from promotion.journal.journal import Journal
from promotion.journal.records import Approval, Entry, Known, RuleSet
from promotion.journal.reviews import Reviews
from promotion.registry.contract import ModelVersion, Registry, TrackedRun, has_lost_logged_model
from promotion.registry.stages import Stage
from promotion.rules.history import RuleHistory
from promotion.rules.rulebook import Rulebook
from promotion.signing.keys import Keys
from promotion.signing.ssh import verify


@dataclass
class _Files:
    """What one version's files said, by the names of `Context`."""

    digest: str | None = None
    artifact_problem: str = ""
    signature_problem: str = ""
    is_signed: bool = False
    registered: Registered | None = None
    unsafe: tuple[str, ...] = ()
    scanned: tuple[str, ...] | None = None
    remarks: tuple[str, ...] = ()
    files: Mapping[str, int] = field(default_factory=dict)
    is_loaded: bool = False
    evaluation: Evaluation | None = None
    schema_problems: tuple[str, ...] = ()
    measurement: Measurement | None = None
    measurement_problem: str = ""


class Gatherer:
    """Asks the registry, the journal, the artifact and the data.

    Args:
        journal: Who is where.
        reviews: Approvals and incidents.
        registry: Where the artifacts are.
        evaluator: Gives the evaluator of a configured family.
        rulebook: Where the rules are read, the keys of the people who may approve among them.
        invention: Says so where a generator invented a family's rows; empty for any others.
    """

    def __init__(
        self,
        journal: Journal,
        reviews: Reviews,
        registry: Registry,
        evaluator: Callable[[FamilyConfig], Evaluator],
        rulebook: Rulebook,
        invention: Callable[[FamilyConfig], str] = lambda _config: "",
    ) -> None:
        self._journal = journal
        self._reviews = reviews
        self._registry = registry
        self._evaluator = evaluator
        self._rulebook = rulebook
        self._invention = invention

    @property
    def allowed_signers(self) -> Path:
        """File with the keys of the people who may approve."""
        return self._rulebook.signers

    def gather(
        self,
        family: str,
        candidate: ModelVersion,
        config: FamilyConfig | None,
        *,
        target: Stage,
        from_stage: Stage | None,
        is_rollback: bool,
    ) -> Context:
        """Everything the gates may ask for this candidate, scored and measured now.

        Raises:
            DataError: The rows to score on cannot be read, and this is no rollback.
            RegistryError: The registry or the artifact store fails.
        """
        known = {(it.model, it.number): it for it in self._journal.recorded_entries(family)}
        entry = known.get((candidate.model, candidate.number))
        production = next((it for it in known.values() if it.stage is Stage.PRODUCTION), None)
        has_run = not is_rollback or (entry is not None and self._has_run(entry))
        is_scored = config is not None and (config.has_contract and has_run if is_rollback else config.has_holdout)
        evaluator = self._evaluator(config) if config and is_scored else None
        is_received = config is not None and not config.has_contract
        holdout = evaluator if is_received else None
        found = self._examine(candidate, entry, config, evaluator, is_rollback=is_rollback, is_candidate=True)
        rival = _Files()
        difference = None
        if config and evaluator and production and target is Stage.PRODUCTION and not is_rollback:
            rival = self._examine(production, production, config, evaluator, is_rollback=False, is_candidate=False)
            difference = _difference(evaluator, found.evaluation, rival.evaluation, config.selection_metric)
        rules = self._rulebook.of(family, config)
        custom = {} if config is None or is_rollback else self._asked(config, candidate, production, found, rival)
        run = None if is_rollback else self._run_of(candidate, config)
        asks_for_data = config is not None and config.gates.data_quality and not is_rollback
        staged = self._journal.arrival(family, Stage.STAGING, entry.id) if entry else None
        return Context(
            **vars(found),
            config=config,
            candidate=candidate,
            now=self._journal.now(),
            target=target,
            is_rollback=is_rollback,
            from_stage=from_stage,
            entry=entry,
            recorded_digest=entry.digest if entry else None,
            has_run=has_run,
            run_is_deleted=run is not None and run.is_deleted,
            logged_model_is_deleted=not is_rollback and has_lost_logged_model(self._registry, candidate),
            run_metrics=run.metrics if run and config and config.trainer_metrics else None,
            feature_hash=evaluator.feature_hash if evaluator else None,
            data_problems=tuple(evaluator.data_problems()) if evaluator and asks_for_data else (),
            split_problems=self._split_problems(config, entry, evaluator) if config and not is_rollback else (),
            holdout_problems=tuple(holdout.holdout_problems()) if holdout else (),
            data_sha256=holdout.data_sha256 if holdout else None,
            invented=self._invention(config) if config and found.evaluation else "",
            custom=custom,
            production=production,
            production_evaluation=rival.evaluation,
            difference=difference,
            production_problem=_production_problem(production, rival) if rival.digest or rival.artifact_problem else "",
            staged_at=staged.at if staged and clock.counts(staged.details) else None,
            is_rehearsed=staged is not None and not clock.counts(staged.details),
            ab_test=self._ab_test(family, entry) if config and config.gates.ab_test and not is_rollback else None,
            incidents=tuple(self._reviews.incidents(entry=entry)) if entry else (),
            approvals=tuple(self._reviews.approvals(entry)),
            verify_approval=self._verifier(config),
            rules=rules,
            rule_changes=tuple(map(str, RuleHistory(self._journal).since_promotion(rules, candidate.model))),
            rules_since=self._rules_since(rules),
            identities=self.identities(),
        )

    def _ab_test(self, family: str, entry: Entry | None) -> Mapping[str, Any] | None:
        """What the newest look at a version's A/B test found, that was no rehearsal."""
        events = self._journal.history(family, version_id=entry.id) if entry else []
        looks = (event.details for event in events if event.action == ab_test.ACTION and clock.counts(event.details))
        return next((details["ab_test"] for details in looks), None)

    def is_approved(self, config: FamilyConfig, entry: Entry) -> bool:
        """Whether every role's approval is given for what the newest kept report says of a version."""
        reports = [kept for kept in self._journal.reports(entry) if kept.target is Stage.PRODUCTION]
        if not reports:
            return False
        digest, evidence = reports[0].report.get("digest"), reports[0].evidence or ""
        found = self.standing(config, entry, digest=digest, evidence=evidence)
        return found is not None and not found.missing

    def standing(
        self, config: FamilyConfig, entry: Entry | None, *, digest: str | None, evidence: str
    ) -> Standing | None:
        """Where the family's roles stand on a version; None when the family asks for no approvals.

        Args:
            config: The family.
            entry: The version.
            digest: sha256 of its artifact now.
            evidence: Digest of what the gates find now.
        """
        if config.approvals is None:
            return None
        return standing(
            config.approvals,
            self._reviews.approvals(entry),
            entry=entry,
            digest=digest,
            evidence=evidence,
            now=self._journal.now(),
            verify=self._verifier(config),
            rules_since=self._rules_since(self._rulebook.of(config.family, config)),
            identities=self.identities(),
        )

    def identities(self) -> Identities:
        """Which names are one person, by the list of those who may sign."""
        return Identities.listed(self.allowed_signers)

    def _examine(
        self,
        version: Known,
        entry: Entry | None,
        config: FamilyConfig | None,
        evaluator: Evaluator | None,
        *,
        is_rollback: bool,
        is_candidate: bool,
    ) -> _Files:
        """Look at one version's files; a model that is broken is evidence, a store that is down is a failure."""
        found = _Files()
        registration = self._journal.registration(entry.id) if entry else None
        found.registered = registered(self._journal, entry.id) if entry else None
        signature = registration.signature if registration else None
        found.signature_problem = found.registered.contradiction(registration) if found.registered else ""
        found.is_signed = signature is not None or bool(found.signature_problem)
        try:
            with local_artifact(self._registry, self._registry.version(version.model, version.number)) as folder:
                found.digest = artifact_digest(folder)
                found.files = _sizes(folder)
                if signature and not found.signature_problem:
                    found.signature_problem = _problem(_verify_files, folder, signature)
                if config is not None and evaluator is not None:
                    self._score(
                        found, folder, entry, config, evaluator, is_rollback=is_rollback, is_candidate=is_candidate
                    )
                elif not is_rollback:  # the way back waits for nothing that cannot stop it
                    found.scanned = (*scan(folder), *foreign_requirements(folder))
        except (ArtifactMissing, ArtifactUnsafe) as error:
            found.artifact_problem = str(error)
        except (RegistryError, DataError):
            raise
        except PromotionError as error:
            found.artifact_problem = str(error)
        return found

    def _score(
        self,
        found: _Files,
        folder: Path,
        entry: Entry | None,
        config: FamilyConfig,
        evaluator: Evaluator,
        *,
        is_rollback: bool,
        is_candidate: bool,
    ) -> None:
        """Run the model on the family's rows, unless a check refuses it before."""
        # Our signature over files found in MLflow says that they are unchanged, not where they come from.
        is_trained = found.registered is not None and found.registered.provenance == "trained"
        is_ours = found.is_signed and not found.signature_problem and is_trained
        is_boxed = not config.has_contract and config.artifacts.code == "sandbox"
        found.unsafe = tuple(scan(folder, code_is_vouched=is_ours, code_is_boxed=is_boxed))
        found.remarks = tuple(foreign_requirements(folder))
        if refusal := _not_to_be_loaded(found, entry):
            found.artifact_problem, found.schema_problems = refusal, (refusal,)
            return
        found.schema_problems = tuple(evaluator.schema_problems(folder))
        self._run(found, folder, evaluator, is_rollback=is_rollback)
        if is_candidate and is_measured(config) and not is_rollback and found.evaluation:
            self._measure(found, folder, evaluator)

    def _asked(
        self, config: FamilyConfig, candidate: ModelVersion, production: Entry | None, found: _Files, rival: _Files
    ) -> dict[str, CustomAnswer]:
        """What the commands of the family's own gates say; none is shown files that a check has refused."""
        is_refused = found.artifact_problem or found.unsafe or found.signature_problem or found.digest is None
        if not config.gates.custom or is_refused:
            return {}
        home = self._rulebook.home
        with local_artifact(self._registry, candidate) as folder:
            if artifact_digest(folder) != found.digest:
                return {}
            evidence = {
                "family": config.family,
                "candidate": _told(candidate, found),
                "production": _told(production, rival) if production else None,
                "artifact": str(folder),
                "holdout": config.stated_holdout.model_dump(mode="json") if config.stated_holdout else None,
                "home": str(home),
            }
            return {rule.name: ask(rule, evidence, home) for rule in config.gates.custom}

    def _has_run(self, entry: Entry) -> bool:
        """Whether our training made a version, or the gates ran it when it was promoted."""
        known = registered(self._journal, entry.id)
        reports = (kept.report for kept in self._journal.reports(entry))
        return (known is not None and known.provenance == "trained") or any(
            gate["name"] == RUNS and gate["passed"] for report in reports for gate in report["results"]
        )

    def _split_problems(
        self, config: FamilyConfig, entry: Entry | None, evaluator: Evaluator | None
    ) -> tuple[str, ...]:
        if evaluator is None or not is_split_asked(config):
            return ()
        registration = self._journal.registration(entry.id) if entry else None
        return tuple(evaluator.split_problems(registration.lineage if registration else {}))

    def _run_of(self, candidate: ModelVersion, config: FamilyConfig | None) -> TrackedRun | None:
        """The run that made a version; None where there is none, or where it is out of reach and nobody asks for it."""
        try:
            return self._registry.run(candidate.run_id) if candidate.run_id else None
        except RegistryError:
            if config is not None and config.trainer_metrics:
                raise
            return None

    @staticmethod
    def _run(found: _Files, folder: Path, evaluator: Evaluator, *, is_rollback: bool) -> None:
        try:
            found.evaluation = evaluator.evaluate(folder)
        except DataError:
            if not is_rollback:
                raise
            # At three in the morning the rows may be gone too; that the model loads must then be enough.
            evaluator.load(folder)
        found.is_loaded = True

    @staticmethod
    def _measure(found: _Files, folder: Path, evaluator: Evaluator) -> None:
        try:
            found.measurement = evaluator.measure(folder)
        except PromotionError as error:
            found.measurement_problem = str(error)

    def _rules_since(self, rules: RuleSet) -> Callable[[str], list[str]]:
        """Says what of the rules is different from those of a digest."""
        return lambda digest: [str(change) for change in RuleHistory(self._journal).since_approval(digest, rules)]

    def _verifier(self, config: FamilyConfig | None) -> Callable[[Approval], str]:
        policy = config.approvals if config else None
        if policy is None or not policy.signed:
            return lambda _approval: ""

        def problem(approval: Approval) -> str:
            if approval.signature is None:
                return f"the approval of {approval.approver} is not signed"
            return _problem(
                verify,
                approval.statement.encode(),
                approval.signature,
                approval.approver,
                self.allowed_signers,
                NAMESPACE,
            )

        return problem


def _difference(
    evaluator: Evaluator, ours: Evaluation | None, theirs: Evaluation | None, metric: str
) -> Interval | None:
    """The comparison, where both have the metric: a model that only names classes has no area under a curve."""
    if ours is None or theirs is None or metric not in ours.metrics or metric not in theirs.metrics:
        return None
    return evaluator.difference(ours, theirs, metric)


def _told(version: Known, found: _Files) -> dict[str, Any]:
    """What a command is told of a version."""
    scored = found.evaluation
    return {
        "model": version.model,
        "version": version.number,
        "digest": found.digest,
        "rows": scored.rows if scored else None,
        "data_sha256": scored.data_sha256 if scored else None,
        "metrics": {
            name: value if math.isfinite(value) else None for name, value in (scored.metrics if scored else {}).items()
        },
    }


def _not_to_be_loaded(found: _Files, entry: Entry | None) -> str:
    """Why files that a check has refused are neither parsed nor loaded any further; empty when none has."""
    if found.signature_problem or (entry and entry.digest not in {None, found.digest}):
        return "it is not loaded: its files are not what was recorded"
    return f"it is not loaded: {'; '.join(found.unsafe)}" if found.unsafe else ""


def _verify_files(folder: Path, signature: str) -> None:
    verify_artifact(folder, signature, Keys.from_environment().trusted())


def _problem(check: Callable[..., None], *arguments: Any) -> str:
    """What a check raises, as text; empty when it raises nothing."""
    try:
        check(*arguments)
    except PromotionError as error:
        return str(error)
    return ""


def _production_problem(production: Entry | None, rival: _Files) -> str:
    if rival.evaluation is None:
        return f"Production ({production}) cannot be re-scored: {rival.artifact_problem}"
    if production and production.digest not in {None, rival.digest}:
        return f"Production ({production}) is not what was recorded: its artifact changed"
    return rival.signature_problem


def _sizes(folder: Path) -> dict[str, int]:
    return {path.relative_to(folder).as_posix(): path.stat().st_size for path in folder.rglob("*") if path.is_file()}

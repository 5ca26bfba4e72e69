"""The one way a version moves: check, commit, project, record."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass

from promotion.adoption import Difference, compare, production_alias
from promotion.artifacts import artifact_digest, local_artifact
from promotion.config import FamilyConfig, family_of
from promotion.errors import (
    ArtifactMissing,
    ArtifactUnsafe,
    DataError,
    GateRefused,
    JournalError,
    NothingToDo,
    ProjectionIncomplete,
    PromotionError,
    RegistryError,
    UnknownFamily,
    UnknownModel,
    UnknownVersion,
)
from promotion.evidence import Evaluation, Evaluator
from promotion.gates import Context, GateReport, run_gates
from promotion.journal import Authority, Change, Entry, Journal
from promotion.projection import project
from promotion.registry import ModelVersion, Registry
from promotion.stages import Stage


@dataclass(frozen=True, slots=True)
class Plan:
    """A checked move that was not made yet.

    Attributes:
        family: Whose version it is.
        candidate: The version that wants to move.
        production: The version in Production the gates compared with.
        report: What the gates found.
    """

    family: str
    candidate: ModelVersion
    production: Entry | None
    report: GateReport


@dataclass(frozen=True, slots=True)
class Promotion:
    """A move that was made.

    Attributes:
        plan: What was checked.
        to: Where the candidate is now.
        operation: The journal's id of the move.
        unprojected: Why MLflow does not show it completely; empty when it does.
    """

    plan: Plan
    to: Stage
    operation: str
    unprojected: str = ""


def refusal(plan: Plan) -> GateRefused:
    """The error that says why a candidate may not enter Production; names every gate that refused."""
    reasons = "; ".join(f"{gate.name}: {gate.measured}, required {gate.required}" for gate in plan.report.refusals)
    return GateRefused(f"{plan.candidate} may not enter Production: {reasons}", report=plan.report.as_json())


class PromotionService:
    """Moves versions of every family.

    Args:
        journal: Decides who is where.
        registry: MLflow, which follows.
        configs: Families by name.
        evaluator: Gives the evaluator of a configured family.
        report: Told every step, in the order they happen.
    """

    def __init__(
        self,
        journal: Journal,
        registry: Registry,
        configs: Mapping[str, FamilyConfig],
        evaluator: Callable[[FamilyConfig], Evaluator],
        report: Callable[[str], None] = lambda _line: None,
    ) -> None:
        self.journal = journal
        self.registry = registry
        self.configs = dict(configs)
        self._evaluator = evaluator
        self._report = report

    # The move

    def check(self, candidate: ModelVersion) -> Plan:
        """Gather the evidence and ask every gate; changes nothing.

        Raises:
            NothingToDo: The candidate is in Production already.
            RegistryError: The registry or the artifact store fails.
        """
        family = self.family(candidate.model)
        production = self.journal.production(family)
        if production and (production.model, production.number) == (candidate.model, candidate.number):
            message = f"{candidate} is in Production already: nothing to do"
            raise NothingToDo(message)
        context = self._gather(candidate, production, family_of(candidate.model, self.configs))
        return Plan(family, candidate, production, run_gates(family, context))

    def promote(self, plan: Plan, *, actor: str, reason: str) -> Promotion:
        """Move a checked version into Production if every gate let it; a refused candidate's report is kept.

        Raises:
            GateRefused: A gate said no.
            ProductionMoved: Production changed since the check.
            PromotionError: Something failed before the commit; nothing moved.
        """
        if not plan.report.passed:
            self.keep_report(plan, Stage.PRODUCTION, actor)
            raise refusal(plan)
        return self.commit(plan, Stage.PRODUCTION, actor=actor, reason=reason)

    def commit(self, plan: Plan, to: Stage, *, actor: str, reason: str) -> Promotion:
        """Record the checked move and bring MLflow after it.

        Raises:
            ProductionMoved: Production is not the version the plan compared with.
            JournalError: The journal cannot be written; nothing moved.
        """
        with self.journal.family_lock(plan.family):
            report_id = self.keep_report(plan, to, actor)
            changes = [Change(plan.candidate, to, plan.report.digest)]
            if plan.production and to is Stage.PRODUCTION:
                changes.insert(0, Change(plan.production, Stage.ARCHIVED))
            self._report(f"committing {plan.candidate} to {to}")
            operation = self.journal.move(
                plan.family,
                changes,
                Authority("promote" if to is Stage.PRODUCTION else "stage", actor, reason, report_id),
                expected_production=plan.production.id if plan.production else None,
            )
            self._report(f"journal: {plan.candidate} is in {to}")
            unprojected = self._project(plan.family)
        return Promotion(plan, to, operation, unprojected)

    def keep_report(self, plan: Plan, target: Stage, actor: str) -> int:
        """Record what the gates found, refusals included; returns the report's id."""
        return self.journal.save_report(
            family=plan.family,
            version=plan.candidate,
            target=target,
            passed=plan.report.passed,
            report=plan.report.as_json(),
            actor=actor,
        )

    # Keeping journal and MLflow together

    def synchronise(self, family: str, *, repair: bool = False) -> str:
        """Finish what an interrupted command left, or take over what was changed in MLflow.

        Args:
            family: Whose versions.
            repair: Write aliases and tags again even where no version was moved.

        Returns:
            Why MLflow still does not show everything; empty when it does.

        Raises:
            RegistryError: MLflow cannot be read; nothing was changed.
            JournalError: The journal cannot be used; nothing was changed.
        """
        with self.journal.family_lock(family):
            if self.journal.pending(family):
                self._report(f"{family}: finishing a move that MLflow does not show yet")
                self._read(family)
                return self._project(family)
            difference = self._compare(family)
            if not difference.changes:
                return self._project(family) if repair and self.journal.knows(family) else ""
            known = self.journal.knows(family)
            for line in difference.lines:
                self._report(f"{family}: {'changed outside' if known else 'found'}: {line}")
            authority = Authority(
                "adopt" if known else "genesis",
                "mlflow",
                "changed in MLflow outside the journal" if known else "stages found when the journal began",
            )
            current = self.journal.production(family)
            self.journal.move(
                family, difference.changes, authority, expected_production=current.id if current else None
            )
            return self._project(family)

    def outside_changes(self, family: str) -> list[str]:
        """What MLflow shows and the journal does not hold, one line each; changes nothing."""
        if self.journal.pending(family):
            return []
        return list(self._compare(family).lines)

    def reconcile(self, family: str | None = None) -> None:
        """Bring journal and MLflow together for one family, or for all that are known.

        Raises:
            ProjectionIncomplete: MLflow still does not show everything.
        """
        families = [family] if family else self.known_families()
        incomplete = [problem for name in families if (problem := self.synchronise(name, repair=True))]
        if incomplete:
            raise ProjectionIncomplete("; ".join(incomplete))

    # Names

    def family(self, model: str) -> str:
        """The family of a registered model; without configuration the model is its own family."""
        config = family_of(model, self.configs)
        return config.family if config else model

    def known_families(self) -> list[str]:
        """Configured families, those the journal has moved, and those that MLflow shows in a stage."""
        staged = {
            self.family(model.name)
            for model in self.registry.models()
            if any(version.stage is not Stage.NONE for version in model.versions)
        }
        return sorted(staged | self.journal.families() | set(self.configs))

    def require_family(self, family: str) -> str:
        """Accept the name of a configured family, or of a registered model without one.

        Raises:
            UnknownFamily: It is neither.
        """
        if family in self.configs:
            return family
        try:
            self.registry.model(family)
        except UnknownModel as error:
            known = ", ".join(sorted(self.configs)) or "none"
            message = f"unknown family {family!r}: neither configured (families: {known}) nor a registered model"
            raise UnknownFamily(message) from error
        return self.family(family)

    def candidate(self, model: str, number: int | None = None) -> ModelVersion:
        """A version by number, or the newest one of a registered model.

        Raises:
            UnknownModel: No such registered model.
            UnknownVersion: No such version, or the model has none.
        """
        if number is not None:
            return self.registry.version(model, number)
        versions = self.registry.versions(model)
        if not versions:
            message = f"registered model {model!r} has no versions: train one first"
            raise UnknownVersion(message)
        return versions[0]

    def models(self, family: str) -> set[str]:
        """Names of the registered models that belong to a family, those included that other tools registered."""
        config = self.configs.get(family)
        if config is None:
            return {family}
        if "{algorithm}" not in config.registered_model:
            return {config.registered_model}
        return {model.name for model in self.registry.models() if config.owns(model.name)}

    # Inside

    def _gather(self, candidate: ModelVersion, production: Entry | None, config: FamilyConfig | None) -> Context:
        recorded = {(e.model, e.number): e.digest for e in self.journal.entries(self.family(candidate.model))}
        digest, evaluation, problem = self._measure(candidate.model, candidate.number, config)
        against: Evaluation | None = None
        production_problem = ""
        difference = None
        if config and production:
            _, against, production_problem = self._measure(production.model, production.number, config)
            if evaluation and against:
                difference = self._evaluator(config).difference(evaluation, against, config.selection_metric)
        return Context(
            config=config,
            candidate=candidate,
            digest=digest,
            artifact_problem=problem,
            recorded_digest=recorded.get((candidate.model, candidate.number)),
            evaluation=evaluation,
            production=production,
            production_evaluation=against,
            difference=difference,
            production_problem=f"Production ({production}) cannot be re-scored: {production_problem}"
            if production_problem
            else "",
        )

    def _measure(
        self, model: str, number: int, config: FamilyConfig | None
    ) -> tuple[str | None, Evaluation | None, str]:
        """Digest and score one version; a model that is broken is evidence, a store that is down is a failure."""
        digest = None
        try:
            with local_artifact(self.registry, self.registry.version(model, number)) as folder:
                digest = artifact_digest(folder)
                return digest, self._evaluator(config).evaluate(folder) if config else None, ""
        except (ArtifactMissing, ArtifactUnsafe) as error:
            return digest, None, str(error)
        except (RegistryError, DataError):
            raise
        except PromotionError as error:
            return digest, None, str(error)

    def _compare(self, family: str) -> Difference:
        versions, aliases = self._read(family)
        alias = production_alias(aliases, self.journal.production(family))
        return compare(self.journal.entries(family), versions, alias)

    def _read(self, family: str) -> tuple[list[ModelVersion], dict[str, Mapping[str, int]]]:
        versions: list[ModelVersion] = []
        aliases: dict[str, Mapping[str, int]] = {}
        for name in sorted(self.models(family)):
            try:
                aliases[name] = self.registry.model(name).aliases
                versions += self.registry.versions(name)
            except UnknownModel:
                continue
        return versions, aliases

    def _project(self, family: str) -> str:
        pending = self.journal.pending(family)
        try:
            problem = "; ".join(project(family, self.models(family), self.journal, self.registry, self._report))
            if problem:
                self.journal.mark_failed(pending, problem)
            else:
                self.journal.mark_done(pending)
                self._report(f"{family}: MLflow shows what the journal holds")
        except JournalError as error:
            # Its own words say that nothing moved; and a second attempt would wait for the same lock once more.
            problem = f"the journal could not note that MLflow was told: {getattr(error.__cause__, 'orig', error)}"
        except PromotionError as error:
            # The move is recorded: whatever fails from here on is an unfinished projection, never a failed promotion.
            problem = f"MLflow could not be told: {error}"
            with suppress(JournalError):
                self.journal.mark_failed(pending, problem)
        return problem

"""Keep journal and MLflow together: finish, take over, quarantine or put back what happened outside."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace

from promotion.audit.attestations import Attestations
from promotion.audit.family_check import require_unaltered
from promotion.errors import (
    JournalError,
    NothingToDo,
    ProjectionIncomplete,
    PromotionError,
    Quarantined,
    RegistryError,
    RegistryForbidden,
    RegistryReadOnly,
    RegistryUnauthorised,
)
from promotion.journal.journal import OWN_ACTOR
from promotion.journal.records import Authority, Known, place_of
from promotion.reconcile.aliases import alias_lines, alias_targets, moved_alias
from promotion.reconcile.families import Families
from promotion.reconcile.outside_changes import Difference, compare_with_mlflow
from promotion.reconcile.projection import project, require_projectable
from promotion.reconcile.unsettled import Unsettled, hand_lines
from promotion.registry.stages import Stage


@dataclass(slots=True)
class Reconciler(Families):
    """Compares the journal's rows, its events and MLflow, and makes them agree where it may.

    Attributes:
        on_moved: Called after each recorded move, when MLflow was told, with whom to tell; says whether the
            journal can be written at all.
        attestations: Writes what a promotion rested on, before MLflow is told; None where nothing is attested.
    """

    on_moved: Callable[[Callable[[str], None]], bool] = field(default=lambda _report: True, kw_only=True)
    attestations: Attestations | None = field(default=None, kw_only=True)

    def synchronise(self, family: str, *, repair: bool = False) -> str:
        """Finish what an interrupted command left, or take over what was changed outside.

        Args:
            family: Whose versions.
            repair: Write aliases and tags again even where no version was moved.

        Returns:
            Why MLflow still does not show everything; empty when it does.

        Raises:
            Quarantined: The family asks for approvals, or Production was emptied by hand, so nothing is taken over.
            RecordsAltered: A row that decides is not what was recorded.
            RegistryError: MLflow cannot be read; nothing was changed.
            JournalError: The journal cannot be used; nothing was changed.
        """
        with self.journal.family_lock(family):
            found = self.unsettled(family)
            if found.is_quarantined:
                self._record_quarantine(found)
                raise found.error()
            if found.by_hand:
                self._take_over_rows(found)
            if self.journal.pending(family):
                self.report(f"{family}: finishing a move that MLflow does not show yet")
                self.shown(family)
                return self.follow(family, is_repair=not found.by_hand)
            if found.moved:
                return self._take_over_stages(found)
            for line in found.lines:
                self.report(f"{family}: changed outside: {line}")
            if repair and (remark := self.run_remark(family)):
                self.report(remark)
            is_known = self.journal.knows(family)
            if repair or found.lines:
                require_unaltered(self.journal, family)
            self._attest(family, everything=repair)
            return self.follow(family, is_repair=True) if is_known and (repair or found.lines) else ""

    def unsettled(self, family: str) -> Unsettled:
        """What rows or MLflow show and no event accounts for; changes nothing.

        A move that MLflow was not told of explains what it shows meanwhile.
        """
        by_hand = self.journal.changed_by_hand(family)
        if family in self.configs.broken:
            return Unsettled(family, hand_lines(by_hand), None, by_hand)
        config = self.configs.get(family)
        if elsewhere := self._recorded_elsewhere(family):
            lines = [f"{model} is recorded as one of family {other!r}" for model, other in sorted(elsewhere.items())]
            return Unsettled(family, lines, config, elsewhere=elsewhere)
        bad = [entry for entry, _ in by_hand if entry.stage is Stage.PRODUCTION and entry.known_bad]
        lines = hand_lines(by_hand)
        if self.journal.pending(family):
            return Unsettled(family, lines, config, by_hand, known_bad=bad)
        # Where stages are found for the first time there are no rules yet that they could have been moved past.
        is_first = not self.journal.knows(family)
        difference = self._compare(family, is_first=is_first)
        return Unsettled(
            family,
            [*lines, *difference.lines],
            None if is_first else config,
            by_hand,
            difference.is_ambiguous,
            [*bad, *difference.known_bad],
            difference.changes,
        )

    def run_remark(self, family: str) -> str:
        """What threatens the version that serves although it is where it should be; empty when nothing does."""
        serving = self.journal.recorded_production(family)
        if serving is None or not serving.run_id:
            return ""
        run = None
        with suppress(RegistryError):  # whoever may read the registry need not be allowed to read its runs
            run = self.registry.run(serving.run_id)
        if run is None or not run.is_deleted:
            return ""
        return (
            f"⚠️ {family}: the run {serving.run_id} of {serving}, which serves, is deleted in MLflow: `mlflow gc` would "
            f"remove its files; mlflow runs restore --run-id {serving.run_id} brings it back"
        )

    def outside_changes(self, family: str) -> list[str]:
        """What the rows or MLflow show and no event accounts for, one line each; changes nothing."""
        return list(self.unsettled(family).lines)

    def restore(self, family: str, *, actor: str, reason: str) -> list[str]:
        """Put back what was recorded, in the journal's rows and in MLflow; returns what had been changed.

        Raises:
            NothingToDo: Nothing was changed outside.
            RegistryForbidden: Whoever acts may not write MLflow; nothing was changed.
            ProjectionIncomplete: MLflow still does not show everything.
        """
        with self.journal.family_lock(family):
            found = self.unsettled(family)
            if found.elsewhere:
                raise found.error()
            if not found.lines or not (found.by_hand or self.journal.knows(family)):
                raise NothingToDo(f"{family!r}: nothing was changed outside: nothing to restore")
            authority = Authority("restore", actor, reason, details={"found": list(found.lines)})
            changed: list[Known] = [change.version for change in found.changes if change not in found.gone]
            self.require_rights(family, *(version for version, _ in found.by_hand), *changed)
            if found.by_hand:
                self.journal.settle(family, found.by_hand, authority, keep=False)
            serving = self.journal.production(family)
            if found.gone:
                self.journal.move(family, found.gone, authority, expected_production=serving.id if serving else None)
                self._say_gone(family, found)
            elif not found.moved and serving:
                changed = [serving]
            for version in changed:
                self.journal.record(family, version, authority)
            unprojected = self.follow(family)
        if unprojected:
            raise ProjectionIncomplete(f"{family}: restored in the journal, but {unprojected}")
        return list(found.lines)

    def outsider(self, family: str) -> Known | None:
        """The version that somebody put into Production outside."""
        found = self.unsettled(family)
        by_hand: list[Known] = [entry for entry, _ in found.by_hand if entry.stage is Stage.PRODUCTION]
        shown = [change.version for change in found.changes if change.to is Stage.PRODUCTION]
        return next(iter([*by_hand, *shown]), None)

    def require_sound(self, family: str) -> None:
        """Refuse to go on with a family whose Production nobody vouches for.

        Raises:
            Quarantined: It was moved past the family's rules, emptied by hand, is known bad, or MLflow shows several.
            RecordsAltered: A row that decides is not what was recorded.
        """
        found = self.unsettled(family)
        if found.is_quarantined or found.is_ambiguous:
            raise found.error()
        require_unaltered(self.journal, family)

    def note_unsettled(self, family: str) -> None:
        """As `synchronise`, for acts that move nothing: what is quarantined stays so, and is told."""
        try:
            self.synchronise(family)
        except Quarantined:
            self.report(str(self.unsettled(family)))

    def settle_for(self, family: str, *, actor: str, reason: str) -> None:
        """As `synchronise`; where SQL emptied Production, what was recorded is put back before the next move."""
        if not self.unsettled(family).is_emptied:
            self.synchronise(family)
            return
        with suppress(ProjectionIncomplete):
            for line in self.restore(family, actor=actor, reason=f"before another version is promoted: {reason}"):
                self.report(f"{family}: put back: {line}")

    def require_rights(self, family: str, *moving: Known) -> None:
        """Refuse, before anything is recorded, who may not write MLflow; raises as `require_projectable`."""
        try:
            require_projectable(self.models(family), moving, self.registry, self.aliases(family))
        except RegistryError as error:
            raise type(error)(
                f"{error}; nothing moved: what moves in {family!r} must be written to MLflow, too (stages, aliases and "
                "tags take EDIT on the registered model, removing one takes MANAGE)"
            ) from error

    def follow(self, family: str, *, is_repair: bool = False) -> str:
        """Bring MLflow after the journal; the caller holds the family's lock.

        Args:
            family: Whose versions.
            is_repair: Whether this command moved nothing itself, so that a missing right is its failure.

        Returns:
            Why MLflow still does not show everything; empty when it does.

        Raises:
            RegistryError: On repair only: whoever acts is not known to MLflow or may not write it, or nobody can.
        """
        pending = self.journal.pending(family)
        # While the move is pending: whoever is killed here is followed by a command that comes this way again.
        self._attest(family)
        try:
            names = self.aliases(family)
            problem = "; ".join(project(family, self.models(family), self.journal, self.registry, self.report, names))
            if not problem:
                # First, because of a move that is done a checkpoint that is not there was taken away.
                if not self.on_moved(self.report):
                    return "the journal could not note that MLflow was told: another process keeps it"
                self.journal.mark_done(pending)
                self.report(f"{family}: MLflow shows what the journal holds")
                return ""
            self.journal.mark_failed(pending, problem)
        except JournalError as error:
            # Its own words say that nothing moved; and a second attempt would wait for the same lock once more.
            return f"the journal could not note that MLflow was told: {getattr(error.__cause__, 'orig', error)}"
        except PromotionError as error:
            # The move is recorded: whatever fails from here on is an unfinished projection, never a failed promotion.
            problem = f"MLflow could not be told: {error}"
            with suppress(JournalError):
                self.journal.mark_failed(pending, problem)
            if is_repair and isinstance(error, RegistryUnauthorised | RegistryForbidden | RegistryReadOnly):
                raise
        self.on_moved(self.report)
        return problem

    def _attest(self, family: str, *, everything: bool = False) -> None:
        if self.attestations:
            self.attestations.leave(family, self.report, everything=everything)

    def _take_over_rows(self, found: Unsettled) -> None:
        family = found.family
        require_unaltered(self.journal, family)
        self.require_rights(family, *(version for version, _ in found.by_hand))
        for line in found.lines:
            self.report(f"{family}: changed outside: {line}")
        authority = Authority("adopt", "database", "changed by SQL", details={"seen": list(found.lines)})
        self.journal.settle(family, found.by_hand, authority, keep=True)

    def _take_over_stages(self, found: Unsettled) -> str:
        family = found.family
        known = self.journal.knows(family)
        require_unaltered(self.journal, family)
        self.require_rights(family, *(change.version for change in found.changes))
        for line in found.lines:
            self.report(f"{family}: {'changed outside' if known else 'found'}: {line}")
        authority = Authority(
            "adopt" if known else "genesis",
            "mlflow",
            "changed in MLflow outside the journal" if known else "stages found when the journal began",
            details={"seen": list(found.lines)},
        )
        current = self.journal.production(family)
        self.journal.move(family, found.changes, authority, expected_production=current.id if current else None)
        self._say_gone(family, found)
        return self.follow(family)

    def _say_gone(self, family: str, found: Unsettled) -> None:
        for change in found.gone:
            self.report(f"⚠️ {family}: {change.version} cannot be put back: it is no longer in MLflow")
        if found.gone and self.journal.production(family) is None:
            self.report(
                f"⚠️ {family!r} has NO PRODUCTION now: python mlops/registry/rollback_model.py --model-name {family} "
                "--reason WHY brings back the version that served before; or promote another one"
            )

    def _recorded_elsewhere(self, family: str) -> dict[str, str]:
        """Registered models that are claimed for this family, but recorded as another's."""
        return {
            model: home for model, home in self.journal.homes().items() if home != family and self.claims(family, model)
        }

    def _record_quarantine(self, found: Unsettled) -> None:
        """Keep what was found, once for each state of affairs."""
        versions: list[Known] = [version for version, _ in found.by_hand]
        versions += [change.version for change in found.changes]
        versions += found.known_bad
        last = self.journal.history(found.family, limit=1)
        if last and last[0].action == "quarantine" and last[0].details.get("found") == list(found.lines):
            return
        for version in versions[:1]:
            details = {"found": list(found.lines)}
            authority = Authority("quarantine", OWN_ACTOR, "moved outside the rules", details=details)
            self.journal.record(found.family, version, authority)

    def _compare(self, family: str, *, is_first: bool) -> Difference:
        shown = self.shown(family)
        versions = [version for model in shown for version in model.versions]
        aliases = {model.name: model.aliases for model in shown}
        names = self.aliases(family)
        entries = self.journal.recorded_entries(family)
        held = {stage: [place_of(entry) for entry in entries if entry.stage is stage] for stage in Stage}
        promoted = moved_alias(aliases, names.production, held[Stage.PRODUCTION])
        staged = moved_alias(aliases, names.stage_by_hand, held[Stage.STAGING])
        difference = compare_with_mlflow(entries, versions, promoted, staged)
        if is_first:
            return difference
        present = {place_of(version) for version in versions}
        moved = {place_of(change.version) for change in difference.changes} | ({promoted[1]} if promoted else set())
        # What points at a version that moved is that move, and told already.
        others = {
            model: {alias: number for alias, number in found.items() if (model, number) not in moved}
            for model, found in aliases.items()
        }
        targets = alias_targets(family, self.journal, names, present)
        return replace(difference, lines=[*difference.lines, *alias_lines(others, targets, present)])

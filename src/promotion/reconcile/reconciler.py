"""Keep journal and MLflow together: finish, take over, quarantine or put back what happened outside."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field

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
    UnknownModel,
)
from promotion.journal.records import Authority, Entry, Known
from promotion.reconcile.families import Families
from promotion.reconcile.outside_changes import Difference, compare_with_mlflow, production_alias
from promotion.reconcile.projection import project, require_projectable
from promotion.registry.contract import ModelVersion
from promotion.registry.stages import Stage

_ADVICE = (
    "once every approval is given, python scripts/promote-model.py --reconcile --model {family} ratifies it; "
    "python scripts/promote-model.py --restore --model {family} --reason WHY puts back what was recorded"
)


@dataclass(slots=True)
class Reconciler(Families):
    """Compares the journal's rows, its events and MLflow, and makes them agree where it may.

    Attributes:
        on_moved: Called after each recorded move, when MLflow was told, with whom to tell what it does.
        attestations: Writes what a promotion rested on, before MLflow is told; None where nothing is attested.
    """

    on_moved: Callable[[Callable[[str], None]], None] = field(default=lambda _report: None, kw_only=True)
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
            by_hand = self.journal.changed_by_hand(family)
            if by_hand:
                self._take_over_rows(family, by_hand)
            if self.journal.pending(family):
                self.report(f"{family}: finishing a move that MLflow does not show yet")
                self._read(family)
                return self.follow(family, is_repair=not by_hand)
            difference = self._compare(family)
            if not difference.changes:
                if repair:
                    require_unaltered(self.journal, family)
                self._attest(family, everything=repair)
                return self.follow(family, is_repair=True) if repair and self.journal.knows(family) else ""
            return self._take_over_stages(family, difference)

    def outside_changes(self, family: str) -> list[str]:
        """What the rows or MLflow show and no event accounts for, one line each; changes nothing."""
        by_hand = hand_lines(self.journal.changed_by_hand(family))
        if by_hand or self.journal.pending(family):
            return by_hand
        return list(self._compare(family).lines)

    def restore(self, family: str, *, actor: str, reason: str) -> list[str]:
        """Put back what was recorded, in the journal's rows and in MLflow; returns what had been changed.

        Raises:
            NothingToDo: Nothing was changed outside.
            ProjectionIncomplete: MLflow still does not show everything.
        """
        with self.journal.family_lock(family):
            lines = self.outside_changes(family)
            if not lines:
                raise NothingToDo(f"{family!r}: nothing was changed outside: nothing to restore")
            authority = Authority("restore", actor, reason, details={"found": lines})
            if by_hand := self.journal.changed_by_hand(family):
                self.require_rights(family, *(version for version, _ in by_hand))
                self.journal.settle(family, by_hand, authority, keep=False)
            else:
                changed = [change.version for change in self._compare(family).changes]
                self.require_rights(family, *changed)
                for version in changed:
                    self.journal.record(family, version, authority)
            unprojected = self.follow(family)
        if unprojected:
            raise ProjectionIncomplete(f"{family}: restored in the journal, but {unprojected}")
        return lines

    def outsider(self, family: str) -> Known | None:
        """The version that somebody put into Production outside."""
        by_hand = self.journal.changed_by_hand(family)
        if by_hand:
            return next((entry for entry, _ in by_hand if entry.stage is Stage.PRODUCTION), None)
        changes = self._compare(family).changes
        return next((change.version for change in changes if change.to is Stage.PRODUCTION), None)

    def require_sound(self, family: str) -> None:
        """Refuse to go on with a family whose Production nobody vouches for.

        Raises:
            Quarantined: The family asks for approvals and something was changed outside, or Production was emptied.
            RecordsAltered: A row that decides is not what was recorded.
        """
        lines = self.outside_changes(family)
        if lines and (self._has_approvals(family) or self._is_emptied(family)):
            raise self._quarantined(family, lines)
        require_unaltered(self.journal, family)

    def require_rights(self, family: str, *moving: Known) -> None:
        """Refuse before anything is recorded where whoever acts may not write what MLflow will have to show.

        Args:
            family: Whose versions.
            moving: Those that are about to move.

        Raises:
            RegistryUnauthorised: Whoever acts is not known to MLflow.
            RegistryForbidden: Whoever acts may read MLflow and not write it.
            RegistryReadOnly: MLflow's store can be read and not written.
        """
        try:
            require_projectable(self.models(family), moving, self.registry)
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
            RegistryUnauthorised: On repair only: whoever acts is not known to MLflow.
            RegistryForbidden: On repair only: whoever acts may not write MLflow.
            RegistryReadOnly: On repair only: MLflow's store can be read and not written.
        """
        pending = self.journal.pending(family)
        # While the move is pending: whoever is killed here is followed by a command that comes this way again.
        self._attest(family)
        try:
            problem = "; ".join(project(family, self.models(family), self.journal, self.registry, self.report))
            if not problem:
                # First, because of a move that is done a checkpoint that is not there was taken away.
                self.on_moved(self.report)
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

    def _has_approvals(self, family: str) -> bool:
        config = self.configs.get(family)
        return config is not None and config.approvals is not None

    def _is_emptied(self, family: str) -> bool:
        """Whether SQL took the version out of Production and put none in its place."""
        found = self.journal.changed_by_hand(family)
        return self.journal.production(family) is None and any(was is Stage.PRODUCTION for _, was in found)

    def _take_over_rows(self, family: str, by_hand: list[tuple[Entry, Stage]]) -> None:
        lines = hand_lines(by_hand)
        if self._is_emptied(family) or self._has_approvals(family):
            raise self._quarantined(family, lines, keep=True)
        require_unaltered(self.journal, family)
        self.require_rights(family, *(version for version, _ in by_hand))
        for line in lines:
            self.report(f"{family}: changed outside: {line}")
        self.journal.settle(family, by_hand, Authority("adopt", "database", "changed by SQL"), keep=True)

    def _take_over_stages(self, family: str, difference: Difference) -> str:
        known = self.journal.knows(family)
        if known and self._has_approvals(family):
            raise self._quarantined(family, list(difference.lines), keep=True)
        require_unaltered(self.journal, family)
        self.require_rights(family, *(change.version for change in difference.changes))
        for line in difference.lines:
            self.report(f"{family}: {'changed outside' if known else 'found'}: {line}")
        authority = Authority(
            "adopt" if known else "genesis",
            "mlflow",
            "changed in MLflow outside the journal" if known else "stages found when the journal began",
        )
        current = self.journal.production(family)
        self.journal.move(family, difference.changes, authority, expected_production=current.id if current else None)
        return self.follow(family)

    def _quarantined(self, family: str, lines: list[str], *, keep: bool = False) -> Quarantined:
        """The error; on request recorded as well, once for each state of affairs."""
        loud = f"{family!r} has NO PRODUCTION: " if self._is_emptied(family) else f"{family!r} is quarantined: "
        if keep:
            self._record_quarantine(family, lines)
        return Quarantined(f"{loud}{'; '.join(lines)}; {_ADVICE.format(family=family)}", found=lines)

    def _record_quarantine(self, family: str, lines: list[str]) -> None:
        by_hand: list[Known] = [version for version, _ in self.journal.changed_by_hand(family)]
        versions = by_hand or [change.version for change in self._compare(family).changes]
        last = self.journal.history(family, limit=1)
        if last and last[0].action == "quarantine" and last[0].details.get("found") == lines:
            return
        for version in versions[:1]:
            authority = Authority("quarantine", "journal", "moved outside the rules", details={"found": lines})
            self.journal.record(family, version, authority)

    def _compare(self, family: str) -> Difference:
        versions, aliases = self._read(family)
        alias = production_alias(aliases, self.journal.production(family))
        return compare_with_mlflow(self.journal.entries(family), versions, alias)

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


def hand_lines(by_hand: list[tuple[Entry, Stage]]) -> list[str]:
    """What somebody changed by SQL, one line a version."""
    return [f"{entry}: its row says {entry.stage}, the events say {recorded}" for entry, recorded in by_hand]

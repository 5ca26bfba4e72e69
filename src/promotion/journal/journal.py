"""Write the journal: registrations, gate reports, moves, and what MLflow has been told of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import Any

from sqlalchemy import select
from sqlalchemy.exc import IntegrityError

from promotion.errors import ProductionMoved, UsageError
from promotion.journal import clock
from promotion.journal.chain import digest
from promotion.journal.database import Database
from promotion.journal.reader import JournalReader
from promotion.journal.records import Authority, Change, Entry, Known, Pending, Registration, RuleSet, TrainingRound
from promotion.journal.rows import insert
from promotion.journal.schema import checkpoint, gate_report, model_version_detail, outbox
from promotion.journal.transaction import SERVICE_TIMES, FamilyTransaction, Receivers, keep_rules
from promotion.registry.semver import next_minor
from promotion.registry.stages import Stage


class Journal(JournalReader):
    """Reads and writes the journal's database; every write is one transaction.

    Args:
        database: Holds it.
        rules: Gives the rules that a family stands under now, which every event names; None where nobody knows.
        receivers: Names who outside is told of an event; nobody where None.

    Attributes:
        tell_receivers: Tells whoever outside has to hear of something; called when that was written down, and no family
            is locked any more.

    Raises:
        UsageError: The clock is set for a rehearsal, but the database is one that a team shares.
    """

    def __init__(
        self,
        database: Database,
        rules: Callable[[str], RuleSet | None] = lambda _family: None,
        receivers: Receivers | None = None,
    ) -> None:
        super().__init__(database)
        self._rules = rules
        self._receivers = receivers
        self.tell_receivers: Callable[[], object] = lambda: None
        self._locks = 0
        self._is_queued = False

    def rules_now(self, family: str) -> RuleSet | None:
        """The rules that a family stands under now; None where nobody knows."""
        return self._rules(family)

    @contextmanager
    def transaction(self, family: str, rules: RuleSet | None = None) -> Iterator[FamilyTransaction]:
        """Read and write about one family; what is written is committed at the end, all of it or nothing.

        Args:
            family: Which.
            rules: What its events stand under; the family's rules as they are now by default.

        Raises:
            ClockSkewed: This machine's clock is not the database's.
        """
        rules = rules or self.rules_now(family)
        with self.database.write() as connection:
            transaction = FamilyTransaction(connection, family, rules, self._receivers)
            transaction.clock.require_agreement()
            yield transaction
        self._is_queued |= transaction.is_queued
        self._tell()

    @contextmanager
    def family_lock(self, family: str) -> Iterator[None]:
        """Keep other processes from moving this family's versions; whom it concerns outside is told afterwards.

        By then MLflow was told, too, and whoever is slow to listen keeps nobody from the family.
        """
        self._locks += 1
        try:
            with super().family_lock(family):
                yield
        finally:
            self._locks -= 1
            self._tell()

    def _tell(self) -> None:
        if self._is_queued and not self._locks:
            self._is_queued = False
            self.tell_receivers()

    def prepare(self) -> None:
        """Create or migrate the schema: a journal that cannot be written is better known before a long training."""
        with self.database.write():
            pass

    def register(
        self,
        family: str,
        versions: Sequence[tuple[Known, Registration]],
        *,
        actor: str,
        semver: str | None,
        training: TrainingRound | None = None,
        is_explicit: bool = True,
        origin_key: str | None = None,
    ) -> str:
        """Record what was registered together: every version under the same semantic version.

        Args:
            family: Whose versions.
            versions: Each with what is known of it.
            actor: Who registers.
            semver: The semantic version; None for the next minor one of the family.
            training: The round they come from, and its best; None for versions that were trained elsewhere.
            is_explicit: Whether somebody asked for it; otherwise the versions keep MLflow's number for a name.
            origin_key: Fingerprint of another installation's key that says its training made them.

        Raises:
            UsageError: `semver` is taken.
        """
        try:
            with self.transaction(family) as transaction:
                taken = select(model_version_detail.c.version).where(model_version_detail.c.family == family)
                given = minor = next_minor(transaction.connection.execute(taken).scalars())
                for version, registration in versions:
                    known = transaction.version(version)
                    given = semver or (minor if is_explicit else known.version)
                    values = registration.as_json()
                    transaction.update(
                        model_version_detail,
                        known.id,
                        version=given,
                        run_id=version.run_id,
                        registered_at=transaction.now,
                        **values,
                    )
                    details: dict[str, Any] = {
                        "version": given,
                        "digest": registration.digest,
                        "registration": digest(values),
                        "trainer": registration.trainer,
                        "provenance": registration.provenance,
                        "explicit": is_explicit,
                    }
                    if training:
                        best = (training.best.model, training.best.number)
                        details |= {"round": training.name, "best": best == (version.model, version.number)}
                    if origin_key:
                        details["origin_key"] = origin_key
                    authority = Authority("register", actor, f"{registration.provenance} as {given}")
                    transaction.append(known, authority, details)
        except IntegrityError as error:
            raise UsageError(f"{family!r} has a version {semver} already: choose another --semver") from error
        return given

    def require_free(self, family: str, semver: str) -> None:
        """Look before a long training.

        Raises:
            UsageError: The family has this semantic version already.
        """
        query = select(model_version_detail.c.id).where(
            model_version_detail.c.family == family, model_version_detail.c.version == semver
        )
        if self.rows(query):
            raise UsageError(f"{family!r} has a version {semver} already: choose another --semver")

    def save_report(
        self,
        *,
        family: str,
        version: Known,
        target: Stage,
        passed: bool,
        report: Mapping[str, Any],
        evidence: str,
        actor: str,
        rules: RuleSet | None = None,
    ) -> int:
        """Keep a gate report, refused ones included, and the rules that it asked by; returns the report's id."""
        values = {
            "family": family,
            "model": version.model,
            "mlflow_version": version.number,
            "target": target.status,
            "passed": passed,
            "report": report,
            "digest": digest(report),
            "evidence": evidence,
            "actor": actor,
        }
        with self.database.write() as connection:
            now = clock.read_time(connection).now
            if rules:
                keep_rules(connection, rules, now)
            return insert(connection, gate_report, values | {"created_at": now})

    def record(self, family: str, version: Known, authority: Authority) -> str:
        """Record an act that moves nothing: a refusal, a quarantine, a task; returns the operation's id."""
        with self.transaction(family, authority.rules) as transaction:
            transaction.append(transaction.version(version), authority)
        return transaction.operation

    def mark(self, family: str, version: Known, authority: Authority, *, known_bad: str | None) -> None:
        """Record why a version must not serve again, or, with None, that nothing is held against it any more."""
        with self.transaction(family) as transaction:
            known = transaction.version(version)
            transaction.update(model_version_detail, known.id, known_bad=known_bad)
            transaction.append(known, authority, {"known_bad": known_bad})
            _tell_mlflow(transaction)

    def move(
        self, family: str, changes: Sequence[Change], authority: Authority, *, expected_production: int | None
    ) -> str:
        """Record where versions go: all of them, and the events and the outbox entry that belong to it, or nothing.

        A version that leaves Production because another one enters is listed among the changes, before it.

        Args:
            family: Whose versions they are.
            changes: The moves, in order.
            authority: By whom and why.
            expected_production: `Entry.id` of the version that must still be in Production; None when none must be.

        Returns:
            The operation's id.

        Raises:
            ProductionMoved: Another version is in Production than expected, so the evidence is out of date.
        """
        try:
            with self.transaction(family, authority.rules) as transaction:
                now = transaction.production()
                if (now.id if now else None) != expected_production:
                    raise ProductionMoved(_MOVED.format(family=family, now=now or "no version"))
                for change in changes:
                    _apply(transaction, change, authority)
                _tell_mlflow(transaction)
        except IntegrityError as error:
            raise ProductionMoved(_MOVED.format(family=family, now="another version")) from error
        return transaction.operation

    def settle(self, family: str, found: Sequence[tuple[Entry, Stage]], authority: Authority, *, keep: bool) -> str:
        """Make rows that somebody changed by SQL and the events agree again, the times of service included.

        Args:
            family: Whose versions.
            found: What `changed_by_hand` returned.
            authority: By whom and why.
            keep: Whether the rows are right, and events follow them; otherwise the rows go back.
        """
        settled = [(version, recorded, version.stage if keep else recorded) for version, recorded in found]
        signed = {"approver": authority.actor, "reason": authority.reason} if keep else {}
        with self.transaction(family) as transaction:
            # The version that ends in Production comes last: a row needs the place empty, and of an operation's events
            # the newest says who serves.
            for version, recorded, stage in sorted(settled, key=lambda item: item[2] is Stage.PRODUCTION):
                known = transaction.version(version)
                written = {name: time.isoformat() for name in SERVICE_TIMES if (time := getattr(version, name))}
                seen = {"found": version.stage.status, "written": written}
                transaction.append(known, authority, seen, move=(recorded, stage))
                times = transaction.service_times(known.id)
                transaction.update(model_version_detail, known.id, status=stage.status, **signed, **times)
            _tell_mlflow(transaction)
        return transaction.operation

    def note_checkpoint(self, sequence: int, chained: str) -> None:
        """Remember that a signed checkpoint of the event with this hash was written, so that it is missed when gone."""
        if sequence in self.written_checkpoints(since=sequence):
            return
        # Another process may have written the same one at the same time.
        with suppress(IntegrityError), self.database.write() as connection:
            values = {"sequence": sequence, "hash": chained, "at": clock.read_time(connection).now}
            connection.execute(checkpoint.insert().values(values))

    def mark_done(self, pending: Iterable[Pending]) -> None:
        """MLflow shows these operations now."""
        self._update_outbox(pending, done_at=self.now(), error=None)

    def mark_failed(self, pending: Iterable[Pending], error: str) -> None:
        """MLflow could not be told; keep why."""
        self._update_outbox(pending, error=error)

    def _update_outbox(self, pending: Iterable[Pending], **values: Any) -> None:
        ids = [item.id for item in pending]
        if not ids:
            return
        with self.database.write() as connection:
            connection.execute(
                outbox.update().where(outbox.c.id.in_(ids)).values(attempts=outbox.c.attempts + 1, **values)
            )


OWN_ACTOR = "journal"
"""Who acts where nobody does: the record follows from what was found."""

_MOVED = (
    "{now} is in Production of {family!r} now, not the version this check compared with; nothing moved, check again"
)


def _tell_mlflow(transaction: FamilyTransaction) -> None:
    transaction.insert(outbox, family=transaction.family, operation=transaction.operation, created_at=transaction.now)


def _apply(transaction: FamilyTransaction, change: Change, authority: Authority) -> None:
    version = transaction.version(change.version)
    if change.found:
        authority = replace(authority, actor=OWN_ACTOR, reason=change.found)
    marks = {"known_bad": change.known_bad} if change.known_bad else {}
    measured = change.digest or version.digest
    values: dict[str, Any] = {
        "status": change.to.status,
        "approver": authority.approver or authority.actor,
        "reason": authority.reason,
        "digest": version.digest or change.digest,
        **marks,
    }
    if change.to is Stage.PRODUCTION:
        values |= {"promoted_at": transaction.now, "deprecated_at": None}
    elif version.stage is Stage.PRODUCTION:
        values["deprecated_at"] = transaction.now
    transaction.update(model_version_detail, version.id, **values)
    transaction.append(version, authority, {"digest": measured, **marks}, move=(version.stage, change.to))

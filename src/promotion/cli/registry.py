"""What is registered and who moved it; MLflow brought after the journal: finished, put back, cleaned up."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from itertools import chain
from typing import TYPE_CHECKING

import click

from promotion.approvals.people import actor
from promotion.cli.console import (
    AS_JSON,
    COUNT,
    MOMENT,
    ONLY_FAMILY,
    REASON,
    command,
    echo,
    echo_json,
    open_record,
    promotions,
    remark_clock,
    talk,
)
from promotion.config.settings import Settings
from promotion.errors import NothingToDo, PromotionError, UsageError

if TYPE_CHECKING:
    from promotion.config.family import FamilyConfigs

LIST_RULE = "=" * 80
APPROVER = click.option("--approver", metavar="WHO", help="With --reconcile: who answers for what is ratified.")
EVERY_VERSION = click.option("--all", "every_version", is_flag=True, help="List every version, in a stage or not.")
SEMVER = click.option("--semver", is_flag=True, help="List semantic versions, too; --json always does.")
ALIASES = click.option("--aliases", is_flag=True, help="List where aliases point, too; --all always does.")
DRY_RUN = click.option("--dry-run", is_flag=True, help="Say what would happen, change nothing.")


def say_broken(configs: FamilyConfigs, family: str | None) -> list[PromotionError]:
    """Name each family whose file cannot be used, in a command about all of them; they are left out of it."""
    broken = [] if family else list(configs.broken.values())
    for each in broken:
        talk(f"❌ left out: {each.summary}", colour="red")
    return [each.error for each in broken]


@command()
@ONLY_FAMILY
@EVERY_VERSION
@SEMVER
@ALIASES
@AS_JSON
def list_command(*, family: str | None, every_version: bool, semver: bool, aliases: bool, as_json: bool) -> None:
    """List the registered models: every version in a stage, and the newest without one.

    Exit codes: 0 done, 1 failed, 2 usage or configuration.
    """
    from promotion.config.family import load_configs
    from promotion.listing import alias_target_lines, disagreements, model_documents, model_lines, with_every_version
    from promotion.reconcile.reconciler import Reconciler
    from promotion.registry.open import open_registry

    settings = Settings.from_environment()
    configs = load_configs(settings.config_folder)
    registry = open_registry(settings)
    models = registry.models()
    if family:
        models = [item for item in models if configs.names(family, item.name)]
        if not models and family not in {*configs, *configs.broken}:
            raise UsageError(f"unknown family {family!r}: neither configured nor a registered model")
    if every_version:
        models = with_every_version(models, registry.every_version())
    journal = open_record(settings)
    semvers = journal.semantic_versions([(item.model, item.number) for model in models for item in model.versions])
    reconciler = Reconciler(journal, registry, configs)
    found = disagreements(models, reconciler, family)
    if as_json:
        told = {
            item.name: found.get(reconciler.family(item.name), []) for item in models if configs.is_certain(item.name)
        }
        echo_json(model_documents(models, semvers, lambda name: told.get(name, [])), indent=2)
    else:
        echo("📋 Registered Models:")
        echo(LIST_RULE)
        targets = alias_target_lines(models) if aliases or every_version else []
        echo(*model_lines(models, semvers if semver else {}), *targets)
        if not models:
            trains_here = any(config.trains_here for config in configs.values())
            advice = ": train first (python src/models/train.py)" if trains_here else ""
            talk(f"no registered models at {settings.registry_uri}{advice}")
    say_broken(configs, family)
    contested = [f"❌ {line}" for line in configs.contested(item.name for item in models)]
    for line in chain(contested, *found.values()):
        talk(line, colour="yellow" if line.startswith(("⚠️", "⏳")) else "red")
    if family in configs.broken:
        raise configs.broken[family].error


@command()
@ONLY_FAMILY
@click.option("--at", type=MOMENT, help="Who served then (UTC).")
@click.option("--limit", default=100, show_default=True, type=COUNT, help="The newest so many.")
@AS_JSON
def history_command(*, family: str | None, at: datetime | None, limit: int, as_json: bool) -> None:
    """Say who moved what, when, why, and on what evidence.

    Exit codes: 0 done, 1 failed, 2 usage or configuration.
    """
    from promotion.listing import event_documents, history_lines
    from promotion.rules.history import RuleHistory

    service = promotions()
    journal = service.journal
    # What was recorded needs no file to be read.
    if family and family not in journal.families():
        service.require_family(family)
    remark_clock(journal)
    if at:
        families = [family] if family else sorted(journal.families())
        moment = at.replace(tzinfo=UTC)
        events = [event for name in families if (event := journal.production_at(name, moment))]
    else:
        events = journal.history(family, limit=limit)
    changes = RuleHistory(journal).of_promotions(events)
    if as_json:
        echo_json(event_documents(events, changes), indent=2)
        return
    for line in history_lines(events, changes):
        echo(line)
    if len(events) == limit and not at:
        talk(f"the newest {limit}; --limit shows more")
    if not events:
        talk(f"nothing in Production at {at:%Y-%m-%d %H:%M:%S} UTC" if at else "nothing was moved yet")


@command()
@ONLY_FAMILY
@REASON
@APPROVER
@AS_JSON
def reconcile_command(*, family: str | None, reason: str | None, approver: str | None, as_json: bool) -> None:
    """Finish what MLflow does not show yet, and adopt what was moved there: make MLflow and journal agree.

    Receivers of events that could not be told are told again, those that were given up, too.

    Exit codes: 0 done, 1 failed, 2 usage or configuration, 3 somebody moved a version past the rules, 6 MLflow does not
    show everything yet.
    """
    service = promotions(family)
    from promotion.journal.systems.outbox import revive
    from promotion.service import Mover

    broken = say_broken(service.configs, family)
    try:
        service.reconcile(Mover(actor(), reason or "reconciled", approver), family)
    finally:
        revive(service.journal, {family} if family else None)
        service.journal.tell_receivers()
    if broken:
        raise broken[0]
    if as_json:
        echo_json({"exit_code": 0, "message": "MLflow shows what the journal holds"}, indent=2)
    else:
        echo("✅ MLflow shows what the journal holds")


@command()
@click.option("--model", "family", metavar="FAMILY", help="The family that is put back.")
@REASON
@DRY_RUN
@AS_JSON
def restore_command(*, family: str | None, reason: str | None, dry_run: bool, as_json: bool) -> None:
    """Put back what was recorded: undo changes that somebody made past the rules.

    Exit codes: 0 done, 1 failed, 2 usage or configuration, 6 MLflow does not show it yet.
    """
    service = promotions(family)
    if not family or not reason:
        raise UsageError("--restore puts one family back and goes into the record: say --model FAMILY and --reason WHY")
    family = service.family(family)
    found = service.outside_changes(family) if dry_run else service.restore(family, actor=actor(), reason=reason)
    say = talk if as_json else echo
    for line in found:
        say(f"   found: {line}")
    say(f"✅ {family}: {'nothing changed (dry run)' if dry_run else 'what was recorded is back in place'}")
    if as_json:
        echo_json({"exit_code": 0, "dry_run": dry_run, "family": family, "found": found}, indent=2)


@command()
@ONLY_FAMILY
@click.option("--keep", type=COUNT, default=3, show_default=True, help="Newest versions to keep.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@REASON
@DRY_RUN
@AS_JSON
def cleanup_command(
    *, family: str | None, keep: int, yes: bool, reason: str | None, dry_run: bool, as_json: bool
) -> None:
    """Delete old versions from MLflow that nothing needs and no retention protects; asks first.

    Exit codes: 0 done, 1 failed, 2 usage or configuration, 5 nothing to clean up, or not confirmed.
    """
    service = promotions(family)
    from promotion.cleanup import clean_up, cleanup_lines, review_families, verdict_document

    if not (yes or dry_run or sys.stdin.isatty()):
        raise UsageError("--cleanup deletes versions and there is no terminal to ask on: see --dry-run, then add --yes")
    say = talk if as_json else echo
    say_broken(service.configs, family)
    found = review_families(service, family, keep, synchronise=not dry_run)
    for line in cleanup_lines(found, keep):
        say(line)
    doomed = [verdict for verdict in found if not verdict.kept]
    if not doomed:
        raise NothingToDo("nothing to clean up")
    if not dry_run:
        if not yes and not click.confirm(f"Delete {len(doomed)} versions from MLflow for good?", err=True):
            raise NothingToDo("not confirmed: nothing was deleted")
        doomed = clean_up(service, doomed, keep, actor=actor(), reason=reason or "cleaned up")
    say(f"✅ {len(doomed)} versions {'would be deleted (dry run)' if dry_run else 'deleted from MLflow'}")
    talk("   the journal keeps their record, storage their files: mlflow runs delete, then mlflow gc, frees the space")
    if as_json:
        lists = {"deleted": doomed, "kept": [verdict for verdict in found if verdict.kept]}
        echo_json({"exit_code": 0, "dry_run": dry_run, **lists}, indent=2, default=verdict_document)


@command()
@click.argument("name")
@click.argument("version")
@click.option("--trainer", metavar="WHO", help="Who trained it; the account of its run by default.")
@click.option("--semver", help="Semantic version it gets, such as 1.2.0; the family's next minor one by default.")
@AS_JSON
def register_command(*, name: str, version: str, trainer: str | None, semver: str | None, as_json: bool) -> None:
    """Record a version that was trained elsewhere: its files measured, scanned and signed with our key, as received.

    NAME is a registered model, or a family that has just one; VERSION is MLflow's number. Where nobody was known to
    have trained it, --trainer may be added later.

    Exit codes: 0 done, 1 failed (files missing, or not those that were recorded), 2 usage or configuration, 3 its
    registration would be rewritten, 5 it is registered already.
    """
    from promotion.artifacts.provenance import registered
    from promotion.registration import findings_of, register_version

    service = promotions()
    candidate = service.candidate(service.registered_model(name), version)
    entry = register_version(service, candidate, semver=semver, trainer=trainer)
    registration = service.journal.registration(entry.id)
    known = registered(service.journal, entry.id)
    findings = findings_of(registration) if registration else ()
    for finding in findings:
        talk(f"⚠️ {candidate}: {finding}", colour="yellow")
    if as_json:
        document = {"model": entry.model, "version": entry.number, "semver": entry.version, "digest": entry.digest}
        told = known.as_json() if known else None
        echo_json({"exit_code": 0, **document, "registration": told, "findings": list(findings)}, indent=2)
        return
    echo(
        f"✅ Registered {candidate} as {entry.version}, received, sha256 {str(entry.digest)[:12]}, signed with our key"
    )
    echo(f"   trained by {(entry.trainer or 'nobody knows whom').replace(',', ', ')}")
    if not entry.trainer:
        talk(f"approvals of it need that: python scripts/register-model.py {entry.model} {entry.number} --trainer WHO")

"""Bring a version to another MLflow server."""

from __future__ import annotations

import click

from promotion.cli.console import AS_JSON, REASON, command, echo, echo_json, promotions, talk, task_bars
from promotion.config.settings import Settings
from promotion.registry.stages import Stage


@command()
@click.argument("name")
@click.argument("version")
@click.option("--to", "uri", required=True, metavar="URI", help="The other server's address, or its SQLite file's.")
@click.option("--name", "target_name", metavar="NAME", help="Registered model there; the same name by default.")
@click.option(
    "--to-stage",
    type=click.Choice([Stage.STAGING.status, Stage.PRODUCTION.status], case_sensitive=False),
    help="Where it goes there, if the gates there let it.",
)
@click.option(
    "--target-prefix", default="TARGET_", show_default=True, help="What the other side's variables begin with."
)
@REASON
@click.option("--verify", is_flag=True, help="Compare what left with what arrived, in both records; write nothing.")
@click.option("--dry-run", is_flag=True, help="Look at both sides, write nothing.")
@AS_JSON
def transfer_command(
    *,
    name: str,
    version: str,
    uri: str,
    target_name: str | None,
    to_stage: str | None,
    target_prefix: str,
    reason: str | None,
    verify: bool,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Bring VERSION of the registered model NAME to another server: files, run, tags, and where it comes from.

    It is registered there when every byte was read again and is what was recorded here. Credentials of the other side
    are variables with the prefix: TARGET_MLFLOW_TRACKING_USERNAME, TARGET_PROMOTION_DATABASE_URL, TARGET_AWS_…. A
    transfer that was interrupted is gone on with by the same command.

    Exit codes: 0 done, 1 failed and nothing registered there, 2 usage or configuration, 3 refused, here or by the gates
    there, 4 Production moved meanwhile, 5 it is there already, 6 moved there but not shown by MLflow yet.
    """
    from promotion.transfer.records import TransferRequest
    from promotion.transfer.target import Target
    from promotion.transfer.transfer import transfer
    from promotion.transfer.verification import compare_sides

    settings = Settings.from_environment()
    target = Target(uri, target_prefix, settings.home)
    stage = Stage.parse(to_stage) if to_stage else None
    request = TransferRequest(name, version, target_name, stage, reason or "transferred")
    service = promotions()
    if verify:
        found = compare_sides(service, settings, target, request)
        echo_json({"exit_code": 0, **found}) if as_json else echo(
            f"✅ {name} v{version} is the same here and at {target.shown}: "
            f"v{found['target']['number']}, sha256 {found['digest'][:12]}"
        )
        return
    with task_bars(in_bytes=True) as bars:
        done = transfer(service, settings, target, request, talk, bars, dry_run=dry_run)
    extent = f"{done.files:,} files, {done.size:,} bytes" if done.files else "it was there"
    if dry_run:
        message = f"{done.origin} may go to {done.server} as {done.model} ({extent}; dry run: nothing changed)"
    else:
        message = f"{done.origin} is at {done.server}: {done.model} v{done.number} ({done.semver}), {extent}"
    if as_json:
        echo_json({"exit_code": 0, "message": message, "dry_run": dry_run, **done.as_json()})
        return
    echo(f"✅ {message}")
    if done.stage != Stage.NONE.value:
        echo(f"   it is in {done.stage} there")

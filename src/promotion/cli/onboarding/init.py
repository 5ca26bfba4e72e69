"""Write a first file for a family: for a registered model that was trained elsewhere, or for rows to train on."""

from __future__ import annotations

from pathlib import Path

import click

from promotion.cli.console import AS_JSON, command, echo, echo_json, talk, with_verbs
from promotion.config.settings import Settings
from promotion.errors import UsageError


@command()
@click.argument("name")
@click.argument("version", required=False)
@click.option("--holdout", metavar="FILE", help="Rows to score versions on: CSV or Parquet, a path or an address.")
@click.option("--data", metavar="FILE", help="Rows to train on here, CSV; instead of a registered model.")
@click.option("--target", metavar="COLUMN", help="The column to predict; of a holdout only where it is not plain.")
@click.option("--family", metavar="NAME", help="The file's name; the registered model's by default.")
@AS_JSON
def init_command(  # each is an option
    *,
    name: str,
    version: str | None,
    holdout: str | None,
    data: str | None,
    target: str | None,
    family: str | None,
    as_json: bool,
) -> None:
    """Write config/<family>.yaml as far as it can be known, what only its owner can decide marked with `decide:`.

    NAME is a registered model, VERSION MLflow's number (the newest by default): signature, run, flavour and files say
    what the family needs; with --holdout its versions are scored here. With --data and --target NAME is a family that
    trains here. A file that is there is never overwritten.

    Exit codes: 0 written, 1 MLflow or a file cannot be read, 2 usage: no such model or column, or the file is there.
    """
    from promotion.onboarding.draft import require_new_family, write_draft

    settings = Settings.from_environment()
    if data is not None:
        if version or holdout or family or not target:
            raise UsageError("--data is a family that trains here: say NAME --data FILE --target COLUMN, and no more")
        from promotion.onboarding.training_draft import draft_training

        require_new_family(settings.config_folder, name)
        draft = draft_training(name, Path(data), target, settings.home)
    else:
        if target and not holdout:
            raise UsageError("--target goes with --holdout FILE or --data FILE")
        from promotion.onboarding.family_draft import draft_family

        draft = draft_family(settings, name, version, family=family, holdout=holdout, target=target)
    path = write_draft(settings.config_folder, draft)
    if as_json:
        echo_json(
            {
                "exit_code": 0,
                "file": str(path),
                "family": draft.family,
                "level": draft.level,
                "undecided": draft.undecided,
                "next": with_verbs(draft.following),
            },
            indent=2,
        )
        return
    levels = {1: "rules", 2: "rules and evidence", 3: "training"}
    echo(f"✅ Wrote {path}: {levels[draft.level]} of {draft.family}")
    echo(f"   {len(draft.undecided)} lines are marked `decide:` for its owner")
    talk(f"Next: {draft.following}")

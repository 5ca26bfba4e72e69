"""Say how a family is promoted, which version waits for what, and what serves: what a pipeline asks before it acts."""

from __future__ import annotations

if __name__ == "__main__":
    import sys
    from pathlib import Path

    sys.path[0] = str(Path(__file__).resolve().parents[1] / "src")
    import promotion.cli.environment

import json
from typing import TYPE_CHECKING

import click

from promotion.cli.console import command, echo, talk
from promotion.config.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Iterator

    from promotion.cli.pipeline_plan import Outlook


@command()
@click.option("--model", "family", default="heart-disease", show_default=True, help="Family: config/<family>.yaml.")
@click.option("--json", "as_json", is_flag=True, help="Data on standard output, as JSON.")
def main(family: str, as_json: bool) -> None:
    """Look at a family and change nothing: who decides, which version waits for what, what is in Production.

    Exit codes: 0 done, 1 failed, 2 usage or configuration, 3 it is not clear which version is the candidate.
    """
    from promotion.bootstrap import open_promotions
    from promotion.cli.pipeline_plan import outlook
    from promotion.config.family import load_config

    settings = Settings.from_environment()
    config = load_config(settings.config_folder, family)
    found = outlook(open_promotions(settings, report=talk), config)
    if as_json:
        echo(json.dumps({"exit_code": 0, **found.as_json()}, indent=2))
        return
    for line in _lines(found):
        echo(line)


def _lines(found: Outlook) -> Iterator[str]:
    how = "by itself (--auto)" if found.config.promotion == "auto" else "by hand"
    yield f"📋 {found.config.family}: promoted {how}{', after approvals' if found.config.approvals else ''}"
    yield f"   Production: {found.production or 'nothing yet'}"
    if (candidate := found.candidate) is None:
        yield "   Candidate:  none"
        return
    yield f"   Candidate:  {candidate.version} ({candidate.label}), in {candidate.stage}"
    if candidate.refused:
        yield f"   Refused by: {', '.join(candidate.refused)}"
    if candidate.missing:
        yield f"   Approvals missing: {', '.join(candidate.missing)}"


if __name__ == "__main__":
    main()

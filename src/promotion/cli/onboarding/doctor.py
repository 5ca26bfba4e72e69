"""Say what state this installation and its registry are in, and what mends each finding."""

from __future__ import annotations

import click

from promotion.cli.console import AS_JSON, command, echo, echo_json, talk, task_bars, with_verbs
from promotion.config.settings import Settings


@command()
@click.option("--deep", is_flag=True, help="Look at the files of every version, not only of those in a place.")
@AS_JSON
def doctor_command(*, deep: bool, as_json: bool) -> None:
    """Look at connection, versions, rights, clock, journal, keys, sandbox, families and registry; write nothing.

    Each finding comes with the command that mends it. Versions in a stage or with an alias are looked at whole: their
    files, runs and signatures; with --deep all of them.

    Exit codes: 0 nothing is wrong, 1 registry or journal cannot be reached, 2 usage, 3 there are findings.
    """
    from promotion.onboarding.doctor import diagnose

    with task_bars() as bars:
        diagnosis = diagnose(
            Settings.from_environment(),
            is_deep=deep,
            progress=lambda done, total: bars("versions", done, total),
        )
    if as_json:
        echo_json(diagnosis.as_json(), indent=2)
    else:
        echo(*map(with_verbs, diagnosis.lines()))
    if diagnosis.exit_code:
        talk(diagnosis.summary, colour="red")
        click.get_current_context().exit(diagnosis.exit_code)

"""Processor seconds until `promotion --help`, and each verb's own `--help`, has answered: what a shell user waits for.

Run it as `python benchmarks/command_start.py`; the median of five processes each, unless `--rounds` says otherwise.
"""

from __future__ import annotations

import os
import resource
import statistics
import subprocess
import sys
from pathlib import Path

SOURCE = Path(__file__).resolve().parents[1] / "src"
sys.path.insert(0, str(SOURCE))
import click

import promotion.cli.environment
from promotion.cli.main import TABLE

PROGRAM = f"import sys; sys.path.insert(0, {str(SOURCE)!r}); from promotion.cli.main import main; main()"


@click.command(help=__doc__)
@click.option("--rounds", default=5, show_default=True, help="Processes of each; the median is printed.")
def main(rounds: int) -> None:
    """Print a table, the slowest verb last."""
    calls = {name: seconds(rounds, name) for name in ("", *TABLE)}
    for name, spent in sorted(calls.items(), key=lambda call: call[1]):
        print(f"{spent:6.3f} s  {' '.join(['promotion', *name.split(), '--help'])}")


def seconds(rounds: int, verb: str) -> float:
    """Processor time of one call, of the system on its behalf too."""
    spent = []
    for _ in range(rounds):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run(  # noqa: S603  # our own command
            [sys.executable, "-c", PROGRAM, *verb.split(), "--help"],
            stdout=subprocess.DEVNULL,
            env={**os.environ, "COLUMNS": "100"},
            check=True,
        )
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        spent.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    return statistics.median(spent)


if __name__ == "__main__":
    main()

"""Write the reviewers' answers to a run's protected environments into the promotion record.

GitHub says which account approved or rejected which environment; a file of the repository says which person an account
is, and in which role an environment's reviewer speaks. What `promotion approve` refuses stays refused.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import Any

import yaml

FAILED, USAGE, REFUSED, NOTHING_TO_DO = 1, 2, 3, 5
_DECISIONS = {"approved": [], "rejected": ["--reject"]}


def main() -> int:
    """Record what the run's approvals say; the worst exit code of `promotion approve`, 5 taken for done."""
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("--model-name", "--version", "--reviewers"):
        parser.add_argument(name, required=True)
    options = parser.parse_args()
    try:
        known = yaml.safe_load(Path(options.reviewers).read_text(encoding="utf-8"))
        people, roles = dict(known["people"]), dict(known["roles"])
    except (OSError, yaml.YAMLError, KeyError, TypeError, ValueError) as error:
        return _fail(USAGE, f"{options.reviewers}: expected the sections people and roles ({type(error).__name__})")
    try:
        answers = _answers()
    except (OSError, ValueError, KeyError) as error:
        return _fail(
            FAILED,
            f"the run's approvals cannot be read ({error}): the job needs the permission actions: read, and the action "
            "the input token",
        )
    worst = 0
    for answer in answers:
        decision, login = str(answer["state"]), str(answer["user"]["login"])
        for environment in answer["environments"]:
            role = roles.get(environment["name"])
            if role is None or decision not in _DECISIONS:
                continue
            if login not in people:
                worst = max(worst, _fail(REFUSED, f"{options.reviewers}: people does not say who {login!r} is"))
                continue
            link = f"{os.environ['GITHUB_SERVER_URL']}/{os.environ['GITHUB_REPOSITORY']}"
            comment = f"{answer.get('comment') or decision} ({link}/actions/runs/{os.environ['GITHUB_RUN_ID']})"
            command = ["promotion", "approve", "--model-name", options.model_name, "--version", options.version]
            command += [
                "--role",
                str(role),
                "--approver",
                str(people[login]),
                "--comment",
                comment,
                *_DECISIONS[decision],
            ]
            code = subprocess.run(command, check=False).returncode  # noqa: S603  # no shell: each stays one argument
            worst = max(worst, 0 if code == NOTHING_TO_DO else code)
    return worst


def _answers() -> list[dict[str, Any]]:
    """The reviewers' answers, the oldest first."""
    run = f"repos/{os.environ['GITHUB_REPOSITORY']}/actions/runs/{os.environ['GITHUB_RUN_ID']}/approvals"
    request = urllib.request.Request(f"{os.environ['GITHUB_API_URL']}/{run}")  # noqa: S310  # the runner says it
    request.add_header("Authorization", f"Bearer {os.environ['GITHUB_TOKEN']}")
    request.add_header("Accept", "application/vnd.github+json")
    request.add_header("X-GitHub-Api-Version", "2022-11-28")
    with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310
        found: list[dict[str, Any]] = json.load(answer)
    return found


def _fail(code: int, why: str) -> int:
    sys.stderr.write(f"::error::{why}\n")
    return code


if __name__ == "__main__":
    sys.exit(main())

"""Every command of docs/NEW-FAMILY.md, as it is written and in its order, from a table to a monitored model."""

from __future__ import annotations

import re
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from tests.system.representer_servers import environment

from promotion.config.settings import REPOSITORY

pytestmark = [pytest.mark.system, pytest.mark.needs("curl"), pytest.mark.timeout(600)]

PAGE = (REPOSITORY / "docs" / "NEW-FAMILY.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```bash\n(.*?)^```$", PAGE, flags=re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def walk(tmp_path_factory: pytest.TempPathFactory) -> tuple[subprocess.CompletedProcess[str], Path]:
    """The whole page typed into a shell that stops at the first command which fails."""
    home = tmp_path_factory.mktemp("home")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    script = "\n".join(BLOCKS)
    answer = subprocess.run(
        ["bash", "-c", f"exec 2>&1; set -eu\n{script}\necho walked to the end"],
        env=environment(
            PATH=f"{Path(sys.executable).parent}:/usr/bin:/bin",
            PYTHONPATH=REPOSITORY / "src",
            PROMOTION_KEYS=home / "keys",
            PROMOTION_ACTOR="anna@example.com",
            PORT=str(port),
        ),
        cwd=home,
        capture_output=True,
        text=True,
        check=False,
    )
    return answer, home


def test_every_command_of_the_page_does_what_it_announces(
    walk: tuple[subprocess.CompletedProcess[str], Path],
) -> None:
    """To the last line: trained, promoted, served over HTTP, predicted and watched."""
    answer, home = walk
    said = answer.stdout
    assert said.endswith("walked to the end\n"), said
    assert "unexpected" not in said
    for line in (
        "Registered 1 version as 1.0.0",
        "Successfully promoted diabetes v1 to Production",
        "answers to held-out rows alike",
        '"predictions":[{"value":',
        "442 predictions of diabetes v1 (Production) written",
        "1 labelled",
    ):
        assert line in said, (line, said)
    assert 443 == len((home / "predictions.csv").read_text(encoding="utf-8").splitlines())
    assert "Residuals" in next((home / "reports" / "promotion").glob("*.html")).read_text(encoding="utf-8")


def test_the_page_is_found() -> None:
    """From the README and from the list of documents."""
    assert "docs/NEW-FAMILY.md" in (REPOSITORY / "README.md").read_text(encoding="utf-8")
    assert "(NEW-FAMILY.md)" in (REPOSITORY / "docs" / "README.md").read_text(encoding="utf-8")

"""What docs/SERVING.md shows works on a server as it starts."""

from __future__ import annotations

import re
import subprocess

import pytest
from tests.promotion.serving.conftest import Fitted, Serve

from promotion.config.settings import REPOSITORY

TEXT = (REPOSITORY / "docs" / "SERVING.md").read_text(encoding="utf-8")
BLOCKS = [block for block in re.findall(r"```bash\n(.*?)```", TEXT, flags=re.DOTALL) if block.startswith("curl")]


@pytest.mark.needs("curl")
def test_every_curl_command_gets_an_answer(serve: Serve, linear: Fitted) -> None:
    """Predictions where the page shows predictions, the refusal where it shows one."""
    server = serve(linear.folder)
    address = server.url.removeprefix("http://")
    answers = [
        subprocess.run(
            ["bash", "-ec", block.replace("localhost:8080", address)], capture_output=True, text=True, check=True
        ).stdout
        for block in BLOCKS
    ]

    assert ["predictions", "problems", "predictions", "outputs"] == [
        next(word for word in ("problems", "outputs", "predictions") if f'"{word}"' in answer) for answer in answers
    ]
    assert ['{"predictions":[0,1]}'] * 2 == re.findall(r'\{"predictions":\[0,1\]\}', answers[2])


def test_every_variable_and_route_is_documented(serve: Serve, linear: Fitted) -> None:
    """What the code reads and answers is in the tables."""
    source = "".join(
        path.read_text(encoding="utf-8") for path in (REPOSITORY / "src" / "promotion" / "serving").glob("settings.py")
    )
    variables = set(re.findall(r'"([A-Z]+(?:_[A-Z]+)*)"', source))
    paths = serve(linear.folder).get("/openapi.json").json()["paths"]
    shown = {path.removeprefix("/v2/models/{name}").removeprefix("/versions/{version}") for path in paths}

    assert {"MODEL_DIR", "AB_PERCENT"} <= variables
    assert set() == {name for name in variables if f"`{name}`" not in TEXT}
    assert set() == {path for path in shown if path not in TEXT}

"""Take the README's pictures: the pages that the real commands write about the real example, in a real browser.

Trains heart-disease in a home of its own, promotes, exports, serves the export to its own held-out patients for a while
(the last third of them older than they were, so that there is something to see), and lets the monitor look.

    make pictures
"""

from __future__ import annotations

import csv
import io
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.request import Request, urlopen

from PIL import Image
from playwright.sync_api import sync_playwright

if TYPE_CHECKING:
    from collections.abc import Iterator

HERE = Path(__file__).resolve().parent
REPOSITORY = HERE.parents[1]
FAMILY, MODEL = "heart-disease", "heart-disease-logistic_regression"
WIDTH, HEIGHT, COLOURS = 1180, 900, 64
REQUESTS = 600
AGEING = 15


def call(home: Path, script: str, *arguments: str, codes: tuple[int, ...] = (0,)) -> None:
    """Run one documented command on a home of its own."""
    print(f"{script} {' '.join(arguments)}")
    done = subprocess.run(
        [sys.executable, str(REPOSITORY / script), *arguments],
        env=environment(home),
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode not in codes:
        sys.exit(f"{script} ended with {done.returncode}: {done.stderr}")


def environment(home: Path) -> dict[str, str]:
    """What the commands read."""
    settings = {"PROMOTION_HOME": str(home), "PROMOTION_KEYS": str(home / "keys"), "PROMOTION_ACTOR": "jenkins"}
    return {**os.environ, **settings, "PYTHONPATH": str(REPOSITORY / "src"), "MLFLOW_DISABLE_TELEMETRY": "true"}


@contextmanager
def server(home: Path, log: Path) -> Iterator[str]:
    """The exported champion, writing its prediction log."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    variables = {"MODEL_DIR": str(home / "build/export" / FAMILY), "HOST": "127.0.0.1", "PORT": str(port)}
    process = subprocess.Popen(
        [sys.executable, "-m", "promotion.serving"],
        env={**environment(home), **variables, "PREDICTION_LOG": str(log)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(timeout=30)


def ask(url: str, path: str, body: object = None, name: str = "") -> None:
    """Send one request; try for as long as a server needs to start."""
    data = json.dumps(body).encode() if body is not None else None
    request = Request(url + path, data, {"Content-Type": "application/json", "X-Request-Id": name})
    for attempt in range(100):
        try:
            with urlopen(request, timeout=5):
                return
        except OSError:
            if attempt == 99:
                raise
            time.sleep(0.1)


def serve_patients(home: Path, log: Path) -> None:
    """Ask about every patient again and again, the last third older; what they really had is known afterwards."""
    with (home / "data" / f"{FAMILY}.csv").open(encoding="utf-8") as file:
        rows = [{name: float(cell) if cell else None for name, cell in row.items()} for row in csv.DictReader(file)]
    features = json.loads((home / "build/export" / FAMILY / "expected.json").read_text(encoding="utf-8"))["rows"][0]
    with server(home, log) as url:
        ask(url, "/ready")
        for number in range(REQUESTS):
            row = {name: rows[number * 7 % len(rows)][name] for name in features}
            if number > REQUESTS * 2 / 3 and row["age"] is not None:
                row["age"] = min(row["age"] + AGEING, 77)
            ask(url, "/invocations", {"dataframe_records": [row]}, f"visit-{number}")
    with (home / "labels.csv").open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows(
            [("request_id", "num"), *((f"visit-{n}", f"{rows[n * 7 % len(rows)]['num']:.0f}") for n in range(REQUESTS))]
        )


def picture(page: Path, file: Path) -> None:
    """The top of a page as a browser shows it, in few colours."""
    with sync_playwright() as playwright:
        chromium = next(filter(None, map(shutil.which, ("chromium", "google-chrome"))), None)
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        view = browser.new_page(viewport={"width": WIDTH, "height": HEIGHT})
        view.goto(page.as_uri())
        taken = Image.open(io.BytesIO(view.screenshot()))
        browser.close()
    taken.convert("RGB").quantize(COLOURS).save(file, optimize=True)
    print(f"{file.relative_to(REPOSITORY)}: {file.stat().st_size / 1000:.0f} kB")


def main() -> None:
    """Do all of it; half a minute."""
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        for name in ("config", "data"):
            shutil.copytree(REPOSITORY / name, home / name)
        call(home, "src/models/train.py", "--model", FAMILY)
        call(home, "scripts/promotion-report.py", "--model-name", MODEL, "--version", "1")
        call(home, "scripts/promote-model.py", "--auto", "--model", FAMILY)
        call(home, "scripts/export-model.py", "--model", FAMILY)
        serve_patients(home, home / "predictions.jsonl")
        seen = ("--log", str(home / "predictions.jsonl"), "--labels", str(home / "labels.csv"))
        call(home, "scripts/monitor-model.py", "--model", FAMILY, *seen, codes=(0, 3))
        picture(home / "reports" / "promotion" / f"{MODEL}-v1.html", HERE / "promotion-report.png")
        picture(home / "reports" / "monitoring" / f"{FAMILY}.html", HERE / "monitoring.png")


if __name__ == "__main__":
    main()

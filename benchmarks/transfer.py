"""What bringing a version to another server costs beside fetching and putting the same files by bare HTTP calls.

Two real `mlflow server`s on loopback, one version of few large files and one of many small ones. Bare calls fetch every
file to disk and put it, one after the other and as many at once as the transfer does; then they read it again where it
arrived, as the transfer does before it registers anything. What the transfer hashes is measured apart, alone on these
files, and no factor contains it. Three factors, each of either way of calling: the transfer without reading again, of
fetching and putting; the whole transfer, of fetching, putting and reading again; the whole, of fetching and putting.

Run it as `python benchmarks/transfer.py`; it needs some 4 GB of disk in the temporary folder and takes minutes.
"""

from __future__ import annotations

import os
import shutil
import statistics
import sys
import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

import click
import requests

SOURCE = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(SOURCE), str(SOURCE / "src")]
from benchmarks.registry_read import serving

import promotion.cli.environment
from promotion.artifacts.files import artifact_digest
from promotion.artifacts.signature import sign_artifact, verify_artifact
from promotion.bootstrap import open_promotions
from promotion.config.settings import Settings
from promotion.registration import register_version
from promotion.signing.keys import Keys
from promotion.transfer.files import AT_ONCE
from promotion.transfer.records import TransferRequest
from promotion.transfer.target import Target
from promotion.transfer.transfer import transfer

MEBIBYTE = 1024**2


@dataclass
class Clock:
    """Seconds that each step of a transfer takes, from its first byte to its last.

    Attributes:
        seconds: By step.
    """

    seconds: dict[str, float] = field(default_factory=dict)
    _step: str = "else"
    _since: float = field(default_factory=time.perf_counter)

    def __call__(self, step: str, done: int, total: int) -> None:
        """A step says how far it is."""
        self.enter(step if done < total else "else")

    def enter(self, following: str) -> None:
        """Another step begins, if it is another."""
        if following == self._step:
            return
        now = time.perf_counter()
        self.seconds[self._step] = self.seconds.get(self._step, 0) + now - self._since
        self._step, self._since = following, now


@click.command(help=__doc__)
@click.option("--large", default=1024, show_default=True, help="Mebibytes of the version of large files.")
@click.option("--large-files", default=1, show_default=True, help="Files they are in.")
@click.option("--small", default=1000, show_default=True, help="Files of the version of small ones, 10 kB each.")
@click.option("--workers", default=4, show_default=True, help="Processes of each server; 4 are what MLflow starts.")
@click.option("--rounds", default=3, show_default=True, help="Measurements of each, in turns; the median is printed.")
def main(large: int, large_files: int, small: int, workers: int, rounds: int) -> None:
    """Build, measure, print a Markdown table."""
    with TemporaryDirectory() as folder, ExitStack() as stack:
        home = Path(folder)
        (home / "config").mkdir()
        sides = []
        for name in ("here", "there"):
            (home / name).mkdir()
            sides.append(stack.enter_context(serving(home / name / "mlflow.db", workers)))
        os.environ |= {
            "MLFLOW_TRACKING_URI": sides[0],
            "MLFLOW_DISABLE_TELEMETRY": "true",
            "PROMOTION_HOME": folder,
            "PROMOTION_KEYS": str(home / "keys"),
        }
        click.echo(f"Seconds, median of {rounds}; hashing: sha256 of the same files as often as the transfer does it\n")
        click.echo(
            f"| files | bytes | bare calls: fetch and put, in turn, {AT_ONCE} at once | and read again | transfer "
            "| of that hashing | reading again | brought, of fetch and put | proven, of all three | of fetch and put |"
        )
        click.echo("|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|")
        for name, sizes in (("large", [large * MEBIBYTE // large_files] * large_files), ("small", [10_000] * small)):
            measure(home, name, sizes, sides, rounds)


def measure(home: Path, name: str, sizes: list[int], sides: list[str], rounds: int) -> None:
    """Print one row: a version of files of those sizes."""
    files = home / "files"
    paths = write_files(files, sizes)
    publish(sides[0], name, files, paths)
    service = open_promotions(Settings.from_environment())
    register_version(service, service.candidate(name, 1), files=files)
    bare: dict[int, list[tuple[float, float]]] = {1: [], AT_ONCE: []}
    ours, steps = [], []
    for number in range(rounds):
        for at_once, seconds in bare.items():
            seconds.append(bare_calls(home, sides, name, paths, at_once))
        clock, start = Clock(), time.perf_counter()
        request = TransferRequest(name, "1", f"{name}-{number}")
        transfer(service, Settings.from_environment(), Target(sides[1], "TARGET_", home), request, quiet, clock)
        ours.append(time.perf_counter() - start)
        clock.enter("over")
        steps.append(clock.seconds)
        for left in (home / "there").glob("[0-9]*"):
            shutil.rmtree(left)
    shares = {step: statistics.median(found.get(step, 0) for found in steps) for step in steps[0]}
    whole, hashing, again = statistics.median(ours), hashing_seconds(files), shares["verifying"]
    fetch_put, all_three = (
        [statistics.median(each[kind] for each in seconds) for seconds in bare.values()] for kind in (0, 1)
    )
    brought, proven, strict = (
        ", ".join(f"{ours / call:.2f}" for call in calls)
        for ours, calls in (
            (whole - hashing - again, fetch_put),
            (whole - hashing, all_three),
            (whole - hashing, fetch_put),
        )
    )
    shown = (", ".join(f"{call:.2f}" for call in calls) for calls in (fetch_put, all_three))
    click.echo(
        f"| {len(paths):,} | {sum(sizes):,} | {' | '.join(shown)} | {whole:.2f} | {hashing:.2f} | {again:.2f} "
        f"| {brought} | {proven} | {strict} |"
    )
    click.echo(f"steps of {name}: " + ", ".join(f"{step} {took:.2f}" for step, took in shares.items()), err=True)
    shutil.rmtree(files)


def write_files(folder: Path, sizes: list[int]) -> list[str]:
    """Fill a folder with random bytes; returns the paths in it."""
    (folder / "parts").mkdir(parents=True)
    (folder / "MLmodel").write_text("flavors: {}\n")
    for number, size in enumerate(sizes):
        with (folder / "parts" / f"{number}.bin").open("wb") as file:
            for begin in range(0, size, MEBIBYTE):
                file.write(os.urandom(min(MEBIBYTE, size - begin)))
    return ["MLmodel", *(f"parts/{number}.bin" for number in range(len(sizes)))]


def publish(uri: str, name: str, files: Path, paths: Iterable[str]) -> None:
    """Make it a version of a registered model on a server, as a training would."""
    from mlflow import MlflowClient

    client = MlflowClient(uri, uri)
    run = client.create_run("0")
    place = f"{run.info.experiment_id}/{run.info.run_id}/artifacts/model"
    in_parallel(lambda session, path: put(session, files / path, address(uri, f"{place}/{path}")), paths)
    client.create_registered_model(name)
    client.create_model_version(name, f"{run.info.artifact_uri}/model", run.info.run_id)


def bare_calls(home: Path, sides: list[str], name: str, paths: list[str], at_once: int) -> tuple[float, float]:
    """Fetch every file of the version to disk, put every one, read every one again.

    Returns:
        Seconds until all are put, and until all are read again.
    """
    from mlflow import MlflowClient

    version = MlflowClient(sides[0], sides[0]).get_model_version(name, "1")
    source = version.source.partition(":/")[2].strip("/")
    start = time.perf_counter()
    with TemporaryDirectory(dir=home) as folder:
        fetched = Path(folder)
        (fetched / "parts").mkdir()
        in_parallel(lambda to, it: fetch(to, address(sides[0], f"{source}/{it}"), fetched / it), paths, at_once)
        in_parallel(lambda to, it: put(to, fetched / it, address(sides[1], f"bare/{it}")), paths, at_once)
        put_after = time.perf_counter() - start
        in_parallel(lambda to, it: fetch(to, address(sides[1], f"bare/{it}"), Path(os.devnull)), paths, at_once)
        read_after = time.perf_counter() - start
    shutil.rmtree(home / "there" / "bare")
    return put_after, read_after


def address(uri: str, path: str) -> str:
    """Of a file behind a server that serves artifacts."""
    return f"{uri}/api/2.0/mlflow-artifacts/artifacts/{path}"


def fetch(session: requests.Session, url: str, file: Path) -> None:
    """One file to disk."""
    with session.get(url, stream=True, timeout=600) as answer, file.open("wb") as found:
        answer.raise_for_status()
        for chunk in answer.iter_content(MEBIBYTE):
            found.write(chunk)


def put(session: requests.Session, file: Path, url: str) -> None:
    """One file from disk."""
    with file.open("rb") as content:
        session.put(url, data=content, timeout=600).raise_for_status()


def in_parallel(one: Callable[[requests.Session, str], None], paths: Iterable[str], at_once: int = AT_ONCE) -> None:
    """Call `one` for each path, so many at once, on connections that stay open."""
    threads = threading.local()

    def call(path: str) -> None:
        if not hasattr(threads, "session"):
            threads.session = requests.Session()
        one(threads.session, path)

    with ThreadPoolExecutor(at_once) as pool:
        list(pool.map(call, paths))


def hashing_seconds(files: Path) -> float:
    """What the hashing of one transfer takes alone: digest and signature of what is fetched, of what is registered."""
    keys = Keys.from_environment()
    start = time.perf_counter()
    artifact_digest(files)
    signature = sign_artifact(files, keys)
    artifact_digest(files)
    verify_artifact(files, signature, keys.trusted())
    return time.perf_counter() - start


def quiet(_line: str) -> None:
    """Nobody listens."""


if __name__ == "__main__":
    main()

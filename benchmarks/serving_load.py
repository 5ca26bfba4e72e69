"""What others cost a single row: batches that never pause, and a challenger that sleeps; all in one run.

One client asks with single rows on a connection that stays open. Beside it, first nobody; then another sends batches of
10,000 rows without a pause; then a second version has a tenth of the keys and never answers in time. At last wrk asks
one server, and two at once, which is what a second pod is.
"""

from __future__ import annotations

if __name__ == "__main__":
    import sys
    from pathlib import Path

    sys.path[0] = str(Path(__file__).resolve().parents[1])

import json
import statistics
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from http import HTTPStatus
from http.client import HTTPConnection
from pathlib import Path
from tempfile import TemporaryDirectory

import click
from benchmarks.serving import JSON_TYPE, batch_bodies, connection, export, one_row, our_server, post, train, wrk

CHALLENGER = """
import os, runpy, time
from promotion.serving.exported.model import Model

answer, asked = Model.predict, set()

def predict(model, matrix):
    if model.role == "challenger" and model.role in asked:
        if os.environ["CHALLENGER_DOES"] == "sleep":
            time.sleep(1)
        raise RuntimeError("dying")
    asked.add(model.role)
    return answer(model, matrix)

Model.predict = predict
runpy.run_module("promotion.serving", run_name="__main__")
"""
"""The server, whose challenger answers its proof at the start and then sleeps or dies at every request."""

PERCENT = 10


@click.command(help=__doc__)
@click.option("--requests", "count", default=5000, show_default=True, help="Single rows of each measurement.")
@click.option("--batch", default=10_000, show_default=True, help="Rows of a batch.")
@click.option("--rounds", default=3, show_default=True, help="Measurements of each; the median is printed.")
@click.option("--seconds", default=10, show_default=True, help="Length of each measurement with wrk.")
def main(count: int, batch: int, rounds: int, seconds: int) -> None:
    """Measure, print three Markdown tables."""
    with TemporaryDirectory() as folder:
        home = Path(folder)
        train(home)
        champion = export(home, "random_forest")
        beside_batches(champion, count, batch, rounds)
        beside_a_challenger(champion, export(home, "logistic_regression"), count, rounds)
        by_pods(home, champion, rounds, seconds)


def beside_batches(folder: Path, count: int, batch: int, rounds: int) -> None:
    """Print a single row's latency alone, and beside batches of every protocol."""
    bodies = batch_bodies([one_row(folder)] * batch)
    click.echo(f"| a single row, random_forest, beside {batch:,} rows | p50 ms | p99 ms | p99 |")
    click.echo("|---|---:|---:|---:|")
    with our_server(folder) as (url, _server):
        ask(url, folder, count)
        found: dict[str, list[tuple[float, float]]] = {}
        for _ in range(rounds):
            found.setdefault("nobody", []).append(ask(url, folder, count)[0])
            for name, body in bodies.items():
                with endless(url, body):
                    found.setdefault(name, []).append(ask(url, folder, count)[0])
    told(found)


def beside_a_challenger(champion: Path, challenger: Path, count: int, rounds: int) -> None:
    """Print the champion's latency alone, and beside a challenger that sleeps or dies."""
    click.echo(
        f"\n| the champion's own rows, beside a challenger with {PERCENT} % | p50 ms | p99 ms | p99 | fallbacks |"
    )
    click.echo("|---|---:|---:|---:|---:|")
    split = {"AB_MODEL": str(challenger), "AB_PERCENT": str(PERCENT)}
    kinds: dict[str, dict[str, str]] = {
        "nobody": {},
        "one that sleeps": {**split, "CHALLENGER_DOES": "sleep"},
        "one that dies": {**split, "CHALLENGER_DOES": "die"},
    }
    found: dict[str, list[tuple[float, float]]] = {}
    fallen: dict[str, int] = {}
    for _ in range(rounds):
        for name, variables in kinds.items():
            with our_server(champion, program=CHALLENGER if variables else "", **variables) as (url, _server):
                ask(url, champion, count)
                figures, fallen[name] = ask(url, champion, count)
                found.setdefault(name, []).append(figures)
    told(found, fallen)


def by_pods(home: Path, folder: Path, rounds: int, seconds: int) -> None:
    """Print what one server answers, and two on the same cores."""
    click.echo("\n| servers | requests/s, 16 connections each | |")
    click.echo("|---:|---:|---:|")
    single = 0.0
    for count in (1, 2):
        rates = []
        with ExitStack() as stack, ThreadPoolExecutor(count) as pool:
            urls = [stack.enter_context(our_server(folder))[0] for _ in range(count)]
            homes = [home / f"client-{number}" for number in range(count)]
            for each in homes:
                each.mkdir(exist_ok=True)
            for _ in range(rounds):
                jobs = [
                    pool.submit(wrk, each, f"{url}/predict", one_row(folder), 16, seconds)
                    for each, url in zip(homes, urls, strict=True)
                ]
                rates.append(sum(job.result().rate for job in jobs))
        rate = statistics.median(rates)
        single = single or rate
        click.echo(f"| {count} | {rate:,.0f} | {rate / single:.2f} × |")


def told(found: dict[str, list[tuple[float, float]]], fallen: dict[str, int] | None = None) -> None:
    """A row for each; the last columns are against the first, and how often the champion answered instead."""
    (first, quiet), *_ = ((name, statistics.median(slow for _, slow in each)) for name, each in found.items())
    for name, figures in found.items():
        median, slow = (statistics.median(values) for values in zip(*figures, strict=True))
        ratio = "1" if name == first else f"{slow / quiet:.2f} ×"
        click.echo(f"| {name} | {median:.2f} | {slow:.2f} | {ratio} |" + (f" {fallen[name]:,} |" if fallen else ""))


def ask(url: str, folder: Path, count: int) -> tuple[tuple[float, float], int]:
    """Ask one row after the other, each with a key of its own.

    Returns:
        Median and 99th percentile of the answers that nobody else was asked for first, in milliseconds; and how many
        others there were.
    """
    body = json.dumps(one_row(folder)).encode()
    times, others = [], 0
    with connection(url) as client:
        for number in range(count):
            begun = time.perf_counter()
            client.request("POST", "/predict", body, {**JSON_TYPE, "X-Request-Key": str(number)})
            answer = client.getresponse()
            content = answer.read()
            took = 1000 * (time.perf_counter() - begun)
            if answer.status != HTTPStatus.OK:
                raise click.ClickException(f"{answer.status}: {content[:200]!r}")
            if answer.getheader("X-Model-Fallback"):
                others += 1
            else:
                times.append(took)
    cuts = statistics.quantiles(times, n=100)
    return (cuts[49], cuts[98]), others


@contextmanager
def endless(url: str, batch: tuple[str, bytes, dict[str, str]]) -> Iterator[None]:
    """Somebody who sends a batch as soon as the one before is answered."""
    is_over = threading.Event()

    def send(client: HTTPConnection) -> None:
        while not is_over.is_set():
            post(client, *batch)

    with connection(url) as client:
        thread = threading.Thread(target=send, args=(client,))
        thread.start()
        try:
            yield
        finally:
            is_over.set()
            thread.join()


if __name__ == "__main__":
    main()

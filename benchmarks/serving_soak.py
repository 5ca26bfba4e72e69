"""Ten minutes of mixed good and bad traffic on the server of the image: memory stays flat, and nothing ends in a 5xx.

Clients send rows in every protocol, values that are not allowed, broken JSON, bodies that are too large, unknown paths,
batches, and requests they give up half-way; one sends nothing but bodies as large as they may be; others send so slowly
that they never finish, or hundreds of half heads; a second version has a tenth of the keys and dies at every request.
The server has a pod's memory where this machine has cgroups to write to. Exits 1 when memory grew or came near the
pod's, a 5xx was seen, a probe was not answered, or the prediction log lacks rows.
"""

from __future__ import annotations

if __name__ == "__main__":
    import sys
    from pathlib import Path

    sys.path[0] = str(Path(__file__).resolve().parents[1])

import gzip
import itertools
import json
import os
import random
import re
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from urllib.parse import urlsplit

import click
import requests
from benchmarks.serving import export, our_server, resident, train
from benchmarks.serving_load import CHALLENGER, PERCENT

UNANSWERED = -1
ALLOWED = frozenset({200, 400, 404, 405, 408, 413, 415, 422})
SAMPLES, SHOWN = 60, 6
SLOW_SENDERS, SLOW_BYTES, SLOW_SECONDS = 4, 1024, 0.1
HALF_HEADS = 200
MOST_BYTES, MOST_ROWS = 16 * 1024 * 1024, 10_000
"""The server's defaults."""

POD_BYTES, POD_SHARE = 512 * 1024 * 1024, 0.8
PROBE_SECONDS = 0.25
PROBE_TIMEOUT = 3
"""The manifests' memory and what of it may ever be used, and their probes' time-out."""

Row = dict[str, float | None]
Action = Callable[[requests.Session, str, list[Row], random.Random], int]


@click.command(help=__doc__)
@click.option("--minutes", default=10.0, show_default=True, help="Length.")
@click.option("--clients", default=4, show_default=True, help="Connections that send at once.")
@click.option(
    "--growth",
    default=0.05,
    show_default=True,
    help="Most that memory may grow behind the first fifth; noise is 0.02.",
)
def main(minutes: float, clients: int, growth: float) -> None:
    """Run, print a table, decide."""
    with TemporaryDirectory() as home:
        train(Path(home))
        folder, challenger = (export(Path(home), name) for name in ("random_forest", "logistic_regression"))
        log = Path(home) / "predictions.jsonl"
        rows = json.loads((folder / "expected.json").read_text(encoding="utf-8"))["rows"]
        variables = {"PREDICTION_LOG": str(log), "PREDICTION_LOG_BACKUPS": "1000", "CHALLENGER_DOES": "die"}
        variables |= {"AB_MODEL": str(challenger), "AB_PERCENT": str(PERCENT)}
        with pod_memory() as join, our_server(folder, program=join + CHALLENGER, **variables) as (url, server):
            statuses, memory = soak(url, server.pid, rows, minutes * 60, clients)
            counted, peak = counters(url), most_resident(server.pid)
        files = log.parent.glob(f"{log.name}*")
        written = sum(file.read_bytes().count(b"\n") for file in files)
    decide(statuses, memory, peak, counted, written, growth)


def soak(url: str, pid: int, rows: list[Row], seconds: float, clients: int) -> tuple[Counter[int], list[float]]:
    """Send until the time is over.

    Returns:
        How often which status came, and the memory in MB at regular times.
    """
    end = time.monotonic() + seconds
    statuses: Counter[int] = Counter()
    lock = threading.Lock()

    def keep(send: Callable[[requests.Session], int]) -> None:
        mine = kept(send, end)
        with lock:
            statuses.update(mine)

    def client(seed: int) -> Callable[[requests.Session], int]:
        chance = random.Random(seed)  # noqa: S311 - traffic, not secrets
        return lambda session: chance.choice(ACTIONS)(session, url, rows, chance)

    bodies = itertools.cycle(largest(rows))
    senders = [client(seed) for seed in range(clients)] + [lambda _: slowly(url, end)] * SLOW_SENDERS
    senders += [lambda _: large(url, *next(bodies)), lambda _: half_heads(url, end), lambda own: probe(own, url)]
    threads = [threading.Thread(target=keep, args=(sender,)) for sender in senders]
    for thread in threads:
        thread.start()
    memory = []
    click.echo("| minute | RSS MB |")
    click.echo("|---:|---:|")
    for sample in range(SAMPLES):
        time.sleep(max(0.0, end - time.monotonic()) / (SAMPLES - sample))
        memory.append(resident(pid))
        if sample % SHOWN == SHOWN - 1:
            click.echo(f"| {seconds / 60 * (sample + 1) / SAMPLES:.1f} | {memory[-1]:.1f} |")
    for thread in threads:
        thread.join()
    return statuses, memory


def kept(send: Callable[[requests.Session], int], end: float) -> Counter[int]:
    """How often which status came to one client until the time was over."""
    statuses: Counter[int] = Counter()
    with requests.Session() as session:
        while time.monotonic() < end:
            try:
                statuses[send(session)] += 1
            except OSError as error:
                click.echo(f"unanswered: {error}", err=True)
                statuses[UNANSWERED] += 1
    return statuses


def counters(url: str) -> Counter[str]:
    """The server's own count of answers by status class, of predicted rows and of rows lost to the log."""
    found: Counter[str] = Counter()
    for line in requests.get(f"{url}/metrics", timeout=10).text.splitlines():
        name, _, value = line.rpartition(" ")
        if name.startswith("http_requests_total"):
            found[name.partition('status="')[2][:1] + "xx"] += int(float(value))
        elif name.startswith(("predictions_total", "prediction_log_dropped_total", "challenger_failures_total")):
            found[name.partition("{")[0]] += int(float(value))
    return found


def decide(
    statuses: Counter[int], memory: list[float], peak: float, counted: Counter[str], written: int, growth: float
) -> None:
    """Print what was seen; exit 1 if it is not as it should be."""
    fifth = len(memory) // 5
    # The least of several is what stays: at other moments large bodies are on their way.
    first, last = min(memory[fifth : 2 * fifth]), min(memory[-fifth:])
    names = {0: "given up", UNANSWERED: "unanswered"}
    seen = ", ".join(f"{names.get(status, status)}: {count:,}" for status, count in sorted(statuses.items()))
    click.echo(f"\n{sum(statuses.values()):,} requests ({seen})")
    click.echo(f"server's count: {', '.join(f'{name} {count:,}' for name, count in sorted(counted.items()))}")
    click.echo(
        f"prediction log: {written:,} lines; RSS {first:.1f} to {last:.1f} MB ({100 * (last / first - 1):+.1f} %), "
        f"at most {peak:.1f} MB"
    )
    wrong = []
    if counted["5xx"] or set(statuses) - ALLOWED - {0}:
        wrong.append("answers that should not have been")
    if not counted["challenger_failures_total"]:
        wrong.append("the second version was not asked")
    if last > first * (1 + growth):
        wrong.append(f"memory grew by more than {growth:.0%}")
    if peak * 1e6 > POD_SHARE * POD_BYTES:
        wrong.append(f"more than {POD_SHARE:.0%} of a pod's memory were used")
    if written + counted["prediction_log_dropped_total"] != counted["predictions_total"]:
        wrong.append("the prediction log and the counters disagree")
    if wrong:
        raise click.ClickException("; ".join(wrong))
    click.echo("flat memory, no 5xx, every predicted row is in the log")


def _post(session: requests.Session, url: str, body: Any, kind: str = "application/json") -> int:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return session.post(url, data=content, headers={"Content-Type": kind}, timeout=30).status_code


def one(session: requests.Session, url: str, rows: list[Row], chance: random.Random) -> int:
    """A good row."""
    return _post(session, f"{url}/predict", chance.choice(rows))


def records(session: requests.Session, url: str, rows: list[Row], chance: random.Random) -> int:
    """A few rows as MLflow's clients send them."""
    return _post(session, f"{url}/invocations", {"dataframe_records": chance.sample(rows, 3)})


def table(session: requests.Session, url: str, rows: list[Row], _chance: random.Random) -> int:
    """CSV."""
    lines = [",".join(rows[0]), *(",".join("" if cell is None else str(cell) for cell in row.values()) for row in rows)]
    return _post(session, f"{url}/invocations", "\n".join(lines).encode(), "text/csv")


def tensors(session: requests.Session, url: str, rows: list[Row], _chance: random.Random) -> int:
    """The Open Inference Protocol."""
    shape = {"shape": [len(rows)], "datatype": "FP64"}
    inputs = [{"name": name, **shape, "data": [row[name] for row in rows]} for name in rows[0]]
    return _post(session, f"{url}/v2/models/heart-disease/infer", {"inputs": inputs})


def batch(session: requests.Session, url: str, rows: list[Row], chance: random.Random) -> int:
    """Now and then a batch of a thousand."""
    if chance.random() > 0.05:  # noqa: PLR2004 - a twentieth of its turns
        return one(session, url, rows, chance)
    return _post(session, f"{url}/predict", {"rows": rows * (1000 // len(rows))})


def bad_value(session: requests.Session, url: str, rows: list[Row], chance: random.Random) -> int:
    """A value that is not allowed, of every kind."""
    value = chance.choice([0, -1, 1e300, "text", True, [], {}, "x" * 10_000])
    name = chance.choice(list(rows[0]))
    return _post(session, f"{url}/predict", {**chance.choice(rows), name: value})


def broken(session: requests.Session, url: str, _rows: list[Row], chance: random.Random) -> int:
    """Bytes that are no request."""
    route = chance.choice(["/predict", "/invocations", "/v2/models/heart-disease/infer"])
    return _post(session, url + route, chance.randbytes(chance.randrange(200)))


def too_large(_session: requests.Session, url: str, rows: list[Row], chance: random.Random) -> int:
    """Now and then a body beyond the limit; the connection is closed, so it gets its own."""
    if chance.random() > 0.01:  # noqa: PLR2004 - a hundredth of its turns
        return 0
    try:
        return _post(requests.Session(), f"{url}/predict", {"rows": rows * 10_000})
    except requests.ConnectionError:
        return 0


def lost(session: requests.Session, url: str, _rows: list[Row], chance: random.Random) -> int:
    """Paths that do not exist."""
    return session.get(f"{url}/{chance.randrange(10**9)}", timeout=30).status_code


def give_up(_session: requests.Session, url: str, _rows: list[Row], _chance: random.Random) -> int:
    """Half a request, then nothing."""
    address = urlsplit(url)
    with socket.create_connection((str(address.hostname), int(address.port or 80)), timeout=30) as connection:
        connection.sendall(b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{")
    return 0


def slowly(url: str, end: float) -> int:
    """A body that comes too slowly to finish, until the server has enough of it or the time is over."""
    address = urlsplit(url)
    head = b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 4000000\r\n\r\n"
    with socket.create_connection((str(address.hostname), int(address.port or 80)), timeout=30) as connection:
        connection.sendall(head)
        connection.settimeout(SLOW_SECONDS)
        while time.monotonic() < end:
            with suppress(TimeoutError):
                return _status(connection, b" " * SLOW_BYTES)
    return 0


def half_heads(url: str, end: float) -> int:
    """Hundreds of heads that are begun and left, until the server closes the last of them."""
    address = urlsplit(url)
    with ExitStack() as stack:
        for _ in range(HALF_HEADS):
            place = (str(address.hostname), int(address.port or 80))
            connection = stack.enter_context(socket.create_connection(place, timeout=1))
            with suppress(OSError):
                connection.sendall(b"POST /predict HTTP/1.1\r\nHost: ")
        while time.monotonic() < end:
            with suppress(TimeoutError):
                return _status(connection)
    return 0


def _status(connection: socket.socket, more: bytes = b"") -> int:
    """Send some more, and wait for the status of an answer; 0 where the server closes.

    Raises:
        TimeoutError: There is no answer yet.
    """
    try:
        connection.sendall(more)
        return int((connection.recv(64).split() or [b"", b"0"])[1])
    except TimeoutError:
        raise
    except OSError:
        return 0


def probe(session: requests.Session, url: str) -> int:
    """What a kubelet asks; it is never kept waiting, or it would end the pod."""
    time.sleep(PROBE_SECONDS)
    return session.get(f"{url}/health", timeout=PROBE_TIMEOUT).status_code


def largest(rows: list[Row]) -> list[tuple[str, bytes, str]]:
    """Path, body and compression of the most that a client may send."""
    many = json.dumps({"rows": (rows * (MOST_ROWS // len(rows) + 1))[:MOST_ROWS]}).encode()
    nothing = b'{"rows":[' + b"{}," * (MOST_BYTES // 3 - 10) + b"{}]}"
    cells = b'{"inputs":[{"name":"x","shape":[1],"datatype":"FP32","data":[' + b"1," * (MOST_BYTES // 2 - 50) + b"1]}]}"
    return [
        ("/predict", many, ""),
        ("/predict", nothing, ""),
        ("/predict", gzip.compress(many), "gzip"),
        ("/predict", gzip.compress(b" " * 10 * MOST_BYTES), "gzip"),
        ("/invocations", b'{"instances":' + b"[" * (MOST_BYTES - 20), ""),
        ("/v2/models/heart-disease/infer", cells, ""),
    ]


def large(url: str, path: str, body: bytes, encoding: str) -> int:
    """One of these; where it is refused the connection is closed."""
    headers = {"Content-Type": "application/json", **({"Content-Encoding": encoding} if encoding else {})}
    try:
        return requests.post(url + path, body, headers=headers, timeout=60).status_code
    except requests.ConnectionError:
        return 0


@contextmanager
def pod_memory() -> Iterator[str]:
    """Lines by which a program gives itself the memory of a pod; none where no cgroup can be made."""
    root = Path("/sys/fs/cgroup")
    kinds = ((root / "memory", "memory.limit_in_bytes"), (root, "memory.max"))
    for place, limit in kinds:
        group = place / f"soak-{os.getpid()}"
        try:
            group.mkdir()
            (group / limit).write_text(str(POD_BYTES), encoding="ascii")
        except OSError:
            with suppress(OSError):
                group.rmdir()
            continue
        try:
            yield f"open({str(group / 'cgroup.procs')!r}, 'w').write('0')\n"
        finally:
            group.rmdir()
        return
    click.echo("no cgroup can be made here: the server has all of the machine's memory\n")
    yield ""


def most_resident(pid: int) -> float:
    """The most memory a process ever had, in MB (10^6 bytes)."""
    found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text(encoding="ascii"))
    return int(found[1]) * 1024 / 1e6 if found else float("nan")


ACTIONS: tuple[Action, ...] = (
    *(one, one, one, records, table, tensors, batch),
    *(bad_value, bad_value, broken, too_large, lost, give_up),
)

if __name__ == "__main__":
    main()

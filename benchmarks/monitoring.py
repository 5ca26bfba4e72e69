"""What a run of the monitor costs on a large log: time, peak memory, and whether both engines see the same."""

from __future__ import annotations

if __name__ == "__main__":
    import sys
    from pathlib import Path

    sys.path[0] = str(Path(__file__).resolve().parents[1] / "src")
    import promotion.cli.environment

import csv
import hashlib
import json
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import click
import numpy as np
from numpy.typing import NDArray

from promotion.config.family import FamilyConfig, load_config
from promotion.config.settings import REPOSITORY
from promotion.export.contract import contract_of
from promotion.export.folder import FORMAT, MANIFEST, Manifest

FAMILY, MODEL, VERSION = "heart-disease", "heart-disease-logistic_regression", 2
LOG, ONE = "predictions.jsonl", "one.jsonl"
UNTIL = datetime(2026, 11, 21, 12, tzinfo=UTC)
_BATCH = 50_000


@click.command()
@click.option("--rows", default=1_000_000, show_default=True, help="Predicted rows in the log.")
@click.option("--labels", "with_labels", is_flag=True, help="Give every row a label, which is the most there can be.")
@click.option("--engine", "engines", multiple=True, default=["pandas"], help="pandas, spark, or both.")
@click.option("--duckdb", "python", metavar="PYTHON", help="Let DuckDB count the same beside it; a Python that has it.")
@click.option("--replay", "days", type=int, help="Rehearse on so many days with these rows, a look in five minutes.")
@click.option("--keep", type=click.Path(file_okay=False, path_type=Path), help="Write the log there and leave it.")
def main(
    rows: int, engines: tuple[str, ...], python: str | None, days: int | None, keep: Path | None, *, with_labels: bool
) -> None:
    """Generate a day's log of 13 features and run `scripts/monitor-model.py` on it, each engine in its own process."""
    with TemporaryDirectory() as temporary:
        folder = keep or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        config = load_config(REPOSITORY / "config", FAMILY)
        started = time.perf_counter()
        write_log(config, folder, rows, days or 1)
        with (folder / LOG).open(encoding="utf-8") as log:
            (folder / ONE).write_text(log.readline(), encoding="utf-8")
        size = (folder / LOG).stat().st_size / 1e6
        click.echo(
            f"{rows:,} rows × {len(config.features)} features, {size:,.0f} MB, written in {_since(started):.1f} s"
        )
        if days is not None:
            command = _monitor(folder, "pandas", LOG, with_labels=True)
            command[command.index("--log")] = "--replay"
            cost, document = _run([*command, "--interval", "300"])
            acts = len(json.loads(document)["acts"])
            click.echo(f"{'replay':8} {cost}; {days * 288:,} looks over {days} days, {acts} acts")
            return
        seen = {}
        for engine in engines:
            cost, _ = _run(_monitor(folder, engine, ONE, with_labels=False))
            click.echo(f"{engine:8} {cost}; of one row")
            cost, document = _run(_monitor(folder, engine, LOG, with_labels=with_labels))
            seen[engine] = json.loads(document)["versions"]
            click.echo(f"{engine:8} {cost}")
        if python is not None:
            cost, document = _run([python, "-c", _DUCKDB, _query(config, folder)])
            click.echo(f"{'DuckDB':8} {cost}; {document.strip()} rows")
        if len(seen) > 1:
            first, *others = seen.values()
            click.echo("same numbers" if all(first == other for other in others) else "DIFFERENT numbers")


def write_log(config: FamilyConfig, folder: Path, rows: int, days: int = 1) -> None:
    """A log, its labels and an export's statistics, all drawn from the family's own data.

    Args:
        config: The family.
        folder: Gets `predictions.jsonl`, `labels.csv`, and `export/`.
        rows: How many.
        days: Over how many they are spread.
    """
    random = np.random.default_rng(7)
    known = _known_rows(config)
    _write_export(config, folder / "export", known)
    span = timedelta(days=days)
    start = UNTIL - span
    identity = f'"family": "{FAMILY}", "model": "{MODEL}", "version": {VERSION}, "role": "champion"'
    names = [json.dumps(name) for name in config.classes]
    features = [
        json.dumps({name: None if np.isnan(value) else value for name, value in zip(config.features, row, strict=True)})
        for row in known.tolist()
    ]
    with (
        (folder / LOG).open("w", encoding="utf-8") as log,
        (folder / "labels.csv").open("w", encoding="utf-8", newline="") as labels,
    ):
        writer = csv.writer(labels)
        writer.writerow(["request_id", "label"])
        for first in range(0, rows, _BATCH):
            count = min(_BATCH, rows - first)
            drawn = random.integers(0, len(known), count)
            probability = random.beta(0.8, 0.8, count)
            chosen = (probability > 0.5).astype(int)  # noqa: PLR2004  # where a class is decided
            label = np.where(random.random(count) < 0.85, chosen, 1 - chosen)  # noqa: PLR2004  # an accuracy
            ids = random.bytes(16 * count).hex()
            for place in range(count):
                at = start + span * ((first + place) / rows)
                request = ids[32 * place : 32 * place + 32]
                log.write(
                    f'{{"time": "{at:%Y-%m-%dT%H:%M:%S}.{at.microsecond // 1000:03d}Z", "request_id": "{request}", '
                    f'"row": 0, {identity}, "features": {features[drawn[place]]}, "class": {chosen[place]}, '
                    f'"label": {names[chosen[place]]}, "probability": {probability[place]}, "latency_ms": 1.5}}\n'
                )
                writer.writerow([request, label[place]])


def _known_rows(config: FamilyConfig) -> NDArray[np.float64]:
    import pandas as pd

    frame = pd.read_csv(REPOSITORY / config.data.path, na_values=["?"])
    return frame[config.features].to_numpy(dtype=np.float64)


def _write_export(config: FamilyConfig, folder: Path, known: NDArray[np.float64]) -> None:
    folder.mkdir(exist_ok=True)
    features: dict[str, Any] = {}
    for place, name in enumerate(config.features):
        values = known[:, place]
        present = values[~np.isnan(values)]
        features[name] = {"missing": float(np.isnan(values).mean())}
        if name in config.numeric:
            edges = np.unique(np.quantile(present, np.linspace(0, 1, 11)))
            features[name] |= {"edges": edges.tolist(), "counts": np.histogram(present, edges)[0].tolist()}
        else:
            codes, counts = np.unique(present, return_counts=True)
            features[name]["codes"] = {f"{code:g}": int(count) for code, count in zip(codes, counts, strict=True)}
    ten = {"edges": np.linspace(0, 1, 11).round(10).tolist(), "counts": [9, 6, 5, 5, 5, 5, 5, 5, 6, 10]}
    reference = {
        "rows": len(known),
        "features": features,
        "predictions": {"labels": dict.fromkeys(config.classes, 30), "probability": ten},
        "metrics": {name: {"value": 0.85, "low": 0.75, "high": 0.93} for name in ("accuracy", "precision", "recall")},
    }
    content = json.dumps(reference).encode()
    (folder / "reference.json").write_bytes(content)
    manifest = Manifest(
        format=FORMAT,
        family=FAMILY,
        model=MODEL,
        version=VERSION,
        semver=None,
        run_id="",
        stage="Production",
        artifact_digest="",
        gate_report=None,
        git_sha=None,
        task=config.task,
        engine="onnx",
        trusted=[],
        files={"reference.json": hashlib.sha256(content).hexdigest()},
    )
    (folder / MANIFEST).write_text(manifest.text(), encoding="utf-8")


_DUCKDB = (
    "import sys, duckdb; duckdb.sql('SET enable_progress_bar = false'); print(duckdb.sql(sys.argv[1]).fetchall()[0][3])"
)


def _query(config: FamilyConfig, folder: Path) -> str:
    """What the monitor counts, without labels: rows by time, class, probability, latency, and values."""
    reference = json.loads((folder / "export" / "reference.json").read_text(encoding="utf-8"))["features"]
    kinds = ", ".join(f'"{name}" DOUBLE' for name in config.features)
    columns = {"time": "TIMESTAMPTZ", "row": "INTEGER", "version": "INTEGER", "features": f"STRUCT({kinds})"}
    columns |= {"class": "INTEGER", "probability": "DOUBLE", "latency_ms": "DOUBLE"}
    columns |= dict.fromkeys(("request_id", "family", "model", "role"), "VARCHAR")
    hours = [(UNTIL - timedelta(hours=24 - hour)).timestamp() for hour in range(25)]
    counted = [
        "count(*)",
        """count(DISTINCT request_id || '/' || "row")""",
        f"histogram(epoch(time)::DOUBLE, {hours})",
        'histogram("class", [0, 1])',
        f"histogram(probability, {np.linspace(0, 1, 11).tolist()})",
        f"histogram(latency_ms, {np.logspace(-2, 5, 1401).tolist()})",
    ]
    for name, rules in contract_of(config).columns.items():
        known = reference[name]
        bounds = known["edges"] if "edges" in known else [float(code) for code in known["codes"]]
        cell = f'features."{name}"'
        outside = [f"{cell} < {rules.minimum}"] if rules.minimum is not None else []
        outside += [f"{cell} > {rules.maximum}"] if rules.maximum is not None else []
        outside += [f"{cell} NOT IN ({', '.join(map(str, rules.codes))})"] if rules.codes is not None else []
        counted += [f"histogram({cell}, {bounds})", f"count(*) - count({cell})"]
        counted += [f"count(*) FILTER ({' OR '.join(outside)})"] if outside else []
    given = ", ".join(f"\"{name}\": '{kind}'" for name, kind in columns.items())
    log = f"read_json('{folder / LOG}', format='newline_delimited', columns={{{given}}})"
    return f"SELECT role, model, version, {', '.join(counted)} FROM {log} WHERE family = '{FAMILY}' GROUP BY ALL"  # noqa: S608  # our own names


def _monitor(folder: Path, engine: str, log: str, *, with_labels: bool) -> list[str]:
    """The command line of one run."""
    home = folder / f"home-{engine}"
    (home / "config").mkdir(parents=True, exist_ok=True)
    (home / "config" / f"{FAMILY}.yaml").write_bytes((REPOSITORY / "config" / f"{FAMILY}.yaml").read_bytes())
    return [
        *("/usr/bin/env", f"PROMOTION_HOME={home}", f"PROMOTION_CLOCK={UNTIL.isoformat()}"),
        *(sys.executable, str(REPOSITORY / "scripts" / "monitor-model.py")),
        *("--model", FAMILY, "--log", str(folder / log), "--export", str(folder / "export")),
        *("--engine", engine, "--json"),
        *(("--labels", str(folder / "labels.csv")) if with_labels else ()),
    ]


def _run(command: list[str]) -> tuple[str, str]:
    """What a process costs, and what it says."""
    command = ["/usr/bin/time", "-f", "%M %U %S", *command]
    started = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603  # ours
    seconds = _since(started)
    if done.returncode not in {0, 3}:
        raise click.ClickException(done.stderr)
    kilobytes, *cpu = (float(word) for word in done.stderr.split()[-3:])
    return f"{seconds:6.1f} s {sum(cpu):6.1f} CPU s {kilobytes / 1000:8,.0f} MB (largest process)", done.stdout


def _since(started: float) -> float:
    return time.perf_counter() - started


if __name__ == "__main__":
    main()

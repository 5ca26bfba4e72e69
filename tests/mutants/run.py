"""Change the code that decides in one place at a time, and see whether a test notices: `make mutants`.

The mutants are cosmic-ray's. Each is tried in a copy of the files that git knows or would add, with a time limit.
"""

from __future__ import annotations

import argparse
import ast
import os
import random
import re
import shlex
import shutil
import subprocess
import sys
import time
import tomllib
from collections import Counter
from collections.abc import Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from cosmic_ray.ast import ast_nodes, get_ast
from cosmic_ray.mutating import mutate_and_test, mutate_code
from cosmic_ray.plugins import get_operator, operator_names
from cosmic_ray.work_item import MutationSpec, TestOutcome

FOLDER = Path(__file__).resolve().parent
ROOT = FOLDER.parents[1]
LEAST_SECONDS = 120


@dataclass(frozen=True, slots=True)
class Mutant:
    """One change: the subject whose tests must notice, what cosmic-ray does, and the line before and after."""

    subject: str
    spec: MutationSpec
    before: str
    after: str

    def __str__(self) -> str:
        return f"{self.spec.module_path}:{self.spec.start_pos[0]}  {self.before}  →  {self.after}"


def draw(subjects: Mapping[str, Any], skip: str, number: int, seed: int) -> list[Mutant]:
    """So many mutants that change behaviour, the same for the same files and seed."""
    texts = {path: path.read_text(encoding="utf-8") for name in subjects for path in _files(name, subjects[name])}
    owners = {path: name for name in subjects for path in _files(name, subjects[name])}
    every = [(path, spec) for path, text in texts.items() for spec in _specs(path, text, skip)]
    random.Random(seed).shuffle(every)
    found: list[Mutant] = []
    for path, spec in every:
        if len(found) == number:
            break
        mutated = mutate_code(texts[path], get_operator(spec.operator_name)(), spec.occurrence) or ""
        if _behaviour(mutated) not in {None, _behaviour(texts[path])}:
            lines = zip(texts[path].splitlines(), mutated.splitlines(), strict=False)
            before, after = next((old.strip(), new.strip()) for old, new in lines if old != new)
            found.append(Mutant(owners[path], spec, before, after))
    return found


def _files(name: str, subject: Mapping[str, Any]) -> Iterator[Path]:
    for pattern in [*subject["files"], *subject["tests"]]:
        paths = sorted(ROOT.glob(pattern))
        if not paths:
            sys.exit(f"{FOLDER / 'subjects.toml'}: {name}: no file {pattern}: write where it is now")
        if pattern in subject["files"]:
            yield from paths


def _specs(path: Path, text: str, skip: str) -> Iterator[MutationSpec]:
    nodes, lines = list(ast_nodes(get_ast(text))), text.splitlines()
    for name in operator_names():
        operator = get_operator(name)
        if operator.arguments() or re.search(skip, name):
            continue
        places = (place for node in nodes for place in operator().mutation_positions(node))
        for occurrence, (start, end) in enumerate(places):
            # The mark before keyword-only parameters is no multiplication, though it is taken for one.
            if not lines[start[0] - 1].startswith("*,", start[1]):
                yield MutationSpec(path.relative_to(ROOT), name, occurrence, start, end)


def _behaviour(text: str) -> str | None:
    """What Python makes of a file, None when it is no Python; but for what decides nothing.

    That is annotations, imports for them and protocols, which nothing here evaluates, and how a dataclass is laid out
    and locked.
    """
    try:
        tree = ast.parse(text)
    except SyntaxError:
        return None
    for node in ast.walk(tree):
        for name in {"annotation", "returns"} & {*node._fields}:
            setattr(node, name, None)
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            node.test = ast.Constant(None)
        if isinstance(node, ast.ClassDef) and "Protocol" in map(ast.unparse, node.bases):
            node.body = [ast.Pass()]
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "dataclass":
            node.keywords = [it for it in node.keywords if it.arg not in {"frozen", "slots"}]
    return ast.dump(tree) if tree.body else None


def _copy(scratch: str) -> None:
    """Go into a copy of the tree that belongs to this process alone."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, check=True, text=True).stdout
    folder = Path(scratch) / str(os.getpid())
    for name in filter(lambda name: (ROOT / name).is_file(), listed.split("\0")):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, folder / name)
    os.chdir(folder)


def _try(spec: MutationSpec | None, tests: list[str], seconds: float) -> tuple[str, str, float]:
    """What becomes of a mutant, of the code as it is without one; the change, or what the tests said; how long."""
    command = shlex.join(
        [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", "-m", "not docker", *tests]
    )
    began = time.monotonic()
    result = mutate_and_test([spec] if spec else [], command, seconds)
    if result.test_outcome not in {TestOutcome.KILLED, TestOutcome.SURVIVED}:
        raise RuntimeError(f"{spec}: {result.output}")
    verdict = "SURVIVED" if not result.is_killed else "timeout" if result.output == "timeout" else "killed"
    return verdict, str(result.diff if spec else result.output), time.monotonic() - began


def main() -> int:
    """Draw, try, and say what survived; 0 when enough were killed."""
    rules = tomllib.loads((FOLDER / "subjects.toml").read_text(encoding="utf-8"))
    called = tomllib.loads((FOLDER / "equivalent.toml").read_text(encoding="utf-8")).get("equivalent", [])
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--draw", type=int, default=rules["draw"], help="how many mutants")
    parser.add_argument("--seed", type=int, default=rules["seed"], help="which ones")
    parser.add_argument("--subject", choices=rules["subject"], help="of this subject only")
    parser.add_argument("--processes", type=int, default=2, help="how many at a time")
    asked = parser.parse_args()
    subjects = {name: it for name, it in rules["subject"].items() if asked.subject in {None, name}}
    mutants = draw(subjects, rules["skip"], asked.draw, asked.seed)
    reasons = {(it["file"], it["before"], it["after"]): it["reason"] for it in called}
    counts, rest = Counter[str](), []
    with (
        TemporaryDirectory(prefix="mutants-") as scratch,
        ProcessPoolExecutor(asked.processes, initializer=_copy, initargs=(scratch,)) as pool,
    ):
        limits = {}
        for name, future in {name: pool.submit(_try, None, it["tests"], 900) for name, it in subjects.items()}.items():
            verdict, said, seconds = future.result()
            if verdict != "SURVIVED":
                sys.exit(f"{name}: its tests fail without any mutant:\n{said}")
            limits[name] = LEAST_SECONDS + 5 * seconds
        tried = {pool.submit(_try, it.spec, subjects[it.subject]["tests"], limits[it.subject]): it for it in mutants}
        for number, future in enumerate(as_completed(tried), start=1):
            mutant, (verdict, diff, seconds) = tried[future], future.result()
            reason = reasons.get((str(mutant.spec.module_path), mutant.before, mutant.after))
            if reason:
                verdict = "equivalent" if verdict == "SURVIVED" else "killed, though it is called equivalent"
            counts[verdict] += 1
            print(f"[{number:3d}/{len(mutants)}] {verdict:10s} {seconds:5.1f} s  {mutant}", flush=True)
            if verdict in {"SURVIVED", "equivalent"}:
                rest.append(f"\n{verdict}, {mutant.subject}: {reason or ''}\n{diff}")
    print(*rest, sep="\n")
    alive, same = counts["SURVIVED"], counts["equivalent"]
    share = 1 - alive / max(1, len(mutants) - same)
    print(
        f"\n{len(mutants)} mutants, seed {asked.seed}: {len(mutants) - alive - same} killed "
        f"({counts['timeout']} by the time limit), {alive} survived, {same} equivalent: "
        f"{share:.1%} killed, {rules['killed']:.0%} asked; "
        f"{len(called)} called equivalent, at most {rules['equivalent']} may be"
    )
    return int(share < rules["killed"] or len(called) > rules["equivalent"])


if __name__ == "__main__":
    sys.exit(main())

"""The tests' side of the scripted kubectl: images that are said to be there, and what the cluster ended up with."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml
from tests.programs import needed

from promotion.config.settings import REPOSITORY
from promotion.delivery.records import Image

KUBECTL = f"""
import sys
sys.path.insert(0, "{Path(__file__).parent}")
import scripted_kubectl  # compiled once
sys.exit(scripted_kubectl.main())
"""
DOCKER = """
import json, os, sys
images = json.load(open(os.environ["SCRIPTED_CLUSTER"]))["images"]
if sys.argv[1:3] != ["image", "inspect"] or sys.argv[3] not in images:
    sys.exit(f"Error response from daemon: No such image: {sys.argv[-1]}")
image = images[sys.argv[3]]
print(json.dumps([{"Config": {"Labels": image["labels"]}, "RepoDigests": image.get("pushed")}]))
"""
PROGRAM = """#!/bin/sh
[ "$1" = kustomize ] && exec "$REAL_KUBECTL" "$@"
exec "{python}" -SE -c '{script}' "$@"
"""
ROWS = [{"x": 1.0}, {"x": None}]
PROBABILITIES = [[0.25, 0.75], [0.9, 0.1]]
LABELS = ["no", "yes"]


class ScriptedCluster:
    """A cluster that is only played, and an engine that knows the images given to it.

    Args:
        folder: For its state, the programs on the PATH and the export folders.
    """

    namespaces = ("models-staging", "models-production")

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.file = folder / "cluster.json"
        folder.mkdir(parents=True)
        objects: dict[str, Any] = {name: {} for name in self.namespaces}
        self.file.write_text(json.dumps({"images": {}, "objects": objects, "calls": []}), encoding="utf-8")
        programs = folder / "bin"
        programs.mkdir()
        for name, script in (("kubectl", KUBECTL), ("docker", DOCKER)):
            program = programs / name
            program.write_text(PROGRAM.format(python=sys.executable, script=script), encoding="utf-8")
            program.chmod(0o755)

    @property
    def environment(self) -> dict[str, str]:
        """What makes commands find it."""
        return {
            "PATH": f"{self.folder / 'bin'}{os.pathsep}{os.environ['PATH']}",
            "SCRIPTED_CLUSTER": str(self.file),
            "SCRIPTED_LIBRARIES": str(Path(yaml.__file__).parents[1]),
            "SCRIPTED_SOURCES": str(REPOSITORY / "src"),
            "REAL_KUBECTL": needed("kubectl"),  # renders the manifests
        }

    @contextmanager
    def changed(self) -> Iterator[dict[str, Any]]:
        """The state, to be changed."""
        with self.file.open("r+", encoding="utf-8") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            state = json.load(file)
            yield state
            file.seek(0)
            file.truncate()
            json.dump(state, file)

    @property
    def state(self) -> dict[str, Any]:
        """The state as it is."""
        state: dict[str, Any] = json.loads(self.file.read_text(encoding="utf-8"))
        return state

    def export(self, number: int) -> Path:
        """The export folder of a version."""
        return self.folder / f"export-{number}"

    def image(
        self,
        model: str,
        number: int,
        digest: str,
        *,
        family: str,
        behaviour: str = "well",
        report: str = "e" * 64,
        **answers: Any,
    ) -> Image:
        """Make an export folder and an image of it.

        Args:
            model: Registered model.
            number: Its version.
            digest: Of the version's artifact.
            family: Whose version.
            behaviour: How its pods do, see `scripted_kubectl`.
            report: Digest of the gate report it was exported with.
            answers: What it answers otherwise: `classes`, `probabilities`, `says` (the digest at /version).
                And on its label the `attestation`.
        """
        known = {
            "family": family,
            "model": model,
            "version": str(number),
            "semver": f"1.{number}.0",
            "digest": digest,
            "gate-report": report,
            "manifest": write_export(self.export(number), model, number),
            "sbom": "5" * 64,
            "attestation": answers.get("attestation", ""),
        }
        labels = {f"io.promotion.{name}": value for name, value in known.items()}
        reference = f"registry.example/{model}:{number}-{behaviour.replace(' ', '-')}{len(self.state['images'])}"
        with self.changed() as state:
            said = {"artifact_digest": answers.get("says", digest), "image": reference, "model": model}
            state["images"][reference] = {
                "labels": labels,
                "behaviour": behaviour,
                "answers": {"version": said, "predict": {"predictions": predictions(answers)}},
            }
        return Image.from_labels(reference, labels)

    def real_image(self, folder: Path, labels: Mapping[str, str]) -> str:
        """An image whose pods are the real server on an export folder; returns its reference."""
        reference = f"registry.example/real:{len(self.state['images'])}"
        with self.changed() as state:
            state["images"][reference] = {
                "labels": dict(labels),
                "behaviour": "well",
                "answers": {"serves": str(folder)},
            }
        return reference

    def object(self, name: str, namespace: str = "models-production") -> dict[str, Any] | None:
        """One object, as `kind/name`."""
        found: dict[str, Any] | None = self.state["objects"][namespace].get(name)
        return found

    def runs(self, name: str, namespace: str = "models-production") -> str | None:
        """The image a Deployment runs."""
        found = self.object(f"deployment/{name}", namespace)
        return str(found["spec"]["template"]["spec"]["containers"][0]["image"]) if found else None

    def verbs(self) -> list[str]:
        """What was asked of kubectl, in order."""
        return [next(word for word in call if not word.startswith("--")) for call in self.state["calls"]]


def write_export(folder: Path, model: str, number: int) -> str:
    """Make a version's export folder; returns the digest of its manifest."""
    folder.mkdir(exist_ok=True)
    documents = {
        "expected.json": {"rows": ROWS, "labels": [1, 0], "probabilities": PROBABILITIES},
        "schema.json": {"labels": LABELS},
    }
    for name, document in documents.items():
        (folder / name).write_text(json.dumps(document), encoding="utf-8")
    files = {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in documents}
    manifest = json.dumps({"model": model, "version": number, "files": files}).encode()
    (folder / "manifest.json").write_bytes(manifest)
    return hashlib.sha256(manifest).hexdigest()


def predictions(answers: Mapping[str, Any]) -> list[dict[str, Any]]:
    """What a server answers; `answers` says what it answers otherwise."""
    classes = answers.get("classes", [1, 0])
    probabilities = answers.get("probabilities", PROBABILITIES)
    return [
        {"class": chosen, "label": LABELS[chosen], "probabilities": dict(zip(LABELS, values, strict=True))}
        for chosen, values in zip(classes, probabilities, strict=True)
    ]

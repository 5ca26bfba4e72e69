"""Images before an engine is asked: what they are built from, what they are called, what their labels say."""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import sys
import tarfile
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner
from tests.promotion.factories import a_manifest

from promotion.config.settings import REPOSITORY
from promotion.containers.build import BaseImage, content_digest, image_labels, image_name, image_reference
from promotion.containers.context import REQUIREMENTS, build_context
from promotion.containers.docker import DockerFailed, docker, inspect
from promotion.containers.trial import label
from promotion.errors import ArtifactRefused, UsageError
from promotion.export.folder import Export, ServingEngine, seal
from promotion.signing.keys import Keys

HADOLINT = Path(sys.executable).with_name("hadolint")
SHA = "0123456789abcdef0123456789abcdef01234567"
BASE = BaseImage("python:3.11-slim", f"sha256:{'b' * 64}", "python:3.11-slim")
PINS = ["mlflow==3.17.2", "scikit-learn==1.9.1", "skops==0.16.0", "pandas==3.1.1", "numpy==2.4.6", "scipy==1.18.0"]


def an_export(folder: Path, *, engine: ServingEngine = "onnx", pins: list[str] | None = None) -> Export:
    (folder / "model").mkdir(parents=True)
    (folder / "schema.json").write_text("{}\n")
    if pins is not None:
        (folder / "model" / "requirements.txt").write_text("\n".join(pins))
    return seal(folder, a_manifest(engine=engine), Keys(folder.parent / "keys" / "key.pem"))


def members(content: bytes) -> dict[str, bytes]:
    with tarfile.open(fileobj=io.BytesIO(content)) as archive:
        return {entry.name: (archive.extractfile(entry) or io.BytesIO()).read() for entry in archive}


def test_the_context_holds_the_server_the_export_and_nothing_else(tmp_path: Path) -> None:
    """No training code, no data, no compiled files; everything readable by any user, without owner or time."""
    export = an_export(tmp_path / "export")
    found = members(build_context(REPOSITORY, export))

    assert {"Dockerfile", REQUIREMENTS, "src/promotion/serving/__main__.py"} <= set(found)
    rest = {name for name in found if not name.startswith("src/promotion/serving/")}
    shared = {"__init__.py", "errors.py", "signing/__init__.py", "signing/keys.py", "signing/sshsig.py"}
    recipe = {"Dockerfile", "requirements-serving.txt", "requirements-sbom.txt", REQUIREMENTS}
    recipe.add("src/promotion/containers/image_root.py")
    assert (
        recipe
        | {f"src/promotion/{name}" for name in shared}
        | {f"export/{name}" for name in ("manifest.json", "manifest.sig", "schema.json")}
        == rest
    )
    assert [] == [name for name in found if "__pycache__" in name]
    assert b"" == found[REQUIREMENTS]
    with tarfile.open(fileobj=io.BytesIO(build_context(REPOSITORY, export))) as archive:
        assert {(0o644, 0, 0, 0)} == {(entry.mode, entry.uid, entry.gid, entry.mtime) for entry in archive}


def test_the_same_export_gives_the_same_context(tmp_path: Path) -> None:
    """Wherever it lies, so that Docker's cache is used and an unchanged image keeps its id."""
    export = an_export(tmp_path / "export")
    elsewhere = Path(shutil.copytree(export.folder, tmp_path / "other" / "place"))

    assert build_context(REPOSITORY, export) == build_context(REPOSITORY, replace(export, folder=elsewhere))


def test_a_native_model_brings_its_packages_to_the_version(tmp_path: Path) -> None:
    """What it was registered with, without MLflow; the server's own numpy stays."""
    export = an_export(tmp_path / "export", engine="native", pins=PINS)

    assert b"pandas==3.1.1\nscikit-learn==1.9.1\nscipy==1.18.0\nskops==0.16.0\n" == members(
        build_context(REPOSITORY, export)
    ).get(REQUIREMENTS)


def test_a_catboost_file_brings_catboost(tmp_path: Path) -> None:
    """In the version that it was proven with, and what its engine imports; a graph brings none of it."""
    pins = ["catboost==1.2.10", "pandas==3.1.1", "scipy==1.18.0"]
    found = build_context(REPOSITORY, an_export(tmp_path / "export", engine="catboost", pins=pins))
    assert "\n".join([*pins, ""]).encode() == members(found)[REQUIREMENTS]
    with pytest.raises(ArtifactRefused, match="does not pin each of catboost, pandas, scipy"):
        build_context(REPOSITORY, an_export(tmp_path / "bare", engine="catboost", pins=pins[1:]))


@pytest.mark.parametrize("pins", [[], ["scikit-learn>=1.9", *PINS[2:]], ["--index-url", "https://evil", *PINS[2:]]])
def test_a_native_model_without_exact_packages_is_refused(tmp_path: Path, pins: list[str]) -> None:
    """Its image could compute something else, or come from somewhere else."""
    export = an_export(tmp_path / "export", engine="native", pins=pins)

    with pytest.raises(ArtifactRefused, match="does not pin each of pandas"):
        build_context(REPOSITORY, export)


@pytest.mark.parametrize(
    ("family", "name"),
    [("heart-disease", "heart-disease"), ("alzheimer_classifier", "alzheimer-classifier"), ("A__b.C-", "a-b-c")],
)
def test_a_family_as_an_images_name(family: str, name: str) -> None:
    """Lower case with hyphens: a repository's name and a DNS label at once."""
    assert name == image_name(family)


@pytest.mark.parametrize(
    ("semver", "repository", "revision", "reference"),
    [
        ("1.2.0", None, SHA, "churn:1.2.0-0123456789ab"),
        (None, None, SHA, "churn:3-0123456789ab"),
        ("1.2.0-rc.1+5", None, SHA, "churn:1.2.0-rc.1_5-0123456789ab"),
        ("1.2.0", "registry.example:5000/ml/churn", SHA, "registry.example:5000/ml/churn:1.2.0-0123456789ab"),
        ("1.2.0", "team/churn", f"{SHA}-dirty", "team/churn:1.2.0-0123456789ab-dirty"),
    ],
)
def test_an_images_name(semver: str | None, repository: str | None, revision: str, reference: str) -> None:
    """Version and commit, in characters Docker takes."""
    assert reference == image_reference(a_manifest(semver=semver), repository, revision)


def test_other_content_has_another_name(tmp_path: Path) -> None:
    """The same export and code give the same tag; a byte of the export, or another commit, give another one."""
    export = an_export(tmp_path / "one")
    other = replace(export, folder=shutil.copytree(export.folder, tmp_path / "two"))

    def content(it: Export, revision: str) -> str:
        return content_digest(build_context(REPOSITORY, it), image_labels(it, revision, BASE))

    first = content(export, SHA)

    assert f"churn:3-0123456789ab-{first[:12]}" == image_reference(export.manifest, None, SHA, first)
    assert first == content(other, SHA)
    name = next(iter(other.manifest.files))
    (other.folder / name).write_bytes((other.folder / name).read_bytes() + b" ")
    changed = {content(other, SHA), content(export, SHA[::-1])}
    assert 2 == len(changed - {first})


@pytest.mark.parametrize("repository", ["churn:latest", "Churn", "ml/churn@sha256:00", "churn/", "a b", "/churn"])
def test_a_tag_of_ones_own_is_refused(repository: str) -> None:
    """The version is the tag; nothing is ever only `latest`."""
    with pytest.raises(UsageError, match="expected REGISTRY/NAME"):
        image_reference(a_manifest(), repository, SHA)


def test_labels_are_texts_that_name_version_and_evidence(tmp_path: Path) -> None:
    """What is unknown is empty, never `None`."""
    export = an_export(tmp_path / "export")
    labels = image_labels(export, SHA, BASE)

    assert SHA == labels["org.opencontainers.image.revision"]
    assert "3" == labels["org.opencontainers.image.version"] == labels["io.promotion.version"]
    assert "" == labels["io.promotion.semver"] == labels["io.promotion.gate-report"]
    assert export.digest == labels["io.promotion.manifest"]
    assert "a" * 64 == labels["io.promotion.digest"]


def test_without_docker_one_line_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Nothing on the path."""
    monkeypatch.setenv("PATH", str(tmp_path))

    with pytest.raises(DockerFailed, match="docker is not on the path"):
        docker("version")


SCRIPTED = """#!/bin/sh
case "$1 $2" in
    "image inspect") cat "{answer}" ;;
    *) echo "first"; echo "Cannot connect to the Docker daemon" >&2; exit 1 ;;
esac
"""


@pytest.fixture
def scripted_docker(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A `docker` on the path that answers `image inspect` with a file and fails otherwise."""
    answer = tmp_path / "answer.json"
    (tmp_path / "docker").write_text(SCRIPTED.format(answer=answer))
    (tmp_path / "docker").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    return answer


def test_an_engine_that_is_away_with_a_scripted_docker(scripted_docker: Path) -> None:
    """Docker's own words, on one line."""
    with pytest.raises(DockerFailed, match="docker push failed: Cannot connect to the Docker daemon"):
        docker("push", "churn:1")


def test_an_image_without_labels_with_a_scripted_docker(scripted_docker: Path) -> None:
    """Read as an image of somebody else's, which runs as root."""
    scripted_docker.write_text('[{"Id": "sha256:1", "Size": 5, "Config": {"Labels": null, "User": ""}}]')
    image = inspect("python:3.11-slim")

    assert ("", {}, ()) == (image.user, image.labels, image.digests)
    with pytest.raises(UsageError, match="did not build it"):
        label(image, "family")


def test_the_command_refuses_an_export_that_changed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before Docker is asked anything; another family's export and none at all are mistakes in the call."""
    import runpy

    main = runpy.run_path(str(REPOSITORY / "scripts" / "build-image.py"), run_name="build_image")["main"]
    folder = tmp_path / "export"
    an_export(folder)
    monkeypatch.setenv("PROMOTION_KEYS", str(tmp_path / "keys"))
    shutil.move(tmp_path / "keys" / "key.pem", tmp_path / "keys" / "signing-key.pem")

    def call(family: str, place: Path) -> tuple[int, str]:
        result = CliRunner().invoke(main, ["--model", family, "--export", str(place)])
        return result.exit_code, result.stderr

    assert (2, True) == ((found := call("other", folder))[0], "an export of churn, not of other" in found[1])
    assert (2, True) == ((found := call("churn", tmp_path / "none"))[0], "no export here" in found[1])
    (folder / "schema.json").write_text("[]")
    assert (1, True) == ((found := call("churn", folder))[0], "changed schema.json" in found[1])


def test_the_dockerfile_is_clean() -> None:
    """The linter finds nothing, and a build by hand sends no more than the server."""
    found = subprocess.run([HADOLINT, REPOSITORY / "Dockerfile"], capture_output=True, text=True, check=False)

    assert "" == found.stdout
    assert "*" in (REPOSITORY / ".dockerignore").read_text().splitlines()

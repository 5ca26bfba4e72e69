"""Files of a version on this machine, and their digest."""

from __future__ import annotations

import errno
import os
import re
import shutil
import sqlite3
import stat
import subprocess
from contextlib import closing
from pathlib import Path

import pytest
from tests.promotion.conftest import Server
from tests.promotion.factories import Store

from promotion.artifacts.files import artifact_digest, local_artifact
from promotion.errors import ArtifactMissing, ArtifactUnsafe, RegistryError
from promotion.registry.client import ClientRegistry
from promotion.registry.contract import ModelVersion
from promotion.registry.rest import RestRegistry
from promotion.registry.sqlite import SqliteRegistry


class Placed(SqliteRegistry):
    """A registry whose artifacts are at a given URI."""

    def __init__(self, uri: str) -> None:
        super().__init__("sqlite:///unused.db", Path("unused.db"))
        self._place = uri

    def artifact_uri(self, version: ModelVersion) -> str:  # noqa: ARG002 - the protocol's signature
        """The given URI, whatever the version."""
        return self._place


@pytest.fixture
def artifact(tmp_path: Path) -> Path:
    folder = tmp_path / "a model"
    (folder / "data").mkdir(parents=True)
    (folder / "MLmodel").write_text("flavors: {}\n")
    (folder / "data" / "weights.bin").write_bytes(bytes(range(256)))
    (folder / ".hidden").write_text("")
    (folder / "Ünïcode name").write_text("x")
    (folder / "data.txt").write_text("sorts before data/ as bytes")
    return folder


def test_the_digest_is_what_sha256sum_says(artifact: Path) -> None:
    """Anybody can check the digest with the shell line of the documentation."""
    command = r"find . -type f -printf '%P\0' | LC_ALL=C sort -z | xargs -0 sha256sum | sha256sum"
    expected = subprocess.run(["sh", "-c", command], cwd=artifact, capture_output=True, text=True, check=True).stdout
    assert expected.split()[0] == artifact_digest(artifact)


def test_a_copy_has_the_same_digest(artifact: Path, tmp_path: Path) -> None:
    """Where the files are and when they were written does not matter."""
    copy = tmp_path / "elsewhere"
    shutil.copytree(artifact, copy, copy_function=shutil.copyfile)
    assert artifact_digest(artifact) == artifact_digest(copy)


@pytest.mark.parametrize("change", ["content", "name", "added", "removed", "moved"])
def test_every_change_changes_the_digest(artifact: Path, change: str) -> None:
    """A changed byte, a renamed, added, removed or moved file is noticed."""
    before = artifact_digest(artifact)
    weights = artifact / "data" / "weights.bin"
    match change:
        case "content":
            weights.write_bytes(bytes(range(1, 256)) + b"\0")
        case "name":
            weights.rename(weights.with_name("weights.bim"))
        case "added":
            (artifact / "extra").write_text("")
        case "removed":
            (artifact / ".hidden").unlink()
        case "moved":
            weights.rename(artifact / "weights.bin")
    assert before != artifact_digest(artifact)


@pytest.mark.parametrize("target", ["/etc/hostname", "MLmodel", "../outside", "nowhere"])
def test_a_symbolic_link_is_refused(artifact: Path, target: str) -> None:
    """A link may lead out of the folder or change under it, wherever it points."""
    (artifact / "data" / "link").symlink_to(target)
    with pytest.raises(ArtifactUnsafe, match="data/link is a symbolic link"):
        artifact_digest(artifact)


def test_a_linked_folder_and_a_pipe_are_refused(artifact: Path) -> None:
    """A link to a folder is not followed, and a pipe is not waited for."""
    link = artifact / "linked"
    link.symlink_to(artifact / "data", target_is_directory=True)
    with pytest.raises(ArtifactUnsafe, match="linked is a symbolic link"):
        artifact_digest(artifact)
    link.unlink()
    os.mkfifo(artifact / "pipe")
    with pytest.raises(ArtifactUnsafe, match="pipe is neither file nor folder"):
        artifact_digest(artifact)


@pytest.mark.parametrize("name", ["a\nb", "a\\b", "a\rb"])
def test_a_name_that_could_forge_a_line_is_refused(artifact: Path, name: str) -> None:
    """The listing behind the digest has one reading only."""
    (artifact / name).write_text("")
    with pytest.raises(ArtifactUnsafe, match="line break or backslash"):
        artifact_digest(artifact)


def test_what_no_model_looks_like_is_refused_at_once(artifact: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Folders in folders without end, a name that is no text, and files without number."""
    deep = artifact.joinpath(*["d"] * 60)
    deep.mkdir(parents=True)
    with pytest.raises(ArtifactUnsafe, match="more than 50 deep"):
        artifact_digest(artifact)
    shutil.rmtree(artifact / "d")
    odd = Path(os.fsdecode(os.fsencode(artifact) + b"/a\xff"))
    odd.write_text("")
    with pytest.raises(ArtifactUnsafe, match="is no name in UTF-8"):
        artifact_digest(artifact)
    odd.unlink()
    monkeypatch.setattr("promotion.artifacts.files._MAX_FILES", 3)
    with pytest.raises(ArtifactUnsafe, match="more than 3 files"):
        artifact_digest(artifact)


def test_a_file_with_holes_does_not_fill_the_disk(artifact: Path, sqlite_registry: SqliteRegistry) -> None:
    """It says it has terabytes, and its copy would have them: nothing is begun."""
    with (artifact / "holes").open("wb") as file:
        file.truncate(2**43)
    with (
        pytest.raises(RegistryError, match=r"cannot be copied to .*: it has 8,796,093,\d+,\d+ bytes, [\d,]+ are free"),
        local_artifact(Placed(str(artifact)), sqlite_registry.version("forest", 2)),
    ):
        pass


def test_nothing_has_no_digest(tmp_path: Path) -> None:
    """A missing or empty folder is an error, not the digest of nothing."""
    with pytest.raises(ArtifactMissing, match="no such folder"):
        artifact_digest(tmp_path / "nowhere")
    with pytest.raises(ArtifactMissing, match="no files in it"):
        artifact_digest(tmp_path)


def test_what_was_digested_is_what_is_read(artifact: Path, sqlite_registry: SqliteRegistry) -> None:
    """Whoever swaps a file in the store during a check swaps nothing in the check; the copy is ours alone, and goes."""
    version = sqlite_registry.version("forest", 2)
    with local_artifact(sqlite_registry, version) as folder:
        assert "forest 2\n" == (folder / "MLmodel").read_text()
    for uri in (str(artifact), artifact.as_uri()):
        with local_artifact(Placed(uri), version) as folder:
            before = artifact_digest(folder)
            for path in artifact.rglob("*"):
                if path.is_file():
                    path.write_text("another model")
            assert before == artifact_digest(folder)
            assert 0o700 == stat.S_IMODE(folder.parent.stat().st_mode)
        assert not folder.exists()


def test_a_full_disk_is_named(sqlite_registry: SqliteRegistry, monkeypatch: pytest.MonkeyPatch) -> None:
    """A failure, not evidence against the version; it says where room is missing."""

    def full(*_arguments: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(shutil, "copyfileobj", full)
    version = sqlite_registry.version("forest", 2)
    with (
        pytest.raises(RegistryError, match=r"forest v2: .* cannot be copied to .*: No space left on device.*TMPDIR"),
        local_artifact(sqlite_registry, version),
    ):
        pass


@pytest.mark.parametrize(("uri", "told"), [("http://[::1/x", "its artifact's address is none"), ("", "does not say")])
def test_an_address_that_is_none_is_named(sqlite_registry: SqliteRegistry, uri: str, told: str) -> None:
    """Nor is the present folder taken for a version that has no address."""
    version = sqlite_registry.version("forest", 2)
    with pytest.raises(ArtifactMissing, match=f"forest v2: .*{told}"), local_artifact(Placed(uri), version):
        pass


@pytest.mark.parametrize("uri", ["/nowhere/model", "file:///nowhere/model", "nowhere"])
def test_a_missing_artifact_is_named(sqlite_registry: SqliteRegistry, uri: str) -> None:
    """Version, place and remedy in one line."""
    version = sqlite_registry.version("forest", 2)
    with (
        pytest.raises(ArtifactMissing, match=r"forest v2: its artifact .*nowhere.* does not exist on this machine"),
        local_artifact(Placed(uri), version),
    ):
        pass


def test_a_logged_model_is_followed_to_its_files(
    client_registry: ClientRegistry, sqlite_registry: SqliteRegistry, seeded_database: Path
) -> None:
    """The direct reader and MLflow's client agree where the files are, for every version."""
    for version in client_registry.versions("forest"):
        assert client_registry.artifact_uri(version) == sqlite_registry.artifact_uri(version)


@pytest.mark.system
def test_a_served_artifact_is_downloaded_and_removed(
    rest_registry: RestRegistry, mlflow_server: Server, artifact: Path
) -> None:
    """What the server proxies arrives unchanged in a temporary folder, which is gone afterwards."""
    shutil.copytree(artifact, mlflow_server.artifacts / "1" / "models" / "m-1" / "artifacts")
    with closing(sqlite3.connect(mlflow_server.database)) as store, store:
        store.execute(
            "UPDATE model_versions SET storage_location = CASE version "
            "WHEN 1 THEN 'mlflow-artifacts:/1/models/m-1/artifacts' ELSE 'mlflow-artifacts:/1/nothing' END "
            "WHERE name = 'forest'"
        )
    with local_artifact(rest_registry, rest_registry.version("forest", 1)) as folder:
        assert artifact_digest(artifact) == artifact_digest(folder)
    assert not folder.exists()
    with (
        pytest.raises(RegistryError, match="forest v2"),
        local_artifact(rest_registry, rest_registry.version("forest", 2)),
    ):
        pass


@pytest.mark.parametrize(
    ("cause", "remedy"),
    [
        (ModuleNotFoundError(name="botocore.exceptions"), "pip install boto3"),
        (ModuleNotFoundError(name="azure.storage.blob"), "pip install azure-storage-blob azure-identity"),
        (ModuleNotFoundError(name="ossfs"), "pip install ossfs"),
        (
            ValueError("Could not find a registered artifact repository for: s3://bucket/"),
            "install the MLflow plugin for s3://",
        ),
    ],
)
def test_a_missing_client_of_a_store_is_named_with_its_package(
    cause: Exception, remedy: str, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where MLflow cannot import what reaches a store, the message says what to install, not which module it missed."""
    import mlflow.artifacts

    number = store.register("tiny-linear")
    version = store.registry.version("tiny-linear", number)
    monkeypatch.setattr(type(store.registry), "artifact_uri", lambda *_: "s3://bucket/m")

    def fail(**_options: object) -> None:
        raise RuntimeError("no plugin") from cause

    monkeypatch.setattr(mlflow.artifacts, "download_artifacts", fail)
    with pytest.raises(
        ArtifactMissing, match=rf"s3://bucket/m lies in a store whose client is not installed here: {remedy}$"
    ):
        local_artifact(store.registry, version).__enter__()


@pytest.mark.parametrize(
    ("uri", "cause", "remedy"),
    [
        ("http://files/m", ValueError("not enough values to unpack"), "only what a tracking server serves itself"),
        ("b2://bucket/m", Exception("Unable to parse region"), "the address is b2://<bucket>@s3"),
        ("s3://bucket/m", RuntimeError("Unable to locate credentials"), "check AWS_ACCESS_KEY_ID"),
        ("ftp://files/m", ConnectionRefusedError("refused"), "is the address right, its server up"),
        ("mlflow-artifacts:/m", RuntimeError("must be a valid http"), "set MLFLOW_TRACKING_URI to the server"),
    ],
)
def test_a_store_that_does_not_answer_is_one_line_with_what_lets_one_in(
    uri: str, cause: Exception, remedy: str, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The store is named, not the tracking server; what its client said comes last."""
    import mlflow.artifacts

    version = store.registry.version("tiny-linear", store.register("tiny-linear"))
    monkeypatch.setattr(type(store.registry), "artifact_uri", lambda *_: uri)

    def fail(**_options: object) -> None:
        raise cause

    monkeypatch.setattr(mlflow.artifacts, "download_artifacts", fail)
    with pytest.raises(RegistryError, match=rf"{re.escape(uri)}: .*{remedy}.* \({type(cause).__name__}: .*\)$"):
        local_artifact(store.registry, version).__enter__()


@pytest.mark.system
def test_fetching_leaves_no_database_behind(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """MLflow's client of DBFS asks where the tracking server is, and would open one in the working folder."""
    version = store.registry.version("tiny-linear", store.register("tiny-linear"))
    monkeypatch.setattr(type(store.registry), "artifact_uri", lambda *_: "dbfs:/mnt/m")
    for name in ("MLFLOW_TRACKING_URI", "DATABRICKS_HOST", "DATABRICKS_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")

    with pytest.raises(RegistryError, match="check DATABRICKS_HOST and DATABRICKS_TOKEN"):
        local_artifact(store.registry, version).__enter__()

    assert [] == list((tmp_path / "work").iterdir())

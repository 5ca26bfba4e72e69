"""A version's files on this machine, and the digest that says whether they are still the same."""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory
from urllib.parse import urlsplit
from urllib.request import url2pathname

from promotion.config.printable import is_unicode
from promotion.data.files import file_sha256
from promotion.errors import ArtifactMissing, ArtifactUnsafe, RegistryError
from promotion.registry.contract import ModelVersion, Registry, without_password
from promotion.registry.failures import excerpt, registry_error

MODEL_CARD = "MODEL_CARD.md"
"""The file in a version's folder that says what the version is."""

_CLIENTS = {
    **dict.fromkeys(("boto3", "botocore"), "boto3"),
    "azure": "azure-storage-blob azure-identity",
    "google": "google-cloud-storage",
    "pysftp": "pysftp",
}
"""Packages of the clients of artifact stores, by the module that MLflow imports."""
_BY_SERVER = "mlflow-artifacts"
_ACCESS = {
    _BY_SERVER: "set MLFLOW_TRACKING_URI to the server that keeps it",
    **dict.fromkeys(("http", "https"), "MLflow fetches from such addresses only what a tracking server serves itself"),
    **dict.fromkeys(("s3", "r2"), "check AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and MLFLOW_S3_ENDPOINT_URL"),
    **dict.fromkeys(("wasbs", "abfss"), "check AZURE_STORAGE_CONNECTION_STRING or AZURE_STORAGE_ACCESS_KEY"),
    "b2": "the address is b2://<bucket>@s3.<region>.backblazeb2.com/…",
    "dbfs": "check DATABRICKS_HOST and DATABRICKS_TOKEN",
    "gs": "check GOOGLE_APPLICATION_CREDENTIALS",
    "hdfs": "install Hadoop's client on this machine and set HADOOP_HOME",
}
"""What lets this machine into an artifact store, by the scheme of an address there."""
_CHUNK_BYTES = 1024**2
_MAX_FILES = 10_000
"""Of one version, folders included; each costs a millisecond, and a model has some dozens."""
DEEPEST_FOLDER = 50
# Bounds for MLflow's downloads; its own defaults retry for minutes.
_DOWNLOAD_LIMITS = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2", "MLFLOW_HTTP_REQUEST_TIMEOUT": "30"}


@contextmanager
def local_artifact(registry: Registry, version: ModelVersion, *, is_copied: bool = True) -> Iterator[Path]:
    """A private copy of a version's files: what was digested is what is scanned, verified, loaded and scored.

    Whoever may write to the store could otherwise swap a file between two of these steps.

    Args:
        registry: Says where the files are.
        version: Whose files.
        is_copied: Whether files of this machine are copied, too; who only looks at them once needs no copy.

    Yields:
        The folder, readable by this account alone; gone afterwards, so read what is needed inside the block.

    Raises:
        ArtifactMissing: Nothing is there, or not a folder.
        ArtifactUnsafe: It holds a link, a device, or an odd name.
        RegistryError: The download or the copy failed, for example because the disk is full.
    """
    uri = registry.artifact_uri(version)
    path = _local_path(uri, version)
    if path and not path.is_dir():
        raise ArtifactMissing(
            f"{version}: its artifact {path} does not exist on this machine; restore it, "
            "or let the tracking server serve its artifacts (mlflow server --serve-artifacts), then register again"
        )
    if path and not is_copied:
        yield path
        return
    with TemporaryDirectory(prefix="artifact-") as folder:
        yield (
            copy_files(path, Path(folder) / "files", f"{version}: its artifact {path}")
            if path
            else _download(uri, Path(folder), version, registry.uri)
        )


def artifact_digest(folder: Path) -> str:
    r"""SHA-256 over the names and contents of all files under `folder`.

    It is the digest of what `sha256sum` lists for the relative paths in byte order, so anybody can check it inside the
    folder: `find . -type f -printf '%P\0' | LC_ALL=C sort -z | xargs -0 sha256sum | sha256sum`.

    Returns:
        64 hexadecimal digits.

    Raises:
        ArtifactMissing: There is no such folder, or no file in it.
        ArtifactUnsafe: It holds a symbolic link, a device, a name that is no text or has a line break or backslash, or
            more files, or folders in folders, than any model.
    """
    if not folder.is_dir():
        raise ArtifactMissing(f"{folder}: no such folder; the artifact cannot be digested")
    files = sorted(plain_files(folder), key=lambda path: os.fsencode(str(path)))
    if not files:
        raise ArtifactMissing(f"{folder}: no files in it; the artifact cannot be digested")
    listing = hashlib.sha256()
    for relative in files:
        listing.update(f"{file_sha256(folder / relative)}  ".encode() + os.fsencode(str(relative)) + b"\n")
    return listing.hexdigest()


def plain_files(folder: Path) -> list[PurePosixPath]:
    """The files below a folder, after making sure that all in it are plain ones, with plain names, and not too many.

    Raises:
        ArtifactUnsafe: They are not.
    """
    found: list[PurePosixPath] = []
    waiting, count = [PurePosixPath()], 0
    while waiting:
        below = waiting.pop()
        if len(below.parts) > DEEPEST_FOLDER:
            raise ArtifactUnsafe(f"{folder}: folders in folders, more than {DEEPEST_FOLDER} deep: register again")
        with os.scandir(folder / below) as entries:
            for entry in entries:
                count += 1
                if count > _MAX_FILES:
                    raise ArtifactUnsafe(f"{folder}: more than {_MAX_FILES:,} files: pack them, and register again")
                path = below / entry.name
                kind = _plain_kind(folder, path, entry.stat(follow_symlinks=False).st_mode)
                (waiting if kind == stat.S_IFDIR else found).append(path)
    return found


def _plain_kind(folder: Path, path: PurePosixPath, mode: int) -> int:
    """Whether it is a folder or a file."""
    name = path.name
    if any(letter in name for letter in "\\\n\r"):
        raise ArtifactUnsafe(f"{folder}: {str(path)!r} has a line break or backslash in its name: register again")
    if not is_unicode(name):
        raise ArtifactUnsafe(f"{folder}: {str(path)!a} is no name in UTF-8, which cannot be signed: register again")
    kind = stat.S_IFMT(mode)
    if kind not in {stat.S_IFDIR, stat.S_IFREG}:
        what = "a symbolic link" if kind == stat.S_IFLNK else "neither file nor folder"
        raise ArtifactUnsafe(
            f"{folder}: {path} is {what}, which may lead out of the artifact; register again with plain files"
        )
    return kind


def _local_path(uri: str, version: ModelVersion) -> Path | None:
    """Where the files are on this machine; None for what has to be fetched."""
    try:
        parts = urlsplit(uri)
    except ValueError as error:
        raise ArtifactMissing(f"{version}: its artifact's address is none: {error}: register it anew") from error
    if not uri:
        raise ArtifactMissing(f"{version}: MLflow does not say where its artifact is: register another version")
    if parts.scheme == "file" and parts.netloc in {"", "localhost"}:
        return Path(url2pathname(parts.path))
    return None if parts.scheme else Path(uri)


def copy_files(source: Path, folder: Path, what: str) -> Path:
    """Copy a version's plain files into a new folder, where there is room for all of them; returns that folder.

    Raises:
        ArtifactUnsafe: There are others than plain files.
        RegistryError: They cannot be copied.
    """
    folder.mkdir()
    try:
        files = plain_files(source)
        _require_room(folder, sum((source / relative).lstat().st_size for relative in files))
        for relative in files:
            (folder / relative).parent.mkdir(parents=True, exist_ok=True)
            # A link that takes the file's place now is refused by the system, not followed.
            with (
                open(source / relative, "rb", opener=_not_a_link) as original,
                (folder / relative).open("xb") as copy,
            ):
                shutil.copyfileobj(original, copy, _CHUNK_BYTES)
    except OSError as error:
        raise RegistryError(
            f"{what} cannot be copied to {folder.parent}: {error.strerror}: make room there, or name another folder "
            "with TMPDIR"
        ) from error
    return folder


def _require_room(folder: Path, needed: int) -> None:
    """A file with holes says it has terabytes, and is copied as such."""
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise OSError(errno.ENOSPC, f"it has {needed:,} bytes, {free:,} are free")


def _not_a_link(path: str, flags: int) -> int:
    # Nor is a pipe waited for that takes its place.
    return os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK)


def _download(uri: str, folder: Path, version: ModelVersion, server: str) -> Path:
    shown = without_password(uri)
    # Without its address some of MLflow's clients open a database of their own in the working folder.
    with _environment({**_DOWNLOAD_LIMITS, "MLFLOW_TRACKING_URI": server}):
        # MLflow starts slowly, and only remote artifacts need it.
        import mlflow.artifacts

        try:
            path = Path(mlflow.artifacts.download_artifacts(artifact_uri=uri, dst_path=str(folder)))
        except Exception as error:
            scheme = urlsplit(uri).scheme
            if remedy := _missing_client(error, scheme):
                raise ArtifactMissing(
                    f"{version}: its artifact {shown} lies in a store whose client is not installed here: {remedy}"
                ) from error
            failed = registry_error(f"{version}: cannot download its artifact {shown}", error)
            if _BY_SERVER in uri and server.startswith("http"):
                raise failed from error
            remedy = _ACCESS.get(scheme, "is the address right, its server up, and this account let in?")
            cause = f"{type(error).__name__}: {excerpt(str(error))}"
            raise type(failed)(f"{version}: cannot download its artifact {shown}: {remedy} ({cause})") from error
    if not path.is_dir() or not any(path.iterdir()):
        raise ArtifactMissing(
            f"{version}: its artifact {shown} does not exist or is empty; restore it, or register another version"
        )
    return path


def _missing_client(error: BaseException | None, scheme: str) -> str:
    """How to install what MLflow's access to a store needs and has not; empty where something else failed."""
    while error is not None:
        if "Could not find a registered artifact repository" in str(error):
            return f"install the MLflow plugin for {scheme}://"
        if isinstance(error, ModuleNotFoundError) and error.name:
            module = error.name.partition(".")[0]
            return f"pip install {_CLIENTS.get(module, module)}"
        error = error.__cause__ or error.__context__
    return ""


@contextmanager
def _environment(defaults: dict[str, str]) -> Iterator[None]:
    """Set variables that the user has not set, for the duration of the block."""
    added = {name: value for name, value in defaults.items() if name not in os.environ}
    os.environ.update(added)
    try:
        yield
    finally:
        for name in added:
            os.environ.pop(name, None)

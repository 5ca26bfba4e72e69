"""The one door to a Docker engine: its command line, called with argument lists and never through a shell."""

from __future__ import annotations

import json
import shutil
import subprocess
import tarfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from promotion.errors import PromotionError, UsageError

USER = "10001:10001"
"""Whom our images run as."""

_SECONDS = 60
_COPY_SECONDS = 300
_SHOWN_LINES = 5


class DockerFailed(PromotionError):
    """Docker is missing, its engine does not answer, or a command failed; the message has Docker's own last lines."""


class UnknownImage(UsageError):
    """There is no image of that name on this machine."""


@dataclass(frozen=True, slots=True)
class LocalImage:
    """What the engine knows of an image.

    Attributes:
        reference: As it was asked for.
        id: `sha256:…` of its configuration.
        size: Bytes, unpacked.
        labels: All of them.
        user: Whom it runs as; empty for root.
        digests: `NAME@sha256:…` for every registry it was pushed to or pulled from.
    """

    reference: str
    id: str
    size: int
    labels: dict[str, str]
    user: str
    digests: Sequence[str]


def docker(*arguments: str, seconds: float = _SECONDS) -> str:
    """Call Docker and wait.

    Args:
        arguments: What follows `docker`.
        seconds: Longest wait.

    Returns:
        Its standard output, without the last line break.

    Raises:
        DockerFailed: It is missing, fails, or does not end in time.
    """
    return _call(arguments, seconds).stdout.rstrip("\n")


def logs(container: str, lines: int) -> str:
    """The last lines of a container's log, of both its streams.

    Raises:
        DockerFailed: The engine does not answer.
    """
    done = _call(("logs", "--tail", str(lines), container), _SECONDS)
    return (done.stdout + done.stderr).rstrip("\n")


def follow_logs(arguments: Sequence[str], content: bytes, report: Callable[[str], None]) -> None:
    """Call Docker with something to read, and pass on what it says while it works.

    Args:
        arguments: What follows `docker`.
        content: Its standard input.
        report: Told every line.

    Raises:
        DockerFailed: It is missing or fails.
    """
    process = subprocess.Popen(  # noqa: S603  # a list of arguments, no shell
        [_command(), *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    lines: list[str] = []
    with process:
        assert process.stdin is not None  # noqa: S101  # both are pipes, which the type checker cannot know
        assert process.stdout is not None  # noqa: S101
        try:
            process.stdin.write(content)
            process.stdin.close()
        except BrokenPipeError:
            pass  # it ended early, and says why below
        for raw in process.stdout:
            if line := raw.decode(errors="replace").rstrip():
                lines.append(line)
                report(line)
    if process.returncode:
        raise _failed(arguments, lines)


def inspect(reference: str) -> LocalImage:
    """What the engine knows of an image.

    Raises:
        UnknownImage: It is not on this machine.
        DockerFailed: The engine does not answer.
    """
    try:
        found: Any = json.loads(docker("image", "inspect", reference))[0]
    except DockerFailed as error:
        if "no such image" in str(error).lower():
            raise UnknownImage(f"{reference}: no such image here: build it, or docker pull {reference}") from error
        raise
    config = found["Config"]
    return LocalImage(
        reference=reference,
        id=found["Id"],
        size=int(found["Size"]),
        labels=config.get("Labels") or {},
        user=config.get("User") or "",
        digests=tuple(found.get("RepoDigests") or ()),
    )


@contextmanager
def exported_files(reference: str) -> Iterator[tarfile.TarFile]:
    """Every file of an image, of which nothing is started.

    Raises:
        DockerFailed: The engine does not answer.
    """
    identity = docker("create", reference)
    try:
        with TemporaryDirectory(prefix="image-") as scratch:
            path = Path(scratch) / "files.tar"
            docker("export", "--output", str(path), identity, seconds=_COPY_SECONDS)
            with tarfile.open(path) as archive:
                yield archive
    finally:
        docker("rm", "--force", "--volumes", identity)


def content_of(files: tarfile.TarFile, name: str) -> bytes:
    """One file of an image.

    Raises:
        UsageError: It is not in there.
    """
    try:
        found = files.extractfile(name)
    except KeyError:
        found = None
    if found is None:
        raise UsageError(f"the image has no /{name}: build it again with scripts/build-image.py")
    return found.read()


def _call(arguments: Sequence[str], seconds: float) -> subprocess.CompletedProcess[str]:
    try:
        done = subprocess.run(  # noqa: S603  # a list of arguments, no shell
            [_command(), *arguments],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
            timeout=seconds,
        )
    except subprocess.TimeoutExpired as error:
        raise DockerFailed(f"docker {arguments[0]} gave no answer in {seconds:g} s: is the engine busy?") from error
    if done.returncode:
        raise _failed(arguments, done.stderr.splitlines())
    return done


def _command() -> str:
    found = shutil.which("docker")
    if found is None:
        raise DockerFailed(
            "docker is not on the path: install it (Debian: apt-get install docker.io), or run this where it is"
        )
    return found


def _failed(arguments: Sequence[str], lines: Sequence[str]) -> DockerFailed:
    said = "; ".join([line.strip() for line in lines if line.strip()][-_SHOWN_LINES:])
    return DockerFailed(f"docker {arguments[0]} failed: {said or 'it gave no reason'}")

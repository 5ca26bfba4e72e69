"""Which version an image carries, by its labels, read where the image is: in the engine, or in its registry."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Mapping
from typing import Any

from promotion.delivery.records import Image
from promotion.errors import UsageError

_SECONDS = 60
_PACKAGES = {"docker": "docker.io", "skopeo": "skopeo"}
"""Debian's, by program."""
_REFERENCE = re.compile(r"^(?P<name>[^@\s]+?)(?::(?P<tag>[\w][\w.-]{0,127}))?(?:@(?P<digest>sha256:[0-9a-f]{64}))?$")


def read_image(reference: str) -> Image:
    """Read an image's labels; a reference into a registry gets the digest that was looked at.

    One without a registry's host was carried to the nodes by other means; there no digest can be resolved.

    The engine is asked first, since an image that was just built may be nowhere else; then the image's registry, by
    `docker buildx imagetools` or skopeo.

    Raises:
        UsageError: The reference is mutable or malformed, nobody knows the image, or it is none of ours.
    """
    match = _REFERENCE.match(reference)
    if match is None:
        raise UsageError(f"{reference!r} is no image reference: expected NAME:TAG or NAME@sha256:DIGEST")
    if match["digest"] is None and match["tag"] in {None, "latest"}:
        raise UsageError(
            f"{reference} names no certain image: expected a digest, or a tag other than latest as build-image.py makes"
        )
    tried: list[str] = []
    for reader in (_from_engine, _from_buildx, _from_skopeo):
        found, problem = reader(reference)
        if found is not None:
            labels, digest = found
            is_pinned = match["digest"] is not None or digest is None or not _has_host(match["name"])
            return Image.from_labels(reference if is_pinned else f"{reference}@{digest}", labels)
        tried.append(problem)
    raise UsageError(f"nobody knows the image {reference}: {'; '.join(tried)}")


def _has_host(name: str) -> bool:
    first, slash, _rest = name.partition("/")
    return bool(slash) and (first == "localhost" or "." in first or ":" in first)


_Found = tuple[Mapping[str, str], str | None]
_Answer = tuple[_Found | None, str]


def _from_engine(reference: str) -> _Answer:
    document, problem = _ask(["docker", "image", "inspect", reference])
    if document is None:
        return None, problem
    image = document[0]
    name = reference.partition("@")[0].rpartition(":")[0] if ":" in reference.rpartition("/")[2] else reference
    pushed = [item.partition("@")[2] for item in image.get("RepoDigests") or [] if item.partition("@")[0] == name]
    return (image["Config"].get("Labels") or {}, pushed[0] if pushed else None), ""


def _from_buildx(reference: str) -> _Answer:
    command = ["docker", "buildx", "imagetools", "inspect", reference, "--format"]
    document, problem = _ask([*command, '{"image": {{json .Image}}, "manifest": {{json .Manifest}}}'])
    if document is None:
        return None, problem
    image = document["image"]
    # Of an image for several platforms there is one configuration each, with the same labels.
    config = image.get("config") or next(
        (item.get("config") for item in image.values() if isinstance(item, dict)), None
    )
    return ((config or {}).get("Labels") or {}, document["manifest"].get("digest")), ""


def _from_skopeo(reference: str) -> _Answer:
    document, problem = _ask(["skopeo", "inspect", f"docker://{reference}"])
    if document is None:
        return None, problem
    return (document.get("Labels") or {}, document.get("Digest")), ""


def _ask(command: list[str]) -> tuple[Any, str]:
    """The JSON a program prints; else why there is none."""
    tool = " ".join(command[:-1]) if command[0] == "skopeo" else " ".join(command[:3])
    program = shutil.which(command[0])
    if program is None:
        return None, f"{command[0]} is not installed (Debian: apt-get install {_PACKAGES[command[0]]})"
    try:
        done = subprocess.run(  # noqa: S603  # an argument list, no shell
            [program, *command[1:]],
            capture_output=True,
            text=True,
            check=False,
            timeout=_SECONDS,
            stdin=subprocess.DEVNULL,
        )
    except subprocess.TimeoutExpired:
        return None, f"{tool} gave no answer within {_SECONDS} s"
    if done.returncode:
        lines = done.stderr.strip().splitlines()
        return None, f"{tool}: {lines[-1] if lines else f'exit code {done.returncode}'}"
    try:
        return json.loads(done.stdout), ""
    except ValueError:
        return None, f"{tool} printed no JSON"

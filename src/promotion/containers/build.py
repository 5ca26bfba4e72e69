"""Build the image of an exported model, named for the version in it and for the code around it."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from promotion.containers.docker import (
    USER,
    LocalImage,
    UnknownImage,
    content_of,
    docker,
    exported_files,
    follow_logs,
    inspect,
)
from promotion.errors import UsageError
from promotion.export.folder import ATTESTATION, Export, Manifest
from promotion.signing.dsse import payload_digest

PREFIX = "io.promotion"
CREATED = "org.opencontainers.image.created"
LICENCE = "Apache-2.0"
SBOM = "opt/serving/sbom.cdx.json"
"""Where an image has its bill of materials."""
_SHA_DIGITS = 12
_WORD = r"[a-z0-9]+(?:[._-]+[a-z0-9]+)*"
# Docker's grammar: a host with its port, then words in lower case with slashes between them.
_REPOSITORY = re.compile(rf"(?:[\w.-]+(?::\d+)?/)?{_WORD}(?:/{_WORD})*")
_PUSH_SECONDS = 900


def image_name(family: str) -> str:
    """A family as a repository's name and a DNS label: lower case, hyphens between the words."""
    return re.sub(r"[^a-z0-9]+", "-", family.lower()).strip("-")


def image_reference(manifest: Manifest, repository: str | None, revision: str, content: str = "") -> str:
    """The image's whole name: never `latest`, one name for one version, one state of the code and one content.

    Args:
        manifest: Of the export.
        repository: `REGISTRY/NAME`; the family's name by default.
        revision: Commit the image is built at; what follows the 40 digits stays.
        content: Digest of everything it is built from, see `content_digest`.

    Raises:
        UsageError: The repository brings a tag or a digest along, or is not a name Docker takes.
    """
    name = repository or image_name(manifest.family)
    if not _REPOSITORY.fullmatch(name):
        raise UsageError(f"--tag {name}: expected REGISTRY/NAME in lower case and without a tag; the version is added")
    # Docker takes no plus sign, which semantic versions may have.
    version = (manifest.semver or str(manifest.version)).replace("+", "_")
    ends = [revision[:_SHA_DIGITS] + revision[40:], *([content[:_SHA_DIGITS]] if content else [])]
    return f"{name}:{version}-{'-'.join(ends)}"


def content_digest(context: bytes, labels: Mapping[str, str]) -> str:
    """sha256 of everything that goes into an image.

    Args:
        context: Export, server, requirements and Dockerfile, see `build_context`.
        labels: See `image_labels`.
    """
    return hashlib.sha256(context + json.dumps(labels, sort_keys=True).encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class BaseImage:
    """What an image is built on.

    Attributes:
        name: As it was asked for.
        digest: `sha256:…`: its registry's, else that of its configuration.
        reference: Name that means this one and no other, as far as there is one.
    """

    name: str
    digest: str
    reference: str


def base_image(name: str) -> BaseImage:
    """The base that a name means now; fetched where it is not here.

    Raises:
        DockerFailed: It is not here, and no registry has it.
    """
    try:
        found = inspect(name)
    except UnknownImage:
        docker("pull", "--quiet", name, seconds=_PUSH_SECONDS)
        found = inspect(name)
    repository = re.sub(r"(:[\w.-]+)?(@sha256:[0-9a-f]{64})?$", "", name)
    pinned = next((digest for digest in found.digests if digest.partition("@")[0] == repository), None)
    return BaseImage(name, pinned.partition("@")[2] if pinned else found.id, pinned or name)


def image_labels(export: Export, revision: str, base: BaseImage, source: str = "") -> dict[str, str]:
    """What the image says of itself: the annotations of the OCI, and which version on what evidence.

    When it was built and its bill of materials are known later, see `build_image`.

    Args:
        export: What is in it.
        revision: Commit it is built at.
        base: What it is built on.
        source: Where that commit comes from.
    """
    manifest, attestation = export.manifest, export.folder / ATTESTATION
    version = manifest.semver or str(manifest.version)
    ours = {
        "family": manifest.family,
        "model": manifest.model,
        "version": str(manifest.version),
        "semver": manifest.semver or "",
        "run-id": manifest.run_id,
        "digest": manifest.artifact_digest,
        "gate-report": manifest.gate_report or "",
        "manifest": export.digest,
        "attestation": payload_digest(attestation.read_text(encoding="utf-8")) if attestation.is_file() else "",
    }
    return {
        "org.opencontainers.image.title": manifest.family,
        "org.opencontainers.image.version": version,
        "org.opencontainers.image.revision": revision,
        "org.opencontainers.image.description": f"{manifest.model} version {version} answering over HTTP",
        "org.opencontainers.image.licenses": LICENCE,
        "org.opencontainers.image.source": source,
        "org.opencontainers.image.base.name": base.name,
        "org.opencontainers.image.base.digest": base.digest,
    } | {f"{PREFIX}.{name}": value for name, value in ours.items()}


def build_image(
    context: bytes,
    labels: Mapping[str, str],
    *,
    reference: str,
    base: BaseImage,
    network: str | None,
    report: Callable[[str], None],
) -> LocalImage:
    """Build, look at the result, and add what is known of it only now.

    Args:
        context: What it is built from, see `build_context`; the export in it was verified.
        labels: What it says of itself.
        reference: Name of the image.
        base: What it is built on.
        network: Docker network the build's downloads use; Docker's own choice when None.
        report: Told what Docker says.

    Raises:
        DockerFailed: The engine does not answer, or the build fails.
        UsageError: The image does not run as our user: the Dockerfile was changed; or the base changed meanwhile.
    """
    labels = {**labels, CREATED: _built_before(reference) or datetime.now(UTC).isoformat(timespec="seconds")}
    _build(context, labels, reference, base, network, report)
    if base_image(base.name) != base:
        raise UsageError(f"{base.name}: another image has this name since the build began: build again")
    with exported_files(reference) as files:
        digest = hashlib.sha256(content_of(files, SBOM)).hexdigest()
    # Nothing is built again: all layers are Docker's own of a moment ago.
    _build(context, {**labels, f"{PREFIX}.sbom": digest}, reference, base, network, lambda _line: None)
    image = inspect(reference)
    if image.user != USER:
        raise UsageError(f"Dockerfile: USER is {image.user or 'root'}, expected {USER}: nothing of ours runs as root")
    return image


def _build(
    context: bytes,
    labels: Mapping[str, str],
    reference: str,
    base: BaseImage,
    network: str | None,
    report: Callable[[str], None],
) -> None:
    arguments = ["build", "--tag", reference, "--build-arg", f"IMAGE={reference}"]
    arguments += ["--build-arg", f"BASE={base.reference}", *(["--network", network] if network else [])]
    for name, value in labels.items():
        arguments += ["--label", f"{name}={value}"]
    follow_logs([*arguments, "-"], context, report)


def _built_before(reference: str) -> str | None:
    """When the same content was built here, so that doing it again makes the same image."""
    try:
        return inspect(reference).labels.get(CREATED)
    except UnknownImage:
        return None


def push_image(reference: str) -> LocalImage:
    """Send the image to its registry; afterwards it has a digest to deploy by.

    Raises:
        DockerFailed: The registry refuses or does not answer.
    """
    docker("push", "--quiet", reference, seconds=_PUSH_SECONDS)
    return inspect(reference)

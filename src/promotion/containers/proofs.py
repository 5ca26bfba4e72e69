"""What an image proves of itself, checked: its parts, its promotion, its base, and that nothing else is in it."""

from __future__ import annotations

import hashlib
import json
import re
import tarfile
from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import PurePosixPath

from packaging.utils import canonicalize_name

from promotion.audit.attestations import PAYLOAD
from promotion.containers.build import CREATED, PREFIX, SBOM
from promotion.containers.docker import LocalImage, content_of, exported_files
from promotion.containers.trial import TrialFailed
from promotion.errors import SignatureRefused, UsageError
from promotion.export.folder import ATTESTATION
from promotion.signing.dsse import open_envelope

_BASE = "org.opencontainers.image.base"
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_INSTALLED = re.compile(
    r"opt/serving/lib/python3\.\d+/site-packages/(?P<name>[^/]+)-(?P<version>[^-/]+)\.dist-info/METADATA"
)
_UNWANTED = frozenset(
    (
        "sh",
        "bash",
        "dash",
        "ash",
        "zsh",
        "ksh",
        "busybox",
        "perl",
        "apt",
        "apt-get",
        "dpkg",
        "apk",
        "rpm",
        "pip",
        "pip3",
    )
)
"""Programs that nobody who got into a container shall find there."""


def verify_proofs(image: LocalImage, trusted: Mapping[str, bytes], report: Callable[[str], None]) -> None:
    """Look into an image without starting it.

    Args:
        image: What is looked at.
        trusted: Public keys whose attestations count.
        report: Told what was found right.

    Raises:
        TrialFailed: A label is missing or wrong, the bill of materials is not of what is installed, the attestation is
            not of this version or not signed, or a program is in there that does not belong.
        DockerFailed: The engine does not answer.
    """
    _require_origin(image)
    with exported_files(image.reference) as files:
        try:
            parts = _require_sbom(image, files)
            attested = _require_attestation(image, files, trusted)
        except UsageError as error:
            raise TrialFailed(f"{image.reference}: {error}") from error
        if found := sorted(f"/{item.name}" for item in files if _is_unwanted(item)):
            raise TrialFailed(
                f"{image.reference}: holds {', '.join(found)}, which no server needs: the Dockerfile changed"
            )
    report(f"{parts} parts as its bill of materials says; no shell, package manager or perl; {attested}")


def _require_origin(image: LocalImage) -> None:
    labels = image.labels
    try:
        datetime.fromisoformat(labels.get(CREATED, ""))
    except ValueError:
        raise TrialFailed(f"{image.reference}: label {CREATED} is {labels.get(CREATED)!r}, expected a time") from None
    if not labels.get(f"{_BASE}.name") or not _DIGEST.fullmatch(labels.get(f"{_BASE}.digest", "")):
        raise TrialFailed(f"{image.reference}: labels {_BASE}.name and .digest do not say what it is built on")


def _require_sbom(image: LocalImage, files: tarfile.TarFile) -> int:
    """How many parts there are."""
    content = content_of(files, SBOM)
    if hashlib.sha256(content).hexdigest() != image.labels.get(f"{PREFIX}.sbom"):
        raise TrialFailed(f"{image.reference}: /{SBOM} is not the one on the label {PREFIX}.sbom")
    components = json.loads(content)["components"]
    listed = {
        (canonicalize_name(item["name"]), item["version"])
        for item in components
        if item.get("purl", "").startswith("pkg:pypi/")
    }
    found = filter(None, map(_INSTALLED.fullmatch, files.getnames()))
    installed = {(canonicalize_name(it["name"]), it["version"]) for it in found}
    if differing := sorted(f"{name} {version}" for name, version in listed ^ installed):
        raise TrialFailed(f"{image.reference}: installed and bill of materials differ: {', '.join(differing)}")
    return len(components)


def _require_attestation(image: LocalImage, files: tarfile.TarFile, trusted: Mapping[str, bytes]) -> str:
    """What is to be said of it."""
    stated = image.labels.get(f"{PREFIX}.attestation", "")
    if not stated:
        return "no attestation, since none was due or at hand when it was exported"
    try:
        payload = open_envelope(content_of(files, f"model/{ATTESTATION}").decode(), PAYLOAD, trusted)
        subject = json.loads(payload)["subject"][0]["digest"]["sha256"]
    except (SignatureRefused, ValueError, LookupError, TypeError) as error:
        raise TrialFailed(f"{image.reference}: its attestation: {error}") from error
    if hashlib.sha256(payload).hexdigest() != stated:
        raise TrialFailed(f"{image.reference}: its attestation is not the one on the label {PREFIX}.attestation")
    if subject != image.labels.get(f"{PREFIX}.digest"):
        raise TrialFailed(f"{image.reference}: its attestation is about other files (sha256 {subject[:12]})")
    return "its promotion is attested"


def _is_unwanted(item: tarfile.TarInfo) -> bool:
    return not item.isdir() and PurePosixPath(item.name).name in _UNWANTED

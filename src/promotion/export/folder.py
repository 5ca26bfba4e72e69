"""The folder a deployment is built from: what one version's export holds, and whether it is still what was signed.

Training writes such folders; building an image and deploying it read them, and neither needs to know how to learn.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Literal, Self

from promotion.artifacts.signature import differing_files
from promotion.data.files import file_sha256
from promotion.errors import ArtifactRefused, ArtifactTampered, SignatureRefused, UsageError
from promotion.signing.keys import Keys
from promotion.signing.ssh import sign, signers_file, verify
from promotion.signing.sshsig import EXPORT

ServingEngine = Literal["onnx", "native", "catboost"]
"""What answers: an ONNX graph, the registered files themselves, or the file that CatBoost writes."""

ENGINE_PACKAGES: Mapping[ServingEngine, Sequence[str]] = {
    "onnx": (),
    "native": ("pandas", "scikit-learn", "scipy", "skops"),
    "catboost": ("catboost", "pandas", "scipy"),
}
"""What an image needs for a model beside the server's own packages; never MLflow itself."""

FORMAT = 1
MANIFEST = "manifest.json"
SIGNATURE = "manifest.sig"
ATTESTATION = "promotion.intoto.jsonl"
"""What the version's promotion rested on, signed; not there where none was due or at hand."""
IDENTITY = "promotion-layer"
"""The name exports are signed under."""


@dataclass(frozen=True, slots=True)
class Manifest:
    """What `manifest.json` says; it knows neither time nor host, so that one version always gives the same bytes.

    Attributes:
        format: Of the folder.
        family: What consumers ask for.
        model: Registered model.
        version: MLflow's number.
        semver: Semantic version; None where nobody gave one.
        run_id: Run that made it; empty when it was not trained under MLflow.
        stage: Where the version was when it was exported.
        artifact_digest: sha256 of the registered files, see `promotion.artifacts.files.artifact_digest`.
        gate_report: Digest of the gate report of its last promotion; None when there was none.
        git_sha: Commit of the training; None when unknown.
        task: Kind of learning problem.
        engine: What answers.
        trusted: Types a native model's file may hold beyond what skops itself vouches for.
        files: Path below the folder, with slashes, to sha256; every file but the manifest and its signature.
    """

    format: int
    family: str
    model: str
    version: int
    semver: str | None
    run_id: str
    stage: str
    artifact_digest: str
    gate_report: str | None
    git_sha: str | None
    task: str
    engine: ServingEngine
    trusted: Sequence[str]
    files: Mapping[str, str]

    def __str__(self) -> str:
        return f"{self.model} v{self.version}"

    def text(self) -> str:
        """The file's content, to the byte."""
        return canonical_json(asdict(self))

    @classmethod
    def parse(cls, text: str, where: Path) -> Self:
        """Read what `text` wrote.

        Args:
            text: Content of the file.
            where: Names it in the error.

        Raises:
            ArtifactRefused: It is no manifest, or one of another format.
        """
        try:
            document = json.loads(text)
            found = cls(**document)
        except (ValueError, TypeError, RecursionError) as error:
            wanted = ", ".join(field.name for field in fields(cls))
            raise ArtifactRefused(f"{where}: not a manifest ({error}): expected an object of {wanted}") from error
        if found.format != FORMAT or not isinstance(found.files, dict):
            raise ArtifactRefused(f"{where}: format {found.format!r}, expected {FORMAT}: export the version again")
        return found


@dataclass(frozen=True, slots=True)
class Export:
    """An export folder that was checked.

    Attributes:
        folder: Where it is.
        manifest: What it holds.
        digest: sha256 of `manifest.json`, and with it of every file; an image's label `io.promotion.manifest`.
    """

    folder: Path
    manifest: Manifest
    digest: str


def canonical_json(document: Any) -> str:
    """JSON with sorted keys, one item a line and no NaN: the same data always gives the same bytes."""
    return json.dumps(document, indent=1, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n"


def is_as_listed(files: Mapping[str, str], name: str, content: bytes) -> bool:
    """Whether a file's content is the one its manifest was made with.

    Args:
        files: The manifest's.
        name: Path below the folder.
        content: What lies there.
    """
    return files.get(name) == hashlib.sha256(content).hexdigest()


def seal(folder: Path, manifest: Manifest, keys: Keys) -> Export:
    """Write the manifest of a complete folder and sign it.

    Args:
        folder: Holds every file of the export already.
        manifest: Its `files` are replaced by what lies in the folder.
        keys: Names the signing key; it is created on first use.

    Raises:
        SigningFailed: The key cannot be used.
    """
    values = {field.name: getattr(manifest, field.name) for field in fields(manifest)}
    complete = Manifest(**values | {"files": _digests(folder)})
    content = complete.text().encode()
    signature = sign(content, keys.signing_key(), EXPORT)
    (folder / MANIFEST).write_bytes(content)
    (folder / SIGNATURE).write_text(signature, encoding="ascii")
    return Export(folder, complete, hashlib.sha256(content).hexdigest())


def open_export(folder: Path, keys: Keys) -> Export:
    """Read an export and check that it holds exactly the files a trusted key signed.

    Args:
        folder: What `scripts/export-model.py` wrote.
        keys: Says whom to trust.

    Raises:
        UsageError: There is no export in this folder.
        ArtifactRefused: The manifest is malformed.
        ArtifactTampered: Files were changed, added or removed; the message names them.
        SignatureRefused: The manifest was changed, or its key is not trusted.
        SigningFailed: The trusted keys cannot be used.
    """
    path = folder / MANIFEST
    try:
        content = path.read_bytes()
        signature = (folder / SIGNATURE).read_text(encoding="ascii")
        manifest = Manifest.parse(content.decode(), path)
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not text"
        raise UsageError(
            f"{folder}: no export here ({getattr(error, 'filename', None) or path}: {reason}): "
            "python scripts/export-model.py --model FAMILY writes one"
        ) from error
    with signers_file(keys.trusted(), IDENTITY, EXPORT) as signers:
        try:
            verify(content, signature, IDENTITY, signers, EXPORT)
        except SignatureRefused as error:
            raise SignatureRefused(
                f"{path}: not signed by a key that is trusted here, or changed since: export the version again, or put "
                "the exporter's public key into the folder PROMOTION_TRUSTED_KEYS names"
            ) from error
    if differences := differing_files(manifest.files, _digests(folder)):
        raise ArtifactTampered(f"{folder}: not what was exported: {'; '.join(differences)}: export the version again")
    return Export(folder, manifest, hashlib.sha256(content).hexdigest())


def _digests(folder: Path) -> dict[str, str]:
    found = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_symlink() or not (path.is_file() or path.is_dir()):
            raise ArtifactRefused(f"{path}: a link or a device: an export holds plain files only")
        if path.is_file() and name not in {MANIFEST, SIGNATURE}:
            found[name] = file_sha256(path)
    return found

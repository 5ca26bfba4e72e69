"""What an image is built from, and nothing else: the same version and code always give the same bytes."""

from __future__ import annotations

import io
import re
import tarfile
from collections.abc import Iterator
from pathlib import Path

from promotion.errors import ArtifactRefused
from promotion.export.folder import ENGINE_PACKAGES, MANIFEST, SIGNATURE, Export

REQUIREMENTS = "requirements-model.txt"
# What the server has in common with the rest: how signatures are checked.
_SHARED = ("__init__.py", "errors.py", *(f"signing/{name}.py" for name in ("__init__", "keys", "sshsig")))
_BESIDE = ("Dockerfile", "requirements-serving.txt", "requirements-sbom.txt", "src/promotion/containers/image_root.py")
_PINNED = re.compile(r"(?P<package>[A-Za-z0-9][\w.-]*)==[\w.!+-]+")
_MODE = 0o644


def build_context(repository: Path, export: Export) -> bytes:
    """Everything `docker build -` reads.

    Args:
        repository: Holds `Dockerfile`, the requirements, the server and what it shares.
        export: The model.

    Returns:
        An uncompressed tar archive without times, owners or names of this machine.

    Raises:
        ArtifactRefused: A native export does not say exactly which packages it needs.
    """
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for name, content in _files(repository, export):
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(content), _MODE
            archive.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()


def _files(repository: Path, export: Export) -> Iterator[tuple[str, bytes]]:
    for name in _BESIDE:
        yield name, (repository / name).read_bytes()
    yield REQUIREMENTS, _model_requirements(export).encode()
    package = repository / "src" / "promotion"
    for path in (*(package / name for name in _SHARED), *sorted((package / "serving").rglob("*"))):
        if path.is_file() and "__pycache__" not in path.parts:
            yield path.relative_to(repository).as_posix(), path.read_bytes()
    for name in sorted([*export.manifest.files, MANIFEST, SIGNATURE]):
        yield f"export/{name}", (export.folder / name).read_bytes()


def _model_requirements(export: Export) -> str:
    """What a model that was not translated was registered or proven with, to the version."""
    needed = ENGINE_PACKAGES[export.manifest.engine]
    if not needed:
        return ""
    path = export.folder / "model" / "requirements.txt"
    lines = path.read_text(encoding="utf-8").split() if path.is_file() else []
    wanted = [line for line in lines if (found := _PINNED.fullmatch(line)) and found["package"] in needed]
    if len(wanted) < len(needed):
        raise ArtifactRefused(
            f"{path}: does not pin each of {', '.join(sorted(needed))}, so its image could compute something else"
        )
    return "\n".join(sorted(wanted)) + "\n"

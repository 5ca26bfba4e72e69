"""Whether a model artifact's files are still the ones that were registered, and who vouched for them.

The signature is an OpenSSF model-signing v1 bundle (a DSSE envelope around an in-toto statement), so anybody can check
it without this project: `model_signing verify key FOLDER --signature BUNDLE --public_key KEY`.
"""

from __future__ import annotations

import base64
import json
import os
import stat
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from promotion.artifacts.scanning import entries
from promotion.errors import ArtifactMissing, ArtifactTampered, ArtifactUnsafe, SignatureRefused
from promotion.signing.keys import Keys

_PREDICATE = "https://model_signing/signature/v1.0"
# How our manifests are made: whole files, no link followed and, as no paths are named as ignored, nothing left out.
_SERIALIZATION = {"method": "files", "hash_type": "sha256", "allow_symlinks": False}
_SHOWN_DIGITS = 16


def sign_artifact(folder: Path, keys: Keys) -> str:
    """Sign the sha256 of every file under a folder, which is not changed; returns the sigstore bundle, JSON text.

    Raises:
        ArtifactMissing: There is no such folder, or no file in it.
        ArtifactUnsafe: It holds a link, a device or a folder that cannot be listed.
        SigningFailed: The signing key cannot be used.
    """
    key = keys.signing_key()
    # Half a second to import, and most commands sign nothing.
    from model_signing import signing

    _require_plain_files(folder)
    signer = signing.Config().use_elliptic_key_signer(private_key=key).set_hashing_config(_hashing())
    with TemporaryDirectory(prefix="signature-") as scratch:
        bundle = Path(scratch) / "bundle.json"
        signer.sign(folder, bundle)
        return bundle.read_text(encoding="utf-8")


def verify_artifact(folder: Path, signature: str, trusted: Mapping[str, bytes]) -> None:
    """Check that a folder holds exactly the files that a key of `Keys.trusted` signed in a bundle of `sign_artifact`.

    Raises:
        ArtifactMissing: There is no such folder, or no file in it.
        ArtifactTampered: Files were changed, added or removed; the message names them.
        ArtifactUnsafe: It holds a link, a device or a folder that cannot be listed.
        SignatureRefused: The bundle is malformed or forged, leaves files out, or its key is not trusted.
    """
    signer = signed_by(signature)
    if signer not in trusted:
        raise SignatureRefused(
            f"{folder}: signed with key {signer[:_SHOWN_DIGITS]}, which is not trusted (trusted: {_shown(trusted)}): "
            "put its public key into the folder PROMOTION_TRUSTED_KEYS names if you know whose it is"
        )
    _require_plain_files(folder)
    from cryptography.exceptions import InvalidSignature
    from model_signing import verifying

    with TemporaryDirectory(prefix="signature-") as scratch:
        bundle, key = Path(scratch) / "bundle.json", Path(scratch) / "key.pem"
        bundle.write_text(signature, encoding="utf-8")
        key.write_bytes(trusted[signer])
        verifier = verifying.Config().use_elliptic_key_verifier(public_key=key).set_hashing_config(_hashing())
        try:
            verifier.verify(folder, bundle)
        except InvalidSignature as error:
            raise SignatureRefused(
                f"{folder}: the signature is forged: key {signer[:_SHOWN_DIGITS]} did not sign this manifest"
            ) from error
        except (ValueError, LookupError, TypeError, AttributeError) as error:
            hashed = _hashing().hash(folder).resource_descriptors()
            found = {entry.identifier: entry.digest.digest_hex for entry in hashed}
            if differences := differing_files(signed_files(signature), found):
                raise ArtifactTampered(
                    f"{folder}: not what key {signer[:_SHOWN_DIGITS]} signed: {'; '.join(differences)}: "
                    "do not use these files; restore them, or register the model again"
                ) from error
            raise _malformed(f"{type(error).__name__}: {error}") from error


def signed_files(signature: str) -> dict[str, str]:
    """The manifest in a bundle, for display: it says nothing about who signed it.

    Returns:
        Path below the artifact's folder, with slashes, to the file's sha256, 64 hexadecimal digits.

    Raises:
        SignatureRefused: The bundle is malformed, or of a kind that may leave files out.
    """
    try:
        statement = json.loads(base64.b64decode(json.loads(signature)["dsseEnvelope"]["payload"]))
        predicate = statement["predicate"]
        kind, method = statement["predicateType"], predicate["serialization"]
        files = {str(resource["name"]): str(resource["digest"]) for resource in predicate["resources"]}
    except (ValueError, LookupError, TypeError, RecursionError) as error:
        raise _malformed(f"{type(error).__name__}: {error}") from error
    if kind != _PREDICATE or method != _SERIALIZATION:
        raise _malformed(f"expected a sha256 of every file and nothing ignored, found {kind} with {method}")
    return files


def signed_by(signature: str) -> str:
    """The id of the key a bundle names, as `promotion.signing.keys.key_id` writes it; raises as `signed_files`."""
    signed_files(signature)
    try:
        hint = json.loads(signature)["verificationMaterial"]["publicKey"]["hint"]
    except (KeyError, TypeError) as error:
        raise _malformed("it names no public key") from error
    return str(hint)


def _hashing() -> Any:
    """Hash every file: by default the library leaves out what looks like git's, where anything could be added."""
    from model_signing import hashing

    return (
        hashing.Config()
        .use_file_serialization(hashing_algorithm="sha256")
        .set_ignored_paths(paths=(), ignore_git_paths=False)
    )


def _require_plain_files(folder: Path) -> None:
    """The library follows no link either, but passes over folders it may not list."""
    paths = list(entries(folder)) if folder.is_dir() else []
    for path in paths:
        mode = path.lstat().st_mode
        if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)) or not os.access(path, os.R_OK):
            raise ArtifactUnsafe(f"{path}: a link, a device or unreadable: only plain files can be signed and verified")
    if not any(path.is_file() for path in paths):
        raise ArtifactMissing(f"{folder}: no such folder, or no files in it; there is nothing to sign or verify")


def differing_files(signed: Mapping[str, str], found: Mapping[str, str]) -> list[str]:
    """What was changed, added or removed between two listings of files and digests, in words."""
    kinds = {
        "changed": sorted(name for name in signed.keys() & found.keys() if signed[name] != found[name]),
        "added": sorted(found.keys() - signed.keys()),
        "removed": sorted(signed.keys() - found.keys()),
    }
    return [f"{kind} {', '.join(names)}" for kind, names in kinds.items() if names]


def _shown(trusted: Mapping[str, bytes]) -> str:
    return ", ".join(sorted(name[:_SHOWN_DIGITS] for name in trusted)) or "no key"


def _malformed(reason: str) -> SignatureRefused:
    return SignatureRefused(f"the artifact's signature cannot be used: {reason}: expected a model-signing v1 bundle")

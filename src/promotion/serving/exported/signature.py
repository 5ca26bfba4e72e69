"""Whether the exported folder is what a key signed that is trusted where the server runs."""

from __future__ import annotations

from pathlib import Path

from promotion.errors import SignatureRefused, SigningFailed
from promotion.serving.errors import ConfigurationError, ExportRefused
from promotion.signing.keys import trusted_keys
from promotion.signing.sshsig import EXPORT, Signature, wire_form

SIGNATURE = "manifest.sig"


def require_signed(folder: Path, manifest: bytes, trusted: Path) -> None:
    """Check that a trusted key signed the manifest, and with it the digest of every file.

    Args:
        folder: The exported folder, which holds the signature.
        manifest: Content of its `manifest.json`.
        trusted: Folder of public keys; it comes from the cluster, for an image could vouch for itself.

    Raises:
        ConfigurationError: The keys cannot be read.
        ExportRefused: There is no signature, it is of another key, or of another manifest.
    """
    try:
        keys = {wire_form(pem) for pem in trusted_keys(trusted, "TRUSTED_KEYS").values()}
    except SigningFailed as error:
        raise ConfigurationError(str(error)) from error
    path = folder / SIGNATURE
    try:
        signature = Signature.parse(path.read_text(encoding="ascii", errors="replace"))
        signature.require_of(manifest)
    except (OSError, SignatureRefused) as error:
        reason = getattr(error, "strerror", None) or error
        raise ExportRefused(
            f"{folder}/manifest.json is not what was signed: {path}: {reason}; do not serve it, export the version anew"
        ) from error
    if signature.namespace != EXPORT or signature.key not in keys:
        raise ExportRefused(
            f"{path}: not an export's signature by a key in TRUSTED_KEYS ({trusted}); do not serve it, or put the "
            "exporter's public key there if you know whose it is"
        )

"""What an image must prove before it is tried, on archives of files as an engine hands them out."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest

from promotion.audit.attestations import PAYLOAD
from promotion.containers.docker import LocalImage
from promotion.containers.proofs import verify_proofs
from promotion.containers.trial import TrialFailed
from promotion.signing.dsse import payload_digest, sign_envelope
from promotion.signing.keys import Keys

SBOM, ATTESTATION = "opt/serving/sbom.cdx.json", "model/promotion.intoto.jsonl"
PACKAGES = "opt/serving/lib/python3.11/site-packages"
DIGEST = "d" * 64
Files = dict[str, bytes]


def component(name: str, version: str, kind: str = "pypi") -> dict[str, str]:
    return {"name": name, "version": version, "purl": f"pkg:{kind}/{name}@{version}"}


def sbom(*components: dict[str, str]) -> bytes:
    return json.dumps({"bomFormat": "CycloneDX", "components": components}).encode()


@pytest.fixture
def keys(tmp_path: Path) -> Keys:
    """This installation's."""
    return Keys(tmp_path / "keys" / "signing-key.pem")


@pytest.fixture
def whole(keys: Keys) -> Files:
    """Everything that an image of ours holds."""
    statement = json.dumps({"subject": [{"digest": {"sha256": DIGEST}}]}).encode()
    return {
        SBOM: sbom(
            component("numpy", "2.4.6"), component("typing-extensions", "4.16.0"), component("libc6", "2", "deb")
        ),
        ATTESTATION: sign_envelope(statement, PAYLOAD, keys.signing_key()).encode(),
        f"{PACKAGES}/numpy-2.4.6.dist-info/METADATA": b"",
        f"{PACKAGES}/typing_extensions-4.16.0.dist-info/METADATA": b"",
        "opt/serving/bin/python": b"",
    }


def labels_of(files: Mapping[str, bytes]) -> dict[str, str]:
    """As the build writes them."""
    return {
        "io.promotion.digest": DIGEST,
        "io.promotion.sbom": hashlib.sha256(files[SBOM]).hexdigest(),
        "io.promotion.attestation": payload_digest(files[ATTESTATION].decode()),
        "org.opencontainers.image.created": "2026-11-30T10:00:00+00:00",
        "org.opencontainers.image.base.name": "python:3.11-slim",
        "org.opencontainers.image.base.digest": f"sha256:{'b' * 64}",
    }


def verified(
    monkeypatch: pytest.MonkeyPatch, keys: Keys, files: Mapping[str, bytes], labels: Mapping[str, str]
) -> list[str]:
    """What was said of an image of these files."""

    @contextmanager
    def exported(_reference: str) -> Iterator[tarfile.TarFile]:
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w") as archive:
            for name, content in files.items():
                entry = tarfile.TarInfo(name)
                entry.size = len(content)
                archive.addfile(entry, io.BytesIO(content))
        buffer.seek(0)
        with tarfile.open(fileobj=buffer) as archive:
            yield archive

    monkeypatch.setattr("promotion.containers.proofs.exported_files", exported)
    said: list[str] = []
    verify_proofs(LocalImage("churn:1", "sha256:1", 5, dict(labels), "10001:10001", ()), keys.trusted(), said.append)
    return said


def test_a_whole_image_is_said_to_be(monkeypatch: pytest.MonkeyPatch, keys: Keys, whole: Files) -> None:
    """However a package writes its name; without an attestation that, too, is said."""
    assert verified(monkeypatch, keys, whole, labels_of(whole)) == [
        "3 parts as its bill of materials says; no shell, package manager or perl; its promotion is attested"
    ]
    unattested = labels_of(whole) | {"io.promotion.attestation": ""}
    assert "no attestation" in verified(monkeypatch, keys, whole, unattested)[0]


@pytest.mark.parametrize(
    ("added", "said"),
    [
        ({"usr/bin/bash": b""}, "holds /usr/bin/bash, which no server needs"),
        ({"bin/sh": b"", "usr/bin/perl": b""}, "holds /bin/sh, /usr/bin/perl"),
        ({f"{PACKAGES}/evil-1.dist-info/METADATA": b""}, "bill of materials differ: evil 1"),
        ({SBOM: sbom()}, "is not the one on the label io.promotion.sbom"),
        ({ATTESTATION: b"{}"}, "its attestation: "),
    ],
)
def test_what_was_put_in_afterwards_is_found(
    monkeypatch: pytest.MonkeyPatch, keys: Keys, whole: Files, added: Files, said: str
) -> None:
    """A shell, a package, another list of parts, another attestation; under the labels of the build."""
    with pytest.raises(TrialFailed, match=said):
        verified(monkeypatch, keys, whole | added, labels_of(whole))


@pytest.mark.parametrize(
    ("label", "value", "said"),
    [
        ("org.opencontainers.image.created", "yesterday", "expected a time"),
        ("org.opencontainers.image.base.name", "", "what it is built on"),
        ("org.opencontainers.image.base.digest", "latest", "what it is built on"),
        ("io.promotion.sbom", "", "label io.promotion.sbom"),
        ("io.promotion.attestation", "e" * 64, "label io.promotion.attestation"),
        ("io.promotion.digest", "e" * 64, "about other files"),
    ],
)
def test_each_label_is_asked_for(
    monkeypatch: pytest.MonkeyPatch, keys: Keys, whole: Files, label: str, value: str, said: str
) -> None:
    """Missing and malformed are the same."""
    with pytest.raises(TrialFailed, match=said):
        verified(monkeypatch, keys, whole, labels_of(whole) | {label: value})


def test_an_attestation_of_somebody_elses_does_not_count(
    monkeypatch: pytest.MonkeyPatch, keys: Keys, whole: Files, tmp_path: Path
) -> None:
    """Labelled and all; nor does an image without the file that its label names."""
    other = Keys(tmp_path / "other" / "signing-key.pem")
    statement = json.dumps({"subject": [{"digest": {"sha256": DIGEST}}]}).encode()
    forged = whole | {ATTESTATION: sign_envelope(statement, PAYLOAD, other.signing_key()).encode()}

    with pytest.raises(TrialFailed, match="its attestation: "):
        verified(monkeypatch, keys, forged, labels_of(forged))
    absent = {name: content for name, content in whole.items() if name != SBOM}
    with pytest.raises(TrialFailed, match="the image has no /opt/serving/sbom"):
        verified(monkeypatch, keys, absent, labels_of(whole))

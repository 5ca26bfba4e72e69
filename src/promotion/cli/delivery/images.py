"""A version on its way to the cluster: exported as a folder, built as an image, tried out."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import click

from promotion.cli.console import AS_JSON, command, echo, echo_json, promotions, talk
from promotion.config.commit import current_commit, source_address
from promotion.config.settings import REPOSITORY, Settings, checkout_path
from promotion.errors import UsageError

MEGABYTE = 1e6


@command()
@click.option("--model", "name", required=True, metavar="FAMILY", help="A family, or one of its registered models.")
@click.option("--stage", help="The stage whose version is exported; Production by default.")
@click.option("--version", help="This version instead: MLflow's number or the semantic version.")
@click.option("--output", type=click.Path(path_type=Path), help="The folder; build/export/FAMILY by default.")
@click.option("--native", is_flag=True, help="No ONNX: the registered files; their image is large and slow.")
@AS_JSON
def export_command(
    *, name: str, stage: str | None, version: str | None, output: Path | None, native: bool, as_json: bool
) -> None:
    """Write everything a server needs for one version of a family into a folder, replaced as a whole.

    Before anything is written the version's digest and signature are verified, the model is translated to ONNX, and the
    translation answers held-out rows like the registered model: the same labels, probabilities within 1e-5.

    Exit codes: 0 done, 1 failed and nothing written, 2 usage or configuration, 3 refused: quarantined, changed,
    unsigned, or the translation answers otherwise.
    """
    if stage and version:
        raise UsageError("--stage and --version exclude each other: the one says where it is, the other which it is")
    from promotion.export.export import export_version, exportable, version_to_export

    settings = Settings.from_environment()
    service = promotions()
    config = exportable(service, name)
    chosen = version_to_export(service, config, name, version or stage or "Production")
    if native:
        talk(
            f"⚠️ NATIVE: {chosen} is not translated and nothing is proven: its image holds scikit-learn, large and slow",
            colour="yellow",
        )
    exported = export_version(
        service,
        config,
        chosen,
        output or settings.home / "build" / "export" / config.family,
        engine="native" if native else "onnx",
        report=talk,
    )
    export, parity = exported.export, exported.parity
    if as_json:
        document = {"manifest": asdict(export.manifest), "digest": export.digest, "folder": str(export.folder)}
        echo_json({"exit_code": 0, **document, "parity": asdict(parity) if parity else None}, indent=2)
        return
    echo(f"✅ Exported {export.manifest} ({export.manifest.semver or 'no semantic version'}) to {export.folder}")
    echo(f"   Manifest: sha256 {export.digest}")
    talk(f"Next: python scripts/build-image.py --model {config.family}")


@command()
@click.option("--model", "family", required=True, metavar="FAMILY", help="Family whose export is built.")
@click.option("--export", "folder", type=click.Path(path_type=Path), help="Its folder; build/export/FAMILY by default.")
@click.option("--tag", "repository", metavar="REGISTRY/NAME", help="Where the image belongs; the family by default.")
@click.option("--push", is_flag=True, help="Send it to its registry afterwards.")
@click.option("--network", help="Docker network for the build's downloads, such as host.")
@click.option(
    "--base", default="python:3.11-slim", show_default=True, help="What it is built on: NAME[@sha256:DIGEST]."
)
@AS_JSON
def build_image_command(
    *,
    family: str,
    folder: Path | None,
    repository: str | None,
    push: bool,
    network: str | None,
    base: str,
    as_json: bool,
) -> None:
    """Build an image that holds one exported version, onnxruntime and the server, and nothing of MLflow.

    Its tag is the version, the commit of this checkout, followed by -dirty where files differ from that commit, and the
    digest of everything it is built from: other content has another tag. Its labels name the version, its run, the
    digest of its files, the gate report it was promoted on, the base, and the digests of two proofs inside: the bill of
    materials and the promotion's attestation.

    Exit codes: 0 done, 1 failed, 2 usage: no export, or none of this family.
    """
    from promotion.containers.build import (
        base_image,
        build_image,
        content_digest,
        image_labels,
        image_reference,
        push_image,
    )
    from promotion.containers.context import build_context
    from promotion.export.folder import open_export
    from promotion.signing.keys import Keys

    settings = Settings.from_environment()
    export = open_export(folder or settings.home / "build" / "export" / family, Keys.from_environment())
    if export.manifest.family != family:
        raise UsageError(f"{export.folder}: an export of {export.manifest.family}, not of {family}")
    checkout_path("Dockerfile", "which the image is built from")
    commit = current_commit(REPOSITORY)
    if commit is None:
        raise UsageError(f"{REPOSITORY}: no git checkout: an image is named for the commit its server comes from")
    revision = commit.sha + ("-dirty" if commit.dirty else "")
    # Made once: what the tag names is what is built.
    found = base_image(base)
    labels = image_labels(export, revision, found, source_address(REPOSITORY))
    context = build_context(REPOSITORY, export)
    reference = image_reference(export.manifest, repository, revision, content_digest(context, labels))
    if commit.dirty:
        talk("⚠️ files differ from the commit the image is named for: its tag says -dirty", colour="yellow")
    image = build_image(context, labels, reference=reference, base=found, network=network, report=talk)
    if push:
        image = push_image(reference)
    if as_json:
        document = {"image": reference, "id": image.id, "size": image.size, "labels": image.labels}
        echo_json({"exit_code": 0, **document, "pushed": push, "digests": list(image.digests)}, indent=2)
        return
    echo(f"✅ Built {reference}")
    echo(f"   {export.manifest}, {image.size / MEGABYTE:.0f} MB, {image.id}")
    for digest in image.digests if push else ():
        echo(f"   Pushed: {digest}")
    talk(f"Next: python scripts/test-image.py --model {family} --image {reference}")


@command()
@click.option("--model", "family", required=True, metavar="FAMILY", help="Family the image answers for.")
@click.option("--image", "reference", required=True, metavar="REF", help="The image, as build-image.py named it.")
@AS_JSON
def test_image_command(*, family: str, reference: str, as_json: bool) -> None:
    """Start the image with a read-only file system and no capabilities, and ask it the family's held-out rows.

    Before that it is looked into: bill of materials, attestation, base, and no shell or package manager. Then the
    version its labels name is loaded from the registry and answers the same rows; classes must be equal and
    probabilities within 1e-5, at /predict and at /invocations. At the end it must stop when asked to.

    Exit codes: 0 all as it must be, 1 something is not, 2 usage: no such image, or none of this family.
    """
    from promotion.config.family import load_config
    from promotion.containers.docker import inspect
    from promotion.containers.proofs import verify_proofs
    from promotion.containers.trial import label, try_image
    from promotion.export.expected_answers import registered_answers
    from promotion.registry.open import open_registry
    from promotion.signing.keys import Keys

    settings = Settings.from_environment()
    config = load_config(settings.config_folder, family)
    image = inspect(reference)
    if label(image, "family") != family:
        raise UsageError(f"{reference}: answers for {label(image, 'family')}, not for {family}")
    verify_proofs(image, Keys.from_environment().trusted(), talk)
    registry = open_registry(settings)
    version = registry.version(label(image, "model"), int(label(image, "version")))
    expected = registered_answers(registry, config, version, label(image, "digest"), settings.home)
    trial = try_image(image, expected, expected["classes"], talk)
    if as_json:
        document = {"image": reference, "model": version.model, "version": version.number, **asdict(trial)}
        echo_json({"exit_code": 0, **document}, indent=2)
        return
    echo(f"✅ {reference} answers as {version} does")
    talk(f"Next: python scripts/deploy-model.py --model {family} --environment staging --image {reference}")

"""Build the container image of an exported model: verified, labelled, named for version and commit."""

from __future__ import annotations

if __name__ == "__main__":
    import sys
    from pathlib import Path

    sys.path[0] = str(Path(__file__).resolve().parents[1] / "src")
    import promotion.cli.environment

import json
from pathlib import Path

import click

from promotion.cli.console import command, echo, talk
from promotion.config.settings import REPOSITORY, Settings
from promotion.errors import UsageError

MEGABYTE = 1e6


@command()
@click.option("--model", "family", required=True, metavar="FAMILY", help="Family whose export is built.")
@click.option("--export", "folder", type=click.Path(path_type=Path), help="Its folder; build/export/FAMILY by default.")
@click.option("--tag", "repository", metavar="REGISTRY/NAME", help="Where the image belongs; the family by default.")
@click.option("--push", is_flag=True, help="Send it to its registry afterwards.")
@click.option("--network", help="Docker network for the build's downloads, such as host.")
@click.option("--json", "as_json", is_flag=True, help="Data on standard output, as JSON.")
def main(
    family: str, folder: Path | None, repository: str | None, push: bool, network: str | None, as_json: bool
) -> None:
    """Build an image that holds one exported version, onnxruntime and the server, and nothing of MLflow.

    Its tag is the version and the commit of this checkout, followed by -dirty where files differ from that commit; its
    labels name the version, its run, the digest of its files and the gate report it was promoted on.

    Exit codes: 0 done, 1 failed, 2 usage: no export, or none of this family.
    """
    from models.training.lineage import current_commit
    from promotion.containers.build import build_image, image_reference, push_image
    from promotion.export.folder import open_export
    from promotion.signing.keys import Keys

    settings = Settings.from_environment()
    export = open_export(folder or settings.home / "build" / "export" / family, Keys.from_environment())
    if export.manifest.family != family:
        raise UsageError(f"{export.folder}: an export of {export.manifest.family}, not of {family}")
    commit = current_commit(REPOSITORY)
    if commit is None:
        raise UsageError(f"{REPOSITORY}: no git checkout: an image is named for the commit its server comes from")
    revision = commit.sha + ("-dirty" if commit.dirty else "")
    reference = image_reference(export.manifest, repository, revision)
    if commit.dirty:
        talk("⚠️ files differ from the commit the image is named for: its tag ends in -dirty", colour="yellow")
    image = build_image(export, REPOSITORY, reference=reference, revision=revision, network=network, report=talk)
    if push:
        image = push_image(reference)
    if as_json:
        document = {"image": reference, "id": image.id, "size": image.size, "labels": image.labels}
        echo(json.dumps({"exit_code": 0, **document, "pushed": push, "digests": list(image.digests)}, indent=2))
        return
    echo(f"✅ Built {reference}")
    echo(f"   {export.manifest}, {image.size / MEGABYTE:.0f} MB, {image.id}")
    for digest in image.digests if push else ():
        echo(f"   Pushed: {digest}")
    talk(f"Next: python scripts/test-image.py --model {family} --image {reference}")


if __name__ == "__main__":
    main()

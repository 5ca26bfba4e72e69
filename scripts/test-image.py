"""Run an image as the cluster will and compare what it answers with what the registered model answers."""

from __future__ import annotations

if __name__ == "__main__":
    import sys
    from pathlib import Path

    sys.path[0] = str(Path(__file__).resolve().parents[1] / "src")
    import promotion.cli.environment

import json
from dataclasses import asdict

import click

from promotion.cli.console import command, echo, talk
from promotion.config.settings import Settings
from promotion.errors import UsageError


@command()
@click.option("--model", "family", required=True, metavar="FAMILY", help="Family the image answers for.")
@click.option("--image", "reference", required=True, metavar="REF", help="The image, as build-image.py named it.")
@click.option("--json", "as_json", is_flag=True, help="Data on standard output, as JSON.")
def main(family: str, reference: str, as_json: bool) -> None:
    """Start the image with a read-only file system and no capabilities, and ask it the family's held-out rows.

    The version its labels name is loaded from the registry and answers the same rows; classes must be equal and
    probabilities within 1e-5, at /predict and at /invocations. At the end it must stop when asked to.

    Exit codes: 0 all as it must be, 1 something is not, 2 usage: no such image, or none of this family.
    """
    from promotion.config.family import load_config
    from promotion.containers.docker import inspect
    from promotion.containers.trial import label, try_image
    from promotion.export.expected_answers import registered_answers
    from promotion.registry.open import open_registry

    settings = Settings.from_environment()
    config = load_config(settings.config_folder, family)
    image = inspect(reference)
    if label(image, "family") != family:
        raise UsageError(f"{reference}: answers for {label(image, 'family')}, not for {family}")
    registry = open_registry(settings)
    version = registry.version(label(image, "model"), int(label(image, "version")))
    expected = registered_answers(registry, config, version, label(image, "digest"), settings.home)
    trial = try_image(image, expected, config.classes, talk)
    if as_json:
        document = {"image": reference, "model": version.model, "version": version.number, **asdict(trial)}
        echo(json.dumps({"exit_code": 0, **document}, indent=2))
        return
    echo(f"✅ {reference} answers as {version} does")
    talk(f"Next: python scripts/deploy-model.py --model {family} --environment staging --image {reference}")


if __name__ == "__main__":
    main()

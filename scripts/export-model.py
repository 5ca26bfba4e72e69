"""Export one version as a folder that serves by itself: verified, translated to ONNX, proven on held-out rows."""

from __future__ import annotations

if __name__ == "__main__":
    import sys
    from pathlib import Path

    sys.path[0] = str(Path(__file__).resolve().parents[1] / "src")
    import promotion.cli.environment

import json
from dataclasses import asdict
from pathlib import Path

import click

from promotion.cli.console import command, echo, talk
from promotion.config.settings import Settings
from promotion.errors import UsageError


@command()
@click.option("--model", "name", required=True, metavar="FAMILY", help="A family, or one of its registered models.")
@click.option("--stage", help="The stage whose version is exported; Production by default.")
@click.option("--version", help="This version instead: MLflow's number or the semantic version.")
@click.option("--output", type=click.Path(path_type=Path), help="The folder; build/export/FAMILY by default.")
@click.option("--native", is_flag=True, help="No ONNX: the registered files; their image is large and slow.")
@click.option("--json", "as_json", is_flag=True, help="Data on standard output, as JSON.")
def main(name: str, stage: str | None, version: str | None, output: Path | None, native: bool, as_json: bool) -> None:
    """Write everything a server needs for one version of a family into a folder, replaced as a whole.

    Before anything is written the version's digest and signature are verified, the model is translated to ONNX, and the
    translation answers held-out rows like the registered model: the same labels, probabilities within 1e-5.

    Exit codes: 0 done, 1 failed and nothing written, 2 usage or configuration, 3 refused: quarantined, changed,
    unsigned, or the translation answers otherwise.
    """
    if stage and version:
        raise UsageError("--stage and --version exclude each other: the one says where it is, the other which it is")
    from promotion.bootstrap import open_promotions
    from promotion.export.export import export_version, exportable, version_to_export

    settings = Settings.from_environment()
    service = open_promotions(settings, report=talk)
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
        echo(json.dumps({"exit_code": 0, **document, "parity": asdict(parity) if parity else None}, indent=2))
        return
    echo(f"✅ Exported {export.manifest} ({export.manifest.semver or 'no semantic version'}) to {export.folder}")
    echo(f"   Manifest: sha256 {export.digest}")
    talk(f"Next: python scripts/build-image.py --model {config.family}")


if __name__ == "__main__":
    main()

"""Before a socket is opened: the environment, the exported folder, and that the model still answers as exported."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.promotion.serving import exporting
from tests.promotion.serving.conftest import Fitted

from promotion.serving.__main__ import main
from promotion.serving.errors import ConfigurationError, ExportRefused
from promotion.serving.exported.folder import Feature, read_export
from promotion.serving.exported.model import open_model
from promotion.serving.settings import ServerSettings
from promotion.signing.ssh import sign
from promotion.signing.sshsig import CHECKPOINT, EXPORT


def test_defaults_are_the_images() -> None:
    """An empty variable counts as unset."""
    settings = ServerSettings.from_environment({"API_KEY": "", "PORT": ""})

    assert (Path("/model"), 8080) == (settings.model, settings.port)
    assert (10_000, 16 * 2**20, 20, "info") == (
        settings.max_batch,
        settings.max_body_bytes,
        settings.shutdown_seconds,
        settings.log_level,
    )
    assert [None] * 3 == [settings.api_key, settings.predictions, settings.challenger]


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({"PORT": "http"}, "PORT is 'http'; expected a whole number from 0 to 65535"),
        ({"PORT": "70000"}, "PORT is '70000'"),
        ({"MAX_BATCH": "0"}, "MAX_BATCH is '0'"),
        ({"MAX_BODY_BYTES": "-1"}, "MAX_BODY_BYTES is '-1'"),
        ({"LOG_LEVEL": "loud"}, "LOG_LEVEL is 'loud'; expected one of critical"),
        ({"SHADOW_MODEL": "/a", "AB_MODEL": "/b"}, "both set"),
        ({"AB_MODEL": "/b"}, "without AB_PERCENT"),
        ({"AB_PERCENT": "5"}, "without AB_MODEL"),
        ({"AB_MODEL": "/b", "AB_PERCENT": "101"}, "AB_PERCENT is '101'"),
        ({"AB_MODEL": "/b", "AB_PERCENT": "nan"}, "AB_PERCENT is 'nan'"),
        ({"PREDICTION_LOG": "/l", "PREDICTION_LOG_SAMPLE": "all"}, "PREDICTION_LOG_SAMPLE is 'all'"),
        ({"PREDICTION_LOG": "/l", "PREDICTION_LOG_BACKUPS": "0"}, "PREDICTION_LOG_BACKUPS is '0'"),
        ({"API_KEY": "a", "API_KEY_FILE": "/b"}, "both set"),
        ({"API_KEY_FILE": "/nowhere"}, "API_KEY_FILE: /nowhere cannot be read"),
        ({"API_KEY_FILE": "/dev/null"}, "API_KEY_FILE: /dev/null is empty"),
    ],
)
def test_a_variable_that_is_wrong_is_named(variables: dict[str, str], message: str) -> None:
    """With what it is and what was expected."""
    with pytest.raises(ConfigurationError) as caught:
        ServerSettings.from_environment(variables)

    assert message in str(caught.value)


def test_the_key_can_come_from_a_file(tmp_path: Path) -> None:
    """As a mounted secret, whose last line break is not part of it."""
    (tmp_path / "key").write_text("secret\n")

    assert "secret" == ServerSettings.from_environment({"API_KEY_FILE": str(tmp_path / "key")}).api_key


Change = Callable[[Path], None]


def edit(name: str, **changes: Any) -> Change:
    """A changed JSON file of the folder, with a manifest that agrees."""

    def change(folder: Path) -> None:
        content = json.loads((folder / name).read_text())
        exporting.write(folder / name, {**content, **changes})
        if name != "manifest.json":
            exporting.reseal(folder)

    return change


def without(name: str) -> Change:
    """A missing file."""
    return lambda folder: (folder / name).unlink()


def append(folder: Path) -> None:
    with (folder / "model.onnx").open("ab") as file:
        file.write(b"\0")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (append, "model.onnx was changed after the export: sha256"),
        (without("manifest.json"), "no manifest.json"),
        (without("expected.json"), "expected.json is missing"),
        (edit("manifest.json", format=2), "manifest.json: format: Input should be 1"),
        (edit("manifest.json", files={"../../etc/hosts": ""}), "../../etc/hosts lies outside the folder"),
        (edit("manifest.json", files={}), "does not list expected.json, model.onnx, schema.json"),
        (edit("schema.json", surprise=1), "schema.json: surprise: Extra inputs"),
        (edit("schema.json", labels=["only"]), "schema.json: labels"),
        (edit("schema.json", features=[]), "schema.json: features"),
        (edit("expected.json", labels=[1] * 20), "the model answers differently here"),
        (edit("expected.json", probabilities=[[0.5, 0.5]] * 20), "probabilities by up to 0."),
        (edit("expected.json", probabilities=[[0.5, 0.5]]), "not as many rows or classes"),
    ],
)
def test_a_folder_that_is_not_what_was_exported_is_refused(
    change: Change, message: str, linear: Fitted, tmp_path: Path
) -> None:
    """Nothing is served from it."""
    folder = shutil.copytree(linear.folder, tmp_path / "model")
    change(folder)

    with pytest.raises(ExportRefused) as caught:
        open_model(read_export(folder), "champion")

    assert message in str(caught.value)


def test_a_graph_of_another_model_is_refused(linear: Fitted, tmp_path: Path) -> None:
    """Its inputs must be the schema's columns; what is no graph at all is refused as well."""
    folder = shutil.copytree(linear.folder, tmp_path / "model")
    schema = json.loads((folder / "schema.json").read_text())
    edit("schema.json", features=schema["features"][1:])(folder)

    with pytest.raises(ExportRefused, match=r"expected the columns of schema\.json"):
        open_model(read_export(folder), "champion")
    (folder / "model.onnx").write_text("no graph")
    edit("schema.json")(folder)
    with pytest.raises(ExportRefused, match="cannot be loaded"):
        open_model(read_export(folder), "champion")


def test_a_manifest_may_not_trust_what_it_likes(native: Fitted, tmp_path: Path) -> None:
    """Our own list decides which types a skops file may hold."""
    folder = shutil.copytree(native.folder, tmp_path / "model")
    edit("manifest.json", trusted=["os.system"])(folder)

    with pytest.raises(ExportRefused, match=r"trusts os\.system"):
        open_model(read_export(folder), "champion")


def test_what_a_trusted_key_signed_is_served(signed: Path) -> None:
    """Whichever of the keys it is, as PEM or as OpenSSH writes it."""
    assert 3 == open_model(read_export(signed, signed.parent / "trusted"), "champion").manifest.version


def sign_again(folder: Path, namespace: str = EXPORT, key: str = "own") -> None:
    content = (folder / "manifest.json").read_bytes()
    (folder / "manifest.sig").write_text(sign(content, folder.parent / key / "key.pem", namespace))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (edit("manifest.json", version=4), "manifest.json is not what was signed"),
        (edit("schema.json", target="wealth"), "manifest.json is not what was signed"),
        (edit("manifest.json", engine="native"), "manifest.json is not what was signed"),
        (edit("expected.json", labels=[1] * 20), "manifest.json is not what was signed"),
        (append, "model.onnx was changed after the export"),
        (without("manifest.sig"), "No such file or directory"),
        (lambda folder: (folder / "manifest.sig").write_text("signed, honestly"), "not an SSH signature"),
        (lambda folder: (folder / "manifest.sig").write_bytes(b"\xff"), "not what was signed"),
        (lambda folder: sign_again(folder, key="stranger"), "not an export's signature by a key in TRUSTED_KEYS"),
        (lambda folder: sign_again(folder, CHECKPOINT), "not an export's signature by a key in TRUSTED_KEYS"),
    ],
)
def test_what_no_trusted_key_signed_does_not_start(
    change: Change, message: str, signed: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Also when the manifest was rewritten to agree with what was changed, and as the second version."""
    whole = shutil.copytree(signed, signed.parent / "whole")
    change(signed)
    monkeypatch.setenv("TRUSTED_KEYS", str(signed.parent / "trusted"))

    for champion, second in ((signed, ""), (whole, signed)):
        monkeypatch.setenv("MODEL_DIR", str(champion))
        monkeypatch.setenv("SHADOW_MODEL", str(second))
        assert 3 == main()
        (line,) = capsys.readouterr().err.splitlines()
        assert message in line


@pytest.mark.parametrize("keys", [None, {}, {"readme.txt": "none"}, {"pipeline.pem": "no key"}])
def test_keys_that_cannot_be_read_start_nothing(
    keys: dict[str, str] | None, signed: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A Secret that is missing, empty or wrong is a matter of the settings."""
    trusted = signed.parent / "keys"
    if keys is not None:
        trusted.mkdir()
        for name, content in keys.items():
            (trusted / name).write_text(content)
    monkeypatch.setenv("MODEL_DIR", str(signed))
    monkeypatch.setenv("TRUSTED_KEYS", str(trusted))

    assert 2 == main()
    (line,) = capsys.readouterr().err.splitlines()
    assert str(trusted) in line


@pytest.mark.parametrize(
    ("feature", "words"),
    [
        ({"type": "number"}, "a number"),
        ({"type": "number", "minimum": 0, "unit": "cm"}, "a number from 0 cm"),
        ({"type": "number", "maximum": 5}, "a number up to 5"),
        ({"type": "integer", "minimum": 1, "maximum": 3, "nullable": True}, "a whole number from 1 to 3, or null"),
        ({"type": "code", "codes": [4]}, "4"),
        ({"type": "code", "codes": [3, 6, 7]}, "3, 6 or 7"),
    ],
)
def test_what_is_allowed_in_words(feature: dict[str, Any], words: str) -> None:
    """As refusals and documents say it."""
    assert words == Feature(name="x", **feature).allowed


@pytest.mark.parametrize(("variable", "value", "code"), [("PORT", "x", 2), ("MODEL_DIR", "/nowhere", 3)])
def test_what_cannot_start_says_so_in_one_line(
    variable: str, value: str, code: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The command's exit code says whether the environment or the folder is wrong."""
    monkeypatch.setenv(variable, value)

    assert code == main()
    assert 1 == len(capsys.readouterr().err.splitlines())

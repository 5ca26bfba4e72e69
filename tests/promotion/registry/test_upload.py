from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import mlflow
import pytest

from models.training.candidates import build_pipeline
from models.training.packaging import log_and_register
from promotion.artifacts.files import MODEL_CARD, artifact_digest, local_artifact
from promotion.config.family import load_config
from promotion.config.settings import Settings
from promotion.data.datasets import load_dataset, split_dataset
from promotion.errors import RegistryUnauthorised, UnknownModel
from promotion.evaluation.loading import load_artifact
from promotion.registry.open import open_registry
from promotion.registry.tracking import connect
from promotion.registry.upload import keeps_logged_models, old_server_notice

NAME = "heart-disease-logistic_regression"
CARD = "# Karte\n\nfür α – ω\n"

Publish = Callable[[Callable[[Path], None]], int]


@pytest.fixture
def publish(skops_flavour: None, settings: Settings) -> Publish:
    """Train on the spot and log into the test's own SQLite store."""
    config = load_config(settings.config_folder, "heart-disease")
    parts = split_dataset(load_dataset(config, settings.home), config)
    model = build_pipeline(config, "logistic_regression").fit(parts.train_features, parts.train_target)

    def call(on_saved: Callable[[Path], None]) -> int:
        with mlflow.start_run(experiment_id=connect(config, settings)) as run:
            return log_and_register(
                run, model, config, NAME, parts.train_features, {"round": "1"}, card=CARD, on_saved=on_saved
            )

    return call


@pytest.mark.system
def test_registered_bytes_are_the_saved_ones(publish: Publish, settings: Settings) -> None:
    """What the caller saw, card included, is what the version consists of, byte by byte."""
    seen: dict[str, str] = {}

    def look(folder: Path) -> None:
        (folder / "extra.json").write_text("{}")
        seen["digest"], seen["card"] = artifact_digest(folder), (folder / MODEL_CARD).read_text("utf-8")
        load_artifact(folder)

    number = publish(look)
    registry = open_registry(settings)
    version = registry.version(NAME, number)
    with local_artifact(registry, version) as folder:
        assert seen == {"digest": artifact_digest(folder), "card": CARD}
        assert (folder / "extra.json").is_file()
    assert version.tags == {"round": "1"}


def test_refused_after_saving(publish: Publish, settings: Settings) -> None:
    """If the caller objects to the saved folder, nothing is registered."""

    def object_to(_folder: Path) -> None:
        raise PermissionError("no key")

    with pytest.raises(PermissionError, match="no key"):
        publish(object_to)
    with pytest.raises(UnknownModel):
        open_registry(settings).version(NAME, 1)


@pytest.mark.system
def test_logged_model_belongs_to_its_run(publish: Publish, settings: Settings) -> None:
    """MLflow shows the files as the run's model output, READY, and links the version."""
    number = publish(lambda _folder: None)
    client = mlflow.MlflowClient(settings.tracking_uri, settings.registry_uri)
    version = client.get_model_version(NAME, str(number))
    logged = client.get_logged_model(version.source.removeprefix("models:/"))
    outputs = client.get_run(version.run_id).outputs.model_outputs

    assert "READY" == str(logged.status)
    assert [logged.model_id] == [output.model_id for output in outputs]
    assert f'[{{"name": "{NAME}", "version": {number}}}]' == logged.tags["mlflow.modelVersions"]


@contextmanager
def answering(status: int, body: str) -> Iterator[str]:
    """A server that answers everything alike."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.end_headers()
            self.wfile.write(body.encode())

        def log_message(self, *_arguments: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()


@pytest.mark.parametrize(
    ("status", "body", "expected"),
    [
        (404, "<!doctype html><title>404 Not Found</title>", False),  # MLflow before 3
        (404, '{"error": "unsupported endpoint, please contact support"}', False),  # a hosted server, in its own words
        (404, '{"error_code": "ENDPOINT_NOT_FOUND", "message": "no"}', False),
        (405, "", False),
        (404, '{"error_code": "RESOURCE_DOES_NOT_EXIST", "message": "no such model"}', True),  # MLflow 3
        (403, '{"error_code": "PERMISSION_DENIED"}', True),  # MLflow 3 that does not show everybody's models
        (200, "{}", True),
    ],
)
def test_recognises_old_servers(status: int, body: str, expected: bool) -> None:
    """The status and MLflow's own error code decide; only an old server is worth a line on the console."""
    with answering(status, body) as uri:
        assert expected == keeps_logged_models(uri)
        assert expected == (old_server_notice(uri.replace("http://", "http://anna:secret@")) is None)


def test_notice_is_one_line_without_password() -> None:
    """The line names the server, not the password in its address, and says where the files are."""
    with answering(404, "") as uri:
        notice = old_server_notice(uri.replace("http://", "http://anna:secret@"))
    assert notice is not None
    assert "keeps no logged models: each version's files are in its run's artifacts" in notice
    assert "secret" not in notice
    assert 1 == len(notice.splitlines())


def test_refused_probe_is_no_old_server() -> None:
    """Wrong credentials end the training; they are not taken for an answer about the server's age."""
    with answering(401, "") as uri, pytest.raises(RegistryUnauthorised, match="MLFLOW_TRACKING_USERNAME"):
        keeps_logged_models(uri)

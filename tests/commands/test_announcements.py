"""Every command that moves a version into Production tells the family's channels, where some are set."""

from __future__ import annotations

import json

import pytest
from tests.commands.conftest import LOGISTIC, Promote
from tests.commands.governed_home import GOVERNED
from tests.promotion.factories import Store
from tests.promotion.monitoring.receivers import free_port, receiving

pytestmark = pytest.mark.filterwarnings("ignore:'imghdr' is deprecated:DeprecationWarning")


@pytest.mark.system
def test_a_promotion_is_announced(trained: Store, promote: Promote, monkeypatch: pytest.MonkeyPatch) -> None:
    """To the channel that is set and no other; who was told is said beside the output, and recorded."""
    with receiving() as team:
        monkeypatch.setenv("SLACK_URL", team.url)
        done = promote("--auto", "--model", "heart-disease", "--json")

    assert 0 == done.exit_code, done.stderr
    assert "📣 told slack (JSON)" in done.stderr
    (message,) = team.got
    assert message["title"].startswith(f"[NOTICE] {LOGISTIC}")
    assert "promote: in Production since" in message["title"]
    assert "Production" == trained.shown()[f"{LOGISTIC} v2"]
    assert 2 == json.loads(done.stdout)["version"]


@pytest.mark.system
def test_a_rollback_is_announced_in_its_checklist(
    governed: Store, governance: Promote, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A channel that is down fails its item and nothing else: the version is back."""
    with receiving() as team:
        monkeypatch.setenv("SLACK_URL", team.url)
        monkeypatch.setenv("EMAIL_URL", f"json://127.0.0.1:{free_port()}/")
        monkeypatch.setattr("promotion.monitoring.alerts.channels.Patience.__init__.__defaults__", (1, 10.0, 0.0, 0.0))
        done = governance("rollback_model", "--model-name", GOVERNED, "--reason", "it answers nonsense")

    assert 0 == done.exit_code, done.output
    assert "❌ notify stakeholders: failed: not told: email (no connection);" in done.stdout
    assert "told: slack (JSON)" in done.stdout
    assert 1 == len(team.got)
    assert "it answers nonsense" in team.got[0]["message"]
    assert "Production" == governed.shown()["alzheimer_classifier v1"]


GENERAL = "events:\n  ci: {url: CI_URL, key: CI_KEY, network: private}\n"


@pytest.mark.system
def test_other_systems_are_told_when_mlflow_shows_it(
    trained: Store, promote: Promote, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A promotion, and nothing of the version that left; one that is down fails no command and hears it later."""
    (trained.home / "config" / "events.yaml").write_text(GENERAL)
    monkeypatch.setenv("CI_KEY", "k3y")
    monkeypatch.setenv("CI_URL", f"http://127.0.0.1:{free_port()}/hook")
    monkeypatch.setattr("promotion.events.delivery._FIRST_WAIT", 0.0)

    down = promote("--auto", "--model", "heart-disease")
    with receiving() as ci:
        monkeypatch.setenv("CI_URL", f"http://127.0.0.1:{ci.port}/hook")
        done = promote("--reconcile", "--model", "heart-disease")

    assert (0, 0) == (down.exit_code, done.exit_code), down.stderr + done.stderr
    assert "⚠️ ci was not told of event" in down.stderr
    assert "no answer (ConnectionRefusedError); tried again later" in down.stderr
    assert [("promotion-layer.version.promote", LOGISTIC, 2)] == [
        (told["type"], told["data"]["model"], told["data"]["version"]) for told in ci.got
    ]
    assert ci.headers[0]["X-Promotion-Signature"].startswith("v1,")


@pytest.mark.system
def test_a_rollback_is_told(governed: Store, governance: Promote, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the version that left; what is refused without a trace tells nobody."""
    (governed.home / "config" / "events.yaml").write_text(GENERAL.replace(", key: CI_KEY", ""))
    with receiving() as ci:
        monkeypatch.setenv("CI_URL", f"http://127.0.0.1:{ci.port}/hook")
        done = governance("rollback_model", "--model-name", GOVERNED, "--reason", "it answers nonsense")
        again = governance("rollback_model", "--model-name", GOVERNED, "--reason", "once more")

    assert (0, 3) == (done.exit_code, again.exit_code), done.output
    (told,) = ci.got
    assert ("promotion-layer.rehearsal.rollback", 1, 2) == (
        told["type"],
        told["data"]["version"],
        told["data"]["replaced"]["version"],
    )

"""Who outside is told of what happens to a family's versions, and in which form: the section `events`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, ValidationError, model_validator

from promotion.config.document import described, read_yaml
from promotion.config.explain import explain
from promotion.config.policy import ChannelName, Variable
from promotion.config.values import Strict, contradiction
from promotion.errors import ConfigError

GENERAL = "events"
"""Name of the file beside the families' that says what is told of all of them."""
SUFFIXES = (".yaml", ".yml")

EventKind = Literal[
    "register", "stage", "promote", "refuse", "approve", "reject", "rollback", "quarantine", "deploy", "undo"
]


class Receiver(Strict):
    """A system that is told by HTTP POST what happened, each event at least once and in order.

    Attributes:
        url: The environment variable that holds its address; where it is not set, whoever has it tells it later.
        key: The environment variable that holds the key of the HMAC-SHA256 in `X-Promotion-Signature`.
        token: The environment variable that holds what proves us to it: `Authorization: Bearer …`. GitHub and the
            Generic Webhook Trigger of Jenkins ask for one.
        format: `cloudevents`: CloudEvents 1.0 in JSON. `jenkins`: flat, for the Generic Webhook Trigger. `github`: a
            `repository_dispatch`.
        only: What it is told of; without the list everything.
        network: `public`: only addresses on the internet, by https. `private`: those of a private network and of this
            machine, too.
    """

    url: Variable
    key: Variable | None = None
    token: Variable | None = None
    format: Literal["cloudevents", "jenkins", "github"] = "cloudevents"
    only: list[EventKind] | None = None
    network: Literal["public", "private"] = "public"

    @model_validator(mode="after")
    def _proves_itself(self) -> Receiver:
        if self.format != "cloudevents" and self.token is None:
            raise contradiction(f"{self.format} asks for a token; add token: and the variable that holds it", "token")
        return self


EventReceivers = dict[ChannelName, Receiver]


class GeneralEvents(Strict):
    """The file `config/events.yaml`.

    Attributes:
        events: By name, who is told of every family's events; a family's file may say otherwise under the same name.
    """

    events: Annotated[EventReceivers, Field(min_length=1)]


def general_receivers(folder: Path) -> EventReceivers:
    """Who is told of every family's events, by `events.yaml` in the folder of the families' files.

    Raises:
        ConfigError: The file is not YAML, or breaks the schema: one line a mistake.
    """
    paths = [path for suffix in SUFFIXES if (path := folder / f"{GENERAL}{suffix}").exists()]
    if not paths:
        return {}
    path, *others = paths
    if others:
        raise ConfigError(f"{path}: {others[0].name} stands beside it; keep one of the two")
    document = read_yaml(path)
    if not isinstance(document.content, dict):
        raise ConfigError(f"{path}:1: expected the section events, found {described(document.root)}")
    if "family" in document.content:
        raise ConfigError(f"{path}:1: this name is for who is told of events: call the family, and its file, otherwise")
    try:
        return GeneralEvents.model_validate(document.content).events
    except ValidationError as error:
        raise ConfigError(*explain(document, GeneralEvents, error)) from error

"""Put a deployer together from the places a command works with."""

from __future__ import annotations

from typing import Any

from promotion.config.settings import Settings, checkout_path
from promotion.delivery.deploy import Deployer
from promotion.delivery.kubernetes.cluster import Cluster
from promotion.delivery.records import Environment
from promotion.delivery.rollback import TakenBack, take_back
from promotion.errors import UsageError
from promotion.service import Mover, PromotionService


def open_deployer(
    settings: Settings,
    service: PromotionService,
    environment: Environment,
    *,
    actor: str,
    context: str | None = None,
    seconds: float = 300.0,
) -> Deployer:
    """A deployer for one environment; nothing is contacted yet.

    Args:
        settings: Where registry and journal are.
        service: Moves versions.
        environment: Decides the namespace.
        actor: Who asks.
        context: Of the kubeconfig; None for the current one.
        seconds: How long a rollout may take.

    Raises:
        UsageError: The registry is shared, but this machine alone knows the journal: it cannot decide for others; or
            the manifests are not here.
    """
    if settings.registry_is_remote and service.journal.database.backend == "sqlite":
        raise UsageError(
            f"the registry {settings.registry_uri} is shared, the journal {service.journal.name} a local file: what it "
            "says of Production may be out of date; set PROMOTION_DATABASE_URL to a database where the registry is"
        )
    manifests = checkout_path("k8s", "whose manifests are applied")
    return Deployer(
        service,
        Cluster(environment.namespace, context),
        manifests,
        actor=actor,
        seconds=seconds,
        attestations=service.attestations,
    )


def take_production_back(
    settings: Settings,
    service: PromotionService,
    name: str,
    to_version: int | str | None,
    mover: Mover,
    **options: Any,
) -> TakenBack:
    """Take Production back, on its cluster too; see `promotion.delivery.rollback.take_back`, which has the options."""

    def to_production(opened: PromotionService) -> Deployer:
        return open_deployer(settings, opened, Environment.PRODUCTION, actor=mover.actor)

    return take_back(service, to_production, name, to_version, mover, **options)

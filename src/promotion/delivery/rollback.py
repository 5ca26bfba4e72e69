"""Take Production back in one operation: the registry decides, the cluster follows from an image that ran there."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from promotion.delivery.deploy import Deployer
from promotion.delivery.deployments import Deployments, is_behind
from promotion.delivery.errors import ClusterBehind
from promotion.delivery.kubernetes.objects import Rollout
from promotion.delivery.records import Deployment, DeploymentTarget, Environment
from promotion.errors import GateRefused, NothingToDo, PromotionError, UsageError
from promotion.journal.records import Entry
from promotion.reconcile.recorded_families import recorded_families
from promotion.rollbacks import roll_back
from promotion.service import Move, Mover, PromotionPlan, PromotionService

OpenDeployer = Callable[[PromotionService], Deployer]
"""Makes a deployer to Production."""


@dataclass(frozen=True, slots=True)
class TakenBack:
    """A rollback that was made.

    Attributes:
        move: In the registry.
        deployment: On the cluster; None where no version of the family was ever deployed, or it failed.
        problem: Why the cluster does not run the version yet; empty when it does, or has nothing to run.
    """

    move: Move
    deployment: Deployment | None = None
    problem: str = ""

    def require_followed(self, **details: Any) -> None:
        """Fail with the exit code that says so where the cluster runs something else.

        Args:
            details: What `--json` adds to the message.

        Raises:
            ClusterBehind: The move is made, but the cluster could not follow.
        """
        if self.problem:
            raise ClusterBehind(
                f"{self.move.version} is back in {self.move.to}, but the cluster does NOT run it yet: "
                f"{self.problem}; then: python scripts/deploy-model.py --model {self.move.family} --environment "
                "production --image IMAGE",
                **details,
            )


def take_back(
    service: PromotionService,
    deployer: OpenDeployer,
    name: str,
    to_version: int | str | Entry | None,
    mover: Mover,
    *,
    force: bool = False,
    keep_version_good: bool = False,
    on_checked: Callable[[PromotionPlan], None] = lambda _plan: None,
) -> TakenBack:
    """Put the version before back into Production, and onto the cluster if the family was deployed there.

    A family is what its past is recorded under: no file that is broken, or claims its models, stands in the way.

    The registry goes first: it alone knows whether there is a version to go back to, and refuses before anything moves.
    A cluster that cannot follow is a problem, not a failure: the move is made, and `follow_registry` finishes it.

    Args:
        service: Moves versions.
        deployer: Made when the cluster has to follow.
        name: See `promotion.rollbacks.roll_back`; so are the others.
        to_version: See there.
        mover: See there.
        force: See there.
        keep_version_good: See there.
        on_checked: See there.

    Raises:
        PromotionError: As there; nothing moved.
    """
    service.configs = recorded_families(service.configs, service.journal, name, service.report)
    move = roll_back(
        service, name, to_version, mover, force=force, keep_version_good=keep_version_good, on_checked=on_checked
    )
    if not is_behind(service.journal, move.family):
        return TakenBack(move)
    try:
        return TakenBack(move, follow_registry(service, deployer, move.family))
    except PromotionError as error:
        return TakenBack(move, problem=str(error))


def follow_registry(service: PromotionService, deployer: OpenDeployer, family: str) -> Deployment | None:
    """Make the cluster run the version in Production, from the image it ran from last.

    Args:
        service: Knows what is in Production.
        deployer: Makes the deployer.
        family: Whose.

    Returns:
        The deployment; None when it runs already.

    Raises:
        GateRefused: Nothing is in Production, or it was never deployed there: there is no image of it.
        UsageError: kubectl leads to a cluster that runs nothing the journal knows.
        DeploymentFailed: It was tried, and the cluster runs what it ran before.
        PromotionError: The cluster or the journal cannot be asked.
    """
    production = service.journal.production(family)
    target = DeploymentTarget(family, Environment.PRODUCTION)
    record = Deployments(service.journal).deployed(family, target.environment, production) if production else None
    if record is None:
        raise GateRefused(
            f"{production or 'no version'} is in Production of {family!r} and was never deployed to {target}: "
            "export it, build its image and deploy that"
        )
    to_production = deployer(service)
    _require_cluster(to_production, target)
    try:
        return to_production.deploy(target, replace(record.image, challenger=None), None)
    except NothingToDo:
        return None


def _require_cluster(deployer: Deployer, target: DeploymentTarget) -> None:
    """See that this is the cluster the family runs on: a pod knows it by another URL than a build agent does."""
    found = deployer.cluster.get("deployment", target.name)
    record = deployer.deployments.named(Rollout.of(found).operation) if found else None
    # What ran as a canary may have been put onto every pod since.
    if record is None or replace(record.target, track=target.track) != target:
        raise UsageError(
            f"kubectl leads to {deployer.cluster.server()}, where {target} is nothing the journal knows of: "
            "change the context, or deploy with scripts/deploy-model.py"
        )

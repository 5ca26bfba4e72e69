"""What goes wrong between an image and a cluster, with the exit code a shell or Jenkins reads.

PromotionError
├── ClusterError              1  the cluster did not do what was asked
│   ├── ClusterUnreachable    1  no answer in time
│   └── ClusterForbidden      1  the account may not do this
├── DeploymentFailed          1  the version was put on the cluster and taken back, or an interrupted attempt was
├── CanaryHeld                3  the evidence does not say yet whether a canary does well
├── ClusterDiffers            3  the cluster runs something else than the registry says
└── ClusterBehind             6  the registry went back, and the cluster could not follow
"""

from __future__ import annotations

from promotion.errors import PromotionError


class ClusterError(PromotionError):
    """The cluster refused, or kubectl failed; never a version's fault."""


class ClusterUnreachable(ClusterError):
    """The API server does not answer."""


class ClusterForbidden(ClusterError):
    """The account is unknown to the cluster, or lacks a right."""


class DeploymentFailed(PromotionError):
    """The rollout or the smoke test failed; what ran before runs again, or the message says what is missing."""


class CanaryHeld(PromotionError):
    """A canary's analysis is inconclusive: it stays where it is, and a person decides."""

    exit_code = 3


class ClusterDiffers(PromotionError):
    """The cluster runs something else than the registry says."""

    exit_code = 3


class ClusterBehind(PromotionError):
    """A version is back in Production, and the cluster still runs the one that left."""

    exit_code = 6

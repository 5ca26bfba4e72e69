"""Whether the labels that arrived are evidence for all rows: how many have one, and which."""

from __future__ import annotations

from promotion.config.policy import Monitoring
from promotion.monitoring.label_bias import NEARLY_ALL
from promotion.monitoring.observe.observation import Observation


def label_problem(observation: Observation, policy: Monitoring) -> str:
    """Why the labelled rows say nothing of all rows; empty where they do.

    Args:
        observation: What was seen.
        policy: The family's bounds.
    """
    covered, needed = observation.coverage, policy.label_coverage
    if covered is None:
        return ""
    if needed is not None and covered < needed:
        return f"labels cover {covered:.1%} of the rows, {needed:.1%} needed"
    for flaw in observation.flaws:
        # Which of two labels came wrong is as good as a choice by the label.
        if flaw.name == "conflicting_labels" and flaw.part > (1 - NEARLY_ALL) * flaw.whole:
            return f"{flaw.part:,} of {flaw.whole:,} labelled rows have two labels that differ and are left out"
    if not observation.label_bias:
        return ""
    return f"labels cover {covered:.1%} of the rows and do not look like all: {observation.label_bias}"


def rollback_problem(observation: Observation, policy: Monitoring) -> str:
    """Why the labelled rows are no reason to take a version back.

    A choice of rows that shows nowhere, such as complaints, is the owner's to rule out.

    Args:
        observation: What was seen.
        policy: The family's bounds.
    """
    covered = observation.coverage
    if problem := label_problem(observation, policy):
        return problem
    if covered is None or covered >= NEARLY_ALL or policy.label_coverage is not None:
        return ""
    return f"labels cover {covered:.1%} of the rows, and monitoring.label_coverage does not say that this is enough"


def labelled_rows(observation: Observation, rows: int) -> str:
    """So many rows, and which share of all they are where they are not all, in words."""
    share = "" if observation.coverage in {None, 1.0} else f" ({observation.coverage:.1%} of all)"
    return f"{rows:,} labelled rows{share}"

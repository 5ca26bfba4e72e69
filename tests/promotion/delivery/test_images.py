"""Which version an image carries, read from a scripted engine, and what names no certain image."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.promotion.delivery.scripted_cluster import ScriptedCluster

from promotion.delivery.images import read_image
from promotion.errors import UsageError


def test_labels_say_which_version_an_image_carries(cluster: ScriptedCluster) -> None:
    """What was labelled comes back."""
    image = cluster.image("churn", 7, "d" * 64, family="churn")

    assert image == read_image(image.reference)
    assert (7, "1.7.0", "d" * 64) == (image.version, image.semver, image.digest)


@pytest.mark.parametrize("digested", [True, False])
def test_what_was_pushed_is_deployed_by_its_digest(cluster: ScriptedCluster, *, digested: bool) -> None:
    """An image with a registry's host gets the digest that was looked at; one carried to the nodes keeps its tag."""
    name = "registry.example/churn" if digested else "churn"
    image = cluster.image("churn", 7, "d" * 64, family="churn")
    digest = f"sha256:{'a' * 64}"
    with cluster.changed() as state:
        state["images"][f"{name}:1"] = state["images"][image.reference] | {"pushed": [f"{name}@{digest}"]}

    assert (f"{name}:1@{digest}" if digested else f"{name}:1") == read_image(f"{name}:1").reference


@pytest.mark.parametrize(
    ("reference", "problem"),
    [
        ("churn", "names no certain image"),
        ("registry.example:5000/churn", "names no certain image"),
        ("churn:latest", "names no certain image"),
        ("churn:1 2", "is no image reference"),
        ("@", "is no image reference"),
        ("churn:9", "nobody knows the image churn:9: docker image inspect: .*No such image"),
        ("strange:1", "lacks the labels io.promotion.family.*build-image.py"),
    ],
)
def test_what_names_no_image_of_ours_is_refused(cluster: ScriptedCluster, reference: str, problem: str) -> None:
    """One line says what is wrong with it, and every place that was asked."""
    with cluster.changed() as state:
        state["images"]["strange:1"] = {"labels": {"maintainer": "somebody"}}

    with pytest.raises(UsageError, match=problem):
        read_image(reference)


def test_without_any_tool_the_line_names_them(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Neither docker nor skopeo on the PATH."""
    monkeypatch.setenv("PATH", str(tmp_path))

    with pytest.raises(UsageError, match=r"docker is not installed.*skopeo is not installed"):
        read_image("churn:1")

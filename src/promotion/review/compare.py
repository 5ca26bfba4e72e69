"""Hold two versions of a family against each other and write what a reviewer's checklist asks for."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from promotion.config.family import FamilyConfig
from promotion.config.settings import Settings
from promotion.errors import UsageError
from promotion.evaluation.tasks import invented_rows, task_of
from promotion.journal import clock
from promotion.pages import render_page, write
from promotion.prediction.batch import loaded
from promotion.registry.contract import ModelVersion, Registry
from promotion.registry.stages import Stage
from promotion.review.findings import SIGNS, ReviewFindings


def write_review(
    registry: Registry,
    settings: Settings,
    config: FamilyConfig,
    first: ModelVersion,
    second: ModelVersion,
    *,
    output: Path | None,
) -> tuple[Path, dict[str, Any], list[str]]:
    """Write the review of `first`, which would replace `second`; nothing is moved and nothing recorded.

    Args:
        registry: Hands over their files.
        settings: Where the data is.
        config: Their family.
        first: Under review.
        second: What it is compared with.
        output: Of the page, HTML; the data goes beside it, with `.json` instead. By default under `reports/review/`.

    Returns:
        The page's path, the data, and a short summary, line by line.

    Raises:
        UsageError: Both are the same version, or the page is to be no HTML.
        PromotionError: A version cannot be loaded or does not answer, or the page cannot be written.
    """
    if first == second:
        raise UsageError(
            f"{first} cannot be compared with itself: name two versions, such as --compare Staging Production"
        )
    name = f"{first.model}-v{first.number}-against-{second.model}-v{second.number}.html"
    path = output or settings.home / "reports" / "review" / name
    if path.suffix.lower() != ".html":
        raise UsageError(f"{path}: the review is a page: give --output a name that ends in .html")
    names = _names(first, second)
    with loaded(registry, settings, config, first) as ours, loaded(registry, settings, config, second) as theirs:
        if config.is_forecast:
            findings: ReviewFindings = task_of(config).review(config, settings, ours.model, theirs.model, names)
        elif not config.has_contract:
            from promotion.review.received import review_received

            findings = review_received(config, settings, ours.model.folder, theirs.model.folder, names)
        else:
            from promotion.review.classifiers import review_classes
            from promotion.review.regressions import review_numbers

            review = review_classes if config.classes else review_numbers
            findings = review(config, settings, ours.model, theirs.model, names)
        origins = [ours.origin(), theirs.origin()]
    if invention := invented_rows(config, settings.home):
        findings = replace(findings, notes=[*findings.notes, invention])
    written_at = clock.now()
    document = {
        "family": config.family,
        "first": origins[0],
        "second": origins[1],
        "written_at": written_at.isoformat(timespec="seconds"),
        **findings.as_json(),
    }
    page = render_page(
        Path(__file__).with_name("review.html.j2"),
        family=config.family,
        findings=findings,
        names=names,
        versions=(first, second),
        origins=origins,
        signs=SIGNS,
        written_at=written_at,
        is_rehearsal=clock.is_set(),
    )
    write(path.with_suffix(".json"), json.dumps(document, indent=2, ensure_ascii=False) + "\n")
    write(path, page)
    return path, document, list(_summary(findings, names))


def _names(first: ModelVersion, second: ModelVersion) -> tuple[str, str]:
    """What people call the two, in a few letters."""
    if first.model != second.model:
        return str(first), str(second)
    both = [
        f"{each.stage} v{each.number}" if each.stage is not Stage.NONE else f"v{each.number}"
        for each in (first, second)
    ]
    return both[0], both[1]


def _summary(findings: ReviewFindings, names: tuple[str, str]) -> Iterator[str]:
    yield f"{names[0]} against {names[1]}: {findings.rows:,} {findings.about}"
    for check in findings.checks:
        yield f"  {SIGNS[check.verdict]} {check.question}: {check.says}"
    for note in findings.notes:
        yield f"  {note}"

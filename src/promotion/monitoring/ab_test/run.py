"""Look at an A/B test: read, compare, record it with the challenger, and write the page."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from promotion.config.family import FamilyConfig
from promotion.config.settings import Settings
from promotion.errors import UsageError
from promotion.gates.ab_test import ACTION
from promotion.journal.journal import Journal
from promotion.journal.records import Authority
from promotion.monitoring.ab_test.comparison import AbTest, compare_arms
from promotion.monitoring.ab_test.outcomes import read_arms
from promotion.monitoring.labels.files import read_labels
from promotion.monitoring.run import default_export
from promotion.monitoring.watched_contract import watched_contract
from promotion.pages import render_page, write


@dataclass(frozen=True, slots=True)
class AbTestOptions:
    """What to look at.

    Attributes:
        source: The prediction log.
        labels: File of labels.
        effect: The difference that somebody wants to see.
        column: Feature whose values are the slices.
        actor: Who looks.
        dry_run: Whether nothing is recorded or written.
    """

    source: str
    labels: Path
    effect: float
    column: str | None
    actor: str
    dry_run: bool = False


def run_ab_test(
    settings: Settings, journal: Journal, config: FamilyConfig, options: AbTestOptions
) -> tuple[AbTest, Path | None]:
    """Look once; may be repeated as often as anybody likes.

    Args:
        settings: Where everything is.
        journal: Where it is recorded.
        config: The family.
        options: How to look.

    Returns:
        What was found, and the page.

    Raises:
        UsageError: A file is missing, the family predicts numbers, or the journal does not know the challenger.
        DataError: The log or the labels cannot be read, or an arm is missing.
    """
    export = default_export(settings, config.family)
    contract = watched_contract(config, settings.home, [export] if (export / "schema.json").is_file() else [])
    if not contract.classes:
        raise UsageError(f"{config.family} predicts numbers: an A/B test compares how often classes are right")
    labels = read_labels(options.labels, config, contract)
    found = compare_arms(read_arms(options.source, contract, labels, options.column), options.effect)
    if options.dry_run:
        return found, None
    entries = journal.entries(config.family)
    entry = next((it for it in entries if (it.model, it.number) == found.challenger), None)
    if entry is None:
        model, number = found.challenger
        raise UsageError(
            f"the journal knows no {model} v{number} of {config.family}: record it first, with python "
            f"scripts/register-model.py {model} {number}"
        )
    evidence = {
        "ab_test": found.as_json(),
        "log": options.source,
        "labels_sha256": hashlib.sha256(options.labels.read_bytes()).hexdigest(),
    }
    with journal.transaction(config.family) as transaction:
        authority = Authority(ACTION, options.actor, str(found), details=evidence)
        transaction.append(transaction.entry(entry.id), authority)
    page = settings.home / "reports" / "ab-test" / f"{config.family}.html"
    write(page, render_page(Path(__file__).with_name("ab_test.html.j2"), family=config.family, it=found))
    return found, page

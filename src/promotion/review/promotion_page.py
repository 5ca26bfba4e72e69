"""The page a reviewer reads before approving: candidate against Production, gates, approvals, lineage."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from promotion.approving import standing_of
from promotion.artifacts.files import local_artifact
from promotion.artifacts.provenance import registered
from promotion.config.family import FamilyConfig
from promotion.config.settings import Settings
from promotion.evaluation.tasks import task_of
from promotion.journal import clock
from promotion.journal.chain import digest
from promotion.journal.records import Entry, Known
from promotion.pages import flat, page_link, render_page, signer, utc, write
from promotion.review.findings import metric_axes
from promotion.service import PromotionPlan, PromotionService

if TYPE_CHECKING:
    from promotion.data.arrays import FloatArray
    from promotion.data.datasets import Partition
    from promotion.review.findings import ReviewFindings
    from promotion.review.side_by_side import SideBySide

_SECTIONS = {
    "gates": "Gates",
    "groups": "Groups of rows",
    "approvals": "Approvals",
    "metrics": "Metrics",
    "curves": "Curves",
    "confusion": "Confusion matrices",
    "disagreements": "Where they disagree",
    "residuals": "Residuals over time",
    "lineage": "Lineage",
    "runbooks": "Runbooks",
}


@dataclass(frozen=True, slots=True)
class Fact:
    """A line about both versions; `is_long` for digests and the like."""

    name: str
    candidate: str
    production: str
    is_long: bool = False


def default_path(settings: Settings, plan: PromotionPlan) -> Path:
    """Where the page of a checked candidate goes unless somebody says otherwise."""
    return settings.home / "reports" / "promotion" / f"{plan.candidate.model}-v{plan.candidate.number}.html"


def write_promotion_page(service: PromotionService, plan: PromotionPlan, path: Path) -> None:
    """Write the page about one run of the gates; nothing is moved and nothing recorded.

    Both models are scored once more, for what the gates do not keep: the answer to each row. Only those are that
    the gates have just scored, so that nothing is loaded that they did not find harmless.

    Raises:
        DataError: The test rows cannot be read.
        RegistryError: The artifact store fails.
        PromotionError: A model answers no more, or the page cannot be written.
    """
    settings = Settings.from_environment()
    config = service.configs.get(plan.family)
    entry = service.journal.entry(plan.candidate.model, plan.candidate.number)
    scored = config if config and config.has_holdout and plan.report.metrics else None
    findings = _findings(service, plan, scored, settings) if scored and scored.is_forecast else None
    compared = _compared(service, plan, scored, settings.home) if scored and not findings else None
    standing = standing_of(service, plan)
    runbooks = config.contacts.runbooks if config else {}
    absent = {
        name
        for name, facts in (
            ("groups", plan.report.slices),
            ("approvals", standing),
            ("metrics", compared or findings),
            ("curves", compared and compared.curves),
            ("confusion", compared and compared.matrices),
            ("disagreements", compared.disagreeing is not None if compared else findings and len(_names(plan)) > 1),
            ("residuals", findings),
            ("runbooks", runbooks),
        )
        if not facts
    }
    page = render_page(
        Path(__file__).with_name("promotion.html.j2"),
        plan=plan,
        report=plan.report,
        report_digest=digest(plan.report.as_json()),
        family=plan.family,
        version=entry.version if entry else str(plan.candidate.number),
        compared=compared,
        findings=findings,
        names=_names(plan),
        axes=metric_axes(compared.metrics) if compared else {},
        standing=standing,
        roles=config.approvals.roles if config and config.approvals else [],
        facts=_facts(service, plan, entry),
        runbooks=[(name, target, page_link(target, path, settings.home)) for name, target in runbooks.items()],
        sections=[
            *((name, title) for name, title in _SECTIONS.items() if name not in absent),
            *(
                (table.anchor, table.title)
                for table in (findings.tables if findings else ())
                if table.anchor not in _SECTIONS
            ),
        ],
        written_at=service.journal.now(),
        is_rehearsal=clock.is_set(),
    )
    write(path, page)


def _names(plan: PromotionPlan) -> tuple[str, ...]:
    """What is compared, for people."""
    rival = plan.production if plan.report.production_metrics else None
    return (f"Candidate {plan.report.version}", *([f"Production, {rival.version}"] if rival else []))


def _findings(
    service: PromotionService, plan: PromotionPlan, config: FamilyConfig, settings: Settings
) -> ReviewFindings:
    """What the family's own task says of the candidate, beside Production where it was scored, too."""
    names = _names(plan)
    candidate = _loaded(service, plan.candidate)
    production = _loaded(service, plan.production) if plan.production and len(names) > 1 else None
    findings: ReviewFindings = task_of(config).review(config, settings, candidate, production, names)
    return findings


def _compared(service: PromotionService, plan: PromotionPlan, config: FamilyConfig, home: Path) -> SideBySide:
    if not config.has_contract:
        from promotion.review.received import compare_received

        versions: list[Known] = [
            plan.candidate,
            *([plan.production] if plan.production and plan.report.production_metrics else []),
        ]
        with ExitStack() as stack:
            shown = [service.registry.version(version.model, version.number) for version in versions]
            folders = [stack.enter_context(local_artifact(service.registry, version)) for version in shown]
            return compare_received(config, home, *folders)
    # pandas and scikit-learn take a second to import, and a refused artifact needs neither.
    from promotion.data.datasets import load_dataset, split_dataset
    from promotion.review.regressions import compare_regressors
    from promotion.review.side_by_side import compare_classifiers

    part = split_dataset(load_dataset(config, home), config)
    candidate = _response(service, config, plan.candidate, part)
    production = None
    if plan.production and plan.report.production_metrics:
        production = _response(service, config, plan.production, part)
    compare = compare_classifiers if config.classes else compare_regressors
    return compare(config, part, candidate, production)


def _response(service: PromotionService, config: FamilyConfig, version: Known, part: Partition) -> FloatArray:
    from promotion.evaluation.metrics import response_of

    return response_of(_loaded(service, version), part.test_features, len(config.classes))


def _loaded(service: PromotionService, version: Known) -> Any:
    from promotion.evaluation.loading import load_artifact

    with local_artifact(service.registry, service.registry.version(version.model, version.number)) as folder:
        return load_artifact(folder)


def _facts(service: PromotionService, plan: PromotionPlan, entry: Entry | None) -> list[Fact]:
    """Where both come from, line by line; what neither has is left out."""
    candidate, production = plan.candidate, plan.production
    ours = _lineage(service, entry) | {
        "registered model": candidate.model,
        "version in MLflow": str(candidate.number),
        "stage": str(entry.stage if entry else candidate.stage),
        "run": candidate.run_id or "",
        "artifact sha256": plan.report.digest or "",
        "test data sha256": plan.report.data_sha256 or "",
    }
    theirs = _lineage(service, production)
    if production:
        theirs |= {
            "registered model": production.model,
            "version in MLflow": str(production.number),
            "stage": str(production.stage),
            "run": production.run_id or "",
            "artifact sha256": production.digest or "",
            "test data sha256": (plan.report.data_sha256 or "") if plan.report.production_metrics else "",
        }
    shared = {name for name in ours if name.startswith(_PARAMETER) and ours[name] == theirs.get(name)}
    if shared:
        listed = ", ".join(f"{name.removeprefix(_PARAMETER)} {ours[name]}" for name in ours if name in shared)
        ours["parameters, the others"] = theirs["parameters, the others"] = listed
    names = [name for name in dict.fromkeys([*_ORDER, *ours, *theirs]) if name not in shared]
    found = [
        Fact(name, ours.get(name, ""), theirs.get(name, ""), name in _DIGESTS or name.endswith("sha256"))
        for name in names
    ]
    return [fact for fact in found if fact.candidate or fact.production]


_PARAMETER = "params "
_DIGESTS = {"run", "feature schema", "signature", "git commit"}
_ORDER = (
    "registered model",
    "version in MLflow",
    "semantic version",
    "stage",
    "registered",
    "promoted",
    "trained by",
    "run",
    "artifact sha256",
    "signature",
    "feature schema",
    "test data sha256",
)


def _lineage(service: PromotionService, entry: Entry | None) -> dict[str, str]:
    if entry is None:
        return {}
    known = {
        "semantic version": entry.version if entry.version != str(entry.number) else "",
        "registered": found.story if (found := registered(service.journal, entry.id)) else "by nobody",
        "promoted": f"{utc(entry.promoted_at)} UTC by {entry.approver}" if entry.promoted_at else "",
        "trained by": (entry.trainer or "").replace(",", ", "),
        "feature schema": entry.feature_hash or "",
        "known bad": entry.known_bad or "",
    }
    registration = service.journal.registration(entry.id)
    if registration:
        known["signature"] = signer(registration.signature)
        # Some of it is in the journal's row as well, which is shown already.
        known |= {
            name: text
            for name, text in flat(registration.lineage).items()
            if text not in {entry.run_id, entry.feature_hash}
        }
    return known

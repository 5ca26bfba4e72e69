"""What the gates say of a version and what comes next; nothing is moved."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from promotion.cli.console import (
    AS_JSON,
    MODEL_NAME,
    NEW_FILE,
    TO_STAGE,
    VERSION,
    command,
    echo,
    echo_json,
    promotions,
    remark_clock,
    say_done,
    say_unsettled,
    talk,
    with_verbs,
)
from promotion.config.settings import Settings
from promotion.errors import NothingToDo
from promotion.registry.stages import Stage

if TYPE_CHECKING:
    from promotion.review.pipeline_plan import PipelinePlan
    from promotion.service import PromotionPlan, PromotionService

_REGISTRY = "python mlops/registry"


@command()
@MODEL_NAME
@VERSION
@TO_STAGE
@click.option("--page", type=NEW_FILE, help="Write a page for reviewers, HTML.")
@AS_JSON
def check_command(*, model_name: str, version: str, to_stage: str, page: Path | None, as_json: bool) -> None:
    """Check a version against every gate of its family: measured against required, and the next command to type.

    Nothing moves. A version that nobody registered, of a family that trains elsewhere, is registered as received.

    Exit codes: 0 eligible, 1 failed, 2 usage or configuration, 3 not eligible, 5 it is there already.
    """
    from promotion.artifacts.provenance import registered
    from promotion.listing import gate_lines
    from promotion.registration import receive
    from promotion.service import refusal

    service = promotions()
    candidate = service.candidate(service.registered_model(model_name), version)
    family = service.family(candidate.model)
    remark_clock(service.journal)
    _say_unsettled(service, family)
    receive(service, candidate)
    try:
        plan = service.check(candidate, Stage.parse(to_stage))
    except NothingToDo:
        service.require_sound(family)
        raise
    steps = list(map(with_verbs, _next_steps(service, plan)))
    if page:
        from promotion.review.promotion_page import write_promotion_page

        write_promotion_page(service, plan, page)
        talk(f"wrote {page}")
    if not as_json:
        entry = service.journal.entry(candidate.model, candidate.number)
        known = registered(service.journal, entry.id) if entry else None
        echo(f"{plan.candidate}: {known.story if known else 'registered by nobody'}")
        echo(*gate_lines(plan.report), "Next:", *(f"   {step}" for step in steps))
    if not plan.report.passed:
        error = refusal(plan)
        error.details["next"] = steps
        raise error
    service.require_sound(family)
    message = f"{plan.candidate} ({plan.report.version}) may enter {plan.to}"
    say_done(message, as_json=as_json, report=plan.report.as_json(), next=steps)


def _say_unsettled(service: PromotionService, family: str) -> None:
    """What a command that writes would settle first."""
    say_unsettled(service, family)
    for item in service.journal.pending(family):
        talk(
            f"⏳ {family}: a move recorded at {item.created_at:%Y-%m-%d %H:%M:%S} UTC is not shown by MLflow yet; "
            "python scripts/promote-model.py --reconcile finishes it",
            colour="yellow",
        )


def _next_steps(service: PromotionService, plan: PromotionPlan) -> Iterator[str]:
    """Commands in the order they make sense, waiting included; the promotion itself when nothing is missing."""
    from promotion.approving import approval_command, standing_of
    from promotion.gates import APPROVALS

    entry = service.journal.entry(plan.candidate.model, plan.candidate.number)
    stage = entry.stage if entry else plan.candidate.stage
    named = f"--model-name {plan.candidate.model} --version {plan.report.version}"
    if plan.report.passed:
        unsettled = service.unsettled(plan.family)
        if unsettled.is_quarantined or unsettled.is_ambiguous:
            yield from unsettled.steps(plan.candidate)
            return
        yield (
            f"{_REGISTRY}/promote_model.py {named} --from-stage {stage.status} --to-stage {plan.to.status} "
            "--approver WHO"
        )
        return
    refused = {gate.name for gate in plan.report.refusals}
    if "days in Staging" in refused and stage is not Stage.STAGING:
        yield f"python src/models/validate_model.py --model-name {plan.candidate.model}"
    standing = standing_of(service, plan) if APPROVALS in refused else None
    config = service.configs.get(plan.family)
    for role in standing.missing if standing else ():
        yield approval_command(plan.candidate.model, plan.report.version, role, config)
    # What neither waiting nor a review can change is the version itself.
    if config and config.trains_here and refused - {"days in Staging", "legal transition", "incidents", APPROVALS}:
        yield f"python src/models/train.py --model {plan.family}"
    yield f"{_REGISTRY}/check_promotion.py {named}"


@command()
@MODEL_NAME
@VERSION
@TO_STAGE
@click.option(
    "--output",
    type=NEW_FILE,
    help="File to write; reports/promotion/NAME-vNUMBER.html in the home folder by default, Markdown to the output.",
)
@click.option(
    "--format",
    "form",
    type=click.Choice(["html", "markdown"]),
    default="html",
    show_default=True,
    help="A page for a reviewer, or what the summary of a pipeline shows.",
)
@AS_JSON
def report_command(
    *, model_name: str, version: str, to_stage: str, output: Path | None, form: str, as_json: bool
) -> None:
    """Ask every gate about a version and write what they found as a page; nothing is moved or recorded.

    Exit codes: 0 written, whatever the gates said; 1 failed, 2 usage or configuration, 5 it is there already.
    """
    from promotion.review.promotion_page import default_path, write_promotion_page

    service = promotions()
    remark_clock(service.journal)
    candidate = service.candidate(service.registered_model(model_name), version)
    say_unsettled(service, service.family(candidate.model))
    plan = service.check(candidate, Stage.parse(to_stage))
    path = output or default_path(Settings.from_environment(), plan)
    if form == "markdown":
        from promotion.data.files import write_whole
        from promotion.review.promotion_markdown import promotion_markdown

        text = promotion_markdown(service, plan)
        if output is None and not as_json:
            echo(*text.splitlines())
            return
        write_whole(path := output or path.with_suffix(".md"), text)
    else:
        write_promotion_page(service, plan, path)
    if as_json:
        echo_json({"exit_code": 0, "page": str(path), "report": plan.report.as_json()})
        return
    refused = ", ".join(gate.name for gate in plan.report.refusals)
    verdict = f"may not enter {plan.to}: {refused}" if refused else f"may enter {plan.to}"
    if plan.report.invented:
        talk(f"⚠️ {plan.report.invented}", colour="yellow")
    echo(f"📋 {plan.candidate} {verdict}")
    echo(f"✅ {path}")


@command()
@click.option("--model", "family", default="heart-disease", show_default=True, help="Family: config/<family>.yaml.")
@AS_JSON
def plan_command(*, family: str, as_json: bool) -> None:
    """Look at a family and change nothing: who decides, which version waits for what, what is in Production.

    Exit codes: 0 done, 1 failed, 2 usage or configuration, 3 it is not clear which version is the candidate.
    """
    from promotion.config.family import load_config
    from promotion.review.pipeline_plan import plan_pipeline

    config = load_config(Settings.from_environment().config_folder, family)
    service = promotions()
    remark_clock(service.journal)
    say_unsettled(service, config.family)
    found = plan_pipeline(service, config)
    if as_json:
        echo_json({"exit_code": 0, **found.as_json()}, indent=2)
        return
    echo(*_plan_lines(found))


def _plan_lines(found: PipelinePlan) -> Iterator[str]:
    how = "by itself (--auto)" if found.config.promotion == "auto" else "by hand"
    yield f"📋 {found.config.family}: promoted {how}{', after approvals' if found.config.approvals else ''}"
    yield f"   Production: {found.production or 'nothing yet'}"
    if (candidate := found.candidate) is None:
        yield "   Candidate:  none"
        return
    yield f"   Candidate:  {candidate.version} ({candidate.label}), in {candidate.stage}"
    if candidate.refused:
        yield f"   Refused by: {', '.join(candidate.refused)}"
    if candidate.missing:
        yield f"   Approvals missing: {', '.join(candidate.missing)}"


@command()
@click.option("--output", type=NEW_FILE, help="File to write; reports/index.html in the home folder by default.")
@AS_JSON
def page_command(*, output: Path | None, as_json: bool) -> None:
    """Write every family on one page: what serves, what waits for whom, what is wrong, from what is recorded.

    No gate is run, no cluster asked and nothing moved. What cannot be read is said on the page.

    Exit codes: 0 written, 1 it cannot be written, 2 usage or configuration.
    """
    from promotion.overview.page import write_overview_page
    from promotion.overview.survey import survey

    service = promotions()
    found = survey(service)
    path = output or Settings.from_environment().home / "reports" / "index.html"
    write_overview_page(found, path, home=Settings.from_environment().home, spell=with_verbs)
    for line in found.unread:
        talk(f"⚠️ {line}", colour="yellow")
    if as_json:
        echo_json({"exit_code": 0, "page": str(path), **found.as_json()}, indent=2)
        return
    asked = sum(bool(item.asks) for item in found.families)
    echo(f"📋 {len(found.families)} families, {asked} of them ask something of somebody")
    echo(f"✅ {path}")

"""The command `promotion`: every verb by name, imported only when it is called."""

from __future__ import annotations

import sys
from importlib import import_module
from typing import Any, NamedTuple

import click
from click.shell_completion import CompletionItem

from promotion.cli.console import VERBS, echo, fit
from promotion.errors import UsageError


class Verb(NamedTuple):
    """A subcommand.

    Attributes:
        script: The file that is the same command, as the documents call it.
        place: `module:command`.
        summary: What the list of verbs says.
    """

    script: str
    place: str
    summary: str


TABLE = {
    "train": Verb("src/models/train.py", "models.train:main", "Train a family's candidates (in a checkout)."),
    "train-ensemble": Verb(
        "src/models/train_ensemble.py", "models.train_ensemble:main", "Train the sales forecast (in a checkout)."
    ),
    "download-data": Verb(
        "scripts/download-data.py",
        "models.download_data:download_data_command",
        "Fetch a family's data (in a checkout).",
    ),
    "promote": Verb(
        "scripts/promote-model.py",
        "promotion.cli.promote:promote_command",
        "Promote a version, or with --auto the best.",
    ),
    "list": Verb("", "promotion.cli.registry:list_command", "List what is registered, and in which stage."),
    "register": Verb(
        "scripts/register-model.py",
        "promotion.cli.registry:register_command",
        "Record a version that was trained elsewhere.",
    ),
    "doctor": Verb(
        "scripts/doctor.py",
        "promotion.cli.onboarding.doctor:doctor_command",
        "What state installation and registry are in; writes nothing.",
    ),
    "init": Verb(
        "scripts/init-family.py",
        "promotion.cli.onboarding.init:init_command",
        "Write a first file for a family of models.",
    ),
    "history": Verb("", "promotion.cli.registry:history_command", "Who moved what, when, why, on what evidence."),
    "reconcile": Verb("", "promotion.cli.registry:reconcile_command", "Make MLflow and the journal agree."),
    "restore": Verb("", "promotion.cli.registry:restore_command", "Put back what was changed past the rules."),
    "cleanup": Verb("", "promotion.cli.registry:cleanup_command", "Delete old versions that nothing needs."),
    "validate": Verb(
        "src/models/validate_model.py", "promotion.cli.validate:validate_command", "Validate a version for Staging."
    ),
    "predict": Verb(
        "src/models/predict.py", "promotion.cli.predict:predict_command", "Predict, or compare two versions."
    ),
    "export": Verb(
        "scripts/export-model.py", "promotion.cli.delivery.images:export_command", "A version as a signed folder."
    ),
    "build-image": Verb(
        "scripts/build-image.py",
        "promotion.cli.delivery.images:build_image_command",
        "An exported version as an image.",
    ),
    "test-image": Verb(
        "scripts/test-image.py", "promotion.cli.delivery.images:test_image_command", "Try an image, locked down."
    ),
    "deploy": Verb(
        "scripts/deploy-model.py", "promotion.cli.delivery.deploy:deploy_command", "Put an image on Kubernetes."
    ),
    "transfer": Verb(
        "scripts/transfer-model.py",
        "promotion.cli.delivery.transfer:transfer_command",
        "A version to another MLflow server.",
    ),
    "plan": Verb("scripts/pipeline-plan.py", "promotion.cli.check:plan_command", "What a pipeline does next."),
    "monitor": Verb(
        "scripts/monitor-model.py", "promotion.cli.monitoring.monitor:monitor_command", "Watch what serves."
    ),
    "ab-test": Verb(
        "scripts/ab-test.py",
        "promotion.cli.monitoring.ab_test:ab_test_command",
        "Compare champion and challenger on live requests.",
    ),
    "check": Verb(
        "mlops/registry/check_promotion.py", "promotion.cli.check:check_command", "Ask every gate about a version."
    ),
    "approve": Verb(
        "mlops/registry/approve_model.py", "promotion.cli.approve:approve_command", "Give, refuse or list approvals."
    ),
    "move": Verb(
        "mlops/registry/promote_model.py", "promotion.cli.rollback:move_command", "Move a version from stage to stage."
    ),
    "rollback": Verb(
        "mlops/registry/rollback_model.py", "promotion.cli.rollback:rollback_command", "Back to the version before."
    ),
    "keys": Verb("scripts/keys.py", "promotion.cli.approve:keys_command", "Keys that people sign approvals with."),
    "known-bad": Verb(
        "mlops/registry/known_bad.py",
        "promotion.cli.rollback:known_bad_command",
        "Mark a version as known bad, or lift the mark.",
    ),
    "incident": Verb(
        "mlops/registry/report_incident.py", "promotion.cli.approve:incident_command", "Open, close or list incidents."
    ),
    "report": Verb(
        "scripts/promotion-report.py", "promotion.cli.check:report_command", "A page for the reviewer of a version."
    ),
    "page": Verb("scripts/registry-page.py", "promotion.cli.check:page_command", "Every family on one page."),
    "compliance": Verb(
        "scripts/compliance-report.py", "promotion.cli.audit:compliance_command", "A month for the auditor."
    ),
    "audit": Verb("scripts/audit.py", "promotion.cli.audit:audit_command", "Prove, show or export the record."),
}


class NotInCheckout(click.ClickException):
    """A verb of this project's own families, called where their code is not."""

    exit_code = UsageError.exit_code


class LazyGroup(click.Group):
    """A group that knows its commands' names and summaries without importing them."""

    def main(self, *args: Any, **kwargs: Any) -> Any:
        """Run the command; see `click.Group.main`."""
        fit(sys.stdout)
        fit(sys.stderr)
        return super().main(*args, **kwargs)

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002  # click's signature
        """The names, in the order people need them."""
        return list(TABLE)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """Import one command.

        Raises:
            NotInCheckout: It belongs to a checkout, and this is none.
        """
        verb = TABLE.get(cmd_name)
        if verb is None:
            return None
        module, _, name = verb.place.partition(":")
        if module.startswith("models."):
            from promotion.evaluation.tasks import finds_checkout_models

            if not finds_checkout_models():
                raise NotInCheckout(
                    f"{cmd_name} works on this project's own families, whose code (src/models) is not here: "
                    f"run it in a checkout, there also as python {verb.script}"
                )
        command: click.Command = getattr(import_module(module), name)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        """List the verbs from the table."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, verb.summary) for name, verb in TABLE.items()])

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Complete a verb from the table, an option as click does."""
        verbs = [CompletionItem(name, help=verb.summary) for name, verb in TABLE.items() if name.startswith(incomplete)]
        return verbs + click.Command.shell_complete(self, ctx, incomplete)


def _say_version(ctx: click.Context, _parameter: click.Parameter, value: bool) -> None:  # noqa: FBT001  # click's
    if not value or ctx.resilient_parsing:
        return
    from importlib.metadata import PackageNotFoundError, version

    try:
        echo(f"promotion {version('promotion-layer')}")
    except PackageNotFoundError:
        echo("promotion, not installed: run from its source")
    ctx.exit()


@click.command(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--version", is_flag=True, expose_value=False, is_eager=True, callback=_say_version, help="Show it.")
@click.pass_context
def main(ctx: click.Context) -> None:
    """Decide with evidence whether a model's version may move, move it, and keep the record.

    PROMOTION_HOME names the folder with config/ and the stores. `promotion VERB --help` says more.
    """
    ctx.meta[VERBS] = {verb.script: f"promotion {name}" for name, verb in TABLE.items() if verb.script}

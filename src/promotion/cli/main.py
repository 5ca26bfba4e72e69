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


_VERBS = (
    ("train", "src/models/train.py", "models.train:main", "Train a family's candidates (in a checkout)."),
    (
        "train-ensemble",
        "src/models/train_ensemble.py",
        "models.train_ensemble:main",
        "Train the sales forecast (in a checkout).",
    ),
    (
        "download-data",
        "scripts/download-data.py",
        "models.download_data:download_data_command",
        "Fetch a family's data (in a checkout).",
    ),
    ("promote", "scripts/promote-model.py", "promote", "Promote a version, or with --auto the best."),
    ("list", "", "registry", "List what is registered, and in which stage."),
    ("register", "scripts/register-model.py", "registry", "Record a version that was trained elsewhere."),
    (
        "doctor",
        "scripts/doctor.py",
        "onboarding.doctor",
        "What state installation and registry are in; writes nothing.",
    ),
    ("init", "scripts/init-family.py", "onboarding.init", "Write a first file for a family of models."),
    ("history", "", "registry", "Who moved what, when, why, on what evidence."),
    ("reconcile", "", "registry", "Make MLflow and the journal agree."),
    ("restore", "", "registry", "Put back what was changed past the rules."),
    ("cleanup", "", "registry", "Delete old versions that nothing needs."),
    ("validate", "src/models/validate_model.py", "validate", "Validate a version for Staging."),
    ("predict", "src/models/predict.py", "predict", "Predict, or compare two versions."),
    ("export", "scripts/export-model.py", "delivery.images", "A version as a signed folder."),
    ("build-image", "scripts/build-image.py", "delivery.images", "An exported version as an image."),
    ("test-image", "scripts/test-image.py", "delivery.images", "Try an image, locked down."),
    ("deploy", "scripts/deploy-model.py", "delivery.deploy", "Put an image on Kubernetes."),
    ("transfer", "scripts/transfer-model.py", "delivery.transfer", "A version to another MLflow server."),
    ("plan", "scripts/pipeline-plan.py", "check", "What a pipeline does next."),
    ("monitor", "scripts/monitor-model.py", "monitoring.monitor", "Watch what serves."),
    ("ab-test", "scripts/ab-test.py", "monitoring.ab_test", "Compare champion and challenger on live requests."),
    ("check", "mlops/registry/check_promotion.py", "check", "Ask every gate about a version."),
    ("approve", "mlops/registry/approve_model.py", "approve", "Give, refuse or list approvals."),
    ("move", "mlops/registry/promote_model.py", "rollback", "Move a version from stage to stage."),
    ("rollback", "mlops/registry/rollback_model.py", "rollback", "Back to the version before."),
    ("keys", "scripts/keys.py", "approve", "Keys that people sign approvals with."),
    ("known-bad", "mlops/registry/known_bad.py", "rollback", "Mark a version as known bad, or lift the mark."),
    ("incident", "mlops/registry/report_incident.py", "approve", "Open, close or list incidents."),
    ("report", "scripts/promotion-report.py", "check", "A page for the reviewer of a version."),
    ("page", "scripts/registry-page.py", "check", "Every family on one page."),
    ("compliance", "scripts/compliance-report.py", "audit", "A month for the auditor."),
    ("audit", "scripts/audit.py", "audit", "Prove, show or export the record."),
)
"""Name, script, module below `promotion.cli` (or `module:command` elsewhere) and summary of each subcommand."""


def _place(name: str, module: str) -> str:
    return module if ":" in module else f"promotion.cli.{module}:{name.replace('-', '_')}_command"


TABLE = {name: Verb(script, _place(name, module), summary) for name, script, module, summary in _VERBS}


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

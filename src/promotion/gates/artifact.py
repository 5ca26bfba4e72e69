"""Gates on a version's files: there, unchanged, signed, harmless, complete, and made for the family's columns."""

from __future__ import annotations

from promotion.artifacts.files import MODEL_CARD
from promotion.config.family import FamilyConfig
from promotion.gates.report import ARTIFACT, READY, RUNS, Context, Gate, GateResult

_MEGABYTE = 1e6
_SHOWN = 12


def sandbox_line(config: FamilyConfig) -> str:
    """What the owner of a family writes so that a model which runs code is scored."""
    return f"{config.at('artifacts')}: write `artifacts: {{code: sandbox}}` to have it scored in the sandbox"


def ready(context: Context) -> GateResult:
    """MLflow has finished registering it."""
    status = context.candidate.status
    passed = status == "READY"
    why = "" if passed else "its registration has not finished or failed"
    return GateResult(READY, passed, status, "READY", why, overridable=False)


def kept_gates(context: Context) -> list[Gate]:
    """Run and logged model it comes from are not deleted; asked where one is, as one that is kept proves nothing."""
    return [
        *([_run_is_kept] if context.run_is_deleted else []),
        *([_logged_model_is_kept] if context.logged_model_is_deleted else []),
    ]


def _run_is_kept(context: Context) -> GateResult:
    run = context.candidate.run_id
    why = (
        f"its run {run} is deleted in MLflow, and `mlflow gc` would remove its files: "
        f"mlflow runs restore --run-id {run} (after its experiment, where that is deleted, too)"
    )
    return GateResult("run", passed=False, measured="deleted", required="kept", why=why)


def _logged_model_is_kept(context: Context) -> GateResult:
    why = (
        f"its logged model {context.candidate.logged_model} is deleted in MLflow, which has no command that brings it "
        "back, and `mlflow gc` would remove its files: train or register another version"
    )
    return GateResult("logged model", passed=False, measured="deleted", required="kept", why=why)


def present_and_unchanged(context: Context) -> GateResult:
    """The files are there, and what they were when the journal recorded them first."""
    if context.digest is None:
        return GateResult(
            ARTIFACT, passed=False, measured="none", required="files", why=context.artifact_problem, overridable=False
        )
    measured = f"sha256 {context.digest[:_SHOWN]}"
    if context.recorded_digest not in {None, context.digest}:
        return GateResult(
            ARTIFACT,
            passed=False,
            measured=measured,
            required=f"sha256 {str(context.recorded_digest)[:_SHOWN]}",
            why="the artifact changed after the journal recorded it",
            overridable=False,
        )
    return GateResult(ARTIFACT, passed=True, measured=measured, required="files")


def signature_gates(config: FamilyConfig | None, context: Context) -> list[Gate]:
    """Whether the signature made at registration vouches for every file; asked where one was made, or must be.

    A family that trains here takes its own training's alone, but for a version that comes back: it served before. Nor
    is one asked for of a version that served before the rules came which run it.
    """
    trains_here = config is not None and config.trains_here and not context.is_rollback
    is_older = context.is_rollback and not context.has_run
    needed = trains_here or (config is not None and config.gates.signature == "required" and not is_older)
    return [_signed(config, trains_here=trains_here)] if needed or context.is_signed else []


def _signed(config: FamilyConfig | None, *, trains_here: bool) -> Gate:
    def answer(measured: str, why: str = "") -> GateResult:
        return GateResult("signature", not why, measured, "valid signature", why, overridable=False)

    def gate(context: Context) -> GateResult:
        train = f"train it here (python src/models/train.py --model {config.family})" if config and trains_here else ""
        if context.signature_problem:
            return answer("broken", context.signature_problem)
        if not context.is_signed:
            candidate = context.candidate
            way = (
                train
                or f"python scripts/register-model.py {candidate.model} {candidate.number}, if you know whose it is"
            )
            return answer("none", f"nobody registered it, so nobody vouches for its files: {way}")
        if trains_here and context.registered and context.registered.provenance != "trained":
            advice = context.registered.advice(config.family) if config else ""
            return answer("not of our training", f"{context.registered.story}: {advice or train}")
        return answer("valid")

    return gate


def harmless(context: Context) -> GateResult:
    """Nothing in it would run code when loaded, and no path in it leads outside."""
    found, config = context.unsafe, context.config
    is_received = config is not None and not config.has_contract
    is_boxed = is_received and config is not None and config.artifacts.code == "sandbox"
    measured = "nothing found" if not found else f"{len(found)} found"
    advice = [sandbox_line(config)] if found and is_received and config and not is_boxed else []
    why = "; ".join((*found, *advice, *context.remarks))
    required = "code in the sandbox alone, no escaping path" if is_boxed else "no pickle, no escaping path"
    return GateResult("safe files", not found, measured, required, why, overridable=False)


def scan_gates(context: Context) -> list[Gate]:
    """What the files would do to whoever loads them, of a version that nothing here does: told, and no refusal."""
    return [] if context.scanned is None else [_scanned]


def _scanned(context: Context) -> GateResult:
    found = context.scanned or ()
    measured = f"{len(found)} found" if found else "nothing found"
    return GateResult(
        "files scanned", passed=True, measured=measured, required="told, not loaded", why="; ".join(found)
    )


def runs(context: Context) -> GateResult:
    """It loads, of allowed types only, and answers the family's test rows."""
    measured = "no"
    if context.is_loaded:
        measured = f"scores {context.evaluation.rows} rows" if context.evaluation else "loads (no rows to score)"
    why = "" if context.is_loaded else context.artifact_problem
    return GateResult(RUNS, context.is_loaded, measured, "loads and scores", why, overridable=False)


def size_gates(config: FamilyConfig) -> list[Gate]:
    """The artifact is small enough to deploy."""
    limit = config.gates.artifact_size_mb
    if limit is None:
        return []
    required = f"< {limit:g} MB"

    def gate(context: Context) -> GateResult:
        megabytes = sum(context.files.values()) / _MEGABYTE
        passed = bool(context.files) and megabytes < limit
        return GateResult(
            "artifact size", passed, f"{megabytes:.2f} MB", required, "" if passed else "it is missing or too large"
        )

    return [gate]


def completeness_gates(config: FamilyConfig) -> list[Gate]:
    """Every required file is there and not empty; a model card, where families ask for one."""
    gates: list[Gate] = []
    if config.gates.required_artifacts:
        gates.append(_files_gate("required artifacts", config.gates.required_artifacts))
    if config.gates.documentation:
        gates.append(_files_gate("documentation", [MODEL_CARD]))
    return gates


def _files_gate(name: str, wanted: list[str]) -> Gate:
    def gate(context: Context) -> GateResult:
        missing = [file for file in wanted if not context.files.get(file)]
        measured = f"{len(wanted) - len(missing)} of {len(wanted)}"
        why = f"missing or empty: {', '.join(missing)}" if missing else ""
        return GateResult(name, not missing, measured, ", ".join(wanted), why)

    return gate


def feature_schema(context: Context) -> GateResult:
    """The version takes the family's columns, and these are the approved ones."""
    config = context.config
    view = config.feature_view if config else None
    problems = list(context.schema_problems)
    trained_on = context.entry.feature_hash if context.entry else None
    if trained_on and context.feature_hash and trained_on != context.feature_hash and view:
        problems.append(
            f"it was trained on schema {trained_on[:_SHOWN]}, the family's is {context.feature_hash[:_SHOWN]}"
        )
    if view and context.feature_hash != view.hash:
        problems.append(
            f"the family's columns have changed since view {view.name!r} was approved by {view.approved_by} "
            f"on {view.approved_on}: approve the new hash {context.feature_hash} in feature_view"
        )
    measured = f"hash {str(context.feature_hash)[:_SHOWN]}" if not problems else f"{len(problems)} problems"
    required = f"view {view.name} {view.hash[:_SHOWN]}" if view else "the family's columns"
    return GateResult("feature schema", not problems, measured, required, "; ".join(problems))

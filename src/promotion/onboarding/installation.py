"""Examine this installation, write nothing: versions, rights, clock, journal, keys, sandbox, families, events."""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version

from promotion.approvals.approver_keys import SignerList, without_key
from promotion.audit.chain_check import check_newest
from promotion.audit.findings import AuditFindings
from promotion.config.events import GENERAL, general_receivers
from promotion.config.evidence import RunLimits
from promotion.config.family import FamilyConfigs
from promotion.config.settings import Settings
from promotion.errors import ConfigError, RegistryError, SigningFailed
from promotion.evaluation.received.sandbox import SandboxUnavailable, require_sandbox
from promotion.journal import clock
from promotion.journal.audit_rows import AuditRows
from promotion.journal.journal import Journal
from promotion.journal.systems.outbox import letters
from promotion.onboarding.diagnosis import Diagnosis
from promotion.registry.contract import RegisteredModel, Registry
from promotion.registry.http import MlflowServer
from promotion.registry.stages import Stage
from promotion.signing.keys import Keys
from promotion.signing.signers import revoked_keys
from promotion.signing.ssh import allowed_signers

_ASKED = 10
"""Registered models whose rights are asked about; each takes several requests."""
_EVENTS = 1000
"""The newest events that are held against their hashes; `audit.py verify` takes all."""
_RECONCILE = "python scripts/promote-model.py --reconcile"
_AFFECTED = ("3.0.", "3.1.", "3.2.", "3.3.", "3.4.", "3.5.0")
"""MLflow releases that, on a file store, cannot move a version whose run has metrics."""


def check_versions(address: str | None, diagnosis: Diagnosis) -> None:
    """Which MLflow, which package, which Python.

    Args:
        address: Of the registry; None where it does not answer.
        diagnosis: Is told.
    """
    server = MlflowServer(address).release() if address and address.startswith("http") else None
    told = [f"promotion-layer {_installed('promotion-layer')}", f"MLflow {_installed('mlflow')} here"]
    if server is not None:
        told.append(f"MLflow {server or '(it does not say)'} on the server")
    diagnosis.said["versions"] = ", ".join([*told, f"Python {platform.python_version()}"])
    if server and server.startswith(_AFFECTED):
        diagnosis.remark(
            "versions",
            "server",
            f"MLflow {server}",
            "on a file store it cannot move a version whose run has metrics (RepresenterError)",
            "update the server to 3.5.1 or newer, or keep its data in a database: MLFLOW-WORKAROUND.md",
        )


def check_rights(
    registry: Registry, models: Sequence[RegisteredModel], configs: FamilyConfigs, diagnosis: Diagnosis
) -> None:
    """Whether this account may write what a promotion writes, found by writes that cannot succeed."""
    owned = {model.name for model in models if configs.is_certain(model.name) and configs.owner(model.name)}
    staged = {model.name for model in models if any(version.stage is not Stage.NONE for version in model.versions)}
    names = sorted((model.name for model in models), key=lambda name: (name not in owned, name not in staged, name))
    asked = names[:_ASKED]
    refused = 0
    for name in asked:
        try:
            registry.require_rights(name, deletes=False)
        except RegistryError as error:
            refused += 1
            diagnosis.find(
                "rights",
                "write",
                name,
                f"this account may read and not write it: {error}",
                f"ask the server's administrator for EDIT on {name}, or set MLFLOW_TRACKING_USERNAME to who has it",
            )
            continue
        try:
            registry.require_rights(name, deletes=True)
        except RegistryError as error:
            diagnosis.remark(
                "rights",
                "delete",
                name,
                f"this account may remove neither aliases nor versions of it: {error}",
                f"ask the server's administrator for MANAGE on {name} before an alias has to go, or a cleanup",
            )
    diagnosis.said["rights"] = (
        f"may write {len(asked) - refused} of the {len(asked)} registered models that were asked about"
        if asked
        else "no registered model to ask about"
    )


def check_clock(journal: Journal, diagnosis: Diagnosis) -> None:
    """Whether this machine and the journal's database agree on the time."""
    reading = journal.read_clock()
    where = (
        "this machine's; the journal is a file on it" if journal.database.file else "the database's, and ours agrees"
    )
    diagnosis.said["clock"] = f"{reading.now:%Y-%m-%d %H:%M:%S} UTC, {reading.skew or where}"
    if reading.skew:
        diagnosis.find("clock", "skew", "this machine", reading.skew, "sudo timedatectl set-ntp true")
    if clock.is_set():
        diagnosis.remark(
            "clock",
            "rehearsal",
            clock.VARIABLE,
            "the clock is set by hand: what is recorded counts in no check outside a rehearsal",
            f"unset {clock.VARIABLE}",
        )


def check_journal(settings: Settings, journal: Journal, diagnosis: Diagnosis) -> bool:
    """Whether the record is there, of this version's schema, and its newest events are what was recorded.

    Returns:
        Whether it can be read as it is: one with an older schema would be brought up to date by reading it.
    """
    found, known = journal.database.revisions
    if settings.registry_is_remote and journal.database.file:
        diagnosis.remark(
            "journal",
            "local",
            journal.name,
            "the registry is remote, the journal is a file on this machine: other machines decide for themselves",
            "export PROMOTION_DATABASE_URL=postgresql+psycopg://USER@HOST/DATABASE",
        )
    if found is None:
        diagnosis.said["journal"] = f"none yet at {journal.name}: the first promotion makes it"
        return True
    diagnosis.said["journal"] = f"{journal.name}, schema {found}"
    if found != known:
        what, remedy = (
            (f"schema {found} is newer than this version's {known}", "pip install --upgrade promotion-layer")
            if found > known
            else (f"schema {found} is older than this version's {known}", f"{_RECONCILE} brings it up to date")
        )
        (diagnosis.find if found > known else diagnosis.remark)("journal", "schema", journal.name, what, remedy)
        return False
    if journal.database.file and not os.access(journal.database.file, os.W_OK):
        remedy = f"chmod u+w {journal.database.file}"
        diagnosis.find("journal", "read-only", journal.name, "this account may read and not write it", remedy)
    _check_records(journal, diagnosis)
    return True


def _check_records(journal: Journal, diagnosis: Diagnosis) -> None:
    rows, findings = AuditRows(journal).newest_events(_EVENTS), AuditFindings()
    check_newest(rows, findings)
    last = rows[-1][1] if rows else 0
    diagnosis.said["journal"] += f", {last:,} events; the newest {len(rows):,} were held against their hashes"
    for finding in findings.kept:
        diagnosis.find(
            "journal",
            "chain",
            finding.where,
            finding.what,
            "python scripts/audit.py verify lists all; restore the database from its backup",
        )
    for item in journal.pending():
        diagnosis.find(
            "journal",
            "unfinished",
            item.family,
            f"a move recorded at {item.created_at:%Y-%m-%d %H:%M:%S} UTC is not shown by MLflow yet",
            f"{_RECONCILE} --model {item.family}",
        )


def check_keys(settings: Settings, configs: FamilyConfigs, diagnosis: Diagnosis) -> None:
    """Whether the signing key, the keys that are believed and the list of signers can be used; none is made."""
    try:
        keys = Keys.from_environment()
        if keys.given or keys.private_key.exists():
            keys.signing_key()
            told = f"signing with {keys.private_key}"
        else:
            told = f"none yet at {keys.private_key}: the first registration makes it"
        told += f", {len(keys.trusted())} believed"
    except SigningFailed as error:
        told = "cannot be used"
        file = error.lines[0].partition(":")[0]
        remedy = "see the message; PROMOTION_KEYS or PROMOTION_SIGNING_KEY name others"
        if "is open to others" in str(error):
            remedy = f"chmod 600 {file}"
        diagnosis.find("keys", "signing key", file, str(error).removeprefix(f"{file}: "), remedy)
    signers = SignerList(allowed_signers(settings))
    try:
        listed, problems = signers.lines()
        revoked = revoked_keys(signers.path)
    except SigningFailed as error:
        diagnosis.find("keys", "signers", str(signers.path), str(error), "python scripts/keys.py list")
        listed, problems, revoked = {}, {}, []
    diagnosis.said["keys"] = f"{told}; {len(listed)} signers, {len(revoked)} keys revoked"
    for number, problem in problems.items():
        remedy = "correct or remove the line; python scripts/keys.py list shows what counts"
        diagnosis.find("keys", "signers", f"{signers.path}:{number}", f"does not count: {problem}", remedy)
    for item in without_key(listed, configs.values()):
        diagnosis.remark(
            "keys",
            "approver",
            item["approver"],
            f"has no key, and {item['family']} wants signed approvals of {item['role']}",
            f"python scripts/keys.py new-approver {item['approver']}",
        )


def check_sandbox(configs: FamilyConfigs, diagnosis: Diagnosis) -> None:
    """Whether models that run code can be scored here: the sandbox is started once, with nothing in it."""
    needed = sorted(name for name, config in configs.items() if config.artifacts.code == "sandbox")
    try:
        require_sandbox(RunLimits())
    except SandboxUnavailable as error:
        diagnosis.said["sandbox"] = "does not start"
        note = diagnosis.find if needed else diagnosis.remark
        who = ", ".join(needed) or "no family yet"
        remedy = "apt-get install bubblewrap util-linux, or score on a machine where it runs"
        note("sandbox", "sandbox", f"needed by {who}", str(error), remedy)
        return
    diagnosis.said["sandbox"] = "starts (bubblewrap)"


def check_families(settings: Settings, configs: FamilyConfigs, diagnosis: Diagnosis) -> None:
    """Whether every family's file can be used."""
    diagnosis.said["families"] = f"{len(configs)} in {settings.config_folder}"
    for name, broken in configs.broken.items():
        remedy = (
            f"correct the file (docs/FAMILY-FILE.md has every key), then python scripts/pipeline-plan.py --model {name}"
        )
        diagnosis.find("families", "file", name, broken.summary, remedy)


def check_events(settings: Settings, configs: FamilyConfigs, journal: Journal | None, diagnosis: Diagnosis) -> None:
    """Whether other systems were told of what happened: letters that were given up, and those that wait.

    Where no file names such a system, there is nothing to say.

    Args:
        settings: Says where the families' files are.
        configs: Families by name.
        journal: Holds what is queued; None where it cannot be read.
        diagnosis: Is told.
    """
    try:
        general = general_receivers(settings.config_folder)
    except ConfigError as error:
        diagnosis.said["events"] = "cannot be read"
        diagnosis.find("events", "file", GENERAL, str(error), "correct the file: docs/EVENTS.md has every key")
        return
    named = [*general.values(), *(receiver for config in configs.values() for receiver in config.events.values())]
    waiting = letters(journal) if journal else []
    if not named and not waiting:
        return
    diagnosis.said["events"] = f"{len(named)} receivers, {len(waiting):,} events wait for one"
    variables = {name for it in named for name in (it.url, it.key, it.token) if name}
    for name in sorted(name for name in variables if not os.environ.get(name, "").strip()):
        remedy = f"export {name}=… where events are to be sent from"
        diagnosis.remark("events", "variable", name, "is not set here: its receiver is told by whoever has it", remedy)
    for letter in waiting:
        if letter.error is None:
            continue
        note = diagnosis.find if letter.dead_at else diagnosis.remark
        since = f"given up at {letter.dead_at:%Y-%m-%d %H:%M:%S} UTC" if letter.dead_at else "tried again later"
        problem = f"was not told of event {letter.sequence} in {letter.attempts} attempts, {since}: {letter.error}"
        remedy = f"{_RECONCILE} --model {letter.family} sends it again, once its receiver is well"
        kind = "dead letter" if letter.dead_at else "waiting"
        note("events", kind, f"{letter.family}, {letter.receiver}", problem, remedy)


def _installed(distribution: str) -> str:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return "from its source" if distribution == "promotion-layer" else "not installed"

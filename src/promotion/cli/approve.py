"""What people say of a version, approvals and incidents, and the keys they sign with."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from promotion.approvals.people import actor
from promotion.cli.console import (
    AS_JSON,
    COUNT,
    MODEL_NAME,
    NEW_FILE,
    VERSION,
    command,
    echo,
    echo_json,
    promotions,
    remark_clock,
    say_done,
    say_unsettled,
    talk,
)
from promotion.config.settings import Settings
from promotion.errors import UsageError

if TYPE_CHECKING:
    from promotion.approvals.approver_keys import ApproverKey, SignerList
    from promotion.approving import Approving, Opinion
    from promotion.journal.records import Entry
    from promotion.journal.reviews import Reviews

FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


@command()
@MODEL_NAME
@VERSION
@click.option("--role", help="In which role, as the family's configuration names them.")
@click.option("--approver", metavar="WHO", help="Who says so.")
@click.option("--reject", is_flag=True, help="Against the version.")
@click.option("--comment", help="What was looked at.")
@click.option("--sign", "key", type=FILE, metavar="KEY", help="Sign with this SSH key right here.")
@click.option("--print-statement", is_flag=True, help="Print the text to sign elsewhere; nothing is recorded.")
@click.option("--statement", type=FILE, help="What --print-statement printed.")
@click.option("--signature", type=FILE, help="Its signature, as ssh-keygen wrote it.")
@click.option("--list", "is_listing", is_flag=True, help="Only show what is given and what is missing.")
@AS_JSON
def approve_command(
    *,
    model_name: str,
    version: str,
    role: str | None,
    approver: str | None,
    reject: bool,
    comment: str | None,
    key: Path | None,
    print_statement: bool,
    statement: Path | None,
    signature: Path | None,
    is_listing: bool,
    as_json: bool,
) -> None:
    """Approve or reject a version's way into Production, bound to its artifact and to what the gates find now.

    Exit codes: 0 done, 1 failed, 2 usage or configuration, 3 this person may not say it, or the signature is not
    theirs, 5 it is in Production already.
    """
    opinion = None if is_listing else _opinion(role, approver, comment, is_approved=not reject)
    if (statement is None) != (signature is None) or (statement and (key or print_statement)):
        raise UsageError("--statement and --signature belong together, and replace --sign and --print-statement")
    from promotion.approving import Approving
    from promotion.registration import receive

    service = promotions()
    candidate = service.candidate(service.registered_model(model_name), version)
    if is_listing or print_statement:
        remark_clock(service.journal)
        say_unsettled(service, service.family(candidate.model))
    else:
        service.note_unsettled(service.family(candidate.model))
    if opinion:
        receive(service, candidate)
    approving = Approving(service, service.check(candidate))
    if opinion and print_statement:
        _print(approving.statement(opinion))
        return
    if opinion:
        if statement and signature:
            approving.record_signed(opinion, actor(), statement=_text(statement), signature=_text(signature))
        else:
            approving.record_now(opinion, actor(), key=key)
    _show(approving, opinion, as_json=as_json)


def _opinion(role: str | None, approver: str | None, comment: str | None, *, is_approved: bool) -> Opinion:
    from promotion.approving import Opinion

    if role is None or approver is None or comment is None:
        raise UsageError("say --role, --approver and --comment, or --list (see --help)")
    return Opinion(role, approver, is_approved, comment)


def _print(statement: str) -> None:
    """To the byte: a line break at the end would be signed as well."""
    from promotion.approvals.rules import NAMESPACE

    click.echo(statement, nl=False)
    talk()
    talk("to sign it, save it as statement.json (… --print-statement > statement.json), then:")
    talk(f"   ssh-keygen -Y sign -f ~/.ssh/id_ed25519 -n {NAMESPACE} statement.json")
    talk("and repeat this command with --statement statement.json --signature statement.json.sig")


def _show(approving: Approving, opinion: Opinion | None, *, as_json: bool) -> None:
    from promotion.approving import standing_document, standing_lines
    from promotion.gates import APPROVALS

    plan, standing = approving.plan, approving.standing()
    refused = [gate for gate in plan.report.refusals if gate.name != APPROVALS]
    message = f"Approvals of {plan.candidate} ({plan.report.version}): {len(standing.given)} of "
    message += f"{len(approving.policy.roles)}"
    if opinion:
        decision = "approved" if opinion.approved else "rejected"
        message = f"{plan.candidate} ({plan.report.version}) {decision} by {opinion.approver} for {opinion.role}"
    if as_json:
        told = {gate.name: gate.why or gate.measured for gate in refused}
        echo_json({"exit_code": 0, "message": message, **standing_document(standing), "refused": told})
        return
    echo(f"✅ {message}" if opinion else message)
    echo(*standing_lines(standing))
    for gate in refused:
        talk(
            f"also missing: {gate.name}: {gate.measured}, required {gate.required}"
            + (f"; {gate.why}" if gate.why else ""),
            colour="yellow",
        )


def _text(path: Path) -> str:
    try:
        return path.read_bytes().decode("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path}: not readable as text: {error}") from error


@command()
@click.option("--model-name", "--model", metavar="NAME", help="Registered model, or a family that has just one.")
@click.option("--version", metavar="VERSION", help="Semantic version (1.2.0) or MLflow's number.")
@click.option("--severity", type=click.Choice(["critical", "warning", "info"]), help="How bad; critical ones block.")
@click.option("--summary", help="What is wrong.")
@click.option("--close", "closed", type=COUNT, metavar="ID", help="The incident with this number is settled.")
@click.option("--resolution", help="With --close: how it ended.")
@click.option("--list", "is_listing", is_flag=True, help="Show the open incidents.")
@AS_JSON
def incident_command(
    *,
    model_name: str | None,
    version: str | None,
    severity: str | None,
    summary: str | None,
    closed: int | None,
    resolution: str | None,
    is_listing: bool,
    as_json: bool,
) -> None:
    """Report an incident of a version; an open critical one keeps it out of Production.

    MLflow is not asked, so that an incident can be reported while it is down.

    Exit codes: 0 done, 1 failed, 2 usage or configuration.
    """
    from promotion.journal.reviews import Reviews

    service = promotions()
    reviews = Reviews(service.journal)
    if is_listing:
        remark_clock(service.journal)
        named = service.known_entry(model_name, version) if model_name and version else None
        _list_incidents(reviews, named, as_json=as_json)
    elif closed is not None:
        if not (resolution or "").strip():
            raise UsageError("--close needs --resolution: how the incident ended")
        reviews.close_incident(closed, resolution=resolution or "", actor=actor())
        say_done(f"incident {closed} is closed", as_json=as_json, incident=closed)
    elif model_name and version and severity and (summary or "").strip():
        entry = service.known_entry(model_name, version)
        family = service.journal.family_of(entry)
        number = reviews.open_incident(family, entry, severity=severity, summary=summary or "", actor=actor())
        message = f"incident {number} of {entry} ({entry.version}) is open: {severity}: {summary}"
        say_done(message, as_json=as_json, incident=number)
    else:
        raise UsageError(
            "say --model-name, --version, --severity and --summary, or --close ID --resolution, or --list (see --help)"
        )


def _list_incidents(reviews: Reviews, entry: Entry | None, *, as_json: bool) -> None:
    incidents = reviews.incidents(entry=entry)
    if as_json:
        echo_json([asdict(incident) for incident in incidents], indent=2)
        return
    for incident in incidents:
        echo(
            f"{incident.id}  {incident.opened_at:%Y-%m-%d %H:%M} UTC  {incident.model} v{incident.number}  "
            f"{incident.severity}: {incident.summary} (opened by {incident.opened_by})"
        )
    if not incidents:
        talk("no incident is open")


@command()
@click.argument("action", type=click.Choice(["new-approver", "list"]))
@click.argument("names", nargs=-1, metavar="[EMAIL]...")
@click.option("--key", type=NEW_FILE, help="new-approver: file of the private key [approvers/EMAIL in PROMOTION_KEYS].")
@click.option("--public-key", type=NEW_FILE, help="new-approver: list this key, which the person has already.")
@click.option("--replace", is_flag=True, help="new-approver: put the new key in the place of the old one.")
@AS_JSON
def keys_command(
    *, action: str, names: tuple[str, ...], key: Path | None, public_key: Path | None, replace: bool, as_json: bool
) -> None:
    """Make the SSH keys that people sign approvals with, or list whose key may approve what.

    `new-approver EMAIL` makes an Ed25519 key without a passphrase, outside the repository (ssh-keygen -p -f FILE gives
    it one, ssh-add FILE hands it to the agent), and adds its public half to config/allowed_signers, or to the file
    PROMOTION_ALLOWED_SIGNERS names. A person with a key of their own sends its public half: --public-key.

    Exit codes: 0 done, 1 a file cannot be read or written, 2 usage: no such person, or a key is there already.
    """
    from promotion.approvals.approver_keys import SignerList
    from promotion.signing.ssh import allowed_signers

    settings = Settings.from_environment()
    signers = SignerList(allowed_signers(settings))
    if action == "list":
        if names or key or public_key or replace:
            raise UsageError("list takes no names and no option but --json")
        _list_keys(signers, settings, as_json=as_json)
        return
    if not names or (len(names) > 1 and (key or public_key)) or (key and public_key):
        raise UsageError(
            "new-approver needs the approvers' addresses; one where --key or --public-key names a file, never both"
        )
    made = []
    for name in names:
        made.append(
            signers.add_key(name, public_key, replace=replace)
            if public_key
            else signers.make_key(name, key, replace=replace)
        )
        if not as_json:
            echo(f"✅ {made[-1].principal}  {made[-1].fingerprint}  {made[-1].private_key or ''}".rstrip())
    if as_json:
        echo_json({"exit_code": 0, "signers": str(signers.path), "keys": [_key_document(item) for item in made]})
        return
    talk(f"commit {signers.path}: it says whose signature counts; private keys stay where they are, with their owners")


def _key_document(made: ApproverKey) -> dict[str, str | None]:
    private = str(made.private_key) if made.private_key else None
    return {"principal": made.principal, "fingerprint": made.fingerprint, "private_key": private}


def _list_keys(signers: SignerList, settings: Settings, *, as_json: bool) -> None:
    from promotion.approvals.approver_keys import roles_of, without_key
    from promotion.config.family import load_configs
    from promotion.signing.signers import fingerprint

    families = load_configs(settings.config_folder)
    configs = [config for config in families.values() if config.approvals]
    for broken in families.broken.values():
        talk(f"⚠️ its approvers are left out: {broken.error}", colour="yellow")
    listed, problems = signers.lines()
    people = [
        (signer.principals, fingerprint(signer.key), roles_of(signer.principals, configs)) for signer in listed.values()
    ]
    missing = without_key(listed, configs)
    if as_json:
        keys = [dict(zip(("principals", "fingerprint", "roles"), item, strict=True)) for item in people]
        echo_json({"signers": str(signers.path), "keys": keys, "without_key": missing, "problems": problems})
        return
    for principals, shown, roles in people:
        spoken = "; ".join(f"{family}: {', '.join(names)}" for family, names in roles.items())
        echo(f"{principals}  {shown}  {spoken or 'no role'}")
    if not people:
        talk(f"{signers.path}: no key is listed")
    for number, problem in problems.items():
        talk(f"⚠️ {signers.path}:{number} does not count: {problem}", colour="yellow")
    for item in missing:
        what = f"{item['approver']} has no key, and {item['family']} wants signed approvals of {item['role']}"
        talk(f"⚠️ {what}", colour="yellow")

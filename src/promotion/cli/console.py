"""What every command shares: one line for an expected failure, its exit code, and text any console can show.

Standard output carries data and the documents' output, standard error carries talk. Where the console cannot show a
character (Jenkins agents run with LANG=C) an ASCII replacement is written instead.
"""

from __future__ import annotations

import codecs
import json
import os
import sys
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from io import TextIOWrapper
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, TextIO

import click

from promotion.cli.extras import missing_extra
from promotion.config.printable import is_unicode, printable
from promotion.config.secrets import without_secrets
from promotion.config.settings import Settings, home_notice
from promotion.errors import NothingToDo, PromotionError
from promotion.registry.stages import Stage

if TYPE_CHECKING:
    from promotion.journal.journal import Journal
    from promotion.journal.reader import JournalReader
    from promotion.reconcile.reconciler import Reconciler
    from promotion.service import PromotionService

AS_JSON = click.option("--json", "as_json", is_flag=True, help="Data on standard output, as JSON.")
ONLY_FAMILY = click.option("--model", "family", metavar="FAMILY", help="Only this family.")
REASON = click.option("--reason", help="Why; goes into the record.")
MODEL_NAME = click.option(
    "--model-name", "--model", required=True, metavar="NAME", help="Registered model, or a family that has just one."
)
VERSION = click.option(
    "--version", required=True, metavar="VERSION", help="Semantic version (1.2.0) or MLflow's number."
)
TO_STAGE = click.option(
    "--to-stage",
    type=click.Choice([Stage.STAGING.status, Stage.PRODUCTION.status], case_sensitive=False),
    default=Stage.PRODUCTION.status,
    show_default=True,
    help="Where it wants to go.",
)

Steps = Callable[[str, int, int], None]
"""Told a task, how many of its steps are done, and how many there are at most; 0 where nobody knows."""

COUNT = click.IntRange(min=1, max=2**31 - 1)
"""A number of rows, or of a row, that databases can count."""
MOMENT = click.DateTime(["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S"])
NEW_FILE = click.Path(dir_okay=False, path_type=Path)

INTERRUPTED = 130
FAILED = 1
_LONGEST_PATH = 200
VERBS = "promotion.verbs"
"""Where a click context keeps what stands for each script."""

# Keys are single code points: the encoder hands over what it cannot encode one run at a time.
ASCII_REPLACEMENTS = {
    "\N{BAR CHART}": "[#]",
    "\N{CLIPBOARD}": "[=]",
    "\N{PACKAGE}": "[*]",
    "\N{TROPHY}": "[P]",
    "\N{PUSHPIN}": "[-]",
    "\N{LEFT-POINTING MAGNIFYING GLASS}": "[?]",
    "\N{RIGHT-POINTING MAGNIFYING GLASS}": "[?]",
    "\N{ROCKET}": "[>]",
    "\N{WHITE HEAVY CHECK MARK}": "[ok]",
    "\N{CHECK MARK}": "ok",
    "\N{HEAVY CHECK MARK}": "ok",
    "\N{CROSS MARK}": "[x]",
    "\N{BALLOT X}": "x",
    "\N{MULTIPLICATION X}": "x",
    "\N{WARNING SIGN}": "[!]",
    "\N{INFORMATION SOURCE}": "[i]",
    "\N{ROBOT FACE}": "[auto]",
    "\N{TEST TUBE}": "[S]",
    "\N{PERFORMING ARTS}": "[S]",
    "\N{ANTICLOCKWISE DOWNWARDS AND UPWARDS OPEN CIRCLE ARROWS}": "[~]",
    "\N{CARD FILE BOX}": "[A]",
    "\N{FILE CABINET}": "[A]",
    "\N{SCROLL}": "[h]",
    "\N{HOURGLASS WITH FLOWING SAND}": "[.]",
    "\N{STOPWATCH}": "[t]",
    "\N{LOCK}": "[lock]",
    "\N{SPARKLES}": "*",
    "\N{PARTY POPPER}": "*",
    "\N{VARIATION SELECTOR-16}": "",
    "\N{RIGHTWARDS ARROW}": "->",
    "\N{LEFTWARDS ARROW}": "<-",
    "\N{UPWARDS ARROW}": "^",
    "\N{DOWNWARDS ARROW}": "v",
    "\N{LEFT RIGHT ARROW}": "<->",
    "\N{EN DASH}": "-",
    "\N{EM DASH}": "-",
    "\N{MINUS SIGN}": "-",
    "\N{PLUS-MINUS SIGN}": "+/-",
    "\N{MULTIPLICATION SIGN}": "x",
    "\N{GREATER-THAN OR EQUAL TO}": ">=",
    "\N{LESS-THAN OR EQUAL TO}": "<=",
    "\N{BULLET}": "*",
    "\N{MIDDLE DOT}": "-",
    "\N{HORIZONTAL ELLIPSIS}": "...",
    "\N{NO-BREAK SPACE}": " ",
    "\N{BOX DRAWINGS LIGHT HORIZONTAL}": "-",
    "\N{BOX DRAWINGS HEAVY HORIZONTAL}": "=",
    "\N{BOX DRAWINGS DOUBLE HORIZONTAL}": "=",
    "\N{BOX DRAWINGS LIGHT VERTICAL}": "|",
    "\N{BOX DRAWINGS HEAVY VERTICAL}": "|",
    "\N{FULL BLOCK}": "#",
    "\N{LATIN SMALL LETTER SHARP S}": "ss",
}
# What CPython writes into LC_CTYPE when it finds the C locale (PEP 538).
_COERCED = {"c.utf-8", "c.utf8", "utf-8"}
_ERRORS = "promotion.ascii"
_BOX_DRAWING = range(0x2500, 0x2580)


def to_ascii(text: str) -> str:
    """Spell `text` in ASCII: the table first, then the base letter, then a question mark."""
    return "".join(_spell(character) for character in text)


def _spell(character: str) -> str:
    if character.isascii():
        return character
    if character in ASCII_REPLACEMENTS:
        return ASCII_REPLACEMENTS[character]
    if ord(character) in _BOX_DRAWING:
        return "+"
    base = unicodedata.normalize("NFKD", character).encode("ascii", "ignore").decode("ascii")
    return base or "?"


def _replace_unencodable(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return to_ascii(error.object[error.start : error.end]), error.end


codecs.register_error(_ERRORS, _replace_unencodable)


def is_plain_locale() -> bool:
    """Whether the environment asks for ASCII: the first of LC_ALL, LC_CTYPE and LANG that is set says C or POSIX.

    Python may write UTF-8 all the same under such a locale, the console that reads it will not. PYTHONIOENCODING and
    PYTHONUTF8=1 are a person's own word and win.
    """
    if os.environ.get("PYTHONIOENCODING") or os.environ.get("PYTHONUTF8") == "1":
        return False
    character_set = os.environ.get("LC_CTYPE", "")
    if character_set.lower() in _COERCED:
        character_set = ""
    locale = os.environ.get("LC_ALL") or character_set or os.environ.get("LANG", "")
    return locale in {"C", "POSIX"}


def fit(stream: TextIO | IO[str]) -> None:
    """Make `stream` write ASCII replacements instead of failing on, or garbling, what its console cannot show."""
    if isinstance(stream, TextIOWrapper) and stream.errors != _ERRORS:
        stream.reconfigure(encoding="ascii" if is_plain_locale() else None, errors=_ERRORS)


def is_coloured(stream: TextIO | IO[str]) -> bool:
    """Whether to send colours: only to a terminal, and never against NO_COLOR (https://no-color.org)."""
    return stream.isatty() and not os.environ.get("NO_COLOR")


def echo(*lines: str) -> None:
    """Write lines of data to standard output; what stands in a line stays in it, whoever wrote it."""
    for line in lines or ("",):
        _write(printable(line), sys.stdout)


def echo_json(document: Any, **options: Any) -> None:
    """Write a JSON document to standard output.

    Args:
        document: Plain data; what JSON does not know is written as text.
        options: Of `json.dumps`.
    """
    # A break comes from the indent alone; JSON spells those inside texts, and reads what is spelled here.
    _write(printable(json.dumps(document, **{"default": str, **options}), keep="\n"), sys.stdout)


def say_done(message: str, *, as_json: bool, **facts: Any) -> None:
    """Say what was done, in a line or as JSON with what more there is to know of it."""
    if as_json:
        echo_json({"exit_code": 0, "message": message, **facts})
    else:
        echo(f"✅ {message}")


def talk(*lines: str, colour: str | None = None) -> None:
    """Write lines for the person watching to standard error, after everything already written."""
    _flush(sys.stdout)
    for line in lines or ("",):
        text = printable(with_verbs(line))
        _write(click.style(text, fg=colour) if colour else text, sys.stderr)


def with_verbs(text: str) -> str:
    """Name commands as this process was called: `promotion VERB` where that was the command, and no script."""
    context = click.get_current_context(silent=True)
    for script, verb in context.meta.get(VERBS, {}).items() if context else ():
        text = text.replace(f"python {script}", verb)
    return text


def promotions(family: str | None = None) -> PromotionService:
    """The service on the places the environment names, telling the person what it does.

    Args:
        family: Must be one it knows.
    """
    from promotion.bootstrap import open_promotions

    service = open_promotions(Settings.from_environment(), report=talk)
    if family:
        service.require_family(family)
    return service


def open_record(settings: Settings) -> Journal:
    """The journal, for a command that only looks; see `remark_clock`."""
    from promotion.journal.database import Database
    from promotion.journal.journal import Journal

    journal = Journal(Database(settings.database_url))
    remark_clock(journal)
    return journal


def remark_clock(journal: JournalReader) -> None:
    """Tell whoever only looks that this machine's clock is not the journal's; whoever moves something is refused."""
    if skew := journal.read_clock().skew:
        talk(f"⚠️ {skew}; the database's counts, and commands that move something refuse", colour="yellow")


def say_unsettled(service: Reconciler, family: str) -> None:
    """Tell what was changed outside, which a command that only looks leaves as it is."""
    found = service.unsettled(family)
    if found.lines:
        talk(str(found), colour="red" if found.is_quarantined else "yellow")
    if remark := service.run_remark(family):
        talk(remark, colour="yellow")


@contextmanager
def task_bars(
    plainly: Callable[[], Steps] | None = None, *, starting: str = "", transient: bool = True, in_bytes: bool = False
) -> Iterator[Steps]:
    """Show how far each of several tasks is: a bar each on a terminal.

    Args:
        plainly: Makes what is told of every step where there is no terminal; without it nobody is told there.
        starting: Shown until the first task begins.
        transient: Whether the bars vanish at the end.
        in_bytes: Whether steps are bytes, which are shown as MB or GB.
    """
    fit(sys.stderr)
    if not sys.stderr.isatty():
        yield plainly() if plainly else lambda _task, _done, _total: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    done = DownloadColumn() if in_bytes else MofNCompleteColumn()
    columns = (TextColumn("{task.description:<24}"), BarColumn(), done, TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=transient) as bars:
        waiting = [bars.add_task(starting, total=None)] if starting else []
        tasks: dict[str, Any] = {}

        def show(task: str, done: int, total: int) -> None:
            while waiting:
                bars.remove_task(waiting.pop())
            if task not in tasks:
                tasks[task] = bars.add_task(task, total=total or None)
            bars.update(tasks[task], completed=done, total=total or None)

        yield show


def _write(text: str, stream: TextIO) -> None:
    fit(stream)
    try:
        click.echo(text, file=stream, color=is_coloured(stream))
    except BrokenPipeError:
        _mute(stream)


def _flush(stream: TextIO) -> None:
    try:
        stream.flush()
    except BrokenPipeError:
        _mute(stream)


def _mute(stream: TextIO) -> None:
    """Send the rest nowhere: a reader that went away (`… | head -1`) must not stop a promotion half way."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, stream.fileno())
    os.close(nowhere)


class Command(click.Command):
    """A click command that reports failures as one line and answers with the documented exit code."""

    def main(self, *args: Any, **kwargs: Any) -> Any:
        """Run the command; see `click.Command.main`."""
        fit(sys.stdout)
        fit(sys.stderr)
        return super().main(*args, **kwargs)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Read the options; what is wrong with one is said without what it may hide."""
        try:
            _require_text(args)
            left = super().parse_args(ctx, args)
            self._require_files(ctx)
        except click.UsageError as error:
            raise click.UsageError(printable(error.format_message()), error.ctx or ctx) from error
        return left

    def _require_files(self, ctx: click.Context) -> None:
        """Where a file is asked for, nothing is not the present folder."""
        for option in self.params:
            is_file = isinstance(option.type, click.Path) and not option.type.dir_okay
            if is_file and ctx.params.get(option.name or "") == Path():
                raise click.BadParameter("expected a file", ctx, option)

    def invoke(self, ctx: click.Context) -> Any:
        """Call the function; expected failures end as one red line, unexpected ones name their class."""
        try:
            if notice := home_notice():
                talk(notice)
            result = super().invoke(ctx)
            _flush(sys.stdout)
        except (click.ClickException, click.exceptions.Exit, click.Abort):
            raise
        except PromotionError as error:
            self._refuse(ctx, error, error.exit_code)
        except KeyboardInterrupt as error:
            self._refuse(ctx, error, INTERRUPTED)
        except Exception as error:  # noqa: BLE001  # the last line of defence: no raw traceback for an operator
            if missing := missing_extra(error, ctx.command_path):
                self._refuse(ctx, missing, missing.exit_code)
            self._refuse(ctx, error, FAILED)
        else:
            return result

    @staticmethod
    def _refuse(ctx: click.Context, error: BaseException, exit_code: int) -> None:
        if ctx.meta.get(__name__):
            raise error
        lines = failure_lines(error)
        if ctx.params.get("as_json"):
            details = error.details if isinstance(error, PromotionError) else {}
            echo_json({"exit_code": exit_code, "message": "\n".join(lines), **details})
        talk(*lines, colour="yellow" if isinstance(error, NothingToDo) else "red")
        ctx.exit(exit_code)


def _require_text(arguments: Sequence[str]) -> None:
    """Bytes of the command line that are no UTF-8 can be neither recorded nor shown."""
    for argument in arguments:
        if not is_unicode(argument):
            raise click.UsageError(f"{argument!a}: no text in UTF-8: type it again")


def failure_lines(error: BaseException) -> list[str]:
    """A failure in words, without secrets: libraries quote what they were given, in errors that were expected, too."""
    if isinstance(error, KeyboardInterrupt):
        return ["interrupted"]
    lines = error.lines if isinstance(error, PromotionError) else [_unexpected(error)]
    return [without_secrets(line) for line in lines]


def _unexpected(error: BaseException) -> str:
    """What nobody foresaw, in one line; the system's own failures say what they are about."""
    if isinstance(error, OSError) and error.filename is not None:
        return f"{_shortened(error.filename)}: {error.strerror}: check the path, its rights and the disk"
    return f"unexpected {type(error).__name__}: {' '.join(str(error).split())} (--traceback shows more)"


def _shortened(path: object) -> str:
    text = os.fsdecode(path) if isinstance(path, bytes | str | os.PathLike) else str(path)
    return text if len(text) <= _LONGEST_PATH else f"{text[:_LONGEST_PATH]}…"


def _remember_traceback(ctx: click.Context, _parameter: click.Parameter, value: bool) -> None:  # noqa: FBT001  # click's
    ctx.meta[__name__] = value


def command(name: str | None = None, **attributes: Any) -> Callable[[Callable[..., Any]], Command]:
    """Turn a function into a `click` command with `--traceback`.

    Args:
        name: The command's name; the function's by default.
        attributes: Passed on to `click.command`.
    """

    def decorate(function: Callable[..., Any]) -> Command:
        with_traceback = click.option(
            "--traceback",
            is_flag=True,
            expose_value=False,
            is_eager=True,
            callback=_remember_traceback,
            help="Show the full traceback of a failure.",
        )(function)
        return click.command(name, cls=Command, **attributes)(with_traceback)

    return decorate

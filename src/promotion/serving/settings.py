"""The environment variables, all read and checked once, before a socket is opened."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from promotion.serving.errors import ConfigurationError

LOG_LEVELS = ("critical", "error", "warning", "info", "debug")
MEGABYTE = 1024 * 1024


@dataclass(frozen=True, slots=True)
class LogSettings:
    """Where predictions are recorded.

    Attributes:
        path: JSON-lines file.
        sample: Share of the requests that are recorded, 0 to 1.
        max_bytes: Size at which the file is set aside and a new one begun.
        backups: Files set aside that are kept.
    """

    path: Path
    sample: float
    max_bytes: int
    backups: int


@dataclass(frozen=True, slots=True)
class ServerSettings:
    """What the environment says.

    Attributes:
        model: Exported folder.
        host: Address to listen on.
        port: Port to listen on; 0 lets the system choose.
        api_key: What prediction requests must present; None lets everybody in.
        max_batch: Most rows in a request.
        max_body_bytes: Largest body of a request.
        shutdown_seconds: How long requests in flight may take once the server is asked to stop.
        log_level: Of the server's own messages on stderr.
        image: Reference of the image this runs in, only told on.
        predictions: The prediction log, if there is one.
        challenger: Exported folder of the challenger, if there is one.
        challenger_percent: Share of the keys the challenger answers, 0 to 100; None: it only shadows.
    """

    model: Path
    host: str
    port: int
    api_key: str | None
    max_batch: int
    max_body_bytes: int
    shutdown_seconds: int
    log_level: str
    image: str | None
    predictions: LogSettings | None
    challenger: Path | None
    challenger_percent: float | None

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> ServerSettings:
        """Read the variables.

        Args:
            environment: Usually `os.environ`; an empty value counts as unset.

        Raises:
            ConfigurationError: A value is malformed, or two contradict each other.
        """
        given = {name: value for name, value in environment.items() if value}
        challenger, percent = _challenger(given)
        level = given.get("LOG_LEVEL", "info").lower()
        if level not in LOG_LEVELS:
            raise ConfigurationError(f"LOG_LEVEL is {level!r}; expected one of {', '.join(LOG_LEVELS)}")
        return cls(
            model=Path(given.get("MODEL_DIR", "/model")),
            host=given.get("HOST", "0.0.0.0"),  # noqa: S104 - a container is reached from outside it
            port=_whole(given, "PORT", 8080, 0, 65535),
            api_key=_api_key(given),
            max_batch=_whole(given, "MAX_BATCH", 10_000, 1, 10_000_000),
            max_body_bytes=_whole(given, "MAX_BODY_BYTES", 16 * MEGABYTE, 1, 2**31),
            shutdown_seconds=_whole(given, "SHUTDOWN_SECONDS", 20, 0, 3600),
            log_level=level,
            image=given.get("IMAGE"),
            predictions=_predictions(given),
            challenger=challenger,
            challenger_percent=percent,
        )


def _challenger(given: Mapping[str, str]) -> tuple[Path | None, float | None]:
    shadow, split = given.get("SHADOW_MODEL"), given.get("AB_MODEL")
    if shadow and split:
        raise ConfigurationError("SHADOW_MODEL and AB_MODEL are both set; a challenger shadows or answers: unset one")
    if split and "AB_PERCENT" not in given:
        raise ConfigurationError("AB_MODEL is set without AB_PERCENT; say which share of the keys it answers, 0 to 100")
    if "AB_PERCENT" in given and not split:
        raise ConfigurationError("AB_PERCENT is set without AB_MODEL; name the challenger's exported folder")
    if shadow:
        return Path(shadow), None
    return (Path(split), _number(given, "AB_PERCENT", 0, 100)) if split else (None, None)


def _predictions(given: Mapping[str, str]) -> LogSettings | None:
    if "PREDICTION_LOG" not in given:
        return None
    return LogSettings(
        path=Path(given["PREDICTION_LOG"]),
        sample=_number(given, "PREDICTION_LOG_SAMPLE", 0, 1, default=1),
        max_bytes=_whole(given, "PREDICTION_LOG_MAX_BYTES", 100 * MEGABYTE, 1024, 2**40),
        backups=_whole(given, "PREDICTION_LOG_BACKUPS", 5, 1, 1000),
    )


def _api_key(given: Mapping[str, str]) -> str | None:
    if "API_KEY" in given and "API_KEY_FILE" in given:
        raise ConfigurationError("API_KEY and API_KEY_FILE are both set; unset one")
    if "API_KEY_FILE" not in given:
        return given.get("API_KEY")
    path = Path(given["API_KEY_FILE"])
    try:
        key = path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"API_KEY_FILE: {path} cannot be read: {error}") from error
    if not key:
        raise ConfigurationError(f"API_KEY_FILE: {path} is empty; put the key there, or unset the variable")
    return key


def _whole(given: Mapping[str, str], name: str, default: int, minimum: int, maximum: int) -> int:
    text = given.get(name, str(default))
    if not (text.isascii() and text.isdecimal() and minimum <= int(text) <= maximum):
        raise ConfigurationError(f"{name} is {text!r}; expected a whole number from {minimum} to {maximum}")
    return int(text)


def _number(given: Mapping[str, str], name: str, minimum: float, maximum: float, default: float = 0) -> float:
    text = given.get(name, str(default))
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not minimum <= value <= maximum:
        raise ConfigurationError(f"{name} is {text!r}; expected a number from {minimum:g} to {maximum:g}")
    return value

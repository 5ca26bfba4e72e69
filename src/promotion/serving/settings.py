"""The environment variables, all read and checked once, before a socket is opened."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from promotion.serving.errors import ConfigurationError

MEGABYTE = 1024 * 1024


def _whole(variable: str, default: int, low: int, high: int) -> Any:
    return Field(default, alias=variable, ge=low, le=high, description=f"a whole number from {low} to {high}")


def _number(variable: str, default: float | None, high: int) -> Any:
    words = f"a number from 0 to {high}"
    return Field(default, alias=variable, ge=0, le=high, allow_inf_nan=False, description=words)


class _Variables(BaseModel):
    """Fields whose aliases are environment variables; a field's description says what its variable takes."""

    model_config = ConfigDict(frozen=True)

    @classmethod
    def read(cls, given: Mapping[str, object]) -> Self:
        try:
            return cls.model_validate(given)
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            expected = {field.alias: field.description for field in cls.model_fields.values()}
            name = str(first["loc"][0])
            raise ConfigurationError(f"{name} is {first['input']!r}; expected {expected[name]}") from error


class LogSettings(_Variables):
    """Where predictions are recorded.

    Attributes:
        path: JSON-lines file.
        sample: Share of the requests that are recorded, 0 to 1.
        max_bytes: Size at which the file is set aside and a new one begun.
        backups: Files set aside that are kept.
    """

    path: Path = Field(alias="PREDICTION_LOG")
    sample: float = _number("PREDICTION_LOG_SAMPLE", 1, 1)
    max_bytes: int = _whole("PREDICTION_LOG_MAX_BYTES", 100 * MEGABYTE, 1024, 2**40)
    backups: int = _whole("PREDICTION_LOG_BACKUPS", 5, 1, 1000)


class ServerSettings(_Variables):
    """What the environment says.

    Attributes:
        model: Exported folder.
        trusted: Folder of the public keys of which one must have signed what is served; None: no signature is checked.
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
        challenger_timeout_ms: How long its answer may take before the champion answers.
    """

    model: Path = Field(Path("/model"), alias="MODEL_DIR")
    trusted: Path | None = Field(None, alias="TRUSTED_KEYS")
    host: str = Field("0.0.0.0", alias="HOST")  # noqa: S104  # a container is reached from outside it
    port: int = _whole("PORT", 8080, 0, 65535)
    api_key: str | None = Field(None, alias="API_KEY")
    max_batch: int = _whole("MAX_BATCH", 10_000, 1, 10_000_000)
    max_body_bytes: int = _whole("MAX_BODY_BYTES", 16 * MEGABYTE, 1, 2**31)
    shutdown_seconds: int = _whole("SHUTDOWN_SECONDS", 20, 0, 3600)
    log_level: Literal["critical", "error", "warning", "info", "debug"] = Field(
        "info", alias="LOG_LEVEL", description="one of critical, error, warning, info, debug"
    )
    image: str | None = Field(None, alias="IMAGE")
    predictions: LogSettings | None = None
    challenger: Path | None = None
    challenger_percent: float | None = _number("AB_PERCENT", None, 100)
    challenger_timeout_ms: int = _whole("CHALLENGER_TIMEOUT_MS", 100, 1, 60_000)

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> Self:
        """Read the variables.

        Args:
            environment: Usually `os.environ`; an empty value counts as unset.

        Raises:
            ConfigurationError: A value is malformed, or two contradict each other.
        """
        given = {name: value for name, value in environment.items() if value}
        return cls.read(
            given
            | {
                "API_KEY": _api_key(given),
                "LOG_LEVEL": given.get("LOG_LEVEL", "info").lower(),
                "challenger": _challenger(given),
                "predictions": LogSettings.read(given) if "PREDICTION_LOG" in given else None,
            }
        )


def _challenger(given: Mapping[str, str]) -> Path | None:
    shadow, split = given.get("SHADOW_MODEL"), given.get("AB_MODEL")
    if shadow and split:
        raise ConfigurationError("SHADOW_MODEL and AB_MODEL are both set; a challenger shadows or answers: unset one")
    if split and "AB_PERCENT" not in given:
        raise ConfigurationError("AB_MODEL is set without AB_PERCENT; say which share of the keys it answers, 0 to 100")
    if "AB_PERCENT" in given and not split:
        raise ConfigurationError("AB_PERCENT is set without AB_MODEL; name the challenger's exported folder")
    challenger = shadow or split
    return Path(challenger) if challenger else None


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

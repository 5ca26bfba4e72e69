"""Which extra of the distribution brings a package that is not there."""

from __future__ import annotations

from promotion.errors import UsageError

EXTRA_OF = {
    "apprise": "monitor",
    "catboost": "train",
    "fsspec": "evaluate",
    "lightgbm": "train",
    "matplotlib": "train",
    "onnx": "export",
    "onnxmltools": "export",
    "onnxruntime": "export",
    "psutil": "train",
    "psycopg": "postgres",
    "py4j": "spark",
    "pyspark": "spark",
    "s3fs": "s3",
    "skl2onnx": "export",
    "xgboost": "train",
}
"""By the name that is imported; what the core brings is not here."""


class ExtraMissing(UsageError):
    """What was asked for needs a package that only an extra installs."""


def missing_extra(error: BaseException, command: str) -> ExtraMissing | None:
    """Say in one line what to install, where the failure is a package that an extra brings; else None.

    Args:
        error: What was raised; a library may have wrapped it.
        command: What a person ran.
    """
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ModuleNotFoundError):
            package = (cause.name or "").partition(".")[0]
            if extra := EXTRA_OF.get(package):
                return ExtraMissing(
                    f"{command} needs the extra: pip install 'promotion-layer[{extra}]' ({package} is not installed)"
                )
        cause = cause.__cause__ or cause.__context__
    return None

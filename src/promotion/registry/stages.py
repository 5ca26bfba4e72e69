"""The four places a model version can be in, as MLflow and as the journal spell them."""

from __future__ import annotations

from enum import StrEnum
from typing import Self


class Stage(StrEnum):
    """A stage, spelt as MLflow spells it.

    The journal stores `status`, the lower-case spelling of document 004's tables.
    """

    NONE = "None"
    STAGING = "Staging"
    PRODUCTION = "Production"
    ARCHIVED = "Archived"

    @property
    def status(self) -> str:
        """The journal's spelling: `none`, `staging`, `production`, `archived`."""
        return self.value.lower()

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a stage in any case.

        Raises:
            ValueError: `text` is none of the four stages.
        """
        try:
            return cls(text.strip().capitalize())
        except ValueError as error:
            raise ValueError(f"unknown stage {text!r}: expected one of {', '.join(cls)}") from error

"""What a family's file says where its models are trained here: rows and their contract, target, split, candidates."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, WithJsonSchema, model_validator

from promotion.config.values import Strict, contradiction, listed

Fraction = Annotated[float, Field(ge=0, le=1)]
Columns = Annotated[
    list[str],
    BeforeValidator(listed("the name of a column")),
    WithJsonSchema({"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]}),
]
ParameterValue = bool | int | float | str | None


class Column(Strict):
    """What one column may hold.

    Attributes:
        type: `number`, `integer`, `boolean` (true and false, yes and no, 1 and 0), `code` (one of `codes`, an integer),
            `label` (one of `labels`, a text), or `date`, a day such as 2024-03-09: year, month, weekday and days since
            1970-01-01 are learned from. An `identifier` names a row, uniquely; `ignored` only has to be there: no
            features both.
        minimum: Smallest allowed value, inclusive.
        maximum: Largest allowed value, inclusive.
        codes: The allowed values of a `code` column.
        labels: The values of a `label` column; of the target each stands for its position.
        unknown: What is done with a text of a feature that is none of `labels`: the row is refused, or answered as one
            of no label at all (`other`).
        max_missing: Largest allowed share of empty cells.
        unit: Physical unit, for documentation.
        description: What is measured, for documentation.
        hint: What to tell a person whose file breaks the rule.
    """

    type: Literal["number", "integer", "boolean", "code", "label", "date", "identifier", "ignored"]
    minimum: float | None = None
    maximum: float | None = None
    codes: list[int] | None = None
    labels: list[str] | None = None
    unknown: Literal["refuse", "other"] = "refuse"
    max_missing: Fraction = 0.0
    unit: str | None = None
    description: str = ""
    hint: str | None = None

    @model_validator(mode="after")
    def _values_belong_to_their_type(self) -> Column:
        for kind, values in (("code", self.codes), ("label", self.labels)):
            if (self.type == kind) != (values is not None):
                raise contradiction(
                    f"a column of type {kind} lists its {kind}s, other columns have none; correct type or values"
                )
        if self.unknown == "other" and self.type != "label":
            raise contradiction("only a column of type label knows others; remove it", "unknown")
        return self


class Data(Strict):
    """Where the rows come from and the contract they must keep.

    Attributes:
        path: CSV or Parquet file, relative to the project's home; a CSV may be packed (`.gz`, `.bz2`, `.xz`, `.zip`).
        url: Where `download-data.py` fetches it.
        generator: What makes the file where it is missing, one of those in `models.data.sources`; never with a URL.
        sha256: Digest the file must have.
        licence: Terms and attribution, shown with the data.
        allow_duplicates: Whether two rows may agree in every value, and in the columns that decide the split.
        delimiter: What separates the columns of the file.
        encoding: Of the file's text, such as `latin-1` or `cp1252`.
        decimal: What separates a number's whole part from its fraction, also in rows to predict.
        na_values: Cells that are missing, beside empty ones and `NA`, `NaN`, `null`, `None`, also in rows to predict.
        columns: Every column of the file, the target included.
    """

    path: str
    url: str | None = None
    generator: str | None = None
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")] | None = None
    licence: str = ""
    allow_duplicates: bool = False
    delimiter: Annotated[str, Field(pattern=r"^[^\w\s\".+-]$|^\t$|^ $")] = ","
    encoding: str = "utf-8"
    decimal: Literal[".", ","] = "."
    na_values: list[str] = Field(default_factory=list)
    columns: dict[str, Column]

    @model_validator(mode="after")
    def _is_written_in_a_known_way(self) -> Data:
        try:
            "".encode(self.encoding)
        except (LookupError, UnicodeError) as error:
            raise contradiction(
                f"{self.encoding!r} is no encoding of texts; write one such as utf-8, latin-1, cp1252 or utf-16",
                "encoding",
            ) from error
        return self

    @model_validator(mode="after")
    def _has_one_source(self) -> Data:
        if self.url is not None and self.generator is not None:
            raise contradiction("url and generator exclude each other; keep one", "generator")
        return self


class TargetColumn(Strict):
    """The column to predict.

    Attributes:
        column: Its name. In a multiclass task its labels or codes are the classes, in the file's order; in a regression
            it is a number.
        positive_above: In a binary task every value above this is the positive class; a label counts by its position.
    """

    column: str
    positive_above: float | None = None


class Split(Strict):
    """The test split, drawn once: at random and stratified by class, unless a key says what rows belong together.

    Attributes:
        test_size: Share of the rows that nothing is learned from.
        seed: Of the split, of the folds and of the algorithms.
        groups: Column of what belongs together, such as a patient: never on both sides of the split, nor of a fold.
        time: Column of dates or numbers that says when: the newest rows are the test rows, and each fold foretells a
            window from what came before it.
        stratify: Columns whose values are spread alike over all parts, beside the classes.
    """

    test_size: Annotated[float, Field(gt=0, lt=1)] = 0.2
    seed: int = 42
    groups: str | None = None
    time: str | None = None
    stratify: Columns = Field(default_factory=list)

    @model_validator(mode="after")
    def _is_drawn_one_way(self) -> Split:
        if self.time is not None and (self.groups is not None or self.stratify):
            raise contradiction("rows are split by time alone; remove groups and stratify, or time", "time")
        return self

    @property
    def columns(self) -> list[str]:
        """Every column that decides."""
        return [name for name in (self.groups, self.time, *self.stratify) if name is not None]

    def recorded(self) -> dict[str, Any]:
        """What of it a registration keeps, so that it can be compared."""
        return self.model_dump(exclude_none=True, exclude={"stratify"} if not self.stratify else None)


class CrossValidation(Strict):
    """Repeated stratified k-fold on the training part; by group or by time where the split is.

    Attributes:
        folds: Parts of one repetition.
        repeats: How often the parts are drawn anew; windows of time are looked at once.
    """

    folds: Annotated[int, Field(ge=2)] = 5
    repeats: Annotated[int, Field(ge=1)] = 5


class Candidate(Strict):
    """One algorithm.

    `random_forest`, `gradient_boosting`, `hist_gradient_boosting`, `lightgbm`, `xgboost` and `catboost` learn every
    table, `logistic_regression` classes, `ridge` numbers.

    Attributes:
        params: Its hyper-parameters, under the names its library gives them.
    """

    params: dict[str, ParameterValue] = Field(default_factory=dict)

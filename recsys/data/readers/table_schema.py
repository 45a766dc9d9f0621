r"""What the columns of a user's own table are, as written in YAML.

For example::

    label: clicked
    dense: [age, {name: price, missing: 0, log: true}]
    categorical: [country, {name: item, encoding: "hash:100000"}]
    multi_valued: [{name: tags, separator: "|"}]
    group: user
    time: {name: at, format: "%Y-%m-%d %H:%M:%S"}

Text files may need more::

    header: [clicked, age, price, country, item, tags, user, at]   # the file has none
    delimiter: "\t"
    null_values: ["NULL", "\\N", "-"]                               # beside the empty field
    true_values: ["yes"]                                           # of labels and numbers
    false_values: ["no"]
"""

from __future__ import annotations

import re
from collections import Counter
from typing import Annotated, Any

from pydantic import Field, field_validator, model_validator

from recsys.data.encoding import Encoding
from recsys.errors import ConfigError
from recsys.frozen import Frozen

Name = Annotated[str, Field(min_length=1, max_length=1000)]
_LARGEST = 3e38
"""A float32 holds it"""


class Column(Frozen):
    """A column by its name; the name alone stands for a column with every option left out."""

    name: Name

    @model_validator(mode="before")
    @classmethod
    def _from_name(cls, found: Any) -> Any:
        return {"name": found} if isinstance(found, str) else found


class DenseColumn(Column):
    """Numbers. ``missing`` stands for an empty one, which is refused otherwise.

    With ``log``, x becomes sign(x) ln(1 + |x|).
    """

    missing: float | None = Field(None, ge=-_LARGEST, le=_LARGEST)
    log: bool = False


class CategoricalColumn(Column):
    """Values of a category, encoded as ``recsys.data.encoding.Encoding`` says."""

    encoding: str = "vocabulary:1"

    @field_validator("encoding")
    @classmethod
    def _can_be_parsed(cls, encoding: str) -> str:
        try:
            Encoding.parse(encoding)
        except ConfigError as error:
            raise ValueError(str(error)) from None
        return encoding


class MultiValuedColumn(CategoricalColumn):
    """Several values of a category: a list, or text with a ``separator`` between the values.

    Text may have brackets around the list and quotes around its values.
    """

    separator: str | None = Field(None, min_length=1)


class TimeColumn(Column):
    """A number, a Parquet timestamp or, with a ``format`` as for strptime, text.

    ``%f`` stands for 1 to 9 digits of a fraction, of which microseconds count.
    """

    format: str | None = Field(None, min_length=1)

    @field_validator("format")
    @classmethod
    def _has_one_fraction(cls, form: str | None) -> str | None:
        if form and not re.fullmatch(r"(?:(?!%f).)*|(?:(?!%f).)*(?<!%)[^%\w]%f(?:(?!%f).)*", form):
            raise ValueError(f"found {form!r}, expected %f once, after a character such as a point")
        return form


class TableSchema(Frozen):
    """The columns of a table; those not named are not read."""

    label: Name
    dense: tuple[DenseColumn, ...] = ()
    categorical: tuple[CategoricalColumn, ...] = ()
    multi_valued: tuple[MultiValuedColumn, ...] = ()
    group: Name | None = None
    time: TimeColumn | None = None
    delimiter: str = Field(",", min_length=1, max_length=1, description="of text files")
    header: tuple[Name, ...] | None = Field(None, min_length=1)
    null_values: tuple[str, ...] = ()
    true_values: tuple[str, ...] = ()
    false_values: tuple[str, ...] = ()

    @field_validator("delimiter")
    @classmethod
    def _separates(cls, delimiter: str) -> str:
        if not delimiter.isascii() or delimiter in '\0\r\n"':
            raise ValueError(
                f"found {delimiter!r}, expected an ASCII character that neither quotes nor ends"
            )
        return delimiter

    @model_validator(mode="after")
    def _has_features(self) -> TableSchema:
        names = [column.name for column in (*self.dense, *self.categorical, *self.multi_valued)]
        if not names:
            raise ValueError("no feature: expected dense, categorical or multi_valued columns")
        for name, uses in Counter([self.label, *names]).items():
            if uses > 1:
                raise ValueError(f"column {name!r} has two uses, expected one")
        for name, times in Counter(self.header or ()).items():
            if times > 1:
                raise ValueError(f"header: column {name!r} appears twice")
        return self

    @property
    def names(self) -> tuple[str, ...]:
        """All columns that are read, each once."""
        features = (*self.dense, *self.categorical, *self.multi_valued)
        others = [self.group, self.time.name if self.time else None]
        names = [self.label, *(column.name for column in features)]
        return tuple(dict.fromkeys([*names, *(name for name in others if name)]))

"""Malformed Parquet, and malformed schemas of a table."""

from __future__ import annotations

import io
from collections.abc import Iterator
from datetime import date, time, timedelta
from decimal import Decimal

import numpy as np
import pyarrow as pa
import pyarrow.parquet

from tests.support.malformed_cases import DENSE, SCHEMA, TABLES, Malformed, text

_BIG_COUNTS = (("vocabulary", "1"), ("vocabulary", "2147483648"))


def written(table: pa.Table) -> bytes:
    buffer = io.BytesIO()
    pa.parquet.write_table(table, buffer)
    return buffer.getvalue()


def parquet_cases() -> Iterator[Malformed]:
    """Yield what can be wrong with Parquet."""

    def packed(**columns: object) -> bytes:
        good = {"y": [0, 1] * 20, "x": [1.5] * 40, "c": ["a"] * 40}
        return written(pa.table(good | columns))

    offsets = pa.py_buffer(np.arange(41, dtype=np.int32))
    not_utf8 = pa.Array.from_buffers(pa.string(), 40, [None, offsets, pa.py_buffer(b"\xff" * 40)])
    packed_twice = written(pa.table([[0, 1], [1.0, 2.0], ["a", "b"], [1, 2]], ["y", "x", "c", "x"]))
    packed_wide = written(pa.table({f"column{number}": [1] for number in range(5000)}))

    faults = {
        "cut": (packed()[:-30], "t.parquet: not a whole Parquet file"),
        "text": (b"y,x,c\n0,1,a\n", "t.parquet: not a whole Parquet file"),
        "empty": (b"", "t.parquet: is empty"),
        "a label of 2": (packed(y=[0, 2] * 20), "t.parquet, row 2: y is 2, expected 0 or 1"),
        "a label missing": (packed(y=[0, 1, None, 1] * 10), "t.parquet, row 3: y is missing"),
        "a label of text": (packed(y=["a", "b"] * 20), "t.parquet, row 1: y is 'a'"),
        "a label of structs": (packed(y=[{"a": 1}] * 40), "column y is struct"),
        "a dense NaN": (packed(x=[1.0, float("nan")] * 20), "t.parquet, row 2: x is nan"),
        "a category of lists": (packed(c=[["a"]] * 40), "column c is list"),
        "a category of 5,000 fields": (
            packed(c=[{f"field{number}": 1 for number in range(5000)}] * 40),
            "column c is struct",
        ),
        "a category that is not UTF-8": (packed(c=not_utf8), "t.parquet: not a whole Parquet file"),
        "a dense column of dates": (packed(x=[date(2024, 1, 1)] * 40), "column x is date32[day]"),
        "a dense column of lists": (packed(x=[[1.0]] * 40), "column x is list"),
        "a dense column of bytes": (packed(x=[b"\xff"] * 40), "t.parquet"),
        "a dense infinity": (packed(x=[1.0, float("inf")] * 20), "row 2: x is inf, expected a fin"),
        "a dense number beyond float32": (packed(x=[1.0, 1e39] * 20), "row 2: x is 1e+39"),
        "a dense null": (packed(x=[1.0, None] * 20), "row 2: x is missing, expected a number; mis"),
        "a dense text": (packed(x=["1", "12 kg"] * 20), "row 2: x is '12 kg', expected a number"),
        "labels in a dictionary": (
            packed(y=pa.array(["0", "oui"] * 20).dictionary_encode()),
            "row 2: y is 'oui', expected a number",
        ),
        "a label of decimals": (
            packed(y=[Decimal("0.5")] * 40),
            "row 1: y is 0.5, expected 0 or 1",
        ),
        "a label of lists": (packed(y=[[1]] * 40), "column y is list"),
        "a label of nulls": (packed(y=pa.nulls(40)), "row 1: y is missing"),
        "no rows": (packed(y=[], x=[], c=[]), "t.parquet: has no rows"),
        "a column twice": (packed_twice, "t.parquet: column 'x' appears twice"),
        "5,000 columns, none of them wanted": (
            packed_wide,
            "t.parquet: column 'y' is missing",
        ),
        "ORC": (b"ORC" + bytes(100), "t.parquet: not a whole Parquet file"),
        "a footer alone": (b"PAR1" + bytes(4) + b"PAR1", "t.parquet: not a whole Parquet file"),
        "an absurd footer": (
            b"PAR1" + b"\xff" * 4 + b"PAR1",
            "t.parquet: not a whole Parquet file",
        ),
        "bits flipped": (bytes(byte ^ 0x40 for byte in packed()), "t.parquet: not a whole Parquet"),
    }
    times = {
        "times of the day": ([time(1, 2)] * 40, "column t is time64[us], expected timestamp"),
        "durations": ([timedelta(1)] * 40, "column t is duration[us], expected timestamp"),
        "lists": ([[1]] * 40, "column t is list"),
        "NaN": ([float("nan")] * 40, "row 1: t is nan, expected a finite number"),
        "nulls": (pa.nulls(40, pa.timestamp("ns")), "row 1: t is missing"),
        "words": (["now"] * 40, "row 1: t is 'now', expected a number (dates in text need"),
    }
    for fault, (column, says) in times.items():
        yield Malformed(
            name=f"parquet: times that are {fault}",
            says=says,
            arguments=("tabular", "--source", "t.parquet", "--schema", "s.yaml"),
            files={"t.parquet": packed(t=column), "s.yaml": f"{SCHEMA}time: t\n".encode()},
        )
    for fault, (content, says) in faults.items():
        yield Malformed(
            name=f"parquet: {fault}",
            says=says,
            arguments=("tabular", "--source", "t.parquet", "--schema", "s.yaml"),
            files={"t.parquet": content, "s.yaml": SCHEMA.encode()},
        )


def schema_cases() -> Iterator[Malformed]:
    """Yield what can be wrong with the schema of a table."""
    faults: dict[str, tuple[str | bytes, str]] = {
        "no YAML": ("label: [y", "s.yaml"),
        "a list": ("- y\n- x\n", "expected fields"),
        "nothing": ("", "s.yaml"),
        "a field misspelt": (
            SCHEMA.replace("categorical", "categoricl"),
            "did you mean 'categorical'",
        ),
        "an unknown field": (f"{SCHEMA}zzzz: 1\n", "s.yaml: zzzz: unknown, expected one of"),
        "no label": ("dense: [x]\n", "s.yaml: label: missing"),
        "no feature": ("label: y\n", "no feature"),
        "a field twice": (f"{SCHEMA}dense: [x]\n", "duplicate key"),
        "a column twice": (f"{SCHEMA}multi_valued: [c]\n", "column 'c' has two uses"),
        "the label as a feature": ("label: y\ndense: [y]\n", "column 'y' has two uses"),
        "an option misspelt": (
            "label: y\ndense: [{name: x, mising: 0}]\n",
            "did you mean 'missing'",
        ),
        "an unknown encoding": (
            "label: y\ncategorical: [{name: c, encoding: onehot}]\n",
            "encoding 'onehot': expected hash:ROWS",
        ),
        "a number for a name": ("label: y\ndense: [3]\n", "s.yaml: dense"),
        "a long delimiter": (f"{SCHEMA}delimiter: ';;'\n", "s.yaml: delimiter"),
        "a column that is not there": (
            SCHEMA.replace("[x]", "[price]"),
            "column 'price' is missing",
        ),
        "a separator that is not there": (
            "label: y\nmulti_valued: [c]\n",
            "text needs a separator in the schema",
        ),
        "an empty separator": ("label: y\nmulti_valued: [{name: c, separator: ''}]\n", "separator"),
        "an empty name": ("label: y\ndense: ['']\n", "s.yaml: dense"),
        "a name of 5,000 letters": (
            f"label: {'y' * 5000}\ndense: [x]\n",
            "s.yaml: label: found 'yy",
        ),
        "an empty label": ("label: ''\ndense: [x]\n", "s.yaml: label"),
        "an empty group": (f"{SCHEMA}group: ''\n", "s.yaml: group"),
        "an empty delimiter": (f"{SCHEMA}delimiter: ''\n", "s.yaml: delimiter"),
        "a delimiter that ends the line": (f'{SCHEMA}delimiter: "\\n"\n', "delimiter"),
        "a delimiter that quotes": (f"{SCHEMA}delimiter: '\"'\n", "delimiter"),
        "a delimiter beyond ASCII": (f"{SCHEMA}delimiter: '§'\n", "delimiter"),
        "an empty time format": (
            f"{SCHEMA}time: {{name: y, format: ''}}\n",
            "time.format: found '', expected text of at least 1 character",
        ),
        "no time": (f"{SCHEMA}time: {{format: '%Y'}}\n", "time.name: missing"),
        "a time format of nothing": (
            f"{SCHEMA}time: {{name: c, format: '%'}}\n",
            "row 2: c is 'a'",
        ),
        "a time format unheard of": (
            f"{SCHEMA}time: {{name: c, format: '%Q'}}\n",
            "row 2: c is 'a'",
        ),
        "two fractions of a second": (
            f"{SCHEMA}time: {{name: c, format: '%S.%f.%f'}}\n",
            "expected %f once, after",
        ),
        "a fraction without a point": (
            f"{SCHEMA}time: {{name: c, format: '%S%f'}}\n",
            "expected %f once, after",
        ),
        "a time that is a list": (f"{SCHEMA}time: [a, b]\n", "s.yaml: time"),
        "an empty header": (f"{SCHEMA}header: []\n", "s.yaml: header"),
        "a header of one text": (f"{SCHEMA}header: y\n", "s.yaml: header"),
        "a header with a name twice": (f"{SCHEMA}header: [y, x, x]\n", "column 'x' appears twice"),
        "a header without the label": (f"{SCHEMA}header: [a, x, c]\n", "column 'y' is missing"),
        "a header that is too short": (f"{SCHEMA}header: [y, c]\n", "column 'x' is missing"),
        "a header that is too long": (
            f"{SCHEMA}header: [y, x, c, d]\n",
            "t.csv, row 1: expected 4 columns, found 3",
        ),
        "a header in the file too": (f"{SCHEMA}header: [y, x, c]\n", "t.csv, row 1: x is 'x'"),
        "a null value that is a number": (f"{SCHEMA}null_values: [0]\n", "s.yaml: null_values"),
        "null values that take the label": (f"{SCHEMA}null_values: ['0']\n", "row 2: y is missing"),
        "true values that are one text": (f"{SCHEMA}true_values: yes\n", "s.yaml: true_values"),
        "an infinite missing": (DENSE.format("missing: .inf"), "s.yaml: dense.0.missing"),
        "a missing of NaN": (DENSE.format("missing: .nan"), "s.yaml: dense.0.missing"),
        "a missing beyond float32": (DENSE.format("missing: 1.0e+39"), "s.yaml: dense.0.missing"),
        "a missing that is a word": (DENSE.format("missing: none"), "s.yaml: dense.0.missing"),
        "a missing of 5,000 digits": (DENSE.format("missing: " + "9" * 5000), "s.yaml"),
        "a log that is a word": (DENSE.format("log: maybe"), "s.yaml: dense.0.log"),
        "a mapping for a name": ("label: y\ndense: [{name: {a: b}}]\n", "s.yaml: dense"),
        "5,000 columns that are not there": (
            "label: y\ncategorical: [" + ", ".join(f"n{n}" for n in range(5000)) + "]\n",
            "column 'n0' is missing",
        ),
        "not UTF-8": (b"label: \xff\n", "s.yaml: byte 7 is not UTF-8 text"),
    }
    for size in ("0", "1", "-5", "1.5", "2147483648", "9" * 5000, "", "ten", "١٢"):
        for kind in ("hash", "codes", "vocabulary"):
            if (kind, size) not in (("vocabulary", ""), ("codes", "1"), *_BIG_COUNTS):
                faults[f"an encoding of {kind}:{size:.12}"] = (
                    f"label: y\ncategorical: [{{name: c, encoding: '{kind}:{size}'}}]\n",
                    f"encoding '{kind}:{size:.10}",
                )
    for fault, (schema, says) in faults.items():
        yield Malformed(
            name=f"schema: {fault}",
            says=says,
            arguments=("tabular", "--source", "t.csv", "--schema", "s.yaml"),
            files={
                "t.csv": text(TABLES[3].good),
                "s.yaml": schema if isinstance(schema, bytes) else schema.encode(),
            },
        )
    yield Malformed(
        name="schema: not there",
        says="s.yaml: No such file",
        arguments=("tabular", "--source", "t.csv", "--schema", "s.yaml"),
        files={"t.csv": text(TABLES[3].good)},
    )

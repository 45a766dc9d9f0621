"""Malformed inputs of ``soloist prepare``, made by rule: every fault for every reader it can have.

Run as a script, it prints them.
"""

from __future__ import annotations

import gzip
import io
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet

from tests.support.tables import AVAZU_COLUMNS, GENRES_100K, criteo_line

FRAPPE = "label,user,item,daytime,weekday,isweekend,homework,cost,weather,country,city"
SCHEMA = "label: y\ndense: [x]\ncategorical: [c]\n"


@dataclass(frozen=True, kw_only=True)
class Malformed:
    """Files to write, the arguments to prepare them with, and what the one line has to say."""

    name: str
    says: str
    arguments: tuple[str, ...]
    files: dict[str, bytes] = field(default_factory=dict)

    def write(self, directory: Path) -> None:
        """Write the files."""
        for name, content in self.files.items():
            (directory / name).parent.mkdir(parents=True, exist_ok=True)
            (directory / name).write_bytes(content)


@dataclass(frozen=True, kw_only=True)
class Table:
    """How a reader's text files look: a header (or none) and a row with a given label."""

    reader: str
    file: str
    label: str
    header: str | None
    row: Callable[[object], str]
    arguments: tuple[str, ...] = ()
    files: dict[str, bytes] = field(default_factory=dict)

    @property
    def good(self) -> list[str]:
        """Rows that can be prepared."""
        head = [self.header] if self.header else []
        return [*head, *(self.row(number % 2) for number in range(40))]

    def case(self, fault: str, says: str, content: bytes, name: str | None = None) -> Malformed:
        """Return the case of a file with this content."""
        file = name or self.file
        return Malformed(
            name=f"{self.reader}: {fault}",
            says=says,
            arguments=(self.reader, "--source", file, *self.arguments),
            files={file: content, **self.files},
        )


TABLES = (
    Table(
        reader="criteo",
        file="train.tsv",
        label="label",
        header=None,
        row=lambda label: criteo_line(label, [1], ["a"]),
    ),
    Table(
        reader="avazu",
        file="train.csv",
        label="click",
        header=",".join(AVAZU_COLUMNS),
        row=lambda label: f"1,{label},14102100" + ",x" * (len(AVAZU_COLUMNS) - 3),
    ),
    Table(
        reader="frappe",
        file="train.csv",
        label="label",
        header=FRAPPE,
        row=lambda label: f"{label}" + ",1" * 10,
        arguments=("--split", "fraction"),
    ),
    Table(
        reader="tabular",
        file="t.csv",
        label="y",
        header="y,x,c",
        row=lambda label: f"{label},1.5,a",
        arguments=("--schema", "s.yaml"),
        files={"s.yaml": SCHEMA.encode()},
    ),
)


def corpus() -> list[Malformed]:
    """Return all cases."""
    cases = [case for table in TABLES for case in _bad_text(table)]
    return [*cases, *_movielens(), *_parquet(), *_schemas(), *_sources(), *_options(), *_output()]


def text(lines: list[str]) -> bytes:
    """Return lines as the content of a file."""
    return "".join(f"{line}\n" for line in lines).encode()


def _bad_text(table: Table) -> Iterator[Malformed]:
    """Yield what can be wrong with any file of delimited text."""
    good, at, label = table.good, 7, table.label
    delimiter = "\t" if table.header is None else ","
    columns = good[0].count(delimiter) + 1
    bad_rows = {
        "a column too few": (
            good[at].rpartition(delimiter)[0],
            f"expected {columns} columns, found {columns - 1}",
        ),
        "a column too many": (
            good[at] + delimiter,
            f"expected {columns} columns, found {columns + 1}",
        ),
        "a label that is a word": (table.row("yes"), f"{label} is 'yes', expected a number"),
        "a label of 2": (table.row(2), f"{label} is 2, expected 0 or 1"),
        "a label of -1": (table.row(-1), f"{label} is -1, expected 0 or 1"),
        "a label of 0.5": (table.row(0.5), f"{label} is 0.5, expected 0 or 1"),
        "no label": (table.row(""), f"{label} is missing, expected a number"),
        "a label of NaN": (table.row("nan"), f"{label} is nan, expected a finite number"),
    }
    for fault, (row, says) in bad_rows.items():
        lines = [*good[:at], row, *good[at:]]
        yield table.case(fault, f"{table.file}, row {at + 1}: {says}", text(lines))
    whole = text(good)
    packed = gzip.compress(whole, mtime=0)
    yield table.case("an empty file", f"{table.file}: is empty", b"")
    yield table.case("no positive", "has no positive", text([r for r in good if r != good[-1]]))
    yield table.case("no negative", "has no negative", text([r for r in good if r != good[-2]]))
    yield table.case("a cut gzip", "t.gz: the gzip stream is cut off", packed[:-20], "t.gz")
    yield table.case("no gzip", "t.gz: damaged gzip", whole, "t.gz")
    not_text = whole.replace(b"1", b"\xff", 1) + b"\xfe\xff\n"
    yield table.case("not UTF-8", "row ", not_text)
    if table.header is not None:
        lacking = good[0].replace(label, "other", 1)
        yield table.case("no rows", f"{table.file}: has no rows", text(good[:1]))
        yield table.case(
            "no label column", f"column '{label}' is missing", text([lacking, *good[1:]])
        )
        yield table.case("a blank header", "row 1: is blank", text(["", *good]))
        twice = f"{good[0]},{good[0].split(',')[-1]}"
        yield table.case("a column twice", "appears twice", text([twice, *good[1:]]))


def _movielens() -> Iterator[Malformed]:
    """Yield what can be wrong with MovieLens."""
    item = "|".join(["10", "Heat (1995)", "01-Jan-1995", "", "", *["0"] * len(GENRES_100K)])
    good = {
        "ml/u.data": text([f"1\t10\t{1 + row % 5}\t{row}" for row in range(40)]),
        "ml/u.user": text(["1|24|M|writer|12345"]),
        "ml/u.item": text([item]),
    }
    faults = {
        "a short rating": ("u.data", b"1\t10\t5\n", "u.data, row 1: expected 4 columns"),
        "a rating that is a word": ("u.data", b"1\t10\tgood\t3\n", "row 1: rating is 'good'"),
        "no rating": ("u.data", b"1\t10\t\t3\n", "row 1: rating is missing"),
        "no time": ("u.data", b"1\t10\t4\t\n", "row 1: time is missing"),
        "a user unheard of": ("u.data", b"2\t10\t4\t0\n", "row 1: user '2' is not in u.user"),
        "a movie unheard of": ("u.data", b"1\t11\t4\t0\n", "row 1: item '11' is not in u.item"),
        "no ratings": ("u.data", b"", "u.data: is empty"),
        "an age that is a word": ("u.user", b"1|old|M|x|1\n", "u.user, row 1: age is 'old'"),
        "a short user": ("u.user", b"1|24|M\n", "u.user, row 1: expected 5 columns"),
        "a short movie": ("u.item", b"10|Heat\n", "u.item, row 1: expected 24 columns"),
        "all liked": ("u.data", good["ml/u.data"].replace(b"\t1\t", b"\t5\t"), "has no"),
    }
    for fault, (file, content, says) in faults.items():
        yield Malformed(
            name=f"movielens: {fault}",
            says=says,
            arguments=("movielens", "--source", "ml", "--split", "time")
            + (("--threshold", "1") if fault == "all liked" else ()),
            files=good | {f"ml/{file}": content},
        )
    yield Malformed(
        name="movielens: an incomplete form",
        says="ml: no form of MovieLens",
        arguments=("movielens", "--source", "ml"),
        files={"ml/u.data": good["ml/u.data"]},
    )


def _parquet() -> Iterator[Malformed]:
    """Yield what can be wrong with Parquet."""

    def packed(**columns: object) -> bytes:
        good = {"y": [0, 1] * 20, "x": [1.5] * 40, "c": ["a"] * 40}
        buffer = io.BytesIO()
        pa.parquet.write_table(pa.table(good | columns), buffer)
        return buffer.getvalue()

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
    }
    for fault, (content, says) in faults.items():
        yield Malformed(
            name=f"parquet: {fault}",
            says=says,
            arguments=("tabular", "--source", "t.parquet", "--schema", "s.yaml"),
            files={"t.parquet": content, "s.yaml": SCHEMA.encode()},
        )


def _schemas() -> Iterator[Malformed]:
    """Yield what can be wrong with the schema of a table."""
    faults = {
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
        "a field twice": (f"{SCHEMA}dense: [x]\n", "stands here twice"),
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
    }
    for fault, (schema, says) in faults.items():
        yield Malformed(
            name=f"schema: {fault}",
            says=says,
            arguments=("tabular", "--source", "t.csv", "--schema", "s.yaml"),
            files={"t.csv": text(TABLES[3].good), "s.yaml": schema.encode()},
        )
    yield Malformed(
        name="schema: not there",
        says="s.yaml: No such file",
        arguments=("tabular", "--source", "t.csv", "--schema", "s.yaml"),
        files={"t.csv": text(TABLES[3].good)},
    )


def _sources() -> Iterator[Malformed]:
    """Yield what can be wrong with the sources themselves."""
    good = {"train.tsv": text(TABLES[0].good)}
    faults: dict[str, tuple[tuple[str, ...], str]] = {
        "not there": (("criteo", "--source", "gone.tsv"), "gone.tsv: there is no such file"),
        "not there to test on": (
            ("criteo", "--source", "train.tsv", "--test-source", "gone.tsv"),
            "gone.tsv: there is no such file",
        ),
        "a directory without data": (("criteo", "--source", "empty"), "empty: has no file named"),
        "no directory": (("movielens", "--source", "train.tsv"), "there is no such directory"),
        "none given": (("criteo",), "criteo-kaggle is to be fetched by hand"),
        "none given, no such data set": (
            ("movielens", "--data-set", "movielens-2m"),
            "data set 'movielens-2m': unknown, did you mean 'movielens-",
        ),
        "none given, nothing to download": (("tabular",), "--source is missing"),
        "some are splits": (
            ("frappe", "--source", "fr", "--source", "train.tsv"),
            "train.tsv: which split is it",
        ),
        "to test on alone": (("criteo", "--test-source", "train.tsv"), "split train has no row"),
    }
    for fault, (arguments, says) in faults.items():
        files = good | {"empty/README": b"hello", "fr/train.csv": text(TABLES[2].good)}
        yield Malformed(name=f"source: {fault}", says=says, arguments=arguments, files=files)


def _options() -> Iterator[Malformed]:
    """Yield what can be wrong with options."""
    criteo = ("criteo", "--source", "train.tsv")
    frappe = ("frappe", "--source", "train.csv")
    faults: dict[str, tuple[tuple[str, ...], str]] = {
        "an unknown reader": (("cirteo", "--source", "train.tsv"), "did you mean 'criteo'"),
        "one of another reader": ((*criteo, "--threshold", "3"), "criteo does not take it"),
        "no schema": (("tabular", "--source", "train.csv"), "--schema is missing"),
        "an encoding": ((*criteo, "--encoding", "hash"), "encoding 'hash': expected hash:ROWS"),
        "an empty table": ((*criteo, "--encoding", "hash:1"), "encoding 'hash:1'"),
        "an unknown feature": ((*criteo, "--feature", "C27=hash:9"), "feature 'C27'"),
        "a feature without encoding": ((*criteo, "--feature", "C1"), "expected NAME=ENCODING"),
        "no number for codes": ((*criteo, "--encoding", "codes:9"), "row 1: C1 is 'a'"),
        "codes beyond their table": (
            (*frappe, "--split", "fraction", "--encoding", "codes:1"),
            "train.csv, row 2: user is 1, expected a code from 0 to 0",
        ),
        "shares of more than all": ((*criteo, "--valid", "0.6", "--test", "0.4"), "less than 1"),
        "a negative share": ((*criteo, "--valid", "-0.1"), "shares of at least 0"),
        "a share of NaN": ((*criteo, "--valid", "nan"), "shares of at least 0"),
        "a share of no row": ((*criteo, "--valid", "0.001"), "split valid has no row"),
        "a negative seed": ((*criteo, "--split-seed", "-1"), "seed -1"),
        "no time to split by": ((*frappe, "--split", "time"), "these rows have no time"),
        "no files to split by": ((*criteo, "--split", "files"), "no source says which split"),
        "no synthetic row": (("synthetic", "--rows", "0"), "expected at least 1 row"),
        "a synthetic split of one label": (("synthetic", "--rows", "3"), "has no"),
        "a source for synthetic": (("synthetic", "--source", "train.tsv"), "takes no source"),
    }
    for fault, (arguments, says) in faults.items():
        files = {"train.tsv": text(TABLES[0].good), "train.csv": text(TABLES[2].good)}
        yield Malformed(name=f"option: {fault}", says=says, arguments=arguments, files=files)


def _output() -> Iterator[Malformed]:
    """Yield what can be wrong with the output; the last --output given counts."""
    good = {"train.tsv": text(TABLES[0].good), "file": b"precious", "full/file": b"precious"}
    faults = {
        "a file": ("file", "file: exists and is not a click log"),
        "a full directory": ("full", "full: exists and is not a click log"),
        "below a file": ("file/log", "file"),
    }
    for fault, (output, says) in faults.items():
        for replace in ((), ("--replace",)):
            yield Malformed(
                name=f"output: {fault} {' '.join(replace)}".strip(),
                says=says,
                arguments=("criteo", "--source", "train.tsv", "--output", output, *replace),
                files=good,
            )


if __name__ == "__main__":
    for number, case in enumerate(corpus(), start=1):
        print(f"{number:4} {case.name}: soloist prepare {' '.join(case.arguments)}")

"""Malformed inputs of ``soloist prepare``, made by rule: every fault for every reader it can have.

Run as a script, it prints them.
"""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from datetime import date

import pyarrow as pa

from tests.support.malformed_cases import SCHEMA, TABLES, Malformed, Table, text
from tests.support.malformed_tables import parquet_cases, schema_cases, written
from tests.support.tables import GENRES_100K, compressed


def corpus() -> list[Malformed]:
    """Return all cases."""
    cases = [case for table in TABLES for case in _bad_text(table)]
    return [
        *cases,
        *_movielens(),
        *parquet_cases(),
        *schema_cases(),
        *_sources(),
        *_options(),
        *_output(),
    ]


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
        "an infinite label": (table.row("inf"), f"{label} is inf, expected a finite number"),
        "a label beyond float64": (table.row("1e999"), f"{label} is "),
        "a label of 5,000 digits": (table.row("1" * 5000), f"{label} is "),
        "a label of 5,000 letters": (table.row("y" * 5000), f"{label} is 'yyyy"),
        "a label of yes and no": (table.row("True False"), f"{label} is 'True False', expected a"),
    }
    for fault, (row, says) in bad_rows.items():
        lines = [*good[:at], row, *good[at:]]
        yield table.case(fault, f"{table.file}, row {at + 1}: {says}", text(lines))
    whole = text(good)
    packed = gzip.compress(whole, mtime=0)
    frame = compressed(whole, "zstd")
    long = table.row("z" * 5_000_000)
    half = len(good) // 2
    yield table.case("a cut zstd", "t.zst", frame[:-20], "t.zst")
    yield table.case("no zstd", "t.zst: damaged zstd", whole, "t.zst")
    yield table.case("a row of 5 MB", "a row is longer than 2 MiB", text([*good, long]))
    yield table.case("only blank lines", "", b"\n\n\r\n")
    yield table.case("UTF-16", "t.txt", "\n".join(good).encode("utf-16"), "t.txt")
    yield table.case("NUL bytes", "t.txt", bytes(1_000_000), "t.txt")
    yield table.case(
        "a cut last row", f"row {len(good)}: expected", whole.rpartition(delimiter.encode())[0]
    )
    yield table.case("a gzip in a gzip", "t.gz", gzip.compress(packed, mtime=0), "t.gz")
    yield table.case(
        "a blank line between rows", f"row {half + 1}", text([*good[:half], "", *good[half:]])
    )
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
        wide = ",".join([lacking, *(f"column{number}" for number in range(5000))])
        yield table.case(
            "5,000 columns and not the label", f"column '{label}' is missing", text([wide])
        )
        yield table.case(
            "a name of 100 kB", "name has more than 1000", text([f"{good[0]},{'n' * 10**5}"])
        )
        yield table.case("a BOM alone", "row 1: is blank", b"\xef\xbb\xbf\n")
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
        "an age of 5,000 digits": ("u.user", b"1|-1|M|writer|1\n", "u.user, row 1: age is '-1'"),
        "a device for users": ("u.user", b"", "u.user: is empty"),
        "ratings that are not UTF-8": ("u.data", b"1\t10\t4\t\xff\n", "row 1: not UTF-8 text"),
        "a rating of NaN": ("u.data", b"1\t10\tnan\t3\n", "row 1: rating is nan"),
        "a time of words": ("u.data", b"1\t10\t4\tnow\n", "row 1: time is 'now'"),
        "an infinite time": ("u.data", b"1\t10\t4\tinf\n", "row 1: time is inf"),
        "no user": ("u.data", b"\t10\t4\t3\n", "row 1: user"),
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
    yield from _atomic()
    yield Malformed(
        name="movielens: an incomplete form",
        says="ml: no form of MovieLens",
        arguments=("movielens", "--source", "ml"),
        files={"ml/u.data": good["ml/u.data"]},
    )


def _atomic() -> Iterator[Malformed]:
    """Yield what can be wrong with RecBole's files."""
    good = {
        "rb/ml.inter": text(
            ["user_id:token\titem_id:token\trating:float\ttimestamp:float"]
            + [f"1\t10\t{1 + row % 5}\t{row}" for row in range(40)]
        ),
        "rb/ml.user": text(
            [
                "user_id:token\tage:token\tgender:token\toccupation:token\tzip_code:token",
                "1\t24\tM\twriter\t12345",
            ]
        ),
        "rb/ml.item": text(
            [
                "item_id:token\tmovie_title:token_seq\trelease_year:token\tgenre:token_seq",
                "10\tHeat\t1995\tDrama",
            ]
        ),
    }
    faults = {
        "no header of ratings": ("ml.inter", b"1\t10\t5\t3\n", "column 'user_id:token' is missing"),
        "another header of ratings": (
            "ml.inter",
            good["rb/ml.inter"].replace(b"rating:", b"stars:"),
            "column 'rating:float' is missing",
        ),
        "a header alone": (
            "ml.inter",
            text(good["rb/ml.inter"].decode().split("\n")[:1]),
            "no rows",
        ),
        "no genres": (
            "ml.item",
            good["rb/ml.item"].replace(b"genre:", b"kind:"),
            "ml.item: column 'genre' is missing",
        ),
        "genres twice": (
            "ml.item",
            good["rb/ml.item"].replace(b"movie_title:", b"class:"),
            "ml.item: column 'genre' appears twice",
        ),
        "an empty table of movies": ("ml.item", b"", "ml.item: is empty"),
        "a header of movies alone": ("ml.item", good["rb/ml.item"].partition(b"\n")[0], "no rows"),
        "a blank table of movies": ("ml.item", b"\n\n", "ml.item: column 'item_id' is missing"),
        "an age in words": (
            "ml.user",
            good["rb/ml.user"].replace(b"24", b"old"),
            "ml.user, row 2: age is 'old'",
        ),
        "users that are not UTF-8": ("ml.user", b"\xff\n", "ml.user, row 1: not the names of col"),
        "a short user": ("ml.user", good["rb/ml.user"] + b"2\t3\n", "row 3: expected 5 columns"),
        "a damaged table of users": ("ml.user", b"\x1f\x8bnot gzip at all", "ml.user, row 1"),
        "two files of ratings": ("ml2.inter", b"", "2 files named *.inter, expected one"),
    }
    for fault, (file, content, says) in faults.items():
        yield Malformed(
            name=f"atomic: {fault}",
            says=says,
            arguments=("movielens", "--source", "rb", "--split", "time"),
            files=good | {f"rb/{file}": content},
        )


def _sources() -> Iterator[Malformed]:
    """Yield what can be wrong with the sources themselves."""
    good = {"train.tsv": text(TABLES[0].good)}
    dated = {"y": [0, 1], "x": [1.0, 2.0], "c": ["a", "b"], "t": [date(2024, 1, 1)] * 2}
    timed = written(pa.table(dated))
    faults: dict[str, tuple[tuple[str, ...], str]] = {
        "not there": (("criteo", "--source", "gone.tsv"), "gone.tsv: there is no such file"),
        "not there to test on": (
            ("criteo", "--source", "train.tsv", "--test-source", "gone.tsv"),
            "gone.tsv: there is no such file",
        ),
        "a directory without data": (("criteo", "--source", "empty"), "empty: has no file named"),
        "no directory": (("movielens", "--source", "train.tsv"), "there is no such directory"),
        "a device": (
            ("criteo", "--source", "/dev/zero"),
            "/dev/zero: is a device or a pipe, expec",
        ),
        "a device as Parquet": (
            ("tabular", "--schema", "s.yaml", "--source", "/dev/zero"),
            "/dev/zero: is a device or a pipe, expected a file",
        ),
        "a device as a schema": (
            ("tabular", "--schema", "/dev/zero", "--source", "train.tsv"),
            "/dev/zero: found more than",
        ),
        "a name of 300 characters": (("criteo", "--source", "x" * 300), "File name too long"),
        "below a file": (("criteo", "--source", "train.tsv/x"), "train.tsv/x"),
        "a directory for a file": (("criteo", "--source", "fr"), "fr: has no file named like"),
        "parts without rows": (
            ("tabular", "--schema", "s.yaml", "--source", "parts"),
            "has no rows",
        ),
        "parts of different columns": (
            ("tabular", "--schema", "s.yaml", "--source", "mixed"),
            "b.csv, row 1: column 'x' is missing",
        ),
        "parts of times of two kinds": (
            ("tabular", "--schema", "time.yaml", "--source", "times"),
            "b.parquet: column t holds dates, but numbers in",
        ),
        "none given": (("criteo",), "criteo-kaggle is to be fetched by hand"),
        "none given, no such data set": (
            ("movielens", "--data-set", "movielens-2m"),
            "data set 'movielens-2m': unknown, did you mean 'movielens-",
        ),
        "none given, nothing to download": (("tabular",), "--source: missing"),
        "some are splits": (
            ("frappe", "--source", "fr", "--source", "train.tsv"),
            "train.tsv: which split is it",
        ),
        "to test on alone": (("criteo", "--test-source", "train.tsv"), "split train has no row"),
    }
    for fault, (arguments, says) in faults.items():
        files = good | {
            "empty/README": b"hello",
            "fr/train.csv": text(TABLES[2].good),
            "s.yaml": SCHEMA.encode(),
            "parts/a.csv": b"",
            "parts/dt=1/b.csv": b"y,x,c\n",
            "mixed/a.csv": text(TABLES[3].good),
            "mixed/b.csv": b"y,c\n0,a\n",
            "time.yaml": f"{SCHEMA}time: t\n".encode(),
            "times/a.csv": b"y,x,c,t\n0,1,a,1\n1,1,a,2\n",
            "times/b.parquet": timed,
        }
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
        "an infinite share": ((*criteo, "--test", "inf"), "shares of at least 0"),
        "a share of minus infinity": ((*criteo, "--valid", "-inf"), "shares of at least 0"),
        "an encoding of 5,000 digits": (
            (*criteo, "--encoding", "hash:" + "9" * 5000),
            "encoding 'h",
        ),
        "an unknown encoding of 5,000 letters": (
            (*criteo, "--encoding", "h" * 5000),
            "encoding 'h",
        ),
        "a feature with an absurd table": (
            (*criteo, "--feature", "C1=codes:" + "9" * 5000),
            "encoding 'codes:999",
        ),
        "a negative number of rows": (("synthetic", "--rows", "-1"), "expected at least 1 row"),
        "an absurd number of rows": (("synthetic", "--rows", "9" * 31), "rows"),
        "a negative seed of synthetic rows": (("synthetic", "--seed", "-1"), "seed"),
        "a threshold of NaN": (("movielens", "--source", ".", "--threshold", "nan"), ""),
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

"""``soloist compare`` prints, writes, and refuses what it cannot compare in one line."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
import pytest

from jobs.benchmark.compare import write_predictions
from jobs.command import BAD_INPUT, exit_on_error
from jobs.compare import compare
from tests.support.predictions import predictions, write_all
from tests.support.tables import compressed


def refusal(capsys, *arguments: object, **options: object) -> str:
    """Run the job, which must end with the status of bad input, and return its only line."""
    with pytest.raises(SystemExit) as stopped:
        exit_on_error(compare)(*arguments, **options)
    captured = capsys.readouterr()
    assert (stopped.value.code, captured.out) == (BAD_INPUT, "")
    (line,) = captured.err.splitlines()
    return line


def changed(table: pd.DataFrame, row: int, **values: object) -> pd.DataFrame:
    """Return the table with other values in one row."""
    table = table.astype(dict.fromkeys(values, object))
    for name, value in values.items():
        table.loc[row, name] = value
    return table.infer_objects()


def test_accuracy_and_every_form_of_pd_are_printed(tmp_path, capsys):
    compare(write_all(tmp_path, predictions(3)))
    printed = capsys.readouterr().out
    for expected in ("m2.parquet", "log loss", "relative PD", "swap rate", "top-10 overlap"):
        assert expected in printed
    assert "3 files as replicas of one system" in printed


def test_two_files_are_told_to_cover_examples_alone(tmp_path, capsys):
    compare(write_all(tmp_path, predictions(2)))
    assert "Two files: intervals cover the sampling of examples, not" in capsys.readouterr().out


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_files_may_have_relative_names_with_a_colon(tmp_path, kind, capsys, monkeypatch):
    (tmp_path / "run:1").mkdir()
    paths = write_all(tmp_path / "run:1", predictions(2), kind)
    monkeypatch.chdir(tmp_path)

    compare([path.relative_to(tmp_path) for path in paths], output=Path(f"run:1/out.{kind}"))

    assert f"m0.{kind}" in capsys.readouterr().out


def test_no_name_of_a_file_is_a_formula(tmp_path, monkeypatch):
    write_all(tmp_path, predictions(2), "csv")
    monkeypatch.chdir(tmp_path)
    Path("m0.csv").rename("=1+1.csv")

    compare([Path("=1+1.csv"), Path("m1.csv")], output=Path("out.csv"))

    assert "\nlog_loss,'=1+1.csv," in Path("out.csv").read_text()


def test_a_directory_in_place_of_a_file_is_refused_as_one(tmp_path, capsys):
    paths = [*write_all(tmp_path, predictions(1)), tmp_path]

    assert refusal(capsys, paths) == (
        f"soloist: {tmp_path}: a directory, expected a file of predictions in Parquet or CSV"
    )


@pytest.mark.parametrize(("kind", "read"), [("csv", pd.read_csv), ("parquet", pd.read_parquet)])
def test_all_numbers_are_written_where_asked(tmp_path, kind, read):
    compare(write_all(tmp_path, predictions(2)), output=tmp_path / f"out.{kind}")
    table = read(tmp_path / f"out.{kind}").set_index("quantity")
    row = table.loc["relative_pd"]
    assert row["low"] < row["value"] < row["high"]
    assert len(table.loc["log_loss"]) == len(table.loc["log_loss_vs_first"]) == 2


@pytest.mark.parametrize("kind", ["csv", "parquet"])
@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"label": 2}, "label is 2, expected 0 or 1"),
        ({"label": 0.5}, "label is 0.5, expected 0 or 1"),
        ({"prediction": 1.5}, "prediction is 1.5, expected a probability from 0 to 1"),
        ({"prediction": -0.1}, "prediction is -0.1, expected a probability from 0 to 1"),
        ({"prediction": np.inf}, "prediction is inf, expected a probability from 0 to 1"),
        ({"weight": -1.0}, "weight is -1, expected a finite weight of 0 or more"),
    ],
)
def test_a_bad_value_is_named_with_file_and_row(tmp_path, capsys, kind, values, message):
    tables = predictions(2)
    tables[1] = changed(tables[1], 6, **values)
    paths = write_all(tmp_path, tables, kind)
    place = "line 8" if kind == "csv" else "row 7"
    assert refusal(capsys, paths) == f"soloist: {paths[1]}: {place}: {message}"


@pytest.mark.parametrize("name", ["example", "label", "prediction", "group", "weight"])
def test_a_missing_value_is_named_with_file_and_row(tmp_path, capsys, name):
    tables = predictions(2)
    tables[0][name] = tables[0][name].astype("Float64" if name != "example" else "Int64")
    if name == "group":
        tables[0][name] = tables[0][name].astype("Int64")
    tables[0].loc[3, name] = pd.NA
    paths = write_all(tmp_path, tables)
    assert refusal(capsys, paths) == f"soloist: {paths[0]}: row 4: {name} is missing"


def test_nan_is_no_prediction(tmp_path, capsys):
    paths = write_all(tmp_path, predictions(2), "csv")
    text = paths[0].read_text().splitlines()
    text[5] = ",".join([*text[5].split(",")[:-1], "nan"])
    paths[0].write_text("\n".join(text))
    line = refusal(capsys, paths)
    assert line.startswith(f"soloist: {paths[0]}: line 6: prediction is ")


@pytest.mark.parametrize("name", ["example", "label", "prediction"])
def test_a_missing_column_is_named(tmp_path, capsys, name):
    tables = predictions(2)
    tables[1] = tables[1].drop(columns=name)
    paths = write_all(tmp_path, tables)
    line = refusal(capsys, paths)
    assert line.startswith(f"soloist: {paths[1]}: has no column {name}, found ")


@pytest.mark.parametrize("name", ["group", "weight"])
def test_an_optional_column_is_in_every_file_or_in_none(tmp_path, capsys, name):
    tables = predictions(2)
    tables[0] = tables[0].drop(columns=name)
    paths = write_all(tmp_path, tables)
    assert refusal(capsys, paths) == (
        f"soloist: {paths[0]}: has no column {name}, which {paths[1]} has;"
        " expected it in every file or in none"
    )


def test_a_label_that_differs_between_files_is_named(tmp_path, capsys):
    tables = predictions(2)
    example, group, label = tables[1].loc[6, ["example", "group", "label"]].astype(int)
    tables[1] = changed(tables[1], 6, label=1 - label)
    paths = write_all(tmp_path, tables)
    assert refusal(capsys, paths) == (
        f"soloist: {paths[1]}: row 7: label of example {example} of group {group} is {1 - label},"
        f" but {label} in {paths[0]}"
    )


def test_an_example_that_one_file_lacks_is_named(tmp_path, capsys):
    tables = predictions(3)
    example, group = tables[0].loc[6, ["example", "group"]].astype(int)
    tables[2] = tables[2].drop(index=6)
    paths = write_all(tmp_path, tables)
    assert refusal(capsys, paths) == (
        f"soloist: {paths[0]}: row 7: example {example} of group {group} is not in {paths[2]};"
        " expected the same examples in every file"
    )


def test_an_example_that_is_there_twice_is_named(tmp_path, capsys):
    tables = predictions(2)
    tables[1] = pd.concat([tables[1], tables[1].iloc[[6]]])
    example, group = tables[0].loc[6, ["example", "group"]].astype(int)
    paths = write_all(tmp_path, tables)
    assert refusal(capsys, paths) == (
        f"soloist: {paths[1]}: row 401: example {example} of group {group} occurs twice, first "
        "in row 7; expected one row per example"
    )


def test_examples_named_by_numbers_and_by_strings_do_not_go_together(tmp_path, capsys):
    tables = predictions(2)
    tables[1] = tables[1].astype({"example": str})
    paths = write_all(tmp_path, tables)
    assert refusal(capsys, paths) == (
        f"soloist: {paths[1]}: column example holds string, but int64 in {paths[0]}"
    )


def test_examples_named_by_fractions_are_refused(tmp_path, capsys):
    tables = [table.astype({"example": float}) for table in predictions(2)]
    paths = write_all(tmp_path, tables)
    assert refusal(capsys, paths) == (
        f"soloist: {paths[0]}: column example holds double, expected integers or strings"
    )


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_a_file_without_rows_is_refused(tmp_path, capsys, kind):
    tables = predictions(2)
    tables[1] = tables[1].iloc[:0]
    paths = write_all(tmp_path, tables, kind)
    assert refusal(capsys, paths).startswith(f"soloist: {paths[1]}: has no rows")


@pytest.mark.parametrize(
    ("name", "contents", "message"),
    [
        ("m1.csv", "", "Empty CSV file"),
        ("m1.parquet", "not parquet", "expected Parquet or CSV"),
        ("m1.csv", "example,label,prediction\n1,0\n", "Expected 3 columns, got 2"),
        ("m1.csv", "example,label,prediction\n1,0,0.5\n2,1,high\n", "Row #3"),
    ],
)
def test_a_broken_file_is_refused(tmp_path, capsys, name, contents, message):
    tables = [table[["example", "label", "prediction"]] for table in predictions(1)]
    (first,) = write_all(tmp_path, tables)
    broken = tmp_path / name
    broken.write_text(contents)
    line = refusal(capsys, [first, broken])
    assert line.startswith(f"soloist: {broken}: ")
    assert message in line


def test_a_truncated_parquet_file_is_refused(tmp_path, capsys):
    paths = write_all(tmp_path, predictions(2))
    paths[1].write_bytes(paths[1].read_bytes()[:-100])
    assert refusal(capsys, paths).startswith(f"soloist: {paths[1]}: ")


def test_a_file_that_is_not_there_is_refused(tmp_path, capsys):
    paths = write_all(tmp_path, predictions(1))
    line = refusal(capsys, [*paths, tmp_path / "none.csv"])
    assert line.startswith(f"soloist: {tmp_path / 'none.csv'}: no such file")


def test_one_file_is_not_enough(tmp_path, capsys):
    paths = write_all(tmp_path, predictions(1))
    assert refusal(capsys, paths) == "soloist: 1 prediction file, expected two or more"


def test_weights_that_are_all_zero_are_refused(tmp_path, capsys):
    paths = write_all(tmp_path, [table.assign(weight=0.0) for table in predictions(2)])
    assert "all weights are 0, expected one above 0" in refusal(capsys, paths)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"output": Path("out.txt")}, "--output: found 'out.txt', expected a name in .csv"),
        ({"scratch": Path("nowhere")}, "--scratch: found nowhere, expected an existing directory"),
    ],
)
def test_a_bad_option_is_named(tmp_path, capsys, options, message):
    paths = write_all(tmp_path, predictions(2))
    assert message in refusal(capsys, paths, **options)


def test_the_benchmarks_files_can_be_compared(tmp_path, capsys):
    compare(write_predictions(tmp_path, rows=500, files=2, seed=0))
    assert "500 examples in" in capsys.readouterr().out


def compared(capsys, *paths: Path) -> str:
    """Return the line of the relative PD."""
    compare(list(paths))
    return next(line for line in capsys.readouterr().out.splitlines() if "relative PD" in line)


LARGE = 2**64 - 1000


@pytest.mark.parametrize("column", ["example", "group"])
@pytest.mark.parametrize("kind", ["csv", "parquet"])
@pytest.mark.parametrize(
    "key",
    [
        lambda values: values.astype("uint64") + np.uint64(LARGE),
        lambda values: (values.astype("uint64") + np.uint64(LARGE)).where(values % 2 == 0, values),
        lambda values: -values,
        lambda values: pd.to_datetime("2000-01-01") + pd.to_timedelta(values, "D"),
        lambda values: (pd.to_datetime("2000-01-01") + pd.to_timedelta(values, "D")).dt.date,
        lambda values: "k" + values.astype(str),
        lambda values: values.astype(str).astype("category"),
        lambda values: values.map(Decimal),
    ],
    ids=["uint64", "mixed", "negative", "time", "date", "text", "categorical", "decimal"],
)
def test_keys_of_every_kind_compare_as_small_integers_do(tmp_path, capsys, key, kind, column):
    tables = predictions(2)
    expected = compared(capsys, *write_all(tmp_path, tables))
    others = [table.assign(**{column: key(table[column])}) for table in tables]

    assert compared(capsys, *write_all(tmp_path, others, kind)) == expected


@pytest.mark.parametrize(
    "types", [("uint64", "int64"), ("int64", "uint64"), ("uint32", "int8"), ("str", "category")]
)
def test_keys_may_have_different_integer_types_in_two_files(tmp_path, capsys, types):
    tables = predictions(2, rows=100)
    expected = compared(capsys, *write_all(tmp_path, tables))
    others = [
        table.assign(example=table["example"].astype(str).astype(kind))
        if kind in ("str", "category")
        else table.astype({"example": kind})
        for table, kind in zip(tables, types, strict=True)
    ]

    assert compared(capsys, *write_all(tmp_path, others)) == expected


def test_keys_of_csv_go_with_those_of_parquet(tmp_path, capsys):
    tables = predictions(2)
    expected = compared(capsys, *write_all(tmp_path, tables))
    texts = [table.assign(example=table["example"].astype(str)) for table in tables]
    (as_csv,) = write_all(tmp_path, texts[:1], "csv")

    assert compared(capsys, as_csv, write_all(tmp_path, texts)[1]) == expected
    assert compared(capsys, as_csv, write_all(tmp_path, tables)[1]) == expected


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_labels_may_be_booleans(tmp_path, capsys, kind):
    tables = predictions(2)
    expected = compared(capsys, *write_all(tmp_path, tables))

    found = write_all(tmp_path, [table.astype({"label": bool}) for table in tables], kind)

    assert compared(capsys, *found) == expected


@pytest.mark.parametrize(("codec", "suffix"), [("gzip", "gz"), ("zstd", "zst")])
def test_csv_may_be_compressed_and_end_with_blank_lines(tmp_path, capsys, codec, suffix):
    plain = write_all(tmp_path, predictions(2), "csv")
    expected = compared(capsys, *plain)
    packed = [path.with_name(f"{path.name}.{suffix}") for path in plain]
    for path, file in zip(plain, packed, strict=True):
        file.write_bytes(compressed(path.read_bytes() + b"\n\n", codec))

    assert compared(capsys, *packed) == expected
    assert compared(capsys, plain[0], packed[1]) == expected


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_a_column_that_appears_twice_is_refused(tmp_path, capsys, kind):
    paths = write_all(tmp_path, predictions(2), kind)
    table = pd.read_parquet(paths[1]) if kind == "parquet" else pd.read_csv(paths[1])
    twice = pa.table(
        [*pa.Table.from_pandas(table).columns, pa.array(table["label"])], [*table.columns, "label"]
    )
    if kind == "csv":
        pa.csv.write_csv(twice, paths[1])
    else:
        pa.parquet.write_table(twice, paths[1])

    assert refusal(capsys, paths) == f"soloist: {paths[1]}: column label appears twice"


def test_negative_and_unsigned_keys_do_not_go_together(tmp_path, capsys):
    tables = predictions(2)
    tables[0]["example"] = tables[0]["example"].astype("uint64")
    tables[1]["example"] = -tables[1]["example"]

    assert "not in range" in refusal(capsys, write_all(tmp_path, tables))

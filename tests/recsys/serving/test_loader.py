"""The loader of exported programs: light, and strict about what it is given."""

from __future__ import annotations

import io
import json
import os
import pickle
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.export.pt2_archive import PT2ArchiveReader, PT2ArchiveWriter

from distrib.engines.local import train
from recsys.data.stream import Batches
from recsys.errors import DataError
from recsys.files import sha256_of
from recsys.serving.export import export
from recsys.serving.loader import DESCRIPTION, PROGRAM, load
from recsys.serving.timing import request_of
from recsys.serving.weights import rebuilt
from tests.support.logs import small_log, small_recipe, trials
from tests.support.shared import ROOT


@pytest.fixture(scope="module")
def log(tmp_path_factory):
    return small_log(tmp_path_factory.mktemp("loader"))


@pytest.fixture(scope="module")
def exported(log, tmp_path_factory):
    """The directory of an exported ensemble."""
    recipe = small_recipe(arm={"kind": "ensemble", "components": 2})
    (trial,) = trials(log, recipe, 1)
    (result,) = train(log, [trial])
    arm = rebuilt(result.served_weights(), recipe.arm, recipe.model, trial.seeds)
    place = tmp_path_factory.mktemp("exported") / "ensemble"
    export(arm, place, trial={"name": "one"}, libraries={"torch": "2"})
    return place


@pytest.fixture(scope="module")
def request_of_three(log):
    (batch,) = Batches(log, 1).same_rows(np.array(log.splits["test"][:3]), 3)
    return request_of(batch, log.schema)


def test_the_loader_needs_nothing_but_pytorch(exported):
    program = (
        "import sys\n"
        "for name in ('torchrec', 'fbgemm_gpu', 'ray', 'pydantic', 'pandas'):\n"
        "    sys.modules[name] = None\n"  # importing it raises ImportError
        "import torch\n"
        "from recsys.serving.loader import load\n"
        "ids = torch.zeros(2, dtype=torch.int64)\n"
        "model = load(sys.argv[1])\n"
        "names = [each.name for each in model.description.schema.single_valued]\n"
        "(bag,) = model.description.schema.multi_valued\n"
        "sparse = {**dict.fromkeys(names, ids), bag.name: (ids, torch.tensor([0, 1]))}\n"
        "print(len(model(torch.zeros(2, 2), sparse)))\n"
    )

    ran = subprocess.run(
        [sys.executable, "-c", program, str(exported)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )

    assert ran.stdout == "2\n", ran.stderr


def test_an_answer_does_not_depend_on_its_company(exported, log):
    model = load(exported)
    rows = np.array(log.splits["test"][:9])

    answers = {
        size: torch.cat(
            [
                model(request.dense, request.sparse)
                for batch in Batches(log, 1).same_rows(rows, size)
                for request in [request_of(batch, log.schema)]
            ]
        )
        for size in (1, 2, 9)
    }

    torch.testing.assert_close(answers[1], answers[9])
    torch.testing.assert_close(answers[2], answers[9])


def test_bags_may_be_empty_and_so_may_the_whole_request(exported, request_of_three):
    model = load(exported)
    nothing = torch.zeros(0, dtype=torch.int64)
    bag = model.description.schema.multi_valued[0].name
    singles = {name: ids for name, ids in request_of_three.sparse.items() if name != bag}

    without = model(
        request_of_three.dense, {**singles, bag: (nothing, torch.zeros(3, dtype=torch.int64))}
    )
    empty = model(
        request_of_three.dense[:0],
        {**dict.fromkeys(singles, nothing), bag: (nothing, nothing)},
    )

    assert torch.isfinite(without).all()
    assert empty.shape == (0,)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda one: {"single": one["single"] + 1000}, r"found id \d+, expected 0 to"),
        (lambda one: {"single": one["single"] - 1000}, r"found id -\d+, expected 0 to"),
        (lambda one: {"single": one["single"][:2]}, r"found \(2,\), expected ids \(3,\)"),
        (lambda one: {"single": one["bag"]}, "found a tuple, expected ids"),
        (lambda one: {"bag": one["single"]}, "expected a pair: ids, starts"),
        (lambda one: {"bag": (one["bag"][0] + 1000, one["bag"][1])}, "found id 1"),
        (
            lambda one: {"bag": (one["bag"][0], one["bag"][1] + 1)},
            "expected non-decreasing starts from 0",
        ),
        (
            lambda one: {"bag": (one["bag"][0], one["bag"][1].flip(0))},
            "expected non-decreasing starts from 0",
        ),
        (lambda one: {"bag": (one["bag"][0], one["bag"][1][:2])}, r"and starts \(2,\)"),
    ],
)
def test_a_request_that_does_not_fit_is_refused(exported, request_of_three, change, says):
    model = load(exported)
    schema = model.description.schema
    names = {"single": schema.single_valued[1].name, "bag": schema.multi_valued[0].name}
    fitting = {role: request_of_three.sparse[name] for role, name in names.items()}
    changed = {names[role]: value for role, value in change(fitting).items()}

    with pytest.raises(ValueError, match=says):
        model(request_of_three.dense, request_of_three.sparse | changed)


def test_a_feature_that_is_missing_and_dense_features_of_another_number_are_refused(
    exported, request_of_three
):
    model = load(exported)

    with pytest.raises(ValueError, match="found no c0"):
        model(request_of_three.dense, {})
    with pytest.raises(ValueError, match=r"dense: found \(3, 1\), expected \(B, 2\)"):
        model(request_of_three.dense[:, :1], request_of_three.sparse)


@pytest.mark.parametrize(
    ("file", "content", "says"),
    [
        ("program.pt2", None, "program.pt2: No such file"),
        ("program.pt2", "PK", "checksum mismatch"),
        ("program.json", None, "soloist export writes it"),
        ("program.json", "{", "not valid JSON"),
        ("program.json", "[]", "found a list, expected a JSON object"),
        (
            "program.json",
            json.dumps({"format": "soloist program", "version": 2}),
            "not a whole description",
        ),
        (
            "program.json",
            json.dumps({"format": "soloist program", "version": 1}),
            "not a program description of version 2",
        ),
        ("program.json", "[" * 100_000, "not valid JSON"),
        ("program.json", '{"a":' * 100_000, "not valid JSON"),
    ],
)
def test_a_damaged_export_is_refused_in_one_line(exported, tmp_path, file, content, says):
    damaged = shutil.copytree(exported, tmp_path / "damaged")
    (damaged / file).unlink()
    if content is not None:
        (damaged / file).write_text(content)

    with pytest.raises(DataError, match=says) as refused:
        load(damaged)

    assert "\n" not in str(refused.value)


def test_a_single_bit_that_flipped_is_noticed(exported, tmp_path):
    damaged = shutil.copytree(exported, tmp_path / "damaged")
    content = bytearray((damaged / "program.pt2").read_bytes())
    content[len(content) // 2] ^= 1
    (damaged / "program.pt2").write_bytes(content)

    with pytest.raises(DataError, match="checksum"):
        load(damaged)


def repacked(exported: Path, place: Path, changes: dict[str, Callable[[bytes], bytes]]) -> Path:
    """Copy an export, change or add members of its archive, and make the checksum fit."""
    shutil.copytree(exported, place)
    archive = PT2ArchiveReader(str(place / PROGRAM))
    members = {name: archive.read_bytes(name) for name in archive.get_file_names()}
    with PT2ArchiveWriter(str(place / PROGRAM)) as writer:
        for name in members.keys() | changes.keys():
            if not name.startswith(("byteorder", ".data/")):
                content = members.get(name, b"")
                writer.write_bytes(name, changes[name](content) if name in changes else content)
    with_checksum(place)
    return place


def with_checksum(place: Path) -> None:
    described = json.loads((place / DESCRIPTION).read_text())
    described["sha256"] = sha256_of(place / PROGRAM)
    (place / DESCRIPTION).write_text(json.dumps(described))


class Payload:
    """Makes a directory when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self):
        return os.mkdir, (str(self.mark),)


def pickled(mark: Path) -> bytes:
    held = io.BytesIO()
    torch.save(Payload(mark), held)
    return held.getvalue()


def swapped(old: bytes, new: bytes) -> Callable[[bytes], bytes]:
    def swap(content: bytes) -> bytes:
        assert old in content
        return content.replace(old, new)

    return swap


GRAPH, SAMPLES = "models/model.json", "data/sample_inputs/model.pt"
WEIGHTS_CONFIG = "data/weights/model_weights_config.json"
CONSTANTS_CONFIG = "data/constants/model_constants_config.json"
CONSTANT = b'{"config": {"c": {"path_name": "%s", "is_param": false, "use_pickle": %s, %s}}}'
NO_META = b'"tensor_meta": null'
ADD, SIZE = b"torch.ops.aten.add.Tensor", b"Integer(6)"


@pytest.mark.parametrize(
    "changes",
    [
        {SAMPLES: lambda mark: lambda _: pickled(mark)},
        {WEIGHTS_CONFIG: lambda _: swapped(b'"use_pickle": false', b'"use_pickle": true')},
        {
            CONSTANTS_CONFIG: lambda _: lambda _: CONSTANT % (b"opaque_obj_0", b"true", NO_META),
            "data/constants/opaque_obj_0": lambda mark: lambda _: pickle.dumps(Payload(mark)),
        },
        {
            CONSTANTS_CONFIG: lambda _: lambda _: CONSTANT % (b"tensor_0", b"true", NO_META),
            "data/constants/tensor_0": lambda mark: lambda _: pickled(mark),
        },
        {"data/weights/model.pt": lambda mark: lambda _: pickled(mark)},
        {"data/aotinductor/model/model.so": lambda _: lambda _: b"ELF"},
        {"extra/notes": lambda _: lambda _: b"notes"},
        {GRAPH: lambda mark: swapped(SIZE, b"__import__('os').mkdir('%s')" % bytes(mark))},
        {GRAPH: lambda _: swapped(SIZE, b"exit()")},
        {GRAPH: lambda _: swapped(SIZE, b"Pow(Integer(9), Integer(999999999))")},
        {GRAPH: lambda _: swapped(ADD, b"torch.os.system")},
        {GRAPH: lambda _: swapped(ADD, b"torch.ops.load_library")},
        {GRAPH: lambda _: swapped(ADD, b"torch.ops.aten.__dict__.clear")},
        {GRAPH: lambda _: swapped(ADD, b"torch.ops.aten.from_file.default")},
        {GRAPH: lambda _: swapped(ADD, b"torch.ops.aten._sparse_coo_tensor_unsafe.default")},
        {GRAPH: lambda _: swapped(ADD, b"_operator.methodcaller")},
        {GRAPH: lambda _: swapped(b"builtins.tuple", b"collections.namedtuple")},
        {GRAPH: lambda _: swapped(b"builtins.tuple", b"collections.defaultdict")},
        {GRAPH: lambda _: swapped(rb"\"null\"", rb"\"{__enum__}\"")},
        {GRAPH: lambda _: swapped(b"b_lookup_widths_0_features", b"x): pass #")},
        {GRAPH: lambda _: lambda _: b"[" * 100_000},
        {GRAPH: lambda _: lambda _: b'{"a":' * 100_000},
    ],
)
def test_a_program_that_holds_more_than_tensors_and_operations_is_refused_before_it_is_read(
    exported, tmp_path, capfd, changes
):
    mark = tmp_path / "mark"
    place = repacked(
        exported, tmp_path / "foreign", {name: made(mark) for name, made in changes.items()}
    )

    with pytest.raises(DataError, match=r"program.pt2: not an exported program") as refused:
        load(place)

    assert not mark.exists()
    assert "\n" not in str(refused.value)
    assert capfd.readouterr().err == ""


def test_a_program_that_was_repacked_unchanged_is_loaded(exported, tmp_path):
    place = repacked(exported, tmp_path / "same", {GRAPH: lambda content: content})

    assert load(place).description.title == "ensemble relu K=2"


def test_a_program_holds_no_pickle_and_no_path_of_the_machine(exported):
    archive = PT2ArchiveReader(str(exported / PROGRAM))

    members = {name: archive.read_bytes(name) for name in archive.get_file_names()}

    assert members[SAMPLES] == b""
    assert not any(str(ROOT).encode() in content for content in members.values())


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"of another PyTorch"])
def test_a_file_that_is_no_archive_is_refused_in_one_line(exported, tmp_path, capfd, content):
    damaged = shutil.copytree(exported, tmp_path / "damaged")
    (damaged / PROGRAM).write_bytes(content)
    with_checksum(damaged)

    with pytest.raises(DataError, match=r"program.pt2: not an exported program") as refused:
        load(damaged)

    assert "\n" not in str(refused.value)
    assert capfd.readouterr().err == ""


def test_a_whole_file_that_pytorch_cannot_load_is_refused_with_its_reason(exported, tmp_path):
    later = {GRAPH: lambda content: content.replace(b'"major": 8', b'"major": 99')}
    place = repacked(exported, tmp_path / "later", later)

    with pytest.raises(DataError, match=r"cannot load what 2 wrote: SerializeError: .* version"):
        load(place)

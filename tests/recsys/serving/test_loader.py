"""The loader of exported programs: light, and strict about what it is given."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys

import numpy as np
import pytest
import torch

from distrib.local import train
from recsys.data.stream import Batches
from recsys.errors import DataError
from recsys.serving.description import sha256_of
from recsys.serving.export import export
from recsys.serving.loader import load
from recsys.serving.requests import request_of
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
        (lambda one: {"bag": (one["bag"][0], one["bag"][1] + 1)}, "expected starts from 0"),
        (lambda one: {"bag": (one["bag"][0], one["bag"][1].flip(0))}, "expected starts from 0"),
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
        ("program.pt2", "PK", "not what was written"),
        ("program.json", None, "soloist export writes it"),
        ("program.json", "{", "not valid JSON"),
        ("program.json", "[]", "not the description of a program in version 1"),
        (
            "program.json",
            json.dumps({"format": "soloist program", "version": 1}),
            "not a whole description",
        ),
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


def test_a_whole_file_that_pytorch_cannot_load_is_refused_with_its_reason(exported, tmp_path):
    damaged = shutil.copytree(exported, tmp_path / "damaged")
    (damaged / "program.pt2").write_bytes(b"of another PyTorch")
    told = json.loads((damaged / "program.json").read_text())
    told["sha256"] = sha256_of(damaged / "program.pt2")
    (damaged / "program.json").write_text(json.dumps(told))

    with pytest.raises(DataError, match="cannot load what 2 wrote"):
        load(damaged)

"""What a device or an installation cannot do."""

from __future__ import annotations

import importlib.util

import pytest
import torch
from pydantic import ValidationError

from distrib.sync.refusals import refuse_unavailable
from recsys.errors import ConfigError
from tests.support.logs import small_recipe

CPU, GPU = torch.device("cpu"), torch.device("cuda")


def of_engine(**engine):
    return small_recipe(engine={"name": "sync", **engine})


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_cpu_has_these_precisions(precision):
    refuse_unavailable(of_engine(precision=precision), CPU)


def test_a_cpu_has_no_float16():
    with pytest.raises(ConfigError, match="expected float32 or bfloat16"):
        refuse_unavailable(of_engine(precision="float16"), CPU)


def test_an_old_gpu_has_no_bfloat16(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: (7, 5))

    refuse_unavailable(of_engine(precision="float16"), GPU)
    with pytest.raises(ConfigError, match=r"capability 7\.5, .*; expected float32 or float16"):
        refuse_unavailable(of_engine(precision="bfloat16"), GPU)


@pytest.mark.parametrize("named", [None, "no-such-compiler"])
def test_compilation_without_a_compiler_is_refused(monkeypatch, tmp_path, named):
    monkeypatch.setenv("PATH", str(tmp_path))
    if named is None:
        monkeypatch.delenv("CXX", raising=False)
    else:
        monkeypatch.setenv("CXX", named)

    with pytest.raises(ConfigError, match=r"engine\.compile: found true, but no C\+\+ compiler"):
        refuse_unavailable(of_engine(compile=True), CPU)


def test_mlflow_has_to_be_installed(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)

    with pytest.raises(ConfigError, match=r"mlflow, which is not installed; .*soloist\[tracking\]"):
        refuse_unavailable(of_engine(tracking="mlflow"), CPU)


@pytest.mark.parametrize(
    ("engine", "says"),
    [
        ({"workers": [3, 2]}, r"workers: found \[3, 2\]"),
        ({"workers": 0}, "greater than 0"),
        ({"storage": "s3://bucket/runs"}, "storage: found 's3://bucket/runs', expected the path"),
        ({"sharding": "grid"}, "table_wise"),
    ],
)
def test_configurations_that_cannot_be_are_refused(engine, says):
    with pytest.raises(ValidationError, match=says):
        of_engine(**engine)

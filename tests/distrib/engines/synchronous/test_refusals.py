"""What a device or an installation cannot do."""

from __future__ import annotations

import importlib.util

import pytest
import torch
from pydantic import ValidationError

from distrib.engines.synchronous.sharding_plan import refuse_lost_scalars, refuse_unavailable
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


def test_ranks_do_not_share_a_gpu():
    half = {"num_gpus": 0.5}

    refuse_unavailable(of_engine(workers=1, resources=half), GPU)
    with pytest.raises(ConfigError, match=r"num_gpus: found 0\.5 for each of 2 ranks"):
        refuse_unavailable(of_engine(workers=[1, 2], resources=half), GPU)


@pytest.mark.parametrize("named", [None, "no-such-compiler"])
def test_compilation_without_a_compiler_is_refused(monkeypatch, tmp_path, named):
    monkeypatch.setenv("PATH", str(tmp_path))
    if named is None:
        monkeypatch.delenv("CXX", raising=False)
    else:
        monkeypatch.setenv("CXX", named)

    with pytest.raises(ConfigError, match=r"engine\.compile: found true, but no C\+\+ compiler"):
        refuse_unavailable(of_engine(compile=True), CPU)


def test_mlflows_own_database_cannot_lie_at_a_uri(monkeypatch):
    engine = of_engine(tracking="mlflow").engine
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://tracking")
    refuse_lost_scalars(engine, stored_at_uri=True)
    monkeypatch.delenv("MLFLOW_TRACKING_URI")

    refuse_lost_scalars(engine, stored_at_uri=False)
    with pytest.raises(ConfigError, match="expected a server in MLFLOW_TRACKING_URI"):
        refuse_lost_scalars(engine, stored_at_uri=True)


def test_mlflow_has_to_be_installed(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)

    with pytest.raises(ConfigError, match=r"mlflow, which is not installed; .*soloist\[tracking\]"):
        refuse_unavailable(of_engine(tracking="mlflow"), CPU)


@pytest.mark.parametrize(
    ("engine", "says"),
    [
        ({"workers": [3, 2]}, r"workers: found \[3, 2\]"),
        ({"workers": 0}, "greater than 0"),
        ({"sharding": "grid"}, "table_wise"),
    ],
)
def test_configurations_that_cannot_be_are_refused(engine, says):
    with pytest.raises(ValidationError, match=says):
        of_engine(**engine)

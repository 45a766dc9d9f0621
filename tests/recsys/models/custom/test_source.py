"""A trial is named by the source of a user's model too."""

from __future__ import annotations

import importlib
import sys

import pytest

from recsys.errors import ConfigError
from recsys.models.custom.blueprint import source_digest

MAKE = "def make(schema):\n    return {value}\n"


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        del sys.modules[name]
    source_digest.cache_clear()


def _again(name: str) -> str:
    source_digest.cache_clear()
    importlib.invalidate_caches()
    return source_digest(name)


def test_another_source_is_another_model(place) -> None:
    (place / "lone_model.py").write_text(MAKE.format(value=1))
    (place / "beside.py").write_text("")
    first = source_digest("lone_model:make")

    (place / "beside.py").write_text("A = 1")
    unchanged = _again("lone_model:make")
    (place / "lone_model.py").write_text(MAKE.format(value=2))

    assert unchanged == first
    assert _again("lone_model:make") != first


def test_a_package_counts_whole(place) -> None:
    inner = place / "our_models" / "inner"
    inner.mkdir(parents=True)
    for directory in (inner.parent, inner):
        (directory / "__init__.py").write_text("")
    (inner / "net.py").write_text(MAKE.format(value=1))
    (inner.parent / "layers.py").write_text("")
    first = source_digest("our_models.inner.net:make")

    (inner.parent / "layers.py").write_text("A = 1")

    assert _again("our_models.inner.net:make") != first


def test_a_model_that_is_not_there_has_no_source(place) -> None:
    with pytest.raises(ConfigError, match="no module 'absent_model'"):
        source_digest("absent_model:make")

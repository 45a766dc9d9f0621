"""The rooms of the house, and which may use which."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.shared import ROOT

ROOMS = ("analysis", "cluster", "distrib", "jobs", "recsys")
USES = {
    "cluster": (
        "cluster",
        "distrib.scheduling.session",
        "jobs.cli",
        "jobs.command",
        "recsys.credentials",
        "recsys.errors",
    ),
    "jobs": ("jobs", "distrib", "analysis", "recsys"),
    "distrib": ("distrib", "recsys"),
    "analysis": ("analysis", "recsys.metrics", "recsys.names"),
    "recsys": ("recsys",),
}
"""What the modules of a room may import of the house; nobody imports ``cluster``."""

STRANGERS = {
    "recsys": ("ray",),
    "analysis": ("ray", "torch", "torchrec", "fbgemm_gpu"),
    "cluster": ("torch", "torchrec", "fbgemm_gpu"),
}
"""Libraries that a room never imports."""

ALONE = {"recsys/__init__.py": (), "recsys/metrics.py": ("numpy",), "recsys/names.py": ()}
"""Modules that analysis loads, and the libraries they may have."""


def modules(room: str) -> list[Path]:
    return sorted((ROOT / room).rglob("*.py"))


def imported(source: str) -> Iterator[tuple[int, str]]:
    """Yield the line and the full name of everything that a module imports, wherever it does."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from ((node.lineno, f"{node.module}.{alias.name}") for alias in node.names)


def within(name: str, packages: tuple[str, ...]) -> bool:
    return any(name == package or name.startswith(f"{package}.") for package in packages)


def trespasses(room: str, source: str) -> list[tuple[int, str]]:
    """Return the imports of a module that its room may not have."""
    return [
        (line, name)
        for line, name in imported(source)
        if within(name, STRANGERS.get(room, ()))
        or (within(name, ROOMS) and not within(name, USES[room]))
    ]


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_is_there_and_uses_only_those_that_it_may(room):
    files = modules(room)

    found = {
        f"{file.relative_to(ROOT)}:{line}: {name}"
        for file in files
        for line, name in trespasses(room, file.read_text(encoding="utf-8"))
    }

    assert files
    assert found == set()


@pytest.mark.parametrize(
    ("room", "line"),
    [
        ("recsys", "import distrib"),
        ("recsys", "from ray import train"),
        ("recsys", "import ray.util"),
        ("recsys", "def f():\n    import ray"),
        ("distrib", "from jobs.experiment.loading import parse_experiment"),
        ("distrib", "import analysis.results.reading"),
        ("analysis", "from recsys import arms"),
        ("analysis", "from recsys.data.schema import Schema"),
        ("analysis", "import recsys"),
        ("analysis", "import torch.nn"),
        ("jobs", "from cluster import submit"),
        ("cluster", "from jobs import sweep"),
        ("cluster", "from distrib.scheduling.runner import run_groups"),
    ],
)
def test_a_trespass_is_seen(room, line):
    assert len(trespasses(room, line)) == 1


@pytest.mark.parametrize(
    ("room", "line"),
    [
        ("analysis", "from recsys.metrics import log_loss"),
        ("analysis", "from recsys import metrics"),
        ("jobs", "from analysis.results.reading import Results"),
        ("distrib", "import ray, torch"),
        ("recsys", "import rays_of_light"),
    ],
)
def test_what_is_allowed_is_no_trespass(room, line):
    assert trespasses(room, line) == []


@pytest.mark.parametrize("file", ALONE)
def test_what_analysis_loads_of_recsys_needs_numpy_alone(file):
    source = (ROOT / file).read_text(encoding="utf-8")

    packages = {name.split(".")[0] for _, name in imported(source)}

    assert packages - sys.stdlib_module_names <= set(ALONE[file])


def loaded_by(names: list[str]) -> set[str]:
    """Return the packages that a fresh process has loaded once it has imported ``names``."""
    program = (
        "import sys\nfrom importlib import import_module\n"
        "for name in sys.argv[1:]: import_module(name)\n"
        "print(*{name.partition('.')[0] for name in sys.modules})"
    )
    ran = subprocess.run(
        [sys.executable, "-c", program, *names],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    return set(ran.stdout.split())


def test_importing_all_of_analysis_loads_neither_torch_nor_ray():
    names = [
        ".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        for file in modules("analysis")
    ]

    loaded = loaded_by(names)

    assert "analysis" in loaded
    assert not loaded & {"torch", "torchrec", "ray", "jobs", "distrib"}


def test_the_servers_of_a_store_which_start_anew_when_one_dies_load_no_torchrec():
    loaded = loaded_by(["distrib.parameter_store.shard", "distrib.engines.asynchronous.dispatcher"])

    assert "torch" in loaded
    assert not loaded & {"torchrec", "fbgemm_gpu", "pandas"}

"""``import soloist``, the library, and ``soloist``, the command."""

from __future__ import annotations

import doctest
import subprocess
import sys
from pathlib import Path

import pytest

import soloist
from recsys import __version__
from tests.support.shared import ROOT
from tests.test_rooms import loaded_by


def python(program: str, *, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run a program whose path has ``folder`` before the checkout, as in a user's directory."""
    paths = f"import sys; sys.path[:0] = [{str(folder)!r}, {str(ROOT)!r}]\n"
    return subprocess.run(
        [sys.executable, "-P", "-c", paths + program],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )


def package(folder: Path, name: str) -> Path:
    (folder / name).mkdir(parents=True)
    (folder / name / "__init__.py").touch()
    return folder


@pytest.mark.parametrize("name", soloist.__all__)
def test_every_public_name_can_be_imported_and_is_documented(name):
    assert getattr(soloist, name) is not None
    documented = (ROOT / "docs" / "library.md").read_text(encoding="utf-8")
    assert name == "__version__" or (name in documented and name in soloist.__doc__)


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'smelo'"):
        _ = soloist.smelo


def test_the_examples_of_the_docstring_are_right():
    failures, run = doctest.testmod(soloist, extraglobs={"relative_pd": soloist.relative_pd})

    assert (failures, run > 0) == (0, True)


def test_the_examples_of_the_documentation_are_right(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    failures, run = doctest.testfile(str(ROOT / "docs" / "library.md"), module_relative=False)

    assert (failures, run > 15) == (0, True)


def test_the_library_loads_neither_torch_nor_ray_before_they_are_needed():
    program = "soloist"

    loaded = loaded_by([program])

    assert not loaded & {"torch", "ray", "numpy", "pandas", "jobs"}


def test_prediction_difference_loads_neither_torch_nor_ray(tmp_path):
    ran = python(
        "from soloist import relative_pd, log_loss, tradeoff_table\n"
        "print(relative_pd([[0.5], [0.5]]), sorted({'torch', 'ray'} & set(sys.modules)))",
        folder=tmp_path,
    )

    assert ran.stdout == "0.0 []\n"


@pytest.mark.parametrize("name", ["jobs", "analysis", "recsys"])
def test_a_package_that_shadows_ours_is_named(tmp_path, name):
    folder = package(tmp_path / "mine", name)

    imported = python("from soloist import relative_pd", folder=folder)
    command = python("import soloist; soloist.main()", folder=folder)

    said = (
        f"{folder / name} shadows Soloist's package {name!r}; rename it, or run from another "
        "directory"
    )
    assert imported.stderr.splitlines()[-1] == f"ImportError: {said}"
    assert (command.returncode, command.stderr) == (1, f"soloist: {said}\n")


def test_a_module_that_shadows_ours_is_named(tmp_path):
    (tmp_path / "analysis.py").touch()

    command = python("import soloist; soloist.main()", folder=tmp_path)

    assert command.returncode == 1
    assert command.stderr.startswith(f"soloist: {tmp_path / 'analysis.py'} shadows")


def test_a_folder_without_modules_shadows_nothing(tmp_path):
    (tmp_path / "analysis").mkdir()

    ran = python("sys.argv[1:] = ['--version']; import soloist; soloist.main()", folder=tmp_path)

    assert (ran.returncode, ran.stdout) == (0, f"soloist {__version__}\n")

"""docs/architecture.md names every folder of the packages, and no file that does not exist."""

from __future__ import annotations

import re

import pytest

from tests.support.shared import ROOT

TEXT = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
PACKAGES = ("analysis", "cluster", "distrib", "jobs", "recsys")


@pytest.mark.parametrize("package", PACKAGES)
def test_every_package_is_described(package):
    assert f"| `{package}/` |" in TEXT


@pytest.mark.parametrize("package", ["analysis", "distrib", "jobs"])
def test_every_folder_of_a_package_is_described(package):
    folders = {
        path.name for path in (ROOT / package).iterdir() if (path / "__init__.py").is_file()
    } - {"experiments"}

    described = set(re.findall(r"`(\w+)/`", TEXT))

    assert folders
    assert folders <= described


def test_every_folder_of_distrib_has_a_row():
    folders = {
        path.parent.relative_to(ROOT / "distrib").as_posix()
        for path in (ROOT / "distrib").rglob("__init__.py")
    } - {"."}

    rows = set(re.findall(r"^\| `([\w/]+)/` \|", TEXT, re.MULTILINE))

    assert rows - set(PACKAGES) == folders


def test_every_file_that_is_named_exists():
    names = set(re.findall(r"`([\w/]+\.py)`", TEXT))

    missing = {
        name for name in names if not (any(ROOT.glob(f"*/**/{name}")) or any(ROOT.glob(name)))
    }

    assert names
    assert missing == set()

"""What is uploaded is what Ray uploads, and what is missing or too much is said before."""

from __future__ import annotations

import zipfile

import pytest
from ray._private.runtime_env.packaging import create_package

from cluster.upload import NOT_UPLOADED, check_upload, files
from recsys.errors import ConfigError


def folder(place, **ignored: str):
    """Make a working directory, with ignore files of these contents."""
    for name in ("mine.yaml", "own/model.py", "own/notes/a.md", "data/log/meta.json", "b.yaml"):
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        (place / name).write_text(name)
    for name, content in ignored.items():
        (place / f".{name}").write_text(content)
    return place


@pytest.mark.parametrize(
    ("ignored", "named", "who"),
    [
        ({"gitignore": "mine.yaml\n"}, "mine.yaml", ".gitignore"),
        ({"gitignore": "*.yaml\n!b.yaml\n"}, "./mine.yaml", ".gitignore"),
        ({"rayignore": "own/\n"}, "own/model.py", ".rayignore"),
        ({"rayignore": "own\n"}, "own/model.py", ".rayignore"),
        ({}, "data/log", "soloist submit"),
    ],
)
@pytest.mark.parametrize("word", ["{}", "--prices={}", "data.directory={}"])
def test_a_file_that_the_job_names_but_is_left_out_is_refused(ignored, named, who, word, tmp_path):
    directory = folder(tmp_path, **ignored)

    with pytest.raises(ConfigError) as refused:
        check_upload(directory, ["sweep", word.format(named)])

    assert str(refused.value) == (
        f"{named}: is not uploaded because of {who}; "
        "expected an uploaded file, or an absolute path that all nodes reach"
    )


@pytest.mark.parametrize(
    "word", ["b.yaml", "movielens", "own/model.py", "/data/log", "../b", "nothing.yaml", "own/"]
)
def test_what_is_uploaded_or_is_no_file_there_is_none_of_its_business(word, tmp_path):
    check_upload(folder(tmp_path, gitignore="mine.yaml\nnotes\n"), ["sweep", word, f"x={word}"])


def test_a_nested_ignore_file_counts_and_gitignore_can_be_ignored(tmp_path, monkeypatch):
    directory = folder(tmp_path, gitignore="mine.yaml\n")
    (directory / "own" / ".gitignore").write_text("model.py\n")

    with pytest.raises(
        ConfigError, match=r"own/model\.py: is not uploaded because of own/\.gitignore"
    ):
        check_upload(directory, ["own/model.py"])

    monkeypatch.setenv("RAY_RUNTIME_ENV_IGNORE_GITIGNORE", "1")
    check_upload(directory, ["own/model.py", "mine.yaml"])


def test_files_are_those_that_ray_packs(tmp_path):
    directory = folder(tmp_path / "here", gitignore="*.yaml\n!b.yaml\n", rayignore="notes/\n")
    package = tmp_path / "package.zip"
    create_package(
        str(directory), package, include_gitignore=True, excludes=NOT_UPLOADED, logger=None
    )

    packed = {str(path.relative_to(directory)) for path, by in files(directory).items() if not by}

    assert packed == set(zipfile.ZipFile(package).namelist())


def test_a_folder_that_is_too_large_is_refused_with_its_largest_files(tmp_path):
    directory = folder(tmp_path, gitignore="ignored.bin\n")
    for name, mib in (("ignored.bin", 500), ("a.bin", 60), ("own/b.bin", 90)):
        with (directory / name).open("wb") as file:
            file.truncate(mib * 2**20)  # takes no room on the disk

    with pytest.raises(ConfigError) as refused:
        check_upload(directory, ["sweep", "b.yaml"])

    assert str(refused.value).startswith(
        f"--working-dir {directory}: found 150 MiB, expected at most 100 MiB, Ray's limit; the "
        "largest files are own/b.bin (90 MiB), a.bin (60 MiB), "
    )
    assert str(refused.value).endswith("; exclude unneeded files in .rayignore")

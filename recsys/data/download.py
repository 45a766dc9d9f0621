"""Public data sets: location, checksum, licence.

The cache keeps archives. Their size is limited during the download, and their SHA-256 is checked
before every use.
"""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from http.client import HTTPException
from pathlib import Path

from recsys.calls import nearest
from recsys.errors import DataError
from recsys.files import sha256_of

_TIMEOUT_S = 4.0  # of one connection attempt and of one read: an unreachable site is soon known
_DEADLINE_S = 1800.0  # of a whole download
_BLOCK_BYTES = 1 << 20

Say = Callable[[str], None]


@dataclass(frozen=True, kw_only=True, slots=True)
class Archive:
    """A ZIP with the files of a data set in one ``folder``.

    It has exactly ``size`` bytes and the SHA-256 ``sha256`` (hex).
    """

    size: int
    sha256: str
    folder: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Wheel(Archive):
    """A Python package that contains the files, such as ``recbole==1.2.1``."""

    requirement: str


@dataclass(frozen=True, kw_only=True, slots=True)
class DataSet:
    """A public data set.

    Without a ``url`` in its ``archive`` it must be downloaded by hand, usually to accept its terms.
    """

    name: str
    page: str
    terms: str
    url: str | None = None
    archive: Archive | None = None
    mirror: Wheel | None = None


_GROUPLENS_TERMS = (
    "research use with acknowledgement, no redistribution (F. M. Harper and J. A. Konstan 2015)"
)

DATA_SETS = {
    data_set.name: data_set
    for data_set in (
        DataSet(
            name="movielens-100k",
            page="https://grouplens.org/datasets/movielens/100k/",
            terms=_GROUPLENS_TERMS,
            url="https://files.grouplens.org/datasets/movielens/ml-100k.zip",
            archive=Archive(
                size=4_924_029,
                sha256="50d2a982c66986937beb9ffb3aa76efe955bf3d5c6b761f4e3a7cd717c6a3229",
                folder="ml-100k",
            ),
            mirror=Wheel(
                requirement="recbole==1.2.1",
                size=2_130_151,
                sha256="9c9948202011f37eb0a7c6768129313f00d6403ad221ec940d5e2d5d5f33a407",
                folder="recbole/dataset_example/ml-100k",
            ),
        ),
        DataSet(
            name="movielens-1m",
            page="https://grouplens.org/datasets/movielens/1m/",
            terms=_GROUPLENS_TERMS,
            url="https://files.grouplens.org/datasets/movielens/ml-1m.zip",
            archive=Archive(
                size=5_917_549,
                sha256="a6898adb50b9ca05aa231689da44c217cb524e7ebd39d264c56e2832f2c54e20",
                folder="ml-1m",
            ),
        ),
        DataSet(
            name="movielens-10m",
            page="https://grouplens.org/datasets/movielens/10m/",
            terms=_GROUPLENS_TERMS,
            url="https://files.grouplens.org/datasets/movielens/ml-10m.zip",
            archive=Archive(
                size=65_566_137,
                sha256="813c411ccb6122564edfe752e7f80c4dcc5aa25fa94c93622f6877a7ba252862",
                folder="ml-10M100K",
            ),
        ),
        DataSet(
            name="criteo-kaggle",
            page="https://ailab.criteo.com/ressources/",
            terms="Criteo's data terms of use: non-commercial, attribution, no redistribution",
        ),
        DataSet(
            name="avazu",
            page="https://www.kaggle.com/c/avazu-ctr-prediction/data",
            terms="the rules of the competition, to be accepted on its page",
        ),
        DataSet(
            name="frappe",
            page="https://github.com/hexiangnan/neural_factorization_machine",
            terms="research use with citation (Baltrunas et al. 2015), no redistribution",
        ),
    )
}


def default_cache() -> Path:
    """Return the download directory: ``soloist`` in the user's cache directory."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "soloist"


def find_data_set(name: str) -> DataSet:
    """Return a public data set by name; DataError if it is unknown."""
    if name not in DATA_SETS:
        hint = nearest(name, list(DATA_SETS)) or f", expected one of {', '.join(DATA_SETS)}"
        raise DataError(f"data set {name!r}: unknown{hint}")
    return DATA_SETS[name]


def obtain(data_set: DataSet, cache: Path, say: Say) -> Path:
    """Return a directory in ``cache`` with the files of a data set, downloaded if necessary.

    If its site is unreachable, a known mirror is used, and ``say`` is called. Raises DataError if
    it must be downloaded by hand, cannot be downloaded, or fails its checksum.
    """
    name, kept, place = data_set.name, cache / f"{data_set.name}.zip", cache / data_set.name
    if data_set.url is None or data_set.archive is None:
        raise DataError(
            f"data set {name} is to be fetched by hand from {data_set.page} ({data_set.terms});"
            " then give its files as --source"
        )
    known = [archive for archive in (data_set.archive, data_set.mirror) if archive]
    try:
        cache.mkdir(parents=True, exist_ok=True)
        if kept.is_file():
            digest = sha256_of(kept)
            for archive in known:
                if digest == archive.sha256:
                    say(f"{name}: from {kept}")
                    return _unpacked(kept, archive, place)
            say(f"{name}: {kept} is damaged")
        with tempfile.TemporaryDirectory(dir=cache, prefix=f".{name}.") as scratch:
            file, archive = _downloaded(data_set, data_set.url, data_set.archive, scratch, say)
            if (found := sha256_of(file)) != archive.sha256:
                source = archive.requirement if isinstance(archive, Wheel) else data_set.url
                raise DataError(f"{source}: its SHA-256 is {found}, expected {archive.sha256}")
            file.replace(kept)
        return _unpacked(kept, archive, place)
    except OSError as error:
        raise DataError(f"{error.filename or cache}: {error.strerror or error}") from None


def _downloaded(
    data_set: DataSet, url: str, archive: Archive, scratch: str, say: Say
) -> tuple[Path, Archive]:
    """Return a file from the site or the mirror, and its expected archive."""
    file = Path(scratch, "archive.zip")
    try:
        say(f"{data_set.name}: downloading {url} ({data_set.terms})")
        _from_site(url, archive.size, file)
        return file, archive
    except (OSError, HTTPException) as error:
        reason = getattr(error, "reason", None) or error
        if data_set.mirror is None:
            raise DataError(f"{url}: cannot be had ({reason})") from None
        say(
            f"{data_set.name}: the site cannot be reached ({reason});"
            f" reading the copy that the package {data_set.mirror.requirement} carries"
        )
        return _from_wheel(data_set.mirror, Path(scratch)), data_set.mirror


def _from_site(url: str, size: int, file: Path) -> None:
    """Download ``size`` bytes; OSError if the site fails or is too slow."""
    started, received = time.monotonic(), 0
    with urllib.request.urlopen(url, timeout=_TIMEOUT_S) as answer, file.open("wb") as target:
        while block := answer.read1(_BLOCK_BYTES):
            received += target.write(block)
            if received > size:
                raise DataError(f"{url}: has more than the {size:,} bytes expected")
            if time.monotonic() - started > _DEADLINE_S:
                raise OSError(f"not done after {_DEADLINE_S:g} s")
    if received < size:
        raise OSError(f"broke off after {received} of {size} bytes")


def _from_wheel(wheel: Wheel, scratch: Path) -> Path:
    """Download a package with pip, without dependencies, with a size limit."""
    limit = wheel.size + _BLOCK_BYTES
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-cache-dir"]
    command += ["--only-binary=:all:", "--dest", str(scratch), wheel.requirement]
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            check=False,
            timeout=_DEADLINE_S,
            preexec_fn=partial(resource.setrlimit, resource.RLIMIT_FSIZE, (limit, limit)),
        )
    except subprocess.TimeoutExpired:
        raise DataError(f"package {wheel.requirement} cannot be had either: no answer") from None
    archives = sorted(scratch.glob("*.whl"))
    if done.returncode or not archives:
        last = (done.stderr.strip().splitlines() or ["pip said nothing"])[-1]
        raise DataError(f"package {wheel.requirement} cannot be had either: {last}")
    return archives[0]


def _unpacked(file: Path, archive: Archive, place: Path) -> Path:
    """Extract a verified archive to ``place``, each file atomically, and return it."""
    place.mkdir(exist_ok=True)
    prefix = f"{archive.folder}/"
    with zipfile.ZipFile(file) as packed, tempfile.TemporaryDirectory(dir=place) as scratch:
        for name in packed.namelist():
            if (
                name.startswith(prefix)
                and "/" not in (plain := name.removeprefix(prefix))
                and plain
            ):
                partial = Path(scratch, plain)
                with packed.open(name) as source, partial.open("wb") as target:
                    shutil.copyfileobj(source, target)
                partial.replace(place / plain)
    return place

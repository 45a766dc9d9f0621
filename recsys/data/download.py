"""Public data sets: where they are, how to know them, under which terms.

Downloads are checked against their published checksum and appear in the cache whole or not at all.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import urllib.request
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path

from recsys.calls import nearest
from recsys.errors import DataError
from recsys.names import is_inner

_TIMEOUT_S = 4.0  # of one connection attempt and of one read: an unreachable site is soon known
_BLOCK_BYTES = 1 << 20

Say = Callable[[str], None]


@dataclass(frozen=True, kw_only=True, slots=True)
class Wheel:
    """Files that a Python package carries along; ``sha256`` (hex) is that of the package."""

    requirement: str
    sha256: str
    folder: str


@dataclass(frozen=True, kw_only=True, slots=True)
class DataSet:
    """A public data set.

    ``md5`` (hex) is the published checksum of the archive at ``url``, a ZIP with one folder. A
    data set without one has to be fetched by hand, most often because its terms are to be accepted.
    """

    name: str
    page: str
    terms: str
    url: str | None = None
    md5: str | None = None
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
            md5="0e33842e24a9c977be4e0107933c0723",
            mirror=Wheel(
                requirement="recbole==1.2.1",
                sha256="9c9948202011f37eb0a7c6768129313f00d6403ad221ec940d5e2d5d5f33a407",
                folder="recbole/dataset_example/ml-100k",
            ),
        ),
        DataSet(
            name="movielens-1m",
            page="https://grouplens.org/datasets/movielens/1m/",
            terms=_GROUPLENS_TERMS,
            url="https://files.grouplens.org/datasets/movielens/ml-1m.zip",
            md5="c4d9eecfca2ab87c1945afe126590906",
        ),
        DataSet(
            name="movielens-10m",
            page="https://grouplens.org/datasets/movielens/10m/",
            terms=_GROUPLENS_TERMS,
            url="https://files.grouplens.org/datasets/movielens/ml-10m.zip",
            md5="ce571fd55effeba0271552578f2648bd",
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
    """Return where downloads are kept: ``soloist`` in the user's cache directory."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "soloist"


def find_data_set(name: str) -> DataSet:
    """Return a public data set by name; DataError if it is unknown."""
    if name not in DATA_SETS:
        hint = nearest(name, list(DATA_SETS)) or f", expected one of {', '.join(DATA_SETS)}"
        raise DataError(f"data set {name!r}: unknown{hint}")
    return DATA_SETS[name]


def obtain(data_set: DataSet, cache: Path, say: Say) -> Path:
    """Return the directory of a data set in ``cache``, downloaded if it is not there yet.

    Where its site cannot be reached and a mirror is known, the mirror serves, and ``say`` hears
    of it. Raises DataError if the data set is to be fetched by hand, cannot be had, or is not what
    its checksum says.
    """
    name = data_set.name
    if data_set.url is None or data_set.md5 is None:
        raise DataError(
            f"data set {name} is to be fetched by hand from {data_set.page} ({data_set.terms});"
            " then give its files as --source"
        )
    place = cache / name
    if place.is_dir():
        say(f"{name}: from {place}")
        return place
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache, prefix=f".{name}.") as scratch:
        try:
            say(f"{name}: downloading {data_set.url} ({data_set.terms})")
            found = _from_site(data_set.url, data_set.md5, Path(scratch))
        except (OSError, HTTPException) as error:
            reason = getattr(error, "reason", None) or error
            if data_set.mirror is None:
                raise DataError(f"{data_set.url}: cannot be had ({reason})") from None
            say(
                f"{name}: the site cannot be reached ({reason});"
                f" reading the copy that the package {data_set.mirror.requirement} carries"
            )
            found = _from_wheel(data_set.mirror, Path(scratch))
        found.rename(place)
    return place


def _from_site(url: str, md5: str, scratch: Path) -> Path:
    """Download and unpack an archive; OSError if the site does not answer or breaks off."""
    archive = scratch / "archive.zip"
    digest = hashlib.md5(usedforsecurity=False)
    with urllib.request.urlopen(url, timeout=_TIMEOUT_S) as answer, archive.open("wb") as file:
        announced = answer.headers.get("Content-Length")
        while block := answer.read(_BLOCK_BYTES):
            digest.update(block)
            file.write(block)
        received = file.tell()
    if announced is not None and received < int(announced):
        raise OSError(f"broke off after {received} of {announced} bytes")
    if digest.hexdigest() != md5:
        raise DataError(f"{url}: its MD5 is {digest.hexdigest()}, expected {md5}")
    with zipfile.ZipFile(archive) as packed:
        outside = [name for name in packed.namelist() if not is_inner(name.removesuffix("/"))]
        if outside:
            raise DataError(f"{url}: holds {outside[0]!a:.200}, expected names inside a folder")
        packed.extractall(scratch / "unpacked")
    folders = [path for path in (scratch / "unpacked").iterdir() if path.is_dir()]
    if len(folders) != 1:
        raise DataError(f"{url}: holds {len(folders)} folders, expected one")
    return folders[0]


def _from_wheel(wheel: Wheel, scratch: Path) -> Path:
    """Let pip download a package, without its dependencies, and take the folder out of it."""
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
    command += ["--only-binary=:all:", "--dest", str(scratch), wheel.requirement]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    archives = sorted(scratch.glob("*.whl"))
    if done.returncode or not archives:
        last = (done.stderr.strip().splitlines() or ["pip said nothing"])[-1]
        raise DataError(f"package {wheel.requirement} cannot be had either: {last}")
    with archives[0].open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != wheel.sha256:
        raise DataError(
            f"package {wheel.requirement}: its SHA-256 is {found}, expected {wheel.sha256}"
        )
    folder = scratch / "folder"
    folder.mkdir()
    with zipfile.ZipFile(archives[0]) as packed:
        for name in packed.namelist():
            if name.startswith(f"{wheel.folder}/") and not name.endswith("/"):
                with packed.open(name) as source, (folder / Path(name).name).open("wb") as target:
                    shutil.copyfileobj(source, target)
    return folder

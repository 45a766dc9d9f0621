"""A folder on any file system that pyarrow reaches: a path on this machine, ``s3://``, ``gs://``.

A URI may end in what the file system needs to know: ``s3://bucket/snapshots?region=eu-west-1``.
"""

from __future__ import annotations

import os
import posixpath
import shutil
import uuid
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

from pyarrow import fs

from recsys.credentials import without_credentials
from recsys.errors import DataError
from recsys.names import is_inner

_WRITES_WHOLE = ("s3", "gcs", "abfs")
"""File systems where a file appears when it is whole, and where folders need not be made"""

_PIECE_BYTES = 1 << 24


class Folder:
    """Reads and writes files by their names below one folder, which need not be there yet.

    All methods raise OSError where the file system refuses, and DataError for a name, given or
    found there, that would lead out of the folder. ValueError: a URI is none.
    """

    def __init__(self, place: str, within: str = "") -> None:
        if "://" in place:
            try:
                self._system, path = fs.FileSystem.from_uri(place)
            except (OSError, ValueError) as error:  # pyarrow quotes the URI
                told = str(error).replace(place, without_credentials(place))
                raise (OSError if isinstance(error, OSError) else ValueError)(told) from None
        else:
            self._system, path = fs.LocalFileSystem(), str(Path(place).absolute())
        self._root = path.rstrip("/")
        self._within = within
        self._name = f"{without_credentials(place)}/{within}".rstrip("/")

    @property
    def system(self) -> fs.FileSystem:
        """What others need to write there too, beside ``path``."""
        return self._system

    @property
    def path(self) -> str:
        """Where it is in its file system."""
        return self._at("")

    def __str__(self) -> str:
        """Return its name for a person, without keys."""
        return self._name

    def has(self, name: str) -> bool:
        """Tell whether a file is there."""
        (found,) = self._system.get_file_info([self._at(name)])
        return bool(found.type == fs.FileType.File)

    def read(self, name: str) -> bytes:
        """Return a file's content.

        Raises:
            FileNotFoundError: it is not there.
        """
        with self._system.open_input_stream(self._at(name)) as stream:
            return stream.read()

    def download(self, name: str, directory: Path) -> None:
        """Copy a file to a directory of this machine, piece by piece, under the same name.

        Raises:
            FileNotFoundError: it is not there.
        """
        path = inside(directory, name)
        path.parent.mkdir(parents=True, exist_ok=True)
        with (
            self._system.open_input_stream(self._at(name)) as stream,
            path.open("wb") as to,
        ):
            shutil.copyfileobj(stream, to, _PIECE_BYTES)

    def write(self, name: str, content: bytes | memoryview) -> None:
        """Write a file atomically; an existing one is replaced."""
        path = self._at(name)
        if self._system.type_name in _WRITES_WHOLE:
            self._write(path, content)
            return
        self._system.create_dir(path.rpartition("/")[0], recursive=True)
        # Processes of one number may write here, from two containers.
        part = f"{path}.{uuid.uuid4().hex[:8]}.part"
        try:
            self._write(part, content)
            self._system.move(part, path)
        except BaseException:
            with suppress(FileNotFoundError):
                self._system.delete_file(part)
            raise

    def folders(self) -> list[str]:
        """Return the names of the folders in it, sorted."""
        selector = fs.FileSelector(self._at(""), allow_not_found=True)
        found = self._system.get_file_info(selector)
        return self._checked(each.base_name for each in found if each.type is fs.FileType.Directory)

    def files(self) -> list[str]:
        """Return the names of the files in it, and in the folders in it, sorted.

        On this machine, folders that are links are not looked into.
        """
        if self._is_local:
            return sorted(self._local_files())
        path = self._at("")
        selector = fs.FileSelector(path, allow_not_found=True, recursive=True)
        found = self._system.get_file_info(selector)
        start = len(path) + 1
        return self._checked(each.path[start:] for each in found if each.type is fs.FileType.File)

    def delete(self, name: str) -> None:
        """Delete a file, or a folder with all that is in it; it need not be there."""
        path = self._at(name)
        (found,) = self._system.get_file_info([path])
        if found.type == fs.FileType.Directory:
            self._system.delete_dir(path)
        elif found.type != fs.FileType.NotFound:
            with suppress(FileNotFoundError):  # another process was faster
                self._system.delete_file(path)

    @property
    def _is_local(self) -> bool:
        return bool(self._system.type_name == "local")

    def _local_files(self) -> Iterator[str]:
        base = self._at("")
        for place, folders, files in os.walk(base, onerror=_raise_unless_gone):
            for path in (Path(place, each) for each in (*files, *folders)):
                name = path.relative_to(base).as_posix()
                if path.is_symlink() or not is_inner(name):
                    self._at(name)
                if path.is_file():
                    yield name

    def _checked(self, names: Iterable[str]) -> list[str]:
        """Return names that were found there, sorted; DataError for one that leads out."""
        found = sorted(names)
        for name in found:
            self._at(name)
        return found

    def _at(self, name: str) -> str:
        """Return where a name is in the file system; the empty one is that of the folder itself.

        Raises:
            DataError: it is outside, or on this machine a link leads outside.
        """
        full = "/".join(filter(None, (self._within, name)))
        if full and self._is_local:
            return str(inside(Path(self._root or "/"), full))
        if full and not is_inner(full):
            raise _refused(str(self), full)
        return f"{self._root}/{full}".rstrip("/")

    def _write(self, path: str, content: bytes | memoryview) -> None:
        with self._system.open_output_stream(path) as stream:
            stream.write(content)


def inside(directory: Path, name: str) -> Path:
    """Return where a name lies below a directory of this machine.

    Raises:
        DataError: it is no name inside a folder, or a link there leads outside.
    """
    path = directory / name
    if not is_inner(name):
        raise _refused(str(directory), name)
    if not Path(os.path.realpath(path)).is_relative_to(os.path.realpath(directory)):
        raise DataError(f"{path}: found a link that leads out of {directory}, expected none")
    return path


def _refused(folder: str, name: str) -> DataError:
    return DataError(
        f"{folder}: found the name {name!a:.200}, expected one inside the folder: "
        "no empty part, no '.' or '..', no backslash and no control character"
    )


def _raise_unless_gone(error: OSError) -> None:
    if not isinstance(error, FileNotFoundError):
        raise error


def seen_from(place: str, name: str) -> str:
    """Return the place at a relative path, such as ``../trials``, seen from a path or a URI."""
    scheme, separator, rest = place.partition("://")
    if not separator:
        return str(Path(place, name))
    path, mark, settings = rest.partition("?")
    return scheme + separator + posixpath.normpath(f"{path}/{name}") + mark + settings

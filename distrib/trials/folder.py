"""A folder on any file system of pyarrow: a local path, ``s3://``, ``gs://``.

A URI may end in options of the file system: ``s3://bucket/snapshots?region=eu-west-1``.
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
    """Reads and writes files in one folder, which need not exist.

    Methods raise OSError for file system errors, and DataError for a name that leads out of the
    folder. ValueError: an invalid URI.
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
        """The file system, for others that write to ``path``."""
        return self._system

    @property
    def path(self) -> str:
        """The path in its file system."""
        return self._at("")

    def __str__(self) -> str:
        """Return a printable name without credentials."""
        return self._name

    def has(self, name: str) -> bool:
        """Return whether a file exists."""
        (found,) = self._system.get_file_info([self._at(name)])
        return bool(found.type == fs.FileType.File)

    def read(self, name: str) -> bytes:
        """Return a file's content.

        Raises:
            FileNotFoundError: it does not exist.
        """
        with self._system.open_input_stream(self._at(name)) as stream:
            return stream.read()

    def download(self, name: str, directory: Path) -> None:
        """Copy a file to a local directory, in pieces, under the same name.

        Raises:
            FileNotFoundError: it does not exist.
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
        """Return the names of its subfolders, sorted."""
        selector = fs.FileSelector(self._at(""), allow_not_found=True)
        found = self._system.get_file_info(selector)
        return self._checked(each.base_name for each in found if each.type is fs.FileType.Directory)

    def files(self) -> list[str]:
        """Return the names of its files, including those in direct subfolders, sorted.

        Local folders that are links are skipped.
        """
        if self._is_local:
            return sorted(self._local_files())
        path = self._at("")
        selector = fs.FileSelector(path, allow_not_found=True, recursive=True)
        found = self._system.get_file_info(selector)
        start = len(path) + 1
        return self._checked(each.path[start:] for each in found if each.type is fs.FileType.File)

    def delete(self, name: str) -> None:
        """Delete a file or folder, if it exists."""
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
        """Return listed names, sorted; DataError for one that leads out of the folder."""
        found = sorted(names)
        for name in found:
            self._at(name)
        return found

    def _at(self, name: str) -> str:
        """Return the path of a name; the empty name is the folder.

        Raises:
            DataError: it is outside, also through a local link.
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
    """Return the path of a name below a local directory.

    Raises:
        DataError: it leads outside, also through a link.
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
    """Return a path or URI joined with a relative path, such as ``../trials``."""
    scheme, separator, rest = place.partition("://")
    if not separator:
        return str(Path(place, name))
    path, mark, settings = rest.partition("?")
    return scheme + separator + posixpath.normpath(f"{path}/{name}") + mark + settings

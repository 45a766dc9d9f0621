"""A folder on any file system that pyarrow reaches: a path on this machine, ``s3://``, ``gs://``.

A URI may end in what the file system needs to know: ``s3://bucket/snapshots?region=eu-west-1``.
"""

from __future__ import annotations

import posixpath
import shutil
import uuid
from pathlib import Path

from pyarrow import fs

from recsys.credentials import without_credentials

_WRITES_WHOLE = ("s3", "gcs", "abfs")
"""File systems where a file appears when it is whole, and where folders need not be made"""

_PIECE_BYTES = 1 << 24


class Folder:
    """Reads and writes files by their names below one folder, which need not be there yet.

    All methods raise OSError where the file system refuses; ValueError says that a URI is none.
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
        self._path = f"{path.rstrip('/')}/{within}".rstrip("/")
        self._name = f"{without_credentials(place)}/{within}".rstrip("/")

    @property
    def system(self) -> fs.FileSystem:
        """What others need to write there too, beside ``path``."""
        return self._system

    @property
    def path(self) -> str:
        """Where it is in its file system."""
        return self._path

    def __str__(self) -> str:
        """Return its name for a person, without keys."""
        return self._name

    def has(self, name: str) -> bool:
        """Tell whether a file is there."""
        (found,) = self._system.get_file_info([f"{self._path}/{name}"])
        return bool(found.type == fs.FileType.File)

    def read(self, name: str) -> bytes:
        """Return a file's content.

        Raises:
            FileNotFoundError: it is not there.
        """
        with self._system.open_input_stream(f"{self._path}/{name}") as stream:
            return stream.read()

    def download(self, name: str, path: Path) -> None:
        """Copy a file to this machine, piece by piece.

        Raises:
            FileNotFoundError: it is not there.
        """
        path.parent.mkdir(parents=True, exist_ok=True)
        with (
            self._system.open_input_stream(f"{self._path}/{name}") as stream,
            path.open("wb") as to,
        ):
            shutil.copyfileobj(stream, to, _PIECE_BYTES)

    def write(self, name: str, content: bytes | memoryview) -> None:
        """Write a file, whole or not at all, over what was there."""
        path = f"{self._path}/{name}"
        if self._system.type_name in _WRITES_WHOLE:
            self._write(path, content)
            return
        self._system.create_dir(path.rpartition("/")[0], recursive=True)
        # Processes of one number may write here, from two containers.
        part = f"{path}.{uuid.uuid4().hex[:8]}.part"
        self._write(part, content)
        self._system.move(part, path)

    def folders(self) -> list[str]:
        """Return the names of the folders in it, sorted."""
        selector = fs.FileSelector(self._path, allow_not_found=True)
        found = self._system.get_file_info(selector)
        return sorted(each.base_name for each in found if each.type == fs.FileType.Directory)

    def files(self) -> list[str]:
        """Return the names of the files in it, and in the folders in it, sorted."""
        selector = fs.FileSelector(self._path, allow_not_found=True, recursive=True)
        found = self._system.get_file_info(selector)
        start = len(self._path) + 1
        return sorted(each.path[start:] for each in found if each.type == fs.FileType.File)

    def delete(self, name: str) -> None:
        """Delete a file, or a folder with all that is in it; it need not be there."""
        path = f"{self._path}/{name}"
        (found,) = self._system.get_file_info([path])
        if found.type == fs.FileType.Directory:
            self._system.delete_dir(path)
        elif found.type != fs.FileType.NotFound:
            self._system.delete_file(path)

    def _write(self, path: str, content: bytes | memoryview) -> None:
        with self._system.open_output_stream(path) as stream:
            stream.write(content)


def seen_from(place: str, name: str) -> str:
    """Return the place at a relative path, such as ``../trials``, seen from a path or a URI."""
    scheme, separator, rest = place.partition("://")
    if not separator:
        return str(Path(place, name))
    path, mark, settings = rest.partition("?")
    return scheme + separator + posixpath.normpath(f"{path}/{name}") + mark + settings

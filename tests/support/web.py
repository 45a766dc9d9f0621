"""A web site on the loopback interface, for downloads."""

from __future__ import annotations

import hashlib
import io
import socket
import threading
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


@contextmanager
def site(content: bytes, *, announce: int | None = None) -> Iterator[str]:
    """Serve content at the URL that is yielded, announced as ``announce`` bytes long."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", str(announce or len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *arguments: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/data.zip"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@contextmanager
def silent_site() -> Iterator[str]:
    """Accept connections and never answer."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}/data.zip"


@contextmanager
def closed_site() -> Iterator[str]:
    """Keep a port at which nobody listens, and nobody else can meanwhile."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{held.getsockname()[1]}/data.zip"


def archive(files: dict[str, str]) -> bytes:
    """Return a ZIP of these files."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as packed:
        for name, content in files.items():
            packed.writestr(name, content)
    return buffer.getvalue()


def write_wheel(directory: Path, name: str, files: dict[str, str]) -> str:
    """Write a package, version 1.0, that pip takes, and return its SHA-256."""
    info = f"{name}-1.0.dist-info"
    described = {
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{info}/RECORD": "",
    }
    content = archive(files | described)
    (directory / f"{name}-1.0-py3-none-any.whl").write_bytes(content)
    return hashlib.sha256(content).hexdigest()

"""An object store for tests: a server of this process that answers as S3 does, on loopback."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count

import boto3
from moto.server import ThreadedMotoServer

_KEYS = {"aws_access_key_id": "tester", "aws_secret_access_key": "secret"}
_REGION = "us-east-1"


@dataclass(frozen=True, slots=True)
class S3:
    """A running server."""

    address: str
    """``127.0.0.1:PORT``"""
    _numbers: Iterator[int]

    def new_bucket(self) -> str:
        """Make a bucket and return its name."""
        name = f"bucket{next(self._numbers)}"
        self.client().create_bucket(Bucket=name)
        return name

    def uri(self, bucket: str, path: str) -> str:
        """Return what pyarrow opens; keys and address are in it, for processes without ours."""
        keys = ":".join(_KEYS.values())
        settings = f"scheme=http&endpoint_override={self.address}&region={_REGION}"
        return f"s3://{keys}@{bucket}/{path}?{settings}"

    def names(self, bucket: str) -> list[str]:
        """Return the names of the objects in a bucket."""
        found = self.client().list_objects_v2(Bucket=bucket)
        return [each["Key"] for each in found.get("Contents", [])]

    def client(self):
        """Return a client that does not go through pyarrow."""
        endpoint = f"http://{self.address}"
        return boto3.client("s3", endpoint_url=endpoint, region_name=_REGION, **_KEYS)


@contextmanager
def s3_server() -> Iterator[S3]:
    """Have a server in a thread of this process inside the block."""
    logging.getLogger("werkzeug").setLevel(logging.ERROR)  # it would tell of every request
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    try:
        yield S3(f"{host}:{port}", count())
    finally:
        server.stop()

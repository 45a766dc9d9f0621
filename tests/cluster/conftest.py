"""One cluster on this machine for all tests of the room: a head, and nodes that come and go."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from cluster.local.autoscaling import LocalCluster


@pytest.fixture(scope="package")
def cluster() -> Iterator[LocalCluster]:
    """Start a cluster without nodes; of each kind there may be two, of one CPU."""
    with LocalCluster.planned(most=2, idle_s=10) as running:
        yield running

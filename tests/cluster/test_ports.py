"""The ports of a cluster on this machine, which it has some time after they were chosen."""

from __future__ import annotations

import socket

from cluster.local import autoscaling


def test_a_port_that_another_has_is_not_chosen(monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as given:
        taken, ports = given.getsockname()[1], autoscaling._PORTS[:20]
        monkeypatch.setattr(autoscaling, "_PORTS", [taken, *ports])

        found = autoscaling._free_ports(10)

    assert len(set(found)) == 10
    assert set(found) <= {*ports} - {taken}

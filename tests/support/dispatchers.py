"""Dispatchers that a test steers, so that nothing depends on how fast a machine is."""

from __future__ import annotations

from pathlib import Path

from distrib.engines.asynchronous.dispatcher import Dispatcher
from distrib.engines.asynchronous.leases import Answer, Hold, Lease


def open_gate(gate: Path, windows: int) -> None:
    """Let windows below a number be granted by dispatchers that look at a gate."""
    part = gate.with_name(f"{gate.name}.part")
    part.write_text(str(windows))
    part.replace(gate)


def gated_dispatcher(gate: Path) -> type[Dispatcher]:
    """Return a dispatcher that grants no window that a gate keeps back."""

    class Gated(Dispatcher):
        def next(self, worker: str) -> Answer:
            granted = super().next(worker)
            if isinstance(granted, Lease) and granted.window >= int(gate.read_text()):
                self._ledger.remove_placement_groups(granted)
                return Hold()
            return granted

    return Gated


def dispatcher_that_misses(window: int, hung: Path) -> type[Dispatcher]:
    """Return a dispatcher that misses at once whoever holds a window when a file appears.

    So who hangs is found, and nobody else is for being slow, however long leases last.
    """

    class Missing(Dispatcher):
        _missed: list[int] | None = None

        def _expire(self, now: float) -> None:
            if self._missed is None and hung.exists():
                held = self._ledger.outstanding
                holders = {lease.worker for lease in held if lease.window == window}
                self._missed = [lease.number for lease in held if lease.worker in holders]
            for number in self._missed or []:
                if number in self._ledger._outstanding:
                    self._ledger._outstanding[number].expires_at = now
            super()._expire(now)

    return Missing

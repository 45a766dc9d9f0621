"""Tables of a step's parts and of a device's ceilings, over turns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from rich.table import Table

from jobs.benchmark._gpu_ceilings import Ceiling
from jobs.benchmark._gpu_parts import Part, Steps


@dataclass(frozen=True, kw_only=True, slots=True)
class Turn:
    """What was found in one turn."""

    ceilings: Mapping[Ceiling, float]
    steps: Steps

    @property
    def parts_s(self) -> float:
        """Time of all parts of a step, one after another."""
        return sum(took.seconds for took in self.steps.parts.values())

    def share(self, part: Part) -> float:
        """Return a part's share of the step."""
        return self.steps.parts[part].seconds / self.parts_s

    def speed(self, part: Part) -> float:
        """Return the bytes or operations a second that a part comes to."""
        return self.steps.works[part].amount / self.steps.parts[part].seconds

    def of_ceiling(self, part: Part) -> float:
        """Return how near a part comes to what bounds it, measured in the same turn."""
        return self.speed(part) / self.ceilings[self.steps.works[part].ceiling]


def parts_table(turns: Sequence[Turn]) -> Table:
    """Return where a step's time goes; each number with its lowest and highest over turns."""
    table = Table("part", "share, %", "ms", "of it the host's", "does", "% of a ceiling")
    table.title = "Where host's time is all of it, the device waits for the host"
    for part in Part:
        took = [turn.steps.parts[part] for turn in turns]
        table.add_row(
            part.value,
            _spread([100 * turn.share(part) for turn in turns]),
            _spread([1000 * each.seconds for each in took]),
            _spread([1000 * each.host_s for each in took]),
            *_beside_ceiling(turns, part),
        )
    table.add_section()
    table.add_row("one after another", "", _spread([1000 * turn.parts_s for turn in turns]))
    whole = [1000 * turn.steps.step_s for turn in turns]
    table.add_row("as the engine runs them", "", _spread(whole))
    kernels = [1000 * turn.steps.kernels_s for turn in turns]
    table.add_row("of it kernels and copies", "", _spread(kernels) if any(kernels) else "not seen")
    return table


def ceilings_table(turns: Sequence[Turn]) -> Table:
    """Return what the device was measured to do."""
    table = Table("ceiling", "measured", title="Copies: bytes read and written; page-locked memory")
    for ceiling in Ceiling:
        found = _spread([turn.ceilings[ceiling] / ceiling.scale for turn in turns])
        table.add_row(ceiling.value, f"{found} {ceiling.unit}")
    return table


def _beside_ceiling(turns: Sequence[Turn], part: Part) -> list[str]:
    """Return what a part does a second, and how near that comes to what bounds it."""
    if part not in turns[0].steps.works:
        return []
    ceiling = turns[0].steps.works[part].ceiling
    speed = _spread([turn.speed(part) / ceiling.scale for turn in turns])
    share = _spread([100 * turn.of_ceiling(part) for turn in turns])
    return [f"{speed} {ceiling.unit}", f"{share} {ceiling}"]


def _spread(found: Sequence[float]) -> str:
    """Return the median with the lowest and the highest."""
    return f"{np.median(found):.3g} [{min(found):.3g}, {max(found):.3g}]"

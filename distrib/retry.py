"""What becomes of a group that did not finish: a decision made apart from who carries it out."""

from __future__ import annotations

from enum import StrEnum

WORKER_DEATHS = 2
"""So many deaths of a worker are forgiven: killed for memory, by a person, by a kernel's fault, or
by us, for it was stuck."""


class Ending(StrEnum):
    """Why a group did not finish."""

    OWN_ERROR = "own error"
    BAD_INPUT = "bad input"
    WORKER_DIED = "worker died"
    STALLED = "stalled"
    NODE_DIED = "node died"


class Decision(StrEnum):
    """What to do about it."""

    RETRY = "retry"
    SPLIT = "split"
    GIVE_UP = "give up"


def decide(ending: Ending, *, worker_deaths: int, trials: int) -> Decision:
    """Decide about a group of ``trials`` after so many deaths of its worker, this one included.

    A node's death says nothing about the trials on it, so they run again. A trial's own error
    would come again; but in a group it may be one replica's alone, so the group is split and takes
    no other with it. Bad input is bad for all of the group.
    """
    if ending is Ending.NODE_DIED:
        return Decision.RETRY
    if ending in (Ending.WORKER_DIED, Ending.STALLED) and worker_deaths <= WORKER_DEATHS:
        return Decision.RETRY
    if ending is Ending.BAD_INPUT or trials == 1:
        return Decision.GIVE_UP
    return Decision.SPLIT

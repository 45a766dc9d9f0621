"""Groups: the missing trials of one recipe, trained side by side in one process."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from distrib.trials.results import is_done
from distrib.trials.trial import Trial
from recsys.config import Recipe
from recsys.data.click_log import ClickLog


@dataclass(frozen=True, kw_only=True, slots=True)
class Group:
    """Trials that differ in their seeds only, with their titles."""

    title: str
    trials: tuple[Trial, ...]

    @property
    def recipe(self) -> Recipe:
        return self.trials[0].recipe

    def examples(self, log: ClickLog) -> int:
        """Return the number of training examples, over all replicas and phases."""
        passes = self.recipe.stream.epochs * len(self.recipe.arm.phases)
        return len(log.splits["train"]) * passes * len(self.trials)

    def work(self, log: ClickLog) -> int:
        """Return its size, in examples through one tower, which determines its duration."""
        towers = sum(g.towers for g in self.recipe.arm.layout(self.recipe.model.embedding_dim))
        return self.examples(log) * towers

    def split(self) -> list[Group]:
        """Return each trial as its own group."""
        return [Group(title=self.title, trials=(trial,)) for trial in self.trials]


def missing_groups(
    directory: Path, groups: Iterable[Group], *, fuse: int, weights: bool = False
) -> list[Group]:
    """Return what is left to train of ``groups``, in even parts of at most ``fuse`` trials.

    Engines that train trials in sequence get one trial each, so that finished ones are written. A
    trial of several groups is trained in the first. With ``weights``, a finished trial without
    weights is trained again.
    """
    seen: set[str] = set()
    missing: list[Group] = []
    for group in groups:
        rest = []
        for trial in group.trials:
            if trial.digest not in seen and not is_done(directory, trial, weights=weights):
                rest.append(trial)
            seen.add(trial.digest)
        in_turn = group.recipe.engine.name == "async"  # however many there are
        pieces = -(-len(rest) // (1 if in_turn else fuse))
        missing += [
            Group(title=group.title, trials=tuple(rest[piece::pieces])) for piece in range(pieces)
        ]
    return missing

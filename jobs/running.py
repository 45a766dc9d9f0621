"""Runs groups of trials on Ray with progress, a status file and clean interruption."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from distrib.scheduling.runner import run_groups
from distrib.scheduling.session import ray_session, terminated_like_interrupted
from distrib.scheduling.stall_detection import STALL_S
from distrib.scheduling.status import Status
from distrib.trials.failures import Failure
from distrib.trials.folder import Folder
from distrib.trials.grouping import Group
from jobs.progress import Display, StatusFile
from recsys.data.click_log import ClickLog


def train_groups(
    log: ClickLog,
    directory: Path,
    groups: Sequence[Group],
    *,
    told_in: Path | None = None,
    keep_weights: bool = False,
    stall_s: float = STALL_S,
    uri: str | None = None,
) -> list[Failure]:
    """Train groups on Ray into ``directory``; no Ray is started where there is nothing to train.

    ``stall_s`` and ``uri`` as ``run_groups`` has them. ``told_in`` is where ``status.json`` goes,
    by default the same directory.

    Raises:
        KeyboardInterrupt: what was finished is kept.
    """
    if not groups:
        return []
    with (
        Display() as display,
        StatusFile(told_in or directory, _elsewhere(uri, directory, told_in)) as file,
        ray_session(),
        terminated_like_interrupted(),
    ):

        def observe(status: Status) -> None:
            display(status)
            file(status)

        return run_groups(
            log,
            directory,
            groups,
            observe=observe,
            keep_weights=keep_weights,
            stall_s=stall_s,
            uri=uri,
        )


def _elsewhere(uri: str | None, directory: Path, told_in: Path | None) -> Folder | None:
    """Return the folder at a URI that ``told_in`` mirrors."""
    if uri is None:
        return None
    return Folder(uri, "" if told_in is None else told_in.relative_to(directory).as_posix())

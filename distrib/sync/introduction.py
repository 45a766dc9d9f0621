"""What Ray Train's controller is told to do first, and the driver learns of it.

Apart from the rest, so that the controller's process does not load TorchRec.
"""

from __future__ import annotations

from typing import Any

import ray
from ray.train.v2._internal.execution.callback import ControllerCallback

from distrib.sync.places import name_places


class Introduction(ControllerCallback):
    """Tells a board the controller's handle, which Ray Train does not, and names its places.

    Args:
        board: handle of the actor.
        run: the run's name.
    """

    def __init__(self, board: Any, run: str) -> None:
        self._board = board
        self._run = run

    def after_controller_start(self, train_run_context: Any) -> None:
        name_places(self._run)
        ray.get(self._board.controlled_by.remote(ray.get_runtime_context().current_actor))

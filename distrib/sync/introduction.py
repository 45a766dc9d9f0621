"""How the driver learns who controls the ranks: Ray Train itself does not say.

Apart from the rest, so that the controller's process does not load TorchRec.
"""

from __future__ import annotations

from typing import Any

import ray
from ray.train.v2._internal.execution.callback import ControllerCallback


class Introduction(ControllerCallback):
    """Tells a board the controller's handle.

    Args:
        board: handle of the actor.
    """

    def __init__(self, board: Any) -> None:
        self._board = board

    def after_controller_start(self, train_run_context: Any) -> None:
        ray.get(self._board.controlled_by.remote(ray.get_runtime_context().current_actor))

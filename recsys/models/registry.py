"""Models by the name that an experiment gives them."""

from __future__ import annotations

from torch import nn

from recsys.models.dlrm import DLRM
from recsys.models.mlp import MLP

MODELS: dict[str, type[nn.Module]] = {"mlp": MLP, "dlrm": DLRM}

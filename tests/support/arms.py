"""Each of the six arms, and those of their options that change what is built."""

from __future__ import annotations

ARMS = {
    "single": {"kind": "single"},
    "smelu": {"kind": "single", "activation": "smelu(beta=0.5)"},
    "ensemble": {"kind": "ensemble", "components": 2},
    "mean ensemble": {"kind": "ensemble", "components": 2, "loss": "mean"},
    "self-ensemble": {"kind": "self_ensemble", "components": 2, "loss": "mean_distil"},
    "anti-distilled": {"kind": "anti_distilled", "components": 2},
    "distilled": {"kind": "distilled", "components": 2},
    "offline, two heads": {
        "kind": "distilled",
        "components": 2,
        "teacher": "offline",
        "heads": 2,
    },
    "codistilled": {"kind": "codistilled"},
}

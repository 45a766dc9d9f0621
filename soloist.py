"""Soloist as a library: smooth activations, prediction difference and trade-off tables.

Names are imported when they are first used, so that what needs neither PyTorch nor Ray loads
neither. docs/library.md has an example of each.

Activations (PyTorch): ``SmeLU``, ``GSmeLU``, ``Rescu``, their functions ``smelu``, ``gsmelu``,
``rescu``; ``get_activation`` by name; ``replace_activations`` in a model; ``unseen_activations``.

Prediction difference (NumPy): ``relative_pd``, ``absolute_pd``, ``logit_pd``,
``mean_deviation_pd``, ``label_churn``, ``swap_rate``.

Accuracy (NumPy): ``log_loss``, ``normalized_entropy``, ``calibration``, ``roc_auc``, ``pr_auc``,
``gauc``, ``ranking_loss``.

Results (pandas): ``tradeoff_table`` of a finished sweep, ``compare_predictions`` of files.

>>> round(relative_pd([[0.2, 0.5], [0.3, 0.5]]), 4)
0.2
"""

from __future__ import annotations

import sys
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

_ACTIVATIONS = "SmeLU GSmeLU Rescu smelu gsmelu rescu get_activation"
_DIFFERENCES = "relative_pd absolute_pd logit_pd mean_deviation_pd label_churn swap_rate"
_ACCURACY = "log_loss normalized_entropy calibration roc_auc pr_auc gauc ranking_loss"
_MODULES = {
    **dict.fromkeys(_ACTIVATIONS.split(), "recsys.activations"),
    "replace_activations": "recsys.replace",
    "unseen_activations": "recsys.replace",
    **dict.fromkeys(_DIFFERENCES.split(), "analysis.prediction_difference"),
    **dict.fromkeys(_ACCURACY.split(), "recsys.metrics"),
    "tradeoff_table": "analysis.tradeoff",
    "compare_predictions": "analysis.prediction_files.comparison",
    "__version__": "recsys",
}
_NAMES_THERE = {"compare_predictions": "compare_files"}
_PACKAGES = ("recsys", "distrib", "jobs", "analysis", "cluster")

__all__ = sorted(_MODULES)  # noqa: PLE0605 - computed from the one list


def __getattr__(name: str) -> Any:
    """Import a public name on its first use."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    check_packages()
    found = getattr(import_module(_MODULES[name]), _NAMES_THERE.get(name, name))
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return [*globals(), *__all__]


def check_packages() -> None:
    """Raise ImportError if a module of the user shadows one of Soloist's packages."""
    places = {name: _place(name) for name in _PACKAGES}
    # All in one folder is right wherever that is, such as a checkout beside an installation.
    if len({place.parent for place in places.values()}) == 1:
        return
    here = Path(__file__).resolve().parent
    for name, place in places.items():
        if place.parent != here:
            raise ImportError(
                f"{place} shadows Soloist's package {name!r}; rename it, or run from another "
                "directory"
            )


def _place(package: str) -> Path:
    """Return the folder or file that a package would be imported from."""
    spec = find_spec(package)
    if spec is None:
        raise ImportError(f"Soloist's package {package!r} is missing; install Soloist again")
    return Path([*(spec.submodule_search_locations or ()), spec.origin or ""][0]).resolve()


def main() -> None:
    """Run the command line; custom models can be imported from the working directory.

    ``python -m`` does the same, but an installed script has its own directory first in the path.
    Ray's workers get the working directory of the process that started them from Ray.
    """
    here = str(Path.cwd())
    if not sys.flags.safe_path and sys.path[:1] != [here]:
        sys.path.insert(0, here)
    try:
        check_packages()
    except ImportError as error:
        sys.exit(f"soloist: {error}")
    import_module("jobs.cli").main()


if __name__ == "__main__":
    main()

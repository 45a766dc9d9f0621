"""Words that several command lines share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from typer import Argument, Option

from jobs.experiments import shipped_experiments

ExperimentName = Annotated[
    str,
    Argument(
        metavar="EXPERIMENT",
        help="A YAML file, or a shipped experiment by its name: "
        f"{', '.join(shipped_experiments())}.",
        show_default=False,
    ),
]
KeepWeights = Annotated[
    bool,
    Option(
        "--keep-weights",
        help="Keep the weights of what is served, for soloist export. A finished trial without "
        "them is trained again.",
    ),
]
OfArm = Annotated[
    str | None,
    Option("--arm", metavar="NAME", help="Of a sweep: the arm.", show_default=False),
]
OfReplica = Annotated[
    int | None,
    Option("--replica", min=0, help="Of a sweep: the arm's replica. [default: 0]"),
]
Models = Annotated[
    list[str] | None,
    Option(
        "--model",
        metavar="PACKAGE.MODULE:FACTORY",
        help="A model of yours that the results may name, and whose module may be imported; "
        "repeat it.",
        show_default=False,
    ),
]
Trust = Annotated[
    bool,
    Option("--trust", help="Import whatever module the results name: only for results you trust."),
]
PricesFile = Annotated[
    Path | None,
    Option(
        "--prices",
        metavar="FILE",
        help="YAML with per_core_hour, per_gpu_hour and currency. [default: cluster/prices.yaml, "
        "where it is there]",
        show_default=False,
    ),
]
PricePerCoreHour = Annotated[
    float | None,
    Option("--price-per-core-hour", min=0, help="Of one core, in place of the file's."),
]
Record = Annotated[
    bool,
    Option(
        "--record",
        help="Keep the order in which the shards of the async engine served, for soloist replay: "
        "engine.record=true for every arm that is trained.",
    ),
]
PricePerGpuHour = Annotated[
    float | None,
    Option("--price-per-gpu-hour", min=0, help="Of one GPU, in place of the file's."),
]
Overrides = Annotated[
    list[str] | None,
    Argument(
        metavar="FIELD=VALUE",
        help="Any field of the experiment by its dotted path: replicas=8, "
        "arms.relu.activation=gelu; a field of the defaults also by its own: "
        "stream.batch_size=256, engine.threads=2. VALUE is YAML: 'model.hidden=[128, 64]'.",
        show_default=False,
    ),
]

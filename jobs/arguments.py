"""Arguments and options that several jobs share."""

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
        help="Keep the weights of the served model, for soloist export. Finished trials without "
        "weights are trained again.",
    ),
]
OfArm = Annotated[
    str | None,
    Option("--arm", metavar="NAME", help="Arm of the sweep.", show_default=False),
]
OfReplica = Annotated[
    int | None,
    Option("--replica", min=0, help="Replica of the arm. [default: 0]"),
]
PricesFile = Annotated[
    Path | None,
    Option(
        "--prices",
        metavar="FILE",
        help="YAML with per_core_hour, per_gpu_hour and currency. [default: cluster/prices.yaml, "
        "if it exists]",
        show_default=False,
    ),
]
PricePerCoreHour = Annotated[
    float | None,
    Option("--price-per-core-hour", min=0, help="Price of one core, overrides the file."),
]
Record = Annotated[
    bool,
    Option(
        "--record",
        help="Record the order of requests to the shards of the async engine, for soloist "
        "replay: engine.record=true for all trained arms.",
    ),
]
PricePerGpuHour = Annotated[
    float | None,
    Option("--price-per-gpu-hour", min=0, help="Price of one GPU, overrides the file."),
]
Overrides = Annotated[
    list[str] | None,
    Argument(
        metavar="FIELD=VALUE",
        help="Sets a field of the experiment by its dotted path: replicas=8, "
        "arms.relu.activation=gelu; a field of the defaults also without the prefix: "
        "stream.batch_size=256, engine.threads=2. VALUE is YAML: 'model.hidden=[128, 64]'.",
        show_default=False,
    ),
]

"""The configurations of the training engines."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import Discriminator, Field, Tag, model_validator

from recsys.frozen import Count, Few, Frozen, Integer, Number, Seconds, Share


class Resources(Frozen):
    """The Ray resources of each training process, under Ray's names."""

    num_cpus: Number | None = Field(
        None, ge=0, le=1_000_000, description="CPUs; none: as many as threads"
    )
    num_gpus: Number | None = Field(
        None,
        ge=0,
        le=1_000_000,
        description="GPUs; a fraction lets processes share one; none: 1 when training on a GPU",
    )
    custom: dict[str, Annotated[Number, Field(gt=0, le=1_000_000_000)]] = Field(
        {}, description="custom Ray resources of the cluster, such as spot: 1"
    )
    placement: Literal["PACK", "SPREAD", "STRICT_PACK", "STRICT_SPREAD"] | None = Field(
        None,
        description="strategy of the placement group that holds a training's workers; "
        "none: PACK on a cluster, no placement group on one machine",
    )

    @model_validator(mode="after")
    def _custom_is_custom(self) -> Self:
        for name in sorted(self.custom.keys() & {"CPU", "GPU", "memory", "object_store_memory"}):
            raise ValueError(f"custom: found {name}, which is Ray's own; expected another name")
        return self


class BaseEngine(Frozen):
    """The fields that all engines share."""

    device: Literal["auto", "cpu", "cuda"] = Field(
        "auto", description="device to train on; auto: a GPU where there is one"
    )
    matmul_precision: Literal["highest", "high", "medium"] = Field(
        "highest", description="torch.set_float32_matmul_precision"
    )
    threads: Few = Field(1, description="CPU threads of one training process")
    # Where a training runs and keeps files decides no result, and may hold credentials: such
    # fields are excluded from a trial's digest and from what is written about it.
    resources: Resources = Field(
        Resources(), exclude=True, description="Ray resources of each training process"
    )

    @model_validator(mode="after")
    def _has_the_gpu_that_it_trains_on(self) -> Self:
        if self.device == "cuda" and self.resources.num_gpus == 0:
            raise ValueError("resources.num_gpus: found 0, expected more with device: cuda")
        return self


class LocalEngine(BaseEngine):
    """One process that trains several replicas side by side. The reference engine."""

    name: Literal["local"] = Field("local", description="selects this engine")


class ConstantDelays(Frozen):
    """All windows take equally long; ties are broken at random."""

    kind: Literal["constant"] = Field("constant", description="selects this distribution")


class ExponentialDelays(Frozen):
    """The duration of a window is exponentially distributed."""

    kind: Literal["exponential"] = Field("exponential", description="selects this distribution")


class StragglerDelays(Frozen):
    """Some workers are slow; all others are equally fast."""

    kind: Literal["stragglers"] = Field("stragglers", description="selects this distribution")
    share: Share = Field(0.1, description="fraction of the workers that are slow")
    slowdown: Number = Field(
        10.0, ge=1, le=1_000_000, description="duration of a slow worker's window, fast ones take 1"
    )


Delays = Annotated[
    ConstantDelays | ExponentialDelays | StragglerDelays, Field(discriminator="kind")
]
DELAY_KINDS: dict[str, type[Frozen]] = {
    "constant": ConstantDelays,
    "exponential": ExponentialDelays,
    "stragglers": StragglerDelays,
}
"""The distributions by name."""


class _Windowed(BaseEngine):
    workers: Integer = Field(
        2, gt=0, le=4096, description="workers, none of which waits for another"
    )
    window: Count = Field(16, description="batches between a worker's pull and its push (τ)")
    delta_scale: Number = Field(
        1.0, gt=0, le=1, description="factor on pushed weight changes, to prevent overshooting"
    )
    max_staleness: Integer | None = Field(
        None,
        ge=0,
        le=1_000_000_000,
        description="windows of other workers allowed between a pull and its push; none: any "
        "number",
    )
    warm_up: Integer = Field(
        0,
        ge=0,
        le=1_000_000_000,
        description="first windows, which are trained sequentially, because Adagrad's first "
        "steps are large and overshoot when many are applied at once",
    )


class VirtualAsyncEngine(_Windowed):
    """Logical workers in one process, in a seeded order; runs are bitwise identical."""

    name: Literal["virtual_async"] = Field("virtual_async", description="selects this engine")
    delays: Delays = Field(
        ExponentialDelays(), description="distribution of the duration of a window"
    )


_NOT_IN_PLACE: tuple[tuple[str, tuple[object, ...], str], ...] = (
    ("device", ("cpu",), "its tables are in the host's memory"),
    ("shards", (1,), "all workers share one memory"),
    ("delta_scale", (1.0,), "batches are applied in place, so there is no delta to scale"),
    ("max_staleness", (None, 0), "staleness within a window is not bounded"),
    ("record", (False,), "updates without locks have no order that could be replayed"),
)
"""What a field may be with ``store: shared_memory``, and why"""


class AsyncEngine(_Windowed):
    """Asynchronous worker processes on Ray."""

    name: Literal["async"] = Field("async", description="selects this engine")
    store: Literal["server", "shared_memory"] = Field(
        "server",
        description="server: parameters on Ray actors; shared_memory: the workers of one node "
        "update one copy in shared memory, batch by batch, without locks",
    )
    shards: Few = Field(1, description="shard actors that hold the parameters, store: server only")
    start_with: Few = Field(
        1,
        description="workers that must have started before the first window is leased; a late "
        "worker would lower the staleness of the others",
    )
    lease_s: Seconds = Field(
        30.0, description="seconds without a heartbeat after which a window is leased again"
    )
    snapshots: str | None = Field(
        None, exclude=True, description="path or pyarrow.fs URI for snapshots; none: no snapshots"
    )
    snapshot_every: Count = Field(1000, description="windows between snapshots")
    record: bool = Field(
        False, description="keep the order of pulls and pushes, for soloist replay"
    )

    @model_validator(mode="before")
    @classmethod
    def _shared_memory_is_of_the_host(cls, fields: Any) -> Any:
        if isinstance(fields, Mapping) and fields.get("store") == "shared_memory":
            found = fields.get("device", "auto")
            return {**fields, "device": "cpu" if found == "auto" else found}
        return fields

    @model_validator(mode="after")
    def _store_can_do_it(self) -> Self:
        if self.store == "server":
            return self
        for field, expected, why in _NOT_IN_PLACE:
            found = getattr(self, field)
            if found not in expected:
                allowed = " or ".join("none" if each is None else str(each) for each in expected)
                raise ValueError(
                    f"{field}: found {found}, expected {allowed} with store: shared_memory: {why}; "
                    "or store: server"
                )
        return self

    @model_validator(mode="after")
    def _starts_with_workers_it_has(self) -> Self:
        if self.start_with > self.workers:
            raise ValueError(
                f"start_with: found {self.start_with}, expected at most workers, {self.workers}"
            )
        return self


ShardingKind = Literal["auto", "table_wise", "row_wise", "column_wise", "data_parallel"]


class SyncEngine(BaseEngine):
    """Synchronous training with Ray Train and TorchRec's DistributedModelParallel."""

    name: Literal["sync"] = Field("sync", description="selects this engine")
    workers: Few | tuple[Few, Few] = Field(
        2, description="ranks; [least, most]: elastic, as many as the cluster has room for"
    )
    sharding: ShardingKind = Field(
        "auto", description="sharding of the tables; auto: TorchRec's planner decides"
    )
    table_sharding: dict[str, ShardingKind] = Field(
        {},
        description="sharding of the tables whose names match a pattern such as user_*; of several "
        "patterns that match, the last applies",
    )
    precision: Literal["float32", "bfloat16", "float16"] = Field(
        "float32", description="autocast precision of the towers; weights and tables are float32"
    )
    compile: bool = Field(False, description="compile the towers with torch.compile")
    storage: str | None = Field(
        None,
        exclude=True,
        description="directory that all nodes reach, or pyarrow.fs URI, for checkpoints and "
        "scalars; none: beside the results",
    )
    checkpoint_every: Count = Field(1000, description="batches between checkpoints")
    checkpoints_kept: Few = Field(2, description="newest checkpoints that are kept")
    resume: str | None = Field(
        None,
        exclude=True,
        description="checkpoint of the same training to start from; ranks may differ",
    )
    max_failures: Integer = Field(
        3, ge=0, le=1_000_000, description="worker failures that a training survives"
    )
    tracking: Literal["tensorboard", "mlflow", "none"] = Field(
        "tensorboard", description="where loss, speed and evaluations are logged during training"
    )
    track_every: Count = Field(50, description="batches between logged losses")

    @model_validator(mode="after")
    def _least_is_not_most(self) -> Self:
        least, most = self.worker_range
        if least > most:
            raise ValueError(f"workers: found [{least}, {most}], expected [least, most]")
        return self

    @property
    def worker_range(self) -> tuple[int, int]:
        """Least and most ranks."""
        return self.workers if isinstance(self.workers, tuple) else (self.workers, self.workers)


ENGINE_KINDS: dict[str, type[BaseEngine]] = {
    "local": LocalEngine,
    "virtual_async": VirtualAsyncEngine,
    "async": AsyncEngine,
    "sync": SyncEngine,
}
"""The engines by name."""


def _tag(value: object) -> str:
    if isinstance(value, Mapping):
        return str(value.get("name", "local"))
    return str(getattr(value, "name", ""))


EngineConfig = Annotated[
    Annotated[LocalEngine, Tag("local")]
    | Annotated[VirtualAsyncEngine, Tag("virtual_async")]
    | Annotated[AsyncEngine, Tag("async")]
    | Annotated[SyncEngine, Tag("sync")],
    Discriminator(_tag),
]
"""The configuration of one engine; ``local`` where none is named."""

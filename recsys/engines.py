"""How a training is carried out: one configuration for each engine."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import (
    Discriminator,
    Field,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    Tag,
    model_validator,
)

from recsys.frozen import Frozen


class Resources(Frozen):
    """What each process that trains asks of Ray, by Ray's names."""

    num_cpus: float | None = Field(None, ge=0, description="none: as many as threads")
    num_gpus: float | None = Field(
        None, ge=0, description="none: one where it trains on a GPU; a part lets several share one"
    )
    custom: dict[str, PositiveFloat] = Field(
        {}, description="what a cluster calls its own, such as spot: 1"
    )
    placement: Literal["PACK", "SPREAD", "STRICT_PACK", "STRICT_SPREAD"] | None = Field(
        None,
        description="how the workers of a training lie on nodes, their places reserved together; "
        "none: PACK in a cluster, each for itself on one machine",
    )

    @model_validator(mode="after")
    def _custom_is_custom(self) -> Self:
        for name in sorted(self.custom.keys() & {"CPU", "GPU", "memory", "object_store_memory"}):
            raise ValueError(f"custom: found {name}, which is Ray's own; expected another name")
        return self


class BaseEngine(Frozen):
    """What every engine has."""

    device: Literal["auto", "cpu", "cuda"] = "auto"
    matmul_precision: Literal["highest", "high", "medium"] = "highest"
    threads: PositiveInt = Field(1, description="CPU threads of one training process")
    # Where a training runs and keeps files decides no result, and may hold credentials: such
    # fields are excluded from a trial's digest and from what is written about it.
    resources: Resources = Field(Resources(), exclude=True)

    @model_validator(mode="after")
    def _has_the_gpu_that_it_trains_on(self) -> Self:
        if self.device == "cuda" and self.resources.num_gpus == 0:
            raise ValueError("resources.num_gpus: found 0, expected more with device: cuda")
        return self


class LocalEngine(BaseEngine):
    """One process, replicas fused. The reference."""

    name: Literal["local"] = "local"


class ConstantDelays(Frozen):
    """Every window takes equally long; who of those that end together comes first is random."""

    kind: Literal["constant"] = "constant"


class ExponentialDelays(Frozen):
    """The time of a window is exponential."""

    kind: Literal["exponential"] = "exponential"


class StragglerDelays(Frozen):
    """Some workers are slow, all others equally fast."""

    kind: Literal["stragglers"] = "stragglers"
    share: float = Field(0.1, ge=0, le=1, description="of the workers that are slow")
    slowdown: float = Field(10.0, ge=1, description="how many times slower they are")


Delays = Annotated[
    ConstantDelays | ExponentialDelays | StragglerDelays, Field(discriminator="kind")
]


class _Windowed(BaseEngine):
    workers: PositiveInt = Field(2, le=4096, description="that train without waiting for another")
    window: PositiveInt = Field(16, description="batches between a pull and a push, τ")
    delta_scale: float = Field(
        1.0, gt=0, le=1, description="factor on pushed changes of weights, against overshooting"
    )
    max_staleness: int | None = Field(
        None, ge=0, description="most windows of others between a pull and its push; none: no bound"
    )
    warm_up: int = Field(
        0,
        ge=0,
        description="windows at the start that are trained one after another: Adagrad's first "
        "steps are as long as its learning rate allows, and many of them at once overshoot",
    )


class VirtualAsyncEngine(_Windowed):
    """Logical workers in one process, in a seeded order: repeatable to the bit."""

    name: Literal["virtual_async"] = "virtual_async"
    delays: Delays = ExponentialDelays()


_NOT_IN_PLACE: tuple[tuple[str, tuple[object, ...], str], ...] = (
    ("device", ("cpu",), "its tables are in the host's memory"),
    ("shards", (1,), "all workers share one memory"),
    ("delta_scale", (1.0,), "batches are applied in place, so there is no delta to scale"),
    ("max_staleness", (None, 0), "staleness within a window is not bounded"),
    ("record", (False,), "updates without locks have no order that could be replayed"),
)
"""What a field may be with ``store: shared_memory``, and why"""


class AsyncEngine(_Windowed):
    """Worker processes on Ray that never wait for each other."""

    name: Literal["async"] = "async"
    store: Literal["server", "shared_memory"] = Field(
        "server",
        description="server: rows on Ray actors; shared_memory: workers of one node update one "
        "copy of everything, batch by batch and without locks",
    )
    shards: PositiveInt = Field(1, description="actors that hold the rows, of store: server")
    start_with: PositiveInt = Field(
        1,
        description="workers that must be there before the first window is leased; for studies, "
        "in which a worker that comes late would make all others less stale",
    )
    lease_s: float = Field(
        30.0, gt=0, description="seconds without a sign of life after which a window is taken back"
    )
    snapshots: str | None = Field(
        None,
        exclude=True,
        description="where to, any path or URI that pyarrow.fs can write; none: no snapshots",
    )
    snapshot_every: PositiveInt = Field(1000, description="windows from snapshot to snapshot")
    record: bool = Field(False, description="keep the order of pulls and pushes, for a replay")

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
    """Ranks that train each batch together: Ray Train and TorchRec's DistributedModelParallel."""

    name: Literal["sync"] = "sync"
    workers: PositiveInt | tuple[PositiveInt, PositiveInt] = Field(
        2, description="ranks; [least, most]: as many of them as there is room for, at any time"
    )
    sharding: ShardingKind = Field(
        "auto", description="how tables lie on ranks; auto: TorchRec's planner decides"
    )
    table_sharding: dict[str, ShardingKind] = Field(
        {},
        description="of tables whose names fit a pattern such as user_*; the last counts",
    )
    precision: Literal["float32", "bfloat16", "float16"] = Field(
        "float32", description="of the towers' products; weights and tables are float32"
    )
    compile: bool = Field(False, description="torch.compile for the towers")
    storage: str | None = Field(
        None,
        exclude=True,
        description="a folder that all nodes reach, or a URI that pyarrow.fs can write, for "
        "checkpoints and scalars; none: beside the results",
    )
    checkpoint_every: PositiveInt = Field(1000, description="batches from checkpoint to checkpoint")
    checkpoints_kept: PositiveInt = Field(2, description="the newest ones")
    resume: str | None = Field(
        None,
        exclude=True,
        description="a checkpoint of the same training on other ranks, to begin with",
    )
    max_failures: NonNegativeInt = Field(3, description="lost ranks after which a training fails")
    tracking: Literal["tensorboard", "mlflow", "none"] = Field(
        "tensorboard", description="who is told loss, speed and evaluation on the way"
    )
    track_every: PositiveInt = Field(50, description="batches from one told loss to the next")

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

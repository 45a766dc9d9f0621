"""Seeds: what varies, and that paths are independent."""

from __future__ import annotations

from dataclasses import asdict

import pytest
import torch

from recsys.seeds import Seeds, Source, component_path, derive, replica_seeds, torch_generator

FIELD = {
    Source.INIT: "init",
    Source.SHUFFLE: "shuffle",
    Source.ASYNC: "asynchrony",
    Source.ARITHMETIC: "arithmetic",
    Source.COMPONENTS: "components",
}


@pytest.mark.parametrize("source", list(Source))
def test_a_replica_differs_from_the_first_in_the_varied_source_alone(source: Source) -> None:
    first = asdict(replica_seeds(11, (source,), 0))
    third = asdict(replica_seeds(11, (source,), 2))

    assert {name for name in first if first[name] != third[name]} == {FIELD[source]}


def test_the_first_replica_is_the_same_training_whatever_varies() -> None:
    assert {replica_seeds(11, (source,), 0) for source in Source} == {
        Seeds(init=11, shuffle=11, asynchrony=11, arithmetic=0, components=11)
    }


def test_a_path_gives_one_seed_on_every_platform() -> None:
    assert derive(3, "shuffle", 1) == 7880218386176031917
    assert derive(3, "shuffle", 1) != derive(3, "shuffle", 2) != derive(4, "shuffle", 2)


def test_component_zero_of_an_ensemble_starts_as_the_single_model() -> None:
    single = torch_generator(*component_path(Seeds(init=5, components=1), "model", 0))
    member = torch_generator(*component_path(Seeds(init=5, components=2), "model", 0))

    assert torch.equal(torch.rand(4, generator=single), torch.rand(4, generator=member))


def test_other_components_start_differently_and_follow_the_components_seed() -> None:
    paths = [
        component_path(Seeds(init=5, components=seed), "model", component)
        for seed in (1, 2)
        for component in (1, 2)
    ]

    assert len({derive(*path) for path in paths}) == 4

"""The compiled operators give the numbers of the PyTorch operations, and are compiled once."""

from __future__ import annotations

import logging
import math
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from recsys import native, rescu
from recsys.activations import GSmeLU, Rescu, SmeLU

UNITS = (
    SmeLU(0.5),
    SmeLU(1e-40),
    GSmeLU(alpha=0.5, beta=1.5, g_minus=0.1, g_plus=1.2, t=-0.3),
    GSmeLU(alpha=0, beta=0, g_minus=0.1),
    Rescu((-1, 0, 0.5, 2), (0, 0.25, 0.2, 1), value=0.5),
)
COUNT_TO_TWO_MILLION = 2_000_003  # more than a thread's share, and no multiple of a vector


@pytest.fixture(scope="module")
def _compiled() -> None:
    if native.operators() is None:
        pytest.skip("the operators cannot be compiled here")


@pytest.fixture
def fresh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache directory where nothing is compiled yet, and a process that has loaded nothing."""
    monkeypatch.setenv("SOLOIST_CACHE", str(tmp_path / "cache"))
    native.operators.cache_clear()
    yield tmp_path / "cache"
    native.operators.cache_clear()


def in_pytorch(module: nn.Module, x: Tensor, monkeypatch: pytest.MonkeyPatch) -> list[Tensor]:
    with monkeypatch.context() as patch:
        patch.setattr(rescu, "operators_for", lambda x: None)
        return outcome(module, x)


def outcome(module: nn.Module, x: Tensor) -> list[Tensor]:
    """Value and gradient, for a gradient from above that differs from element to element."""
    x = x.detach().requires_grad_()
    value = module(x)
    above = torch.arange(x.numel()).cos().to(x.dtype).reshape(x.shape)
    (gradient,) = torch.autograd.grad(value, x, above)
    return [value.detach(), gradient]


@pytest.mark.usefixtures("_compiled")
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("module", UNITS, ids=repr)
def test_both_implementations_agree_bit_for_bit(
    module: nn.Module, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    special = torch.tensor([0.0, -0.0, 0.5, -0.5, 1e-41, math.inf, -math.inf, 1e30, -1e30])
    x = torch.cat([torch.linspace(-3, 3, 4099), special]).to(dtype)

    for shaped in (x, x[::3], x[:7], x.expand(2, -1).t(), x[:0], x[5]):
        found, expected = outcome(module, shaped), in_pytorch(module, shaped, monkeypatch)
        assert torch.equal(found[0], expected[0])
        assert torch.equal(found[1], expected[1])


@pytest.mark.usefixtures("_compiled")
@pytest.mark.parametrize("module", UNITS, ids=repr)
def test_nan_stays_nan_in_vectors_and_in_their_remainders(module: nn.Module) -> None:
    x = torch.full((37,), math.nan)

    assert module(x).isnan().all()


@pytest.mark.usefixtures("_compiled")
def test_threads_share_the_work_without_changing_it() -> None:
    x = torch.linspace(-2, 2, COUNT_TO_TWO_MILLION)
    threads = torch.get_num_threads()

    torch.set_num_threads(1)
    alone = outcome(SmeLU(), x)
    torch.set_num_threads(2)
    together = outcome(SmeLU(), x)
    torch.set_num_threads(threads)

    assert all(torch.equal(one, two) for one, two in zip(alone, together, strict=True))


@pytest.mark.usefixtures("_compiled")
@pytest.mark.parametrize("module", UNITS[2:], ids=repr)
def test_compiled_operators_can_be_differentiated_twice(module: nn.Module) -> None:
    x = torch.tensor([-2.7, -0.7, 0.2, 0.3, 1.3, 2.6], dtype=torch.float64, requires_grad=True)

    assert native.operators_for(x) is not None
    assert torch.autograd.gradgradcheck(module, x)


@pytest.mark.usefixtures("_compiled")
def test_a_gradient_that_is_broadcast_is_taken_as_it_is() -> None:
    x = torch.linspace(-2, 2, 9, requires_grad=True)

    SmeLU()(x).sum().backward()

    torch.testing.assert_close(x.grad, ((x.detach() + 1) / 2).clamp(0, 1))


@pytest.mark.usefixtures("_compiled")
def test_they_leave_alone_what_they_are_not_made_for() -> None:
    used: list[bool] = []

    def record(x: Tensor) -> Tensor:
        used.append(native.operators_for(x) is not None)
        return x * 1

    record(torch.zeros(2))
    record(torch.zeros(2, dtype=torch.bfloat16))
    torch.func.vmap(record)(torch.zeros(2, 2))
    with torch._subclasses.FakeTensorMode():
        record(torch.zeros(2))

    assert used == [True, False, False, False]


@pytest.mark.usefixtures("_compiled")
def test_a_compiler_of_pytorch_sees_pytorch_operations() -> None:
    seen: list[str] = []

    def backend(graph: torch.fx.GraphModule, inputs: list[Tensor]) -> torch.fx.GraphModule:
        seen.extend(str(node.target) for node in graph.graph.nodes)
        return graph

    torch.compile(SmeLU(), backend=backend, fullgraph=True)(torch.zeros(2))

    assert "maximum" in " ".join(seen)
    assert "soloist" not in " ".join(seen)


def test_without_a_compiler_one_line_says_so_and_pytorch_does_the_work(
    fresh: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv("CXX", raising=False)

    with caplog.at_level(logging.WARNING):
        found = [SmeLU()(torch.tensor([0.0])).item() for _ in range(2)]

    assert found == [0.25, 0.25]
    assert native.smelu_implementation() == "pytorch"
    assert [record.getMessage() for record in caplog.records] == [
        "SmeLU runs in PyTorch operations, several times slower: "
        "there is no C++ compiler (g++, clang++ or $CXX)"
    ]


def test_a_compiler_that_fails_is_not_asked_again(
    fresh: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = tmp_path / "calls"
    compiler = tmp_path / "compiler"
    compiler.write_text(f"#!/bin/sh\necho called >> {calls}\necho 'no such flag' >&2\nexit 1\n")
    compiler.chmod(0o755)
    monkeypatch.setenv("CXX", str(compiler))

    for _ in range(2):
        native.operators.cache_clear()
        assert native.smelu_implementation() == "pytorch"

    assert calls.read_text() == "called\n"
    (reason,) = fresh.glob("*.failed")
    assert "no such flag" in reason.read_text()


def test_a_library_that_cannot_be_loaded_leaves_the_work_to_pytorch(
    fresh: Path, caplog: pytest.LogCaptureFixture
) -> None:
    fresh.mkdir()
    (fresh / f"{native._name()}.so").write_bytes(b"not a library")

    assert native.smelu_implementation() == "pytorch"
    assert len(caplog.records) == 1


def test_a_place_that_cannot_be_written_leaves_the_work_to_pytorch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fresh: Path
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("SOLOIST_CACHE", str(tmp_path / "file"))

    assert native.smelu_implementation() == "pytorch"


def test_it_can_be_switched_off(fresh: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOLOIST_NATIVE", "0")

    assert native.smelu_implementation() == "pytorch"
    assert not fresh.exists()


def test_those_that_start_at_once_compile_once(
    fresh: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    compiler = tmp_path / "compiler"
    compiler.write_text(
        f"#!/bin/sh\necho called >> {tmp_path}/calls\nsleep 0.5\n"
        'while [ "$1" != "-o" ]; do shift; done\necho library > "$2"\n'
    )
    compiler.chmod(0o755)
    monkeypatch.setenv("CXX", str(compiler))

    # A lock on a file is held by whoever opened it, thread or process alike.
    with ThreadPoolExecutor(4) as pool:
        paths = list(pool.map(lambda _: native.library(), range(4)))

    assert [path.read_text() for path in paths] == ["library\n"] * 4
    assert (tmp_path / "calls").read_text() == "called\n"
    assert sorted(path.suffix for path in fresh.iterdir()) == [".lock", ".so"]


def test_a_compiler_that_is_killed_leaves_nothing_that_passes_for_a_library(
    fresh: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    compiler = tmp_path / "compiler"
    compiler.write_text(
        '#!/bin/sh\nwhile [ "$1" != "-o" ]; do shift; done\necho half > "$2"\nkill -9 $$\n'
    )
    compiler.chmod(0o755)
    monkeypatch.setenv("CXX", str(compiler))

    assert native.smelu_implementation() == "pytorch"
    assert [path.suffix for path in fresh.iterdir()] == [".lock"]

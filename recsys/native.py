"""Compiled kernels for SmeLU and RESCU: C++ operators on the CPU, Triton kernels on a GPU.

The C++ library is compiled once for a machine and a PyTorch version (about 20 s), under a file
lock, into a cache directory: ``SOLOIST_CACHE``, else ``$XDG_CACHE_HOME/soloist``, else
``~/.cache/soloist``. Triton comes with PyTorch's CUDA builds and needs a C compiler. If either
cannot compile, one warning gives the reason, and PyTorch operations compute the same numbers,
slower.
``SOLOIST_NATIVE=0`` disables both.
"""

from __future__ import annotations

import fcntl
import functools
import hashlib
import logging
import os
import platform
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor

log = logging.getLogger(__name__)

_SOURCE = Path(__file__).with_suffix(".cpp")
_FLAGS = ("-std=c++20", "-O3", "-fPIC", "-shared", "-ffp-contract=off")
# Compiler flags for each instruction set that PyTorch's vector types distinguish.
_VECTOR_FLAGS = {
    "AVX512": ("-mavx512f", "-mavx512dq", "-mavx512vl", "-mavx512bw", "-mfma"),
    "AVX2": ("-mavx2", "-mfma", "-mf16c"),
}
_DTYPES = (torch.float32, torch.float64)
_COMPILE_SECONDS = 600
_GPU_DTYPES = (torch.float32, torch.bfloat16, torch.float16)
_MIN_RAMP_WIDTH = torch.finfo(torch.float32).tiny
"""The slope of a narrower ramp overflows; the kernels do not implement a step"""


class NativeError(Exception):
    """The library cannot be compiled or loaded."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Operators:
    """The operators of the library, and the instruction set that they are compiled for."""

    smelu: Callable[[Tensor, float], Tensor]
    rescu: Callable[[Tensor, tuple[float, ...], tuple[float, ...], float], Tensor]
    capability: str


@functools.cache
def operators() -> Operators | None:
    """Return the compiled operators, compiled on first use; None if that fails."""
    if os.environ.get("SOLOIST_NATIVE") == "0":
        return None
    try:
        path = library()
        torch.ops.load_library(path)
    except (NativeError, OSError) as error:
        reason = str(error).strip().splitlines()[0]
        log.warning("SmeLU runs in PyTorch operations, several times slower: %s", reason)
        return None
    return Operators(
        smelu=torch.ops.soloist.smelu.default,
        rescu=torch.ops.soloist.rescu.default,
        capability=_capability(),
    )


def operators_for(x: Tensor) -> Operators | None:
    """Return the compiled operators if they apply to ``x``.

    They do not while PyTorch traces (a compiler fuses PyTorch operations, and an exported program
    must not need this library), nor under ``torch.func``, which can batch PyTorch operations only.
    """
    if torch.compiler.is_compiling() or not x.is_cpu or x.dtype not in _DTYPES:
        return None
    return operators() if is_plain(x) else None


def is_plain(x: Tensor) -> bool:
    """Return whether ``x`` is an ordinary tensor: no subclass, not wrapped by ``torch.func``."""
    wrapped = torch._C._functorch.is_functorch_wrapped_tensor(x)
    return type(x) in (Tensor, torch.nn.Parameter) and not wrapped


def smelu_implementation() -> str:
    """Return the implementation of SmeLU on the CPU in this process, for provenance."""
    found = operators()
    return "pytorch" if found is None else f"compiled for {found.capability}"


def library() -> Path:
    """Return the path of the compiled library, compiling it if necessary.

    Raises NativeError if there is no compiler, it fails, or the cache is not writable.
    """
    path = _cache() / f"{_name()}.so"
    if path.exists():
        return path
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.with_suffix(".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not path.exists():
                _compile(path)
    except OSError as error:
        raise NativeError(f"no directory for compiling it: {error}") from error
    return path


def _compile(path: Path) -> None:
    failed = path.with_suffix(".failed")
    if failed.exists():  # every trial would pay for the same failure again
        raise NativeError(f"an earlier compilation failed, see {failed}; delete it to try again")
    compiler = os.environ.get("CXX") or shutil.which("g++") or shutil.which("clang++")
    if compiler is None:
        raise NativeError("there is no C++ compiler (g++, clang++ or $CXX)")
    log.info("compiling SmeLU, once for this machine and PyTorch version")
    with tempfile.TemporaryDirectory(dir=path.parent) as directory:
        result = Path(directory, path.name)
        command = [compiler, *_arguments(), "-o", str(result)]
        try:
            subprocess.run(
                command, check=True, capture_output=True, text=True, timeout=_COMPILE_SECONDS
            )
        except subprocess.CalledProcessError as error:
            if error.returncode < 0:  # a signal, which says nothing about the next time
                raise NativeError(f"{compiler} was killed") from error
            failed.write_text(f"{' '.join(command)}\n{error.stderr}")
            raise NativeError(f"{compiler} failed, see {failed}") from error
        except subprocess.TimeoutExpired as error:
            raise NativeError(f"{compiler} took more than {_COMPILE_SECONDS} s") from error
        result.replace(path)


def _arguments() -> list[str]:
    home, capability = Path(torch.__file__).parent, _capability()
    return [
        *_FLAGS,
        *_VECTOR_FLAGS.get(capability, ()),
        f"-DCPU_CAPABILITY={capability}",
        f"-DCPU_CAPABILITY_{capability}",
        f"-D_GLIBCXX_USE_CXX11_ABI={int(torch.compiled_with_cxx11_abi())}",
        f"-isystem{home / 'include'}",
        f"-isystem{home / 'include/torch/csrc/api/include'}",
        str(_SOURCE),
        f"-L{home / 'lib'}",
        "-ltorch_cpu",
        "-lc10",
    ]


def _capability() -> str:
    found = torch.backends.cpu.get_cpu_capability()
    return found if found in _VECTOR_FLAGS else "DEFAULT"


def _name() -> str:
    flags = repr((_FLAGS, _VECTOR_FLAGS, platform.libc_ver())).encode()
    digest = hashlib.sha256(_SOURCE.read_bytes() + flags).hexdigest()[:12]
    return f"smelu-{torch.__version__}-{platform.machine()}-{_capability()}-{digest}"


def _cache() -> Path:
    chosen = os.environ.get("SOLOIST_CACHE")
    if chosen:
        return Path(chosen)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "soloist"


class GpuKernels(Protocol):
    """The functions of ``recsys.triton_smelu``."""

    def smelu_value(self, x: Tensor, beta: float) -> Tensor: ...

    def smelu_gradient(self, above: Tensor, x: Tensor, beta: float) -> Tensor: ...


@functools.cache
def gpu_kernels() -> GpuKernels | None:
    """Return the kernels after compiling one as a check; None if that fails."""
    if os.environ.get("SOLOIST_NATIVE") == "0":
        return None
    try:
        from recsys import triton_smelu

        triton_smelu.smelu_value(torch.zeros(1, device="cuda"), 1.0)
    except Exception as error:  # of Triton, its compiler or the driver: none may end a training
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        log.warning("SmeLU runs on the GPU in PyTorch operations, several times slower: %s", reason)
        return None
    return triton_smelu


def gpu_kernels_for(x: Tensor, beta: float) -> GpuKernels | None:
    """Return the kernels if they apply to ``x``; see ``operators_for``."""
    if torch.compiler.is_compiling() or not x.is_cuda or x.dtype not in _GPU_DTYPES:
        return None
    return gpu_kernels() if is_plain(x) and 2 * beta >= _MIN_RAMP_WIDTH else None


def smelu_on_gpu() -> str:
    """Return the implementation of SmeLU on a GPU in this process, for provenance."""
    return "pytorch" if gpu_kernels() is None else "Triton"

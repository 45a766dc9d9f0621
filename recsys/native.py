"""Compile ``native.cpp`` once for a machine and a PyTorch, and load it in every process.

Compiling takes some 20 s, loading a millisecond. The library lies in a cache directory
(``SOLOIST_CACHE``, else ``$XDG_CACHE_HOME/soloist``, else ``~/.cache/soloist``) under a name that
says everything it depends on. One process compiles, under a lock that ends with the process, and
those that start meanwhile wait for it. Where it cannot be compiled or loaded, one line in the log
says why, and the same functions run in PyTorch operations, with the same numbers, slower.
``SOLOIST_NATIVE=0`` asks for those.
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

import torch
from torch import Tensor

log = logging.getLogger(__name__)

_SOURCE = Path(__file__).with_suffix(".cpp")
_FLAGS = ("-std=c++20", "-O3", "-fPIC", "-shared", "-ffp-contract=off")
# What PyTorch's vectors need to be told for each of the instruction sets it tells apart.
_VECTOR_FLAGS = {
    "AVX512": ("-mavx512f", "-mavx512dq", "-mavx512vl", "-mavx512bw", "-mfma"),
    "AVX2": ("-mavx2", "-mfma", "-mf16c"),
}
_DTYPES = (torch.float32, torch.float64)
_COMPILE_SECONDS = 600


class NativeError(Exception):
    """The library cannot be compiled or loaded here, and why."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Operators:
    """The operators of the library, and the instruction set that they are compiled for."""

    smelu: Callable[[Tensor, float], Tensor]
    rescu: Callable[[Tensor, tuple[float, ...], tuple[float, ...], float], Tensor]
    capability: str


@functools.cache
def operators() -> Operators | None:
    """Return the compiled operators, compiling them if need be; None where that cannot be."""
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
    """Return the compiled operators where they apply to ``x``.

    Not while PyTorch traces: a compiler fuses PyTorch operations better than it can a foreign one,
    and an exported program should not need this library. Not under ``torch.func`` either, which
    knows how to batch PyTorch operations only.
    """
    if torch.compiler.is_compiling() or not x.is_cpu or x.dtype not in _DTYPES:
        return None
    return operators() if is_plain(x) else None


def is_plain(x: Tensor) -> bool:
    """Tell whether memory of ``x`` may be read as it lies.

    A subclass (a fake, distributed or quantised tensor) and what ``torch.func`` wraps have
    operations of their own.
    """
    wrapped = torch._C._functorch.is_functorch_wrapped_tensor(x)
    return type(x) in (Tensor, torch.nn.Parameter) and not wrapped


def smelu_implementation() -> str:
    """Return what computes SmeLU on the CPU in this process, for the record of a run."""
    found = operators()
    return "pytorch" if found is None else f"compiled for {found.capability}"


def library() -> Path:
    """Return the path of the compiled library, compiling it if no process has done so yet.

    Raises NativeError where there is no compiler, it fails, or there is no place for the result.
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
        raise NativeError(f"no place to compile it in: {error}") from error
    return path


def _compile(path: Path) -> None:
    failed = path.with_suffix(".failed")
    if failed.exists():  # every trial would pay for the same failure again
        raise NativeError(f"compiling it failed before; {failed} says why, delete it to try again")
    compiler = os.environ.get("CXX") or shutil.which("g++") or shutil.which("clang++")
    if compiler is None:
        raise NativeError("there is no C++ compiler (g++, clang++ or $CXX)")
    log.info("compiling SmeLU, once for this machine and PyTorch")
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
            raise NativeError(f"{compiler} fails; {failed} says why") from error
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
    told = repr((_FLAGS, _VECTOR_FLAGS, platform.libc_ver())).encode()
    digest = hashlib.sha256(_SOURCE.read_bytes() + told).hexdigest()[:12]
    return f"smelu-{torch.__version__}-{platform.machine()}-{_capability()}-{digest}"


def _cache() -> Path:
    chosen = os.environ.get("SOLOIST_CACHE")
    if chosen:
        return Path(chosen)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "soloist"

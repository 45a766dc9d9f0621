"""Resolve ``cpu.in`` into ``cpu.txt``: every package that an installation holds, pinned.

Run by ``make lock`` with the Python that the lock is for. pip's resolver does the work; nothing is
installed. ``cpu.txt`` is complete, so that ``pip install --no-deps -r cpu.txt`` suffices, and no
package's metadata can bring a second build of FBGEMM beside the first.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
SOURCE, LOCK = HERE / "cpu.in", HERE / "cpu.txt"
APART = "# --- without its dependencies ---"
HEADER = """\
# Made by `make lock` from cpu.in; do not edit. Install with `pip install --no-deps -r`.
"""


def main() -> None:
    """Write ``cpu.txt``."""
    resolved, apart = SOURCE.read_text().split(APART)
    pins = _resolve(_requirements(resolved)) | dict(
        line.split("==") for line in _requirements(apart)
    )
    lines = [f"{name}=={pins[name]}\n" for name in sorted(pins, key=str.lower)]
    LOCK.write_text(HEADER + "".join(lines))
    print(f"{LOCK.name}: {len(pins)} packages")


def _requirements(text: str) -> list[str]:
    lines = (line.split("#")[0].strip() for line in text.splitlines())
    return [line for line in lines if line]


def _resolve(requirements: list[str]) -> dict[str, str]:
    """Return name to version of everything that the requirements bring."""
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--dry-run", "--ignore-installed"]
    found = subprocess.run(
        [*pip, "--report", "-", *requirements], check=True, stdout=subprocess.PIPE, text=True
    )
    packages = (each["metadata"] for each in json.loads(found.stdout)["install"])
    return {package["name"]: _public(package["version"]) for package in packages}


def _public(version: str) -> str:
    """Drop a local label such as ``+cpu``: it says who built a wheel, and indexes differ in it."""
    return version.split("+")[0]


if __name__ == "__main__":
    main()

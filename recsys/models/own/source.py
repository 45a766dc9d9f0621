"""The source of a user's model, which decides a trained model as much as this package's own."""

from __future__ import annotations

import hashlib
import inspect
import sys
from functools import cache
from pathlib import Path

from recsys.errors import ConfigError
from recsys.models.own.factory import load_factory


@cache
def source_digest(name: str) -> str:
    """Return a hash of the source that ``package.module:factory`` names.

    It covers every Python file of the outermost package that holds the module, or the module's one
    file where it is in no package. What that imports from elsewhere is not covered.

    Raises:
        ConfigError: there is no such function, or its module has no file.
    """
    load_factory(name)
    module_name = name.partition(":")[0]
    file = inspect.getsourcefile(sys.modules[module_name])
    if file is None:
        raise ConfigError(f"model.name: {module_name} has no source file, expected a Python module")
    digest = hashlib.sha256()
    for path in _files(Path(file).resolve()):
        digest.update(path.name.encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def _files(module: Path) -> list[Path]:
    package = module.parent
    if not (package / "__init__.py").exists():
        return [module]
    while (package.parent / "__init__.py").exists():
        package = package.parent
    return sorted(package.rglob("*.py"))

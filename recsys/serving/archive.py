"""Exported programs on disk, without pickle and without code.

``torch.export.load`` unpickles sample inputs and custom objects, loads compiled libraries,
evaluates sizes of tensors as Python and calls any function that a node names. Here a program has
raw tensors and a graph, and every string of the graph must be one that a model needs, before
PyTorch loads it. PyTorch's own reader reads the checked bytes.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import torch
from torch.export import ExportedProgram
from torch.export.pt2_archive import PT2ArchiveReader
from torch.export.pt2_archive._package import load_pt2

from recsys.errors import ConfigError, DataError
from recsys.files import expecting, first_line, parse_json

_GRAPH = "models/model.json"
_SAMPLES = "data/sample_inputs/model.pt"
_PAYLOADS = ("data/weights/model_weights_config.json", "data/constants/model_constants_config.json")
_MEMBER = re.compile(
    rf"{_GRAPH}|{_SAMPLES}|{'|'.join(_PAYLOADS)}|data/weights/weight_\d+|data/constants/tensor_\d+"
    r"|archive_format|archive_version|byteorder|\.data/(version|serialization_id)"
)
_NAME = re.compile(r"[\w.+]*", re.ASCII)
_OPERATOR = re.compile(
    r"torch\.ops\.aten\.(?!from_file|save|_sparse)(_?[a-z]\w*|__(and|or|xor)__)\.[a-zA-Z]\w*"
    r"|torch\.ops\.higher_order\.(cond|wrap_with_autocast|wrap_with_set_grad_enabled)"
    r"|_operator\.(add|eq|floordiv|ge|getitem|gt|le|lt|mod|mul|ne|neg|sub|truediv)"
    r"|torch\.sym_(float|int|ite|max|min|not|sum)|math\.(ceil|floor|trunc)",
    re.ASCII,
)
_SIZE = re.compile(
    r"((Add|And|CeilDiv|CleanDiv|Eq|Equality|FloorDiv|Ge|GreaterThan|Gt|Le|LessThan|Lt|Max|Min|Mod"
    r"|ModularIndexing|Mul|Ne|Not|Or|PythonMod|StrictGreaterThan|StrictLessThan|Unequality)\("
    r"|Integer\(-?\d{1,19}\)|Pow\(Symbol(?=\('\w{1,9}'[\w=, ]*\), Integer\(\d\)\))"
    r"|Symbol(?=\()|\('[su]\d{1,9}'|(positive|nonnegative|integer)=True|true|false|[,) ])*",
    re.ASCII,
)
_TREE = re.compile(
    r'("(type|context|children_spec|null|\[\]|builtins\.(tuple|list|dict))"|null|1|[\[\]{}:, ])*'
)
_WORDS = {
    "target": _OPERATOR,
    "as_operator": _OPERATOR,
    "expr_str": _SIZE,
    "in_spec": _TREE,
    "out_spec": _TREE,
    "as_string": re.compile(r"[^\0]{0,200}"),
    "as_name": re.compile(r"\w*", re.ASCII),
    "name": re.compile(r"\w*", re.ASCII),
}
"""What the value of a key may be; of all others, ``_NAME``"""
_SOURCES = (
    "custom",
    "from_node",
    "nn_module_stack",
    "source_fn_stack",
    "stack_trace",
    "torch_fn",
)
"""What a node tells of the Python source that it was traced from"""


def write_program(program: ExportedProgram, path: Path, *, model: str) -> None:
    """Write a program without samples, guards and source lines.

    Raises:
        ConfigError: the model needs more than PyTorch's operations.
    """
    program.example_inputs = None
    program._guards_code = []
    for module in program.graph_module.modules():
        for node in module.graph.nodes if isinstance(module, torch.fx.GraphModule) else ():
            for source in _SOURCES:
                node.meta.pop(source, None)
    torch.export.save(program, path)
    try:
        _check(path)
    except DataError as error:
        reason = str(error).removeprefix(f"{path}: ")
        raise ConfigError(f"model {model}: cannot be exported: {reason}") from None


def read_program(path: Path, *, made_with: object) -> ExportedProgram:
    """Return the program in a file.

    Args:
        path: of the file.
        made_with: the PyTorch version that wrote it, for the error message.

    Raises:
        DataError: it has more than raw tensors and PyTorch operations, or cannot be read.
    """
    _check(path)
    try:
        program: ExportedProgram = load_pt2(str(path)).exported_programs["model"]
    except Exception as error:  # whatever it is that another version of PyTorch objects to
        raise DataError(
            f"{path}: PyTorch {torch.__version__} cannot load what {made_with} wrote: "
            f"{type(error).__name__}: {first_line(error)}"
        ) from None
    return program


def _check(path: Path) -> None:
    with expecting("an exported program", path):
        archive = PT2ArchiveReader(str(path))
        for name in archive.get_file_names():
            if not _MEMBER.fullmatch(name):
                raise DataError(f"found {name!r}, expected a graph and raw tensors")
        if archive.read_bytes(_SAMPLES):
            raise DataError(f"found a pickle in {_SAMPLES}, expected none")
        for name in _PAYLOADS:
            for payload in parse_json(archive.read_bytes(name), name)["config"].values():
                if payload["use_pickle"] is not False or not _MEMBER.fullmatch(
                    f"{name.rpartition('/')[0]}/{payload['path_name']}"
                ):
                    raise DataError(f"found a pickle in {name}, expected raw tensors")
        _check_words("", parse_json(archive.read_bytes(_GRAPH), _GRAPH))


def _check_words(key: str, value: Any) -> None:
    """Raise for any string of a graph that is not a name or an operation on tensors."""
    if isinstance(value, dict):
        for name, each in value.items():
            _check_words("", name)
            _check_words(name, each)
    elif isinstance(value, list):
        for each in value:
            _check_words(key, each)
    elif isinstance(value, str) and not _WORDS.get(key, _NAME).fullmatch(value):
        raise DataError(f"found {value[:80]!r} as {key or 'a name'}, expected PyTorch operations")

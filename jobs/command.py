"""The edge between a job and the shell: errors become one line and an exit status."""

from __future__ import annotations

import functools
import json
import logging
import math
import os
import re
import sys
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Annotated, Any, TextIO

import typer
from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.text import Text
from typer import Argument, Option
from typer.core import TyperCommand

from analysis.errors import ResultsError
from analysis.text import WIDTH, printable, shortened
from distrib.errors import TrialFailed
from jobs.experiments import shipped_experiments
from recsys.credentials import redacted
from recsys.errors import ConfigError, DataError
from recsys.files import replaceable

_JOB_CONFIG = "RAY_JOB_CONFIG_JSON_ENV_VAR"
"""What Ray tells the driver of a submitted job"""

_LONGEST_LINE = 1000
_USAGE_ERROR: Any = typer.BadParameter.__base__

BAD_INPUT = 2
FAILED = 1
INTERRUPTED = 130

STYLE: dict[str, Any] = {
    "add_completion": False,
    "pretty_exceptions_enable": False,
    # Reflows a docstring's paragraphs to the width of the terminal.
    "rich_markup_mode": "markdown",
    "context_settings": {"help_option_names": ["-h", "--help"]},
}
FORWARDED: dict[str, Any] = {
    "allow_extra_args": True,
    "allow_interspersed_args": False,
    "ignore_unknown_options": True,
    "help_option_names": [],
}
"""Settings of a command that hands all its arguments on, --help among them"""


def guarded(function: Callable[..., Any]) -> Callable[..., None]:
    """Wrap a job so that a person's mistakes print one line: status 2 for input, 1 for trials."""

    @functools.wraps(function)
    def command(*args: Any, **kwargs: Any) -> None:
        try:
            function(*args, **kwargs)
        except (ConfigError, DataError, ResultsError) as error:
            _stop(error, BAD_INPUT)
        except TrialFailed as error:
            _stop(error, FAILED)
        except OSError as error:
            _stop(_told(error), FAILED)
        except KeyboardInterrupt:
            _stop("interrupted; what was finished is kept, the same command goes on", INTERRUPTED)

    return command


def run(
    function: Callable[..., Any],
    *,
    arguments: list[str] | None = None,
    program: str | None = None,
    **settings: Any,
) -> None:
    """Run one job as a command line of its own: ``python -m jobs.NAME``.

    ``arguments`` and ``program`` stand for what the shell gave where they are given.
    """
    # TorchRec asks whether it is traced in a way that PyTorch warns of.
    logging.getLogger("torch.fx._symbolic_trace").setLevel(logging.ERROR)
    app = typer.Typer(**STYLE)
    app.command(cls=_Command, **settings)(guarded(_with_sane_numbers(function)))
    app(args=arguments, prog_name=program)


def _with_sane_numbers(function: Callable[..., Any]) -> Callable[..., Any]:
    """Refuse NaN, infinity and integers of more than 64 bits in the options of a job."""

    @functools.wraps(function)
    def checked(**options: Any) -> Any:
        for name, value in options.items():
            for each in value if isinstance(value, list) else (value,):
                is_huge = isinstance(each, int) and each.bit_length() > 63
                if is_huge or (isinstance(each, float) and not math.isfinite(each)):
                    option = name.replace("_", "-")
                    raise ConfigError(f"--{option}: found {each}, expected a finite 64-bit number")
        return function(**options)

    return checked


class Terminal(Console):
    """Shows texts as they are: none is markup, and none holds a character that a terminal obeys."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(markup=False, highlight=False, emoji=False, **settings)

    def render(
        self, renderable: RenderableType, options: ConsoleOptions | None = None
    ) -> Iterable[Segment]:
        """Yield what is shown; styles and controls are rich's own."""
        for segment in super().render(renderable, options):
            yield segment if segment.control else segment._replace(text=_printable(segment.text))

    def render_str(self, text: str, *args: Any, **settings: Any) -> Text:
        """Return a text to be laid out, with the width that it will have."""
        return super().render_str(_printable(text), *args, **settings)


def terminal(*, width: int = WIDTH, stderr: bool = False) -> Terminal:
    """Return the console of a job; ``width`` is that of an output that is no terminal."""
    console = Terminal(stderr=stderr)
    return console if console.is_terminal else Terminal(stderr=stderr, width=width)


def say(text: object, file: TextIO | None = None) -> None:
    """Print a line, with escapes in the place of line breaks and control characters."""
    print(printable(str(text)), file=file or sys.stdout)


class _Command(TyperCommand):
    """Quotes arguments that it does not understand without credentials."""

    def make_context(self, *args: Any, **settings: Any) -> Any:
        try:
            return super().make_context(*args, **settings)
        except Exception as error:
            if isinstance(error, _USAGE_ERROR):
                error.message = redacted(error.message)
            raise


def check_output(directory: Path) -> None:
    """Make sure, before any work, that a directory can be written.

    Raises:
        ConfigError: it cannot, or it would be lost; says why.
    """
    refuse_lost(directory)
    _try_to_write(directory, f"--output {directory}")


def check_file(path: Path, option: str) -> None:
    """Make sure, before any work, that a file can be written that an option names.

    Raises:
        ConfigError: it cannot, or it would be lost; says why.
    """
    refuse_lost(path, option)
    if path.is_dir():
        raise ConfigError(f"{option} {path}: found a directory, expected a file")
    _try_to_write(path.parent, f"{option} {path}")


def check_new(directory: Path) -> None:
    """Make sure, before any work, that a directory can be put where it appears as a whole.

    Raises:
        ConfigError: it cannot, or it would be lost; says why.
        DataError: what is there cannot be replaced.
    """
    refuse_lost(directory)
    _try_to_write(replaceable(directory).parent, f"--output {directory}")


def refuse_lost(output: Path, option: str = "--output") -> None:
    """Refuse a path at which nobody would find what is written.

    Raises:
        ConfigError: it was a URI, which as a path has lost a slash, or lies in the copy of a
            working directory that a submitted job was sent, and would be lost with it.
    """
    if re.match(r"[a-z0-9]+:/", str(output)):
        raise ConfigError(f"{option} {output}: found a URI, expected a path of this machine")
    config = json.loads(os.environ.get(_JOB_CONFIG, "{}"))
    is_sent = "working_dir" in (config.get("runtime_env") or {})
    if is_sent and output.resolve().is_relative_to(Path.cwd()):
        raise ConfigError(
            f"{option} {output}: found a place in the job's own copy of the working directory, "
            "which goes with the job; expected an absolute path that all nodes reach, or a URI"
        )


def _printable(text: str) -> str:
    return "\n".join(map(printable, text.split("\n")))


def _try_to_write(directory: Path, field: str) -> None:
    try:
        directory.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=directory):
            pass
    except OSError as error:
        raise ConfigError(
            f"{field}: found {error.strerror}, expected a directory to write to"
        ) from None


def _told(error: OSError) -> str:
    """Return what the system says in one line."""
    place = f"{error.filename}: " if error.filename else ""
    return place + (error.strerror or str(error))


def _stop(reason: object, status: int) -> None:
    # An error that lists several things has them on lines of their own, indented.
    lines = re.split(r"\n(?=  )", f"soloist: {redacted(str(reason))}")
    for line in lines:
        say(shortened(line, _LONGEST_LINE), sys.stderr)
    raise SystemExit(status)


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
Models = Annotated[
    list[str] | None,
    Option(
        "--model",
        metavar="PACKAGE.MODULE:FACTORY",
        help="A model of yours that the results may name, and whose module may be imported; "
        "repeat it.",
        show_default=False,
    ),
]
Trust = Annotated[
    bool,
    Option("--trust", help="Import whatever module the results name: only for results you trust."),
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

"""What all commands share: one-line errors and exit statuses, output, checks and options."""

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

from analysis.atomic_files import write_whole
from analysis.errors import ResultsError
from analysis.text import WIDTH, printable, shortened
from distrib.errors import TrialFailed
from jobs.experiments import shipped_experiments
from recsys.credentials import redacted
from recsys.errors import ConfigError, DataError
from recsys.files import replaceable

_JOB_CONFIG = "RAY_JOB_CONFIG_JSON_ENV_VAR"
"""Set by Ray for the driver of a submitted job"""
_LONGEST_LINE = 1000
_USAGE_ERROR: Any = typer.BadParameter.__base__

BAD_INPUT = 2
FAILED = 1
INTERRUPTED = 130

STYLE: dict[str, Any] = {
    "add_completion": False,
    "pretty_exceptions_enable": False,
    # Wraps a docstring's paragraphs to the width of the terminal.
    "rich_markup_mode": "markdown",
    "context_settings": {"help_option_names": ["-h", "--help"]},
}
FORWARDED: dict[str, Any] = {
    "allow_extra_args": True,
    "allow_interspersed_args": False,
    "ignore_unknown_options": True,
    "help_option_names": [],
}
"""Settings of a command that forwards all its arguments, --help included"""


def exit_on_error(function: Callable[..., Any]) -> Callable[..., None]:
    """Wrap a job: errors print one line; status 2 for invalid input, 1 for failures."""

    @functools.wraps(function)
    def command(*args: Any, **kwargs: Any) -> None:
        try:
            function(*args, **kwargs)
        except (ConfigError, DataError, ResultsError) as error:
            _stop(error, BAD_INPUT)
        except TrialFailed as error:
            _stop(error, FAILED)
        except OSError as error:
            place = f"{error.filename}: " if error.filename else ""
            _stop(place + (error.strerror or str(error)), FAILED)
        except KeyboardInterrupt:
            _stop(
                "interrupted; finished trials are kept, run the same command to continue",
                INTERRUPTED,
            )

    return command


def run(
    function: Callable[..., Any],
    *,
    arguments: list[str] | None = None,
    program: str | None = None,
    **settings: Any,
) -> None:
    """Run one job as a command line: ``python -m jobs.NAME``.

    ``arguments`` and ``program`` replace those of ``sys.argv``.
    """
    # TorchRec checks for tracing in a way that PyTorch warns about.
    logging.getLogger("torch.fx._symbolic_trace").setLevel(logging.ERROR)
    app = typer.Typer(**STYLE)
    app.command(cls=_Command, **settings)(exit_on_error(_checking_numbers(function)))
    app(args=arguments, prog_name=program)


def _checking_numbers(function: Callable[..., Any]) -> Callable[..., Any]:
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
    """Prints texts verbatim: no markup, and control characters escaped."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(markup=False, highlight=False, emoji=False, **settings)

    def render(
        self, renderable: RenderableType, options: ConsoleOptions | None = None
    ) -> Iterable[Segment]:
        """Yield segments with escaped text; styles and control codes are rich's own."""
        for segment in super().render(renderable, options):
            yield segment if segment.control else segment._replace(text=_printable(segment.text))

    def render_str(self, text: str, *args: Any, **settings: Any) -> Text:
        """Return the escaped text, so that its width is right in the layout."""
        return super().render_str(_printable(text), *args, **settings)


def terminal(*, width: int = WIDTH, stderr: bool = False) -> Terminal:
    """Return the console of a job; ``width`` applies if the output is not a terminal."""
    console = Terminal(stderr=stderr)
    return console if console.is_terminal else Terminal(stderr=stderr, width=width)


def echo(text: object, file: TextIO | None = None) -> None:
    """Print a line, with line breaks and control characters escaped."""
    print(printable(str(text)), file=file or sys.stdout)


def write_text(path: Path, text: str) -> Path:
    """Write a text file atomically, as UTF-8."""
    return write_whole(path, lambda unfinished: unfinished.write_text(text, encoding="utf-8"))


class _Command(TyperCommand):
    """Removes credentials from the arguments that a usage error quotes."""

    def make_context(self, *args: Any, **settings: Any) -> Any:
        try:
            return super().make_context(*args, **settings)
        except Exception as error:
            if isinstance(error, _USAGE_ERROR):
                error.message = redacted(error.message)
            raise


def check_output(directory: Path) -> None:
    """Raise ConfigError unless a directory can be written, and outlives the job."""
    _check_destination(directory, "--output")
    _try_to_write(directory, f"--output {directory}")


def check_file(path: Path, option: str) -> None:
    """Raise ConfigError unless the file of an option can be written, and outlives the job."""
    _check_destination(path, option)
    if path.is_dir():
        raise ConfigError(f"{option} {path}: found a directory, expected a file")
    _try_to_write(path.parent, f"{option} {path}")


def check_new(directory: Path) -> None:
    """Raise ConfigError unless a directory can be created atomically, and outlives the job."""
    _check_destination(directory, "--output")
    _try_to_write(replaceable(directory).parent, f"--output {directory}")


def _check_destination(output: Path, option: str) -> None:
    """Refuse a URI, which as a path has lost a slash, and a submitted job's own working directory.

    Ray deletes that copy of the working directory with the job.
    """
    if re.match(r"[a-z0-9]+:/", str(output)):
        raise ConfigError(f"{option} {output}: found a URI, expected a path of this machine")
    config = json.loads(os.environ.get(_JOB_CONFIG, "{}"))
    is_copy = "working_dir" in (config.get("runtime_env") or {})
    if is_copy and output.resolve().is_relative_to(Path.cwd()):
        raise ConfigError(
            f"{option} {output}: found a path in the job's copy of the working directory, which "
            "is deleted with the job; expected an absolute path that all nodes reach, or a URI"
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


def _stop(reason: object, status: int) -> None:
    # An error that lists several things has them on lines of their own, indented.
    lines = re.split(r"\n(?=  )", f"soloist: {redacted(str(reason))}")
    for line in lines:
        echo(shortened(line, _LONGEST_LINE), sys.stderr)
    raise SystemExit(status)


ExperimentName = Annotated[
    str,
    Argument(
        metavar="EXPERIMENT",
        help=f"YAML file, or the name of a shipped experiment: {', '.join(shipped_experiments())}.",
    ),
]
Overrides = Annotated[
    list[str] | None,
    Argument(
        metavar="FIELD=VALUE",
        help="Set fields of the experiment by dotted path: replicas=8, arms.relu.activation=gelu. "
        "The prefix defaults. may be omitted: stream.batch_size=256. VALUE is YAML: "
        "'model.hidden=[128, 64]'.",
        show_default=False,
    ),
]
Output = Annotated[
    str | None,
    Option(
        "--output",
        "-o",
        metavar="DIR",
        help="Directory that all nodes reach, or URI such as s3://bucket/results. "
        "[default: results/NAME]",
    ),
]
DryRun = Annotated[
    bool, Option("--dry-run", help="Print the plan and its estimated cost; train nothing.")
]
KeepWeights = Annotated[
    bool,
    Option(
        "--keep-weights",
        help="Keep the weights of the served model, for soloist export. Finished trials without "
        "weights are trained again.",
    ),
]
Record = Annotated[
    bool,
    Option(
        "--record",
        help="Record the order of requests to the shards of the async engine, for soloist "
        "replay. Sets engine.record=true for all trained arms.",
    ),
]
ArmName = Annotated[str | None, Option("--arm", metavar="NAME", help="Arm of the sweep.")]
ReplicaNumber = Annotated[
    int | None, Option("--replica", min=0, help="Replica of the arm. [default: 0]")
]
Models = Annotated[
    list[str] | None,
    Option(
        "--model",
        metavar="PACKAGE.MODULE:FACTORY",
        help="Custom model that the results may import. Can be repeated.",
        show_default=False,
    ),
]
Trust = Annotated[
    bool,
    Option("--trust", help="Import every custom model of the results. Only for trusted results."),
]
PricesFile = Annotated[
    Path | None,
    Option(
        "--prices",
        metavar="FILE",
        help="YAML with per_core_hour, per_gpu_hour and currency. [default: cluster/prices.yaml, "
        "if it exists]",
    ),
]
PricePerCoreHour = Annotated[
    float | None,
    Option("--price-per-core-hour", min=0, help="Price of a core-hour; overrides the file."),
]
PricePerGpuHour = Annotated[
    float | None,
    Option("--price-per-gpu-hour", min=0, help="Price of a GPU-hour; overrides the file."),
]

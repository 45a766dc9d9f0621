"""``soloist submit``: starts a job on a Ray cluster, streams its log, and exits with its status."""

from __future__ import annotations

import asyncio
import logging
import os
import shlex
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer
from rich import box
from rich.table import Table
from typer import Argument, Context, Option

from cluster.upload import NOT_UPLOADED, check_upload
from jobs.cli import BENCHMARK, JOBS
from jobs.command import FAILED, FORWARDED, INTERRUPTED, STYLE, exit_on_error, terminal
from recsys.credentials import holds_credentials, redacted
from recsys.errors import ConfigError

if TYPE_CHECKING:
    from ray.job_submission import JobDetails, JobSubmissionClient

_Answer = TypeVar("_Answer")
_STOP_S = 30
"""How long a job has to cancel what runs before Ray kills it."""

_POLL_S = 0.5
_PATIENCE_S = 60.0
"""So long a cluster that answered before may not answer: a connection may be forwarded anew"""
_ANSWER_S = 20.0
"""How long a dashboard has to answer at first"""
_WIDE = 200
_URL = "RAY_API_SERVER_ADDRESS"
"""What Ray prefers to any address that it is passed"""

_HELP = """Run a job on a Ray cluster.

`soloist submit sweep my.yaml --output s3://bucket/results` uploads the working directory (without
data, results and what .gitignore and .rayignore name), runs `python -m jobs.sweep …` on the
cluster, shows what it prints, and ends with its exit status. Ctrl-C leaves the job running. Stop a
job at any time: submitted again, it runs only what is missing.

Where tokens are asked for, set RAY_AUTH_MODE=token and RAY_AUTH_TOKEN_PATH.
"""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Settings:
    """Options between ``submit`` and the job's name."""

    working_dir: Path
    identifier: str | None
    no_wait: bool
    gpus: float | None


def make_app() -> typer.Typer:
    """Return the CLI: every job by its name, and ``list``, ``follow`` and ``stop``."""
    app = typer.Typer(help=_HELP, no_args_is_help=True, **STYLE)
    app.callback()(exit_on_error(_settings))
    for name, summary in {**JOBS, "benchmark": BENCHMARK}.items():
        app.command(name, help=summary, context_settings=FORWARDED, rich_help_panel="Jobs")(
            _submission(name)
        )
    for command in (list_jobs, follow, stop):
        name = command.__name__.removesuffix("_jobs")
        app.command(name, rich_help_panel="What was submitted")(exit_on_error(command))
    return app


def submit(arguments: list[str], program: str) -> None:
    """Run a job on a Ray cluster, or follow, stop or list submitted jobs."""
    make_app()(args=arguments, prog_name=program)


def _settings(
    context: Context,
    address: Annotated[
        str | None,
        Option(
            "--address",
            metavar="URL",
            help="The cluster's dashboard, such as http://127.0.0.1:8265. "
            "[default: RAY_API_SERVER_ADDRESS, RAY_ADDRESS, or the Ray of this machine]",
            show_default=False,
        ),
    ] = None,
    working_dir: Annotated[
        Path, Option("--working-dir", metavar="DIR", help="What is uploaded.")
    ] = Path(),
    identifier: Annotated[
        str | None, Option("--id", metavar="ID", help="What to call it.", show_default=False)
    ] = None,
    no_wait: Annotated[
        bool, Option("--no-wait", help="Print the job ID and exit after the submission.")
    ] = False,
    gpus: Annotated[
        float | None,
        Option(
            "--gpus",
            metavar="N",
            min=0,
            help="Run the job's process on a node with this many free GPUs, for train and "
            "benchmark. Trials of sweep and search request their own. [default: on the head]",
            show_default=False,
        ),
    ] = None,
) -> None:
    if address is not None:
        _check_url("--address", address)
        os.environ[_URL] = address
    context.obj = _Settings(
        working_dir=working_dir, identifier=identifier, no_wait=no_wait, gpus=gpus
    )


def _submission(name: str) -> Callable[[Context], None]:
    def command(context: Context) -> None:
        _run_on_cluster(name, context.args, context.obj)

    return exit_on_error(command)


def _run_on_cluster(name: str, arguments: list[str], settings: _Settings) -> None:
    uploaded = settings.working_dir
    if not uploaded.is_dir():
        raise ConfigError(f"--working-dir {uploaded}: not there, expected a directory")
    for word in filter(holds_credentials, arguments):
        raise ConfigError(
            f"{word}: found credentials, which Ray shows to all users of the cluster; expected "
            "them in the environment of its nodes, such as AWS_ACCESS_KEY_ID"
        )
    check_upload(uploaded, arguments)
    with _cluster() as client:
        job = client.submit_job(
            entrypoint=shlex.join(["python", "-m", f"jobs.{name.replace('-', '_')}", *arguments]),
            submission_id=settings.identifier,
            entrypoint_num_gpus=settings.gpus,
            runtime_env={
                "working_dir": str(uploaded),
                "excludes": NOT_UPLOADED,
                "env_vars": {"PYTHONUNBUFFERED": "1", "RAY_JOB_STOP_WAIT_TIME_S": str(_STOP_S)},
            },
        )
        print(job, flush=True)
        if not settings.no_wait:
            show_to_end(client, job)


def list_jobs() -> None:
    """List the jobs submitted to the cluster, newest last."""
    table = Table("job", "status", "exit", "started", "command", box=box.SIMPLE_HEAD)
    with _cluster() as client:
        found = sorted(client.list_jobs(), key=lambda job: job.start_time or 0)
    for job in found:
        started = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime((job.start_time or 0) / 1000))
        code = "" if job.driver_exit_code is None else str(job.driver_exit_code)
        name, command = job.submission_id or job.job_id, redacted(job.entrypoint)
        table.add_row(name, job.status, code, started, command)
    terminal(width=_WIDE).print(table)


def follow(job: Annotated[str, Argument(metavar="ID")]) -> None:
    """Show a job's log from its start, and exit with its status."""
    with _cluster() as client:
        show_to_end(client, job)


def stop(job: Annotated[str, Argument(metavar="ID")]) -> None:
    """Stop a job; finished trials are kept, and submitting it again runs the missing ones."""
    with _cluster() as client:
        client.stop_job(job)
        print(f"{job}: {_ended(client, job).status}")


def show_to_end(client: JobSubmissionClient, job: str) -> None:
    """Print the job's log until it ends; raise SystemExit with its status."""
    try:
        shown = 0
        while not _answered(lambda: client.get_job_status(job), job).is_terminal():
            shown = asyncio.run(_tail(client, job, shown))
        print(_answered(lambda: client.get_job_logs(job), job)[shown:], end="", flush=True)
        ended = _answered(lambda: client.get_job_info(job), job)
    except KeyboardInterrupt:
        print(
            f"\n{job} is still running: soloist submit follow {job}, or soloist submit stop {job}"
        )
        raise SystemExit(INTERRUPTED) from None
    print(f"{job}: {ended.status}", flush=True)
    raise SystemExit(exit_status(ended.status, ended.driver_exit_code))


async def _tail(client: JobSubmissionClient, job: str, shown: int) -> int:
    """Print the log from a position until it ends or the connection breaks; return the position."""
    from aiohttp import ClientError

    seen = 0
    log = aiter(client.tail_job_logs(job))
    while True:
        try:
            lines = await anext(log)
        except StopAsyncIteration:
            break
        except (RuntimeError, OSError, ClientError):
            time.sleep(_POLL_S)  # asked again from where it broke off
            break
        print(lines[max(0, shown - seen) :], end="", flush=True)
        seen += len(lines)
    return max(shown, seen)


def _answered(ask: Callable[[], _Answer], job: str) -> _Answer:
    """Call the cluster about a job, with retries while the connection is lost.

    Raises:
        SystemExit: it stays lost.
    """
    deadline = time.monotonic() + _PATIENCE_S
    while True:
        try:
            return ask()
        except OSError as error:
            if time.monotonic() > deadline:
                print(
                    f"soloist: the cluster does not respond: {_one_line(error)}; {job} may "
                    f"still be running: soloist submit follow {job}",
                    file=sys.stderr,
                )
                raise SystemExit(FAILED) from None
            time.sleep(_POLL_S)


def exit_status(status: str, code: int | None) -> int:
    """Return the exit status for a job that ended with ``code``.

    A stopped job counts as interrupted; a driver killed by a signal has 128 + its number.
    """
    if status == "SUCCEEDED":
        return 0
    if status == "STOPPED":
        return INTERRUPTED
    if code is None:
        return FAILED
    return code if code >= 0 else 128 - code


def _ended(client: JobSubmissionClient, job: str) -> JobDetails:
    while not (found := client.get_job_info(job)).status.is_terminal():
        time.sleep(_POLL_S)
    return found


@contextmanager
def _cluster() -> Iterator[JobSubmissionClient]:
    """Connect; errors of the cluster become one line."""
    from ray.exceptions import RayError
    from ray.job_submission import JobSubmissionClient

    logging.disable(logging.INFO)  # Ray logs every upload
    try:
        os.environ[_URL] = _dashboard()
        yield JobSubmissionClient()
    except (RayError, ConnectionError, RuntimeError, ValueError) as error:
        raise ConfigError(f"the cluster: {_one_line(error)}") from None
    finally:
        logging.disable(logging.NOTSET)


def _dashboard() -> str:
    """Return the URL of the dashboard in the environment, once it responds.

    Raises:
        ConfigError: the environment has an invalid address, or no cluster responds.
        ConnectionError: no dashboard responds.
    """
    import requests
    from ray.dashboard.utils import ray_address_to_api_server_url

    from distrib.scheduling.session import responding_address

    field = _URL if os.environ.get(_URL) else "RAY_ADDRESS"
    url = os.environ.get(field) or "local"
    if url == "local":
        try:
            url = ray_address_to_api_server_url(responding_address("auto"))
        except ConfigError:
            url = "http://127.0.0.1:8265"  # perhaps forwarded from another machine
    elif field != _URL and "://" not in url:
        url = ray_address_to_api_server_url(responding_address(url))
    _check_url(field, url)
    try:
        requests.get(f"{url.rstrip('/')}/api/version", timeout=_ANSWER_S)
    except requests.RequestException:
        raise ConnectionError(f"Failed to connect to Ray at address: {url}.") from None
    return url


def _check_url(field: str, url: str) -> None:
    if not url.startswith(("http://", "https://")):
        raise ConfigError(f"{field} {url}: expected http://HOST:8265")


def _one_line(error: Any) -> str:
    lines = [line.strip() for line in redacted(str(error)).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__


if __name__ == "__main__":
    make_app()()

"""newsrail rebuild: a read model is made anew from archive and stream."""

import os
import time
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Final

import httpx
import typer
from pydantic import TypeAdapter, ValidationError
from rich.progress import BarColumn, TaskID, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bar

from cli.console import console, errors, fail
from cli.runfile import RUN_FILE, Run
from shared.web.rebuild import Progress, State

ROUTE: Final = "/v1/rebuild"
TIMEOUT_S: Final = 30.0
POLL_S: Final = 0.25
RETRIES: Final = 4
"""Of a connection: for seconds, while a service is started anew."""

_PROGRESS: Final = TypeAdapter(Progress)


class Service(StrEnum):
    INDEX = "index"
    RAILS = "rails"


def rebuild(
    service: Annotated[Service, typer.Argument(help="Whose read model.")],
    url: Annotated[
        str | None,
        typer.Option(help="The service's address; else NEWSRAIL_INDEX_URL or _RAILS_URL."),
    ] = None,
    key: Annotated[
        str | None, typer.Option(envvar="NEWSRAIL_KEY", help="A key with the scope operate.")
    ] = None,
    data: Annotated[
        Path, typer.Option(help="The data folder whose run.json knows address and key.")
    ] = Path("data"),
) -> None:
    """Make a read model anew from the log, while the old one answers.

    Exit code 0: the new one answers; 1: it failed, and the old one answers as before;
    2: the service cannot be asked.
    """
    run = Run.read(data / RUN_FILE)
    address = url or os.environ.get(f"NEWSRAIL_{service.upper()}_URL")
    if not address and run:
        address = run.index if service is Service.INDEX else run.rails
    if not address:
        fail(f"no newsrail runs on {data}; start one, or give --url and --key", 2)
    with _client(address, key or (run.key if run else "")) as client:
        try:
            done = _followed(client, _begun(client))
        except KeyboardInterrupt:
            fail(f"the rebuild of {service} goes on; the same command follows it again", 130)
    console.print(f"{service} is rebuilt: {done.entries:,} entries read in {_seconds(done):,.1f} s")


def _client(address: str, key: str) -> httpx.Client:
    return httpx.Client(
        base_url=address,
        headers={"Authorization": f"Bearer {key}"} if key else {},
        timeout=TIMEOUT_S,
        # Never through the proxy that the environment names for the world outside.
        trust_env=False,
        transport=httpx.HTTPTransport(retries=RETRIES),
    )


def _begun(client: httpx.Client) -> datetime | None:
    """When the rebuild that runs now was started."""
    answer = _ask(client, "POST")
    if answer.status_code == httpx.codes.CONFLICT:
        errors.print("a rebuild is running; this follows it")
        answer = _ask(client, "GET")
    return _read(answer).started


def _followed(client: httpx.Client, started: datetime | None) -> Progress:
    """Once it is done; where it fails, the command ends."""
    with _bar() as bar:
        task = bar.add_task("starting", total=None, read="", at="", rate="")
        while (progress := _read(_ask(client, "GET"))).state is State.RUNNING:
            _show(bar, task, progress)
            time.sleep(POLL_S)
        _show(bar, task, progress)
    if progress.started != started:
        fail("the service was started anew and its old read model answers; rebuild it again")
    if progress.state is State.FAILED:
        fail(f"it failed, and the old read model answers as before: {progress.detail}")
    return progress


def _ask(client: httpx.Client, method: str) -> httpx.Response:
    try:
        return client.request(method, ROUTE)
    except (httpx.TransportError, httpx.InvalidURL) as error:
        fail(f"{client.base_url} does not answer ({error}); is it running?", 2)


def _read(answer: httpx.Response) -> Progress:
    """A problem document would pass for one of which nothing is known."""
    try:
        return _PROGRESS.validate_json(answer.raise_for_status().content)
    except (httpx.HTTPStatusError, ValidationError):
        fail(f"{answer.url}: {answer.status_code} {answer.text[:200]}", 2)


def _bar() -> Bar:
    """Of the time that is reached in the log."""
    return Bar(
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.fields[read]} {task.fields[at]} {task.fields[rate]}"),
        TimeElapsedColumn(),
        console=errors,
    )


def _show(bar: Bar, task: TaskID, progress: Progress) -> None:
    if progress.started and progress.since and progress.at:
        bar.update(
            task,
            description="reading",
            total=max(1.0, (progress.started - progress.since).total_seconds()),
            completed=(progress.at - progress.since).total_seconds(),
            read=f"{progress.entries:,} entries,",
            at=f"now at {progress.at:%Y-%m-%d %H:%M:%S},",
            rate=f"{progress.entries / max(POLL_S, bar.tasks[0].elapsed or 0):,.0f}/s",
        )


def _seconds(done: Progress) -> float:
    return (done.ended - done.started).total_seconds() if done.ended and done.started else 0.0

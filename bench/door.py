"""At the door: articles and beacons, one a request, beside handlers that XADD each.

Peers: a bare ASGI handler on the same server and event loop, and webdis where Debian has
it. All write to one Redis that syncs before it answers; runs take turns, and a ratio is
of two runs that stand beside each other.
"""

import json
import os
import shutil
import socket
import statistics
import subprocess
import sys
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from rich.console import Console
from rich.table import Table

from tests.redis_server import free_port
from tests.stack import ROOT, Stack

CONNECTIONS = 64


@dataclass(frozen=True, slots=True)
class Target:
    name: str
    port: int
    kinds: dict[str, str]
    """What the load sends, by what is measured."""


def main(*, seconds: float, rounds: int) -> dict[str, dict[str, float]]:
    with TemporaryDirectory() as folder, ExitStack() as stack:
        ours = stack.enter_context(Stack(Path(folder), "ingest"))
        targets = [
            Target("newsrail", ours.ports["ingest"], {k: k for k in ("articles", "beacons")}),
            Target(
                "bare ASGI + XADD",
                _asgi(stack, ours),
                {"articles": "articles", "beacons": "beacons"},
            ),
        ]
        if shutil.which("webdis"):
            kinds = {"articles": "webdis-articles", "beacons": "webdis-beacons"}
            targets.append(Target("webdis", _webdis(stack, ours, Path(folder)), kinds))
        return {
            measured: _compare(measured, targets, ours.token, seconds, rounds)
            for measured in ("articles", "beacons")
        }


def _compare(
    measured: str, targets: list[Target], token: str, seconds: float, rounds: int
) -> dict[str, float]:
    runs: dict[str, list[dict[str, float]]] = {target.name: [] for target in targets}
    for _ in range(rounds):
        for target in targets:
            runs[target.name].append(_load(target, target.kinds[measured], token, seconds))
    table = Table(title=f"{measured} at the door, one a request, {CONNECTIONS} connections")
    for column in ("", "per s", "p50 ms", "p99 ms", "failed", "newsrail is"):
        table.add_column(column, justify="right")
    rates = {name: [run["per_s"] for run in of] for name, of in runs.items()}
    ratios = {
        name: statistics.median(a / b for a, b in zip(rates["newsrail"], rates[name], strict=True))
        for name in runs
    }
    for name, of in runs.items():
        medians = {key: statistics.median(run[key] for run in of) for key in of[0]}
        table.add_row(
            name,
            f"{medians['per_s']:,.0f}",
            f"{medians['p50_ms']:.1f}",
            f"{medians['p99_ms']:.1f}",
            f"{medians['failed']:.0f}",
            "" if name == "newsrail" else f"{ratios[name]:.2f} x",
        )
    Console().print(table)
    return {"per_s": statistics.median(rates["newsrail"]), **ratios}


def _load(target: Target, kind: str, token: str, seconds: float) -> dict[str, float]:
    done = subprocess.run(
        [sys.executable, "-m", "bench.load", str(target.port), kind, token, str(CONNECTIONS), str(seconds)],
        cwd=ROOT, stdout=subprocess.PIPE, check=True,
    )  # fmt: skip
    outcome: dict[str, float] = json.loads(done.stdout)
    return outcome


def _asgi(stack: ExitStack, ours: Stack) -> int:
    port = free_port()
    environment = {**os.environ, "PEER_REDIS_URL": ours.redis.url}
    command = [sys.executable, "-m", "uvicorn", "bench.peer_asgi:app", "--port", str(port),
               "--loop", "uvloop", "--http", "httptools", "--no-access-log",
               "--log-level", "warning", "--lifespan", "off"]  # fmt: skip
    _start(stack, command, environment)
    _wait(port)
    return port


def _webdis(stack: ExitStack, ours: Stack, folder: Path) -> int:
    port = free_port()
    settings = {
        "redis_host": "127.0.0.1", "redis_port": ours.redis.port, "http_host": "127.0.0.1",
        "http_port": port, "threads": 2, "pool_size": 32, "daemonize": False,
        "database": 0, "verbosity": 0, "logfile": str(folder / "webdis.log"),
        "acl": [{"disabled": []}],
    }  # fmt: skip
    path = folder / "webdis.json"
    path.write_text(json.dumps(settings))
    _start(stack, ["webdis", str(path)], dict(os.environ))
    _wait(port)
    return port


def _start(stack: ExitStack, command: list[str], environment: dict[str, str]) -> None:
    process = subprocess.Popen(command, cwd=ROOT, env=environment)
    stack.callback(process.wait)
    stack.callback(process.kill)


def _wait(port: int) -> None:
    for _ in range(500):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.02)
    raise RuntimeError(f"nothing listens on {port}")

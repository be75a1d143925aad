"""A service in a process of its own: `python -m tests.integration.shared.service_process FOLDER`.

`/slow` is answered when the file `release` is there. The loop leaves the file `ended` once it
is cancelled; it fails when the file `fail` is there.
"""

import asyncio
import sys
from pathlib import Path

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from shared import logs, process, settings
from shared.settings import Settings
from shared.web.service import DirectRoute, create_app
from tests.eventually import POLL_S


def routes(folder: Path) -> APIRouter:
    router = APIRouter(route_class=DirectRoute)

    @router.get("/slow")
    async def slow(request: Request) -> Response:
        (folder / "begun").touch()
        while not (folder / "release").exists():
            await asyncio.sleep(POLL_S)
        return PlainTextResponse("done")

    return router


async def main(chosen: Settings, folder: Path) -> None:
    async def loop() -> None:
        try:
            while not (folder / "fail").exists():
                await asyncio.sleep(POLL_S)
            raise RuntimeError("the loop cannot go on")
        finally:
            (folder / "ended").touch()

    await process.serve(create_app("tests", chosen, routes(folder), checks={}), chosen, [loop])


if __name__ == "__main__":
    logs.setup("tests", "INFO")
    process.run(main(settings.read(Settings), Path(sys.argv[1])))

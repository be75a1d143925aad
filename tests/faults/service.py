"""python -m tests.faults.service NAME [MUTANT]: a service as in production, but for what a
short run cannot wait for: the log is trimmed after seconds, not after 20 minutes.

With a mutant it runs without one of its guards.
"""

import runpy
import sys
from typing import Final

from shared.streams import replay, trim
from tests.faults.mutants import MUTANTS, replace

RETENTION_MS: Final = 2_000
LOOK_EVERY_S: Final = 0.5
GATHER: Final = 4.0
"""A segment of some seconds: an archive in production has fewer of them, not more."""


def hurry() -> None:
    """Not by the setting, which allows no less than what readers count on."""
    replace(trim.Janitor, "_retention_ms", lambda _: RETENTION_MS)
    replace(trim, "LOOK_EVERY_S", LOOK_EVERY_S)
    replace(trim, "GATHER", GATHER)
    replace(replay, "LOOK_AGAIN_S", 0.0)


if __name__ == "__main__":
    service, *mutant = sys.argv[1:]
    hurry()
    for name in mutant:
        MUTANTS[name].take_out()
    runpy.run_module(f"services.{service}", run_name="__main__", alter_sys=True)

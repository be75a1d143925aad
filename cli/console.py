"""What the commands print: colours and bars on a terminal, plain whole lines elsewhere."""

import sys
from typing import Final, NoReturn

import typer
from rich.console import Console

_WIDE: Final = 200
"""Off a terminal nothing wraps lines, so tables need no narrow columns."""

console: Final = Console(highlight=False, width=None if sys.stdout.isatty() else _WIDE)
errors: Final = Console(highlight=False, stderr=True)


def fail(message: str, code: int = 1) -> NoReturn:
    """Ends the command. `message` names the remedy."""
    errors.print(f"newsrail: {message}", markup=False, soft_wrap=True)
    raise typer.Exit(code)

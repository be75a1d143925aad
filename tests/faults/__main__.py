"""make faults: the real system under faults, then every read model against the history.
make faults-mutants: the same without one guard, for each; a green one fails.
"""

import asyncio
import sys
from pathlib import Path
from typing import Annotated

import typer

from tests.faults.mutants import MUTANTS
from tests.faults.run import run

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def main(
    minutes: Annotated[float, typer.Option(help="How long faults are made")] = 2.0,
    seed: Annotated[int, typer.Option(help="Of all chance: it makes the same faults again")] = 1,
    table: Annotated[Path | None, typer.Option(help="A file for the table, too")] = None,
    mutant: Annotated[list[str] | None, typer.Option(help="Only these, by name")] = None,
    mutants: Annotated[bool, typer.Option("--mutants", help="Without each guard in turn")] = False,
) -> None:
    wanted = mutant or (list(MUTANTS) if mutants else [])
    if wanted:
        text, is_right = _mutants(wanted, minutes, seed)
    else:
        outcome = asyncio.run(run(minutes=minutes, seed=seed))
        text, is_right = outcome.table(), outcome.is_green
    print(text)
    if table:
        table.write_text(text + "\n")
    sys.exit(0 if is_right else 1)


def _mutants(names: list[str], minutes: float, seed: int) -> tuple[str, bool]:
    lines = ["| without the guard | is | for example |", "| --- | --- | --- |"]
    all_red = True
    for name in names:
        outcome = asyncio.run(
            run(minutes=minutes, seed=seed, mutant=name, cards=MUTANTS[name].faults)
        )
        first = next(outcome.complaints(), "")
        lines.append(f"| {name} | {'red' if first else 'GREEN'} | {first[:120]} |")
        all_red &= bool(first)
    return "\n".join(lines), all_red


app()

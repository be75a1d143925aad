"""make bench: every figure newsrail claims, beside a peer measured in the same run."""

from collections.abc import Callable
from typing import Annotated

import orjson
import typer

from bench import door, fold, latency

app = typer.Typer(add_completion=False)


@app.command()
def main(
    parts: Annotated[
        list[str] | None, typer.Argument(help="door, fold, latency; none: all")
    ] = None,
    seconds: Annotated[float, typer.Option(help="How long each run takes")] = 5,
    rounds: Annotated[int, typer.Option(help="How many runs of each; medians are shown")] = 3,
    json: Annotated[bool, typer.Option(help="Print the figures as JSON, too")] = False,
) -> None:
    benches: dict[str, Callable[[], object]] = {
        "door": lambda: door.main(seconds=seconds, rounds=rounds),
        "fold": lambda: fold.main(seconds=seconds, rounds=rounds),
        "latency": lambda: latency.main(seconds=4 * seconds),
    }
    figures = {name: run() for name, run in benches.items() if not parts or name in parts}
    if json:
        typer.echo(orjson.dumps(figures, option=orjson.OPT_INDENT_2))


app()

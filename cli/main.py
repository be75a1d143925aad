"""newsrail: the command line. A file per command, and no rules here."""

import typer

from cli import archive, dead, keys
from cli.erase import erase
from cli.lag import lag
from cli.post import post
from cli.rebuild import rebuild
from cli.up import up
from cli.watch import watch

app = typer.Typer(
    help="Takes in news, and keeps an archive and live lists of it.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.command()(up)
app.command()(post)
app.command()(watch)
app.command()(lag)
app.command()(rebuild)
app.add_typer(dead.app, name="dead", help="Dead letters: what groups gave up, and why.")
app.add_typer(keys.app, name="keys", help="Keys: who may do what, for which feeds.")
app.add_typer(archive.app, name="archive", help="What was trimmed from the streams.")
app.command()(erase)


def main() -> None:
    app()


if __name__ == "__main__":
    main()

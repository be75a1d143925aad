"""Dead letters: the entries that a group gave up, kept with the reason until an operator
redrives or drops them.

A letter is an entry of `{stream}:dead:<group>`: `dead-stream`, `dead-group`, `dead-entry`,
`dead-reason`, `dead-attempts`, then the original's own fields.
"""

from importlib.resources import files
from typing import Final

WRITE_LETTER: Final = files(__package__).joinpath("lua/letter.lua").read_text()
"""Lua that goes before a script which gives entries up."""

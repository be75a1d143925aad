"""From arguments to documents: which files, of which type, for which feed."""

import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Final

TYPES: Final = {
    ".json": "application/json",
    ".ndjson": "application/x-ndjson",
    ".jsonl": "application/x-ndjson",
    ".rss": "application/rss+xml",
    ".atom": "application/atom+xml",
    ".xml": "application/xml",
    ".rdf": "application/xml",
    ".html": "text/html",
    ".htm": "text/html",
}
"""By suffix. Of the rest the content alone decides."""

FEED_NAME_MAX: Final = 100
_UNSAFE: Final = re.compile(r"[^A-Za-z0-9._-]+")


@dataclass(frozen=True, slots=True)
class Document:
    place: str
    """The path or address as the user knows it."""

    @property
    def shown(self) -> str:
        """Also where the file's name is not UTF-8."""
        return os.fsencode(self.place).decode(errors="replace")

    @property
    def is_url(self) -> bool:
        return self.place.startswith(("http://", "https://"))

    def content_type(self) -> str | None:
        """What its name says of its content, packed or not."""
        name = Path(self.place.removesuffix(".gz"))
        return TYPES.get(name.suffix.lower())

    def feed(self) -> str:
        """A feed name for this document alone, the same at each run from the same folder."""
        return feed_name(self.place if self.is_url else os.path.relpath(self.place))


def find(arguments: Iterable[str]) -> Iterator[Document]:
    """The files of folders in a fixed order, hidden ones left out. Raises FileNotFoundError."""
    for argument in arguments:
        if Document(argument).is_url or Path(argument).is_file():
            yield Document(argument)
        elif Path(argument).is_dir():
            yield from map(Document, _files_in(Path(argument)))
        else:
            raise FileNotFoundError(argument)


def _files_in(folder: Path) -> Iterator[str]:
    for path in sorted(folder.rglob("*")):
        hidden = any(part.startswith(".") for part in path.relative_to(folder).parts)
        if path.is_file() and not hidden:
            yield str(path)


def feed_name(place: str) -> str:
    """`place` in the letters that a feed's name may have.

    Where that loses something a hash tells it from others that look the same then; the end
    stays where it is too long, because the file's name is there.
    """
    safe = _UNSAFE.sub("-", place).lstrip("._-")
    if safe == place and len(safe) <= FEED_NAME_MAX:
        return safe
    digest = blake2b(os.fsencode(place), digest_size=4).hexdigest()
    kept = safe[-(FEED_NAME_MAX - len(digest) - 1) :].lstrip("._-")
    return f"{kept}-{digest}" if kept else digest

"""What `newsrail up` leaves in its data folder for other commands and for its next start."""

import fcntl
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final, Self

from pydantic import AwareDatetime, BaseModel, ConfigDict, ValidationError

RUN_FILE: Final = "run.json"
KEPT_FILE: Final = "up.json"
LOCK_FILE: Final = "up.lock"


class InUse(Exception):
    """Another `newsrail up` runs on this folder."""


class _File(BaseModel):
    model_config = ConfigDict(frozen=True)

    def write(self, path: Path) -> None:
        """For this user's eyes only, because it holds a key. A reader sees the old file or
        the new one."""
        new = path.with_name(f".{path.name}.new")
        with open(new, "w", opener=_private) as file:
            file.write(self.model_dump_json())
        new.replace(path)

    @classmethod
    def read(cls, path: Path) -> Self | None:
        """None where there is none, or none that can be read."""
        try:
            return cls.model_validate_json(path.read_bytes())
        except (FileNotFoundError, ValidationError):
            return None


class Run(_File):
    """The addresses of what runs now, and a key with every scope."""

    index: str
    ingest: str
    rails: str
    redis: str
    key: str
    pids: Mapping[str, int]


class Kept(_File):
    """What the next start on the folder uses again."""

    redis_port: int | None = None
    key: str | None = None
    sample_began: AwareDatetime | None = None
    """When the sample news was first posted: its times are relative to this, so that a
    later start posts the very same."""


@contextmanager
def claimed(folder: Path) -> Iterator[None]:
    """The folder is ours until the block or the process ends. Raises InUse."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / LOCK_FILE).open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise InUse from None
        yield


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, mode=0o600)

"""What an operator may set, read from the environment as `NEWSRAIL_<FIELD>`, else from the
secret of that name.

Each service extends `Settings` in its own `settings.py`; the docstrings under the
fields are the reference.
"""

import difflib
import os
import sys
from pathlib import Path
from typing import Annotated, Literal, TypeVar

from pydantic import Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

PREFIX = "NEWSRAIL_"
SECRETS = Path("/run/secrets")
"""Where containers get secrets: a file for each, named like the variable."""

Port = Annotated[int, Field(gt=0, lt=65_536)]

S = TypeVar("S", bound="Settings")


class Settings(BaseSettings):
    model_config = SettingsConfigDict(
        env_prefix=PREFIX, frozen=True, use_attribute_docstrings=True, extra="ignore"
    )

    redis_url: SecretStr = SecretStr("redis://127.0.0.1:6379/0")
    """Where the streams are; may carry a user and a password."""
    host: str = "127.0.0.1"
    """The address to listen on."""
    port: Port = 8000
    """The port to listen on."""
    partitions: Annotated[int, Field(ge=1, le=100)] = 1
    """P, the number of partitions of each stream; stored at the first start."""
    data: Path = Path("data")
    """The folder for what this service keeps on disk."""
    archive: str | None = None
    """Where to keep what is trimmed from the streams: a folder, or an object store
    (`s3://bucket/prefix`, `gs://`, `az://`; its keys by that store's own variables).
    Without it nothing is trimmed."""
    retention_s: Annotated[int, Field(ge=1_200)] = 21_600
    """How long entries stay in Redis at least, in seconds; when it is 60 % full, 1,200."""
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    """DEBUG, INFO, WARNING or ERROR."""
    public_read: bool = True
    """Whether anybody may read search, articles, rails, counts and pages; else a key
    with the scope `read` is needed."""
    cors_origins: Annotated[tuple[str, ...], NoDecode] = ("*",)
    """Origins whose pages may post beacons and comments and read rails, divided by
    commas; `*`: all."""
    trusted_proxies: str = "127.0.0.1"
    """Addresses whose `X-Forwarded-For` is believed, divided by commas; `*`: all."""

    @field_validator("redis_url")
    @classmethod
    def is_of_redis(cls, url: SecretStr) -> SecretStr:
        if not url.get_secret_value().startswith(("redis://", "rediss://", "unix://")):
            raise ValueError("begins with redis://, rediss:// or unix://")
        return url

    @field_validator("cors_origins", mode="before")
    @classmethod
    def at_commas(cls, origins: object) -> object:
        """As plain text: pydantic-settings would want a JSON array."""
        if not isinstance(origins, str):
            return origins
        return [origin.strip() for origin in origins.split(",")]


def read(kind: type[S]) -> S:
    """The settings, or exit 2 with what is wrong with which variable.

    pydantic-settings lets a mistyped name pass. One that is nearly, but not quite, a
    name of ours is refused here; others belong to other services or programs.
    """
    complaints = [
        f"{name} is not a setting; did you mean {near}?"
        for name in os.environ
        if (near := nearly_known(name, kind))
    ]
    try:
        # A folder that is not there would be warned of.
        settings = kind(_secrets_dir=SECRETS if SECRETS.is_dir() else None)
    except ValidationError as error:
        complaints += [
            f"{PREFIX}{'.'.join(map(str, e['loc'])).upper()}: {e['msg']}" for e in error.errors()
        ]
    if complaints:
        sys.stderr.write("\n".join(complaints) + "\n")
        raise SystemExit(2)
    return settings


def nearly_known(name: str, kind: type[Settings]) -> str | None:
    known = [PREFIX + field.upper() for field in kind.model_fields]
    if not name.startswith(PREFIX) or name in known:
        return None
    return next(iter(difflib.get_close_matches(name, known, n=1, cutoff=0.93)), None)

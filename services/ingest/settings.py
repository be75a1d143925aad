"""What an operator may set for ingest."""

from typing import Annotated

from pydantic import Field

from shared.settings import Port, Settings


class IngestSettings(Settings):
    port: Port = 8001
    """The port to listen on."""
    max_articles_bytes: int = 1024 * 1024
    """The largest body of a request that posts articles, unpacked."""
    max_views_bytes: int = 1024 * 1024
    """The largest body of a request that posts views in columns."""
    rejected_kept: int = 10_000
    """About how many refused inputs `news.rejected` keeps."""
    backlog_most: Annotated[int, Field(gt=0)] = 1_000_000
    """Entries that a group may have unread; near it views are refused, then the rest."""

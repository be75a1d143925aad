"""What an operator may set for ingest."""

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

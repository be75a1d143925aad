"""What an operator may set for index."""

from pydantic import HttpUrl

from shared.settings import Settings


class IndexSettings(Settings):
    ingest_url: HttpUrl | None = None
    """Where readers' browsers reach ingest; pages then report each view to it."""
    site_name: str = "The Newsrail"
    """The name of the paper, on every page."""

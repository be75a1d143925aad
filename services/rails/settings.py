"""What an operator may set for rails."""

from shared.settings import Settings


class RailsSettings(Settings):
    port: int = 8002
    """The port to listen on."""
    partitions: int = 1
    """P, the number of partitions of each stream; stored at the first start."""
    popular_min_readers: int = 2
    """Readers in six hours without whom no article is popular."""

"""What an operator may set for rails."""

from shared.settings import Port, Settings


class RailsSettings(Settings):
    port: Port = 8002
    """The port to listen on."""
    popular_min_readers: int = 2
    """Readers in six hours without whom no article is popular."""

"""A cut connection has no address, and no address makes another visitor."""

import pytest
from starlette.requests import Request

from services.ingest.routes.visitors import visitor_of
from shared.errors import Unavailable


def a_request(client: tuple[str, int] | None) -> Request:
    return Request({"type": "http", "client": client, "headers": [(b"user-agent", b"Firefox")]})


def test_a_reader_is_the_same_on_every_connection() -> None:
    assert visitor_of(a_request(("10.0.0.7", 1)), b"") == visitor_of(
        a_request(("10.0.0.7", 2)), b""
    )


def test_nobody_counts_whose_connection_was_cut_before_its_address_was_read() -> None:
    with pytest.raises(Unavailable):
        visitor_of(a_request(None), b"")

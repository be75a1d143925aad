"""Who views or comments, as far as newsrail may tell."""

from starlette.requests import Request

from services.ingest.domain import views
from shared.errors import Unavailable


def visitor_of(request: Request, salt: bytes) -> int:
    """Raises Unavailable where the connection was cut before its address could be read:
    nobody hears the answer, and without the address it would be another visitor's view or
    comment, and count beside its repeat."""
    if request.client is None:
        raise Unavailable("the connection is gone; send the request again as it was")
    return views.visitor(salt, request.client.host, request.headers.get("user-agent", ""))

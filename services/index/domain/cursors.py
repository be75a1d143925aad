"""Where the next page begins, as an opaque text bound to its query."""

import base64
import binascii
from hashlib import blake2b
from typing import Final

import orjson

from services.index.store import Place, SearchRequest
from shared.errors import BadInput

_OTHER: Final = "cursor: it belongs to another query; start without one"


def encode(place: Place, request: SearchRequest) -> str:
    document = orjson.dumps([place.skip, place.key, _fingerprint(request)])
    return base64.urlsafe_b64encode(document).decode().rstrip("=")


def decode(cursor: str, request: SearchRequest) -> Place:
    """Raises BadInput for what is no cursor, or one of another query, filter or sort."""
    try:
        document = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4))
        skip, key, fingerprint = orjson.loads(document)
        place = Place(skip=_natural(skip), key=None if key is None else _natural(key))
    except (ValueError, TypeError, binascii.Error):
        raise BadInput("cursor: not one of ours; send `next` of the page before") from None
    if fingerprint != _fingerprint(request):
        raise BadInput(_OTHER)
    return place


def _natural(value: object) -> int:
    if not isinstance(value, int) or not 0 <= value < 2**64:
        raise ValueError(value)
    return value


def _fingerprint(request: SearchRequest) -> str:
    asked = repr((request.query, request.filters, request.sort))
    return blake2b(asked.encode(), digest_size=6).hexdigest()

"""What can go wrong, as one tree.

    NewsrailError
    ├── BadInput            400  the request cannot be read as what it claims to be
    │   ├── Unprocessable   422  read, but a field is wrong
    │   ├── KeyReused       422  an Idempotency-Key came again with another body
    │   ├── TooLarge        413
    │   └── UnknownType     415
    ├── Unauthorized        401  no key, or one that is none
    ├── Forbidden           403  the key may not do this
    ├── NotFound            404
    ├── Gone                410  was here and is no more
    ├── Conflict            409
    └── Unavailable         503  Redis is gone, hung or full; repeat the request as it was
        └── BacklogFull     503  before Redis is full

`shared/web/problems.py` makes RFC 9457 documents of them; nobody else does.
"""

from typing import ClassVar


class NewsrailError(Exception):
    """`detail` is shown to the sender: it names the field and the remedy."""

    status: ClassVar[int] = 500
    slug: ClassVar[str] = "internal"
    title: ClassVar[str] = "Something is wrong on our side"

    def __init__(self, detail: str) -> None:
        super().__init__(detail)
        self.detail = detail


class BadInput(NewsrailError):
    status, slug, title = 400, "bad-input", "The request cannot be read"


class Unprocessable(BadInput):
    status, slug, title = 422, "unprocessable", "A field is missing or wrong"


class KeyReused(BadInput):
    status, slug, title = 422, "idempotency-key-reused", "This Idempotency-Key had another body"


class TooLarge(BadInput):
    status, slug, title = 413, "too-large", "The request is too large"


class UnknownType(BadInput):
    status, slug, title = 415, "unknown-type", "This kind of document is not known"


class Unauthorized(NewsrailError):
    status, slug, title = 401, "unauthorized", "A valid key is needed"


class Forbidden(NewsrailError):
    status, slug, title = 403, "forbidden", "This key may not do that"


class NotFound(NewsrailError):
    status, slug, title = 404, "not-found", "Not found"


class Gone(NewsrailError):
    status, slug, title = 410, "gone", "No longer here"


class Conflict(NewsrailError):
    status, slug, title = 409, "conflict", "This does not fit what is there"


class Unavailable(NewsrailError):
    """Nothing is known of the outcome; the same request may be sent again as it was."""

    status, slug, title = 503, "unavailable", "Try again later"
    retry_after_s: ClassVar[int] = 2


class BacklogFull(Unavailable):
    slug, title = "backlog-full", "Try again later"
    retry_after_s = 10

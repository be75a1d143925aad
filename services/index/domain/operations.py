"""What an event means for the store."""

from services.index.store import Remove, Upsert
from shared.events import ArticlePublished, ArticleRetracted, Event


def from_event(event: Event) -> Upsert | Remove | None:
    """None: nothing (an event of a kind that is not for the store)."""
    match event.data:
        case ArticlePublished(article=article):
            return Upsert(article)
        case ArticleRetracted(id=id_, version=version):
            return Remove(id_, version)
        case _:
            return None

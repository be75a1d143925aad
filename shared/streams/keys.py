"""How streams and what belongs to them are named.

Whatever belongs to a stream is `{key}:...`: the braces put it in the stream's Redis
Cluster slot, so that one script can touch both.
"""

from redis.asyncio import Redis

from shared.errors import Conflict
from shared.events import ARTICLES, STREAMS, Stream


def key(stream: Stream, partition: int = 0, partitions: int = 1) -> str:
    return stream.name if partitions == 1 else f"{stream.name}.{partition:02}"


def keys(stream: Stream, partitions: int = 1) -> list[str]:
    count = partitions if stream.by_article else 1
    return [key(stream, k, count) for k in range(count)]


def partition_of(article: str, partitions: int = 1) -> int:
    """The partition of all of an article's events. Ids are hexadecimal hashes, so their
    first digits are spread evenly; other ids are spread by their bytes."""
    if partitions == 1:
        return 0
    try:
        return int(article[:8], 16) % partitions
    except ValueError:
        return sum(article.encode()) % partitions


def belonging(stream_key: str, *parts: str) -> str:
    return f"{{{stream_key}}}:{':'.join(parts)}"


def dead(stream_key: str, group: str) -> str:
    return belonging(stream_key, "dead", group)


async def stored_partitions(redis: Redis) -> int:
    """P, as the first start stored it; 1 before that."""
    return int(await redis.get(belonging(ARTICLES.name, "partitions")) or 1)


async def settle_partitions(redis: Redis, partitions: int) -> None:
    """Stores P at the first start; another P is refused until a repartition. Later starts
    need no write, which a full Redis would refuse.

    Raises Conflict that names the stream and both numbers.
    """
    for stream in (stream for stream in STREAMS if stream.by_article):
        place = belonging(stream.name, "partitions")
        if not await redis.exists(place):
            await redis.set(place, partitions, nx=True)
        stored = int(await redis.get(place) or 0)
        if stored != partitions:
            raise Conflict(
                f"{stream.name} has {stored} partitions, not {partitions}: "
                f"start with {stored}, or repartition first"
            )

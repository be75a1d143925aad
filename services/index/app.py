"""The wiring of index: the store, the consumers that fill it, routes and pages."""

from structlog import get_logger

from services.index.consumer import GROUP, Articles
from services.index.lists import Lists
from services.index.routes.articles import ArticleRoutes
from services.index.routes.pages import PageRoutes
from services.index.routes.search import SearchRoutes
from services.index.settings import IndexSettings
from services.index.stores.tantivy_store import TantivyStore
from shared.events import ARTICLES, INDEXED, RAILS
from shared.process import serve
from shared.streams.append import Appender
from shared.streams.clients import writer
from shared.streams.consume import Apply, Consumer
from shared.streams.groups import create_groups
from shared.streams.keys import keys, settle_partitions
from shared.web.auth import Authority
from shared.web.dead import DeadRoutes
from shared.web.service import create_app

log = get_logger()


async def main(settings: IndexSettings) -> None:
    store = TantivyStore(settings.data)
    await store.open()
    try:
        log.info("store.opened", articles=(await store.stats()).articles)
        await _serve(settings, store)
    finally:
        await store.close()


async def _serve(settings: IndexSettings, store: TantivyStore) -> None:
    async with writer(settings.redis_url) as redis:
        await settle_partitions(redis, settings.partitions)
        await create_groups(redis, settings.partitions)
        indexed = Appender(redis, INDEXED.name)
        lists = Lists(redis)
        await lists.load()

        def consumer(stream_key: str, apply: Apply) -> Consumer:
            return Consumer(
                settings.redis_url, redis, stream_key, GROUP, apply, name=GROUP, sole=True
            )

        consumers = [consumer(RAILS.name, lists.apply)]
        for stream_key in keys(ARTICLES, settings.partitions):
            articles = Articles(redis, stream_key, store, indexed)
            await articles.catch_up()
            consumers.append(consumer(stream_key, articles.apply))
        authority = Authority(redis, public_read=settings.public_read)
        pages = PageRoutes(authority, store, lists, settings)
        app = create_app(
            "index",
            settings,
            SearchRoutes(authority, store).router(),
            ArticleRoutes(authority, store).router(),
            pages.router(),
            DeadRoutes(
                authority, redis, {(one.stream_key, GROUP): one.redrive for one in consumers}
            ).router(),
            checks={
                "redis": redis.ping,
                "store": store.stats,
                **{one.stream_key: one.check for one in consumers},
            },
            errors=pages.errors(),
        )
        await serve(app, settings, [indexed.run, *(one.run for one in consumers)])

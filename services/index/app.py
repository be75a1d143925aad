"""The wiring of index: the store, the consumers that fill it, routes and pages."""

import asyncio
from functools import partial

from structlog import get_logger

from services.index.consumer import GROUP, Articles
from services.index.lists import Lists
from services.index.rebuild import rebuild
from services.index.routes.articles import ArticleRoutes
from services.index.routes.pages import PageRoutes
from services.index.routes.search import SearchRoutes
from services.index.settings import IndexSettings
from services.index.stores.tantivy_store import TantivyStore
from shared.events import ARTICLES, INDEXED, RAILS
from shared.process import serve
from shared.streams.append import Appender
from shared.streams.archive import Archive
from shared.streams.clients import reader, writer
from shared.streams.consume import Apply, Consumer
from shared.streams.groups import create_groups
from shared.streams.keys import keys, settle_partitions
from shared.streams.replay import Log
from shared.streams.trim import janitors
from shared.web.auth import Authority
from shared.web.dead import DeadRoutes
from shared.web.rebuild import Rebuild
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
    async with writer(settings.redis_url) as redis, reader(settings.redis_url) as reading:
        await settle_partitions(redis, settings.partitions)
        await create_groups(redis, settings.partitions)
        indexed = Appender(redis, INDEXED.name, even_when_full=True)
        lists = Lists(redis)
        await lists.load()

        def consumer(stream_key: str, apply: Apply) -> Consumer:
            return Consumer(
                settings.redis_url, redis, stream_key, GROUP, apply, name=GROUP, sole=True
            )

        history = Log(reading, Archive.of(settings.archive))
        switching = asyncio.Lock()
        partitions = [
            Articles(redis, stream_key, store, indexed, history, switching)
            for stream_key in keys(ARTICLES, settings.partitions)
        ]
        for each in partitions:
            await each.catch_up()
        consumers = [
            consumer(RAILS.name, lists.apply),
            *(consumer(each.stream_key, each.apply) for each in partitions),
        ]
        authority = Authority(redis, public_read=settings.public_read)
        rebuilding = Rebuild(authority, partial(rebuild, store, partitions, switching))
        pages = PageRoutes(authority, store, lists, settings)
        app = create_app(
            "index",
            settings,
            SearchRoutes(authority, store).router(),
            ArticleRoutes(authority, store).router(),
            pages.router(),
            rebuilding.router(),
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
        loops = [
            indexed.run,
            rebuilding.run,
            *(one.run for one in consumers),
            *janitors(redis, settings, INDEXED),
        ]
        await serve(app, settings, loops)

"""The wiring of rails: a worker and a catalogue for each partition, one merger, routes."""

import asyncio

from services.rails.consumer import Articles
from services.rails.keys import GROUP
from services.rails.merger import Merger
from services.rails.routes.rails import RailRoutes
from services.rails.routes.views import ViewRoutes
from services.rails.settings import RailsSettings
from services.rails.worker import Worker
from shared.events import ARTICLES, RAILS, VIEWS
from shared.process import serve
from shared.streams.append import Appender
from shared.streams.archive import Archive
from shared.streams.clients import reader, writer
from shared.streams.consume import Consumer
from shared.streams.groups import create_groups
from shared.streams.keys import keys, settle_partitions
from shared.streams.replay import Log
from shared.streams.trim import janitors
from shared.web.auth import Authority
from shared.web.dead import DeadRoutes, Place, Redrive
from shared.web.rebuild import Progress, Rebuild
from shared.web.service import create_app


async def main(settings: RailsSettings) -> None:
    partitions = settings.partitions
    async with writer(settings.redis_url) as redis, reader(settings.redis_url) as reading:
        await settle_partitions(redis, partitions)
        await create_groups(redis, partitions)
        committed = asyncio.Event()
        article_keys, view_keys = keys(ARTICLES, partitions), keys(VIEWS, partitions)
        history = Log(reading, Archive.of(settings.archive))
        articles = [Articles(redis, history, key) for key in article_keys]
        consumers = [
            Consumer(settings.redis_url, redis, key, GROUP, of.apply, name=GROUP, sole=True)
            for key, of in zip(article_keys, articles, strict=True)
        ]
        workers = [
            Worker(
                redis,
                history,
                key,
                of,
                committed=committed,
                min_readers=settings.popular_min_readers,
            )
            for key, of in zip(view_keys, articles, strict=True)
        ]
        lists = Appender(redis, RAILS.name, even_when_full=True)
        merger = Merger(redis, lists, view_keys, committed=committed)
        authority = Authority(redis, public_read=settings.public_read)

        async def rebuild(progress: Progress) -> None:
            for worker in workers:
                await worker.rebuild(progress)

        rebuilding = Rebuild(authority, rebuild)
        groups: dict[Place, Redrive | None] = {
            **{(each.stream_key, GROUP): each.redrive for each in consumers},
            **{(worker.stream_key, GROUP): None for worker in workers},
        }
        app = create_app(
            "rails",
            settings,
            RailRoutes(authority, redis).router(),
            ViewRoutes(authority, redis, view_keys).router(),
            rebuilding.router(),
            DeadRoutes(authority, redis, groups).router(),
            checks={
                "redis": redis.ping,
                **{worker.stream_key: worker.check for worker in workers},
                **{each.stream_key: each.check for each in consumers},
            },
        )
        loops = [
            *(worker.run for worker in workers),
            *(each.run for each in consumers),
            lists.run,
            merger.run,
            rebuilding.run,
            *janitors(redis, settings, RAILS),
        ]
        await serve(app, settings, loops)

"""The wiring of ingest: clients, appenders, routes, loops."""

from functools import partial

from services.ingest.comments import Comments
from services.ingest.embargo import Embargoes
from services.ingest.publish import Publisher
from services.ingest.records import Records
from services.ingest.routes import articles as articles_route
from services.ingest.routes import views as views_route
from services.ingest.routes.articles import ArticleRoutes
from services.ingest.routes.comments import CommentRoutes
from services.ingest.routes.views import ViewRoutes
from services.ingest.salts import Salts
from services.ingest.settings import IngestSettings
from services.ingest.views import Beacons
from shared.events import ARTICLES, COMMENTS, REJECTED, VIEWS, Stream
from shared.process import serve
from shared.streams.append import Appender
from shared.streams.backlog import Backlog
from shared.streams.clients import writer
from shared.streams.groups import create_groups
from shared.streams.keys import keys, settle_partitions
from shared.streams.trim import janitors
from shared.web.auth import Authority
from shared.web.dead import DeadRoutes
from shared.web.service import create_app

DAY_S = 86_400


async def main(settings: IngestSettings) -> None:
    partitions = settings.partitions
    async with writer(settings.redis_url) as redis:
        await settle_partitions(redis, partitions)
        await create_groups(redis, partitions)

        unread = [*keys(ARTICLES, partitions), *keys(VIEWS, partitions)]
        backlog = Backlog(redis, unread, most=settings.backlog_most)

        def appenders(stream: Stream, window_s: int = DAY_S) -> list[Appender]:
            room = partial(backlog.require_room, stream)
            return [
                Appender(redis, name, window_s=window_s, require_room=room)
                for name in keys(stream, partitions)
            ]

        articles = appenders(ARTICLES, window_s=7 * DAY_S)
        views = appenders(VIEWS)
        comments = appenders(COMMENTS)
        rejected = Appender(redis, REJECTED.name)
        records = Records(redis, partitions)
        authority = Authority(redis, public_read=settings.public_read)
        salts = Salts(redis)
        beacons = Beacons(views)
        embargoes = Embargoes(redis, articles, records)
        publisher = Publisher(articles, rejected, records)
        article_routes = ArticleRoutes(authority, publisher, records, settings)
        view_routes = ViewRoutes(authority, views, beacons, records, salts, settings)
        comment_routes = CommentRoutes(authority, Comments(comments, records), salts)
        app = create_app(
            "ingest",
            settings,
            article_routes.router(),
            view_routes.router(),
            comment_routes.router(),
            DeadRoutes(authority, redis, groups={}).router(),
            checks={"redis": redis.ping},
            direct={
                ("POST", articles_route.ROUTE): article_routes.post,
                ("POST", views_route.ROUTE): view_routes.post,
            },
        )
        senders = [*articles, *views, *comments, rejected]
        loops = [
            *(appender.run for appender in senders),
            beacons.run,
            embargoes.run,
            backlog.run,
            *janitors(redis, settings, ARTICLES, VIEWS, COMMENTS),
        ]
        await serve(app, settings, loops)

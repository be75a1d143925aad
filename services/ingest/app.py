"""The wiring of ingest: clients, appenders, routes, loops."""

from services.ingest.comments import Comments
from services.ingest.embargo import Embargoes
from services.ingest.publish import Publisher
from services.ingest.records import Records
from services.ingest.routes.articles import ArticleRoutes
from services.ingest.routes.comments import CommentRoutes
from services.ingest.routes.views import ViewRoutes
from services.ingest.salts import Salts
from services.ingest.settings import IngestSettings
from services.ingest.views import Beacons
from shared.events import ARTICLES, COMMENTS, REJECTED, VIEWS, Stream
from shared.process import serve
from shared.streams.append import Appender
from shared.streams.clients import writer
from shared.streams.groups import create_groups
from shared.streams.keys import keys, settle_partitions
from shared.web.auth import Authority
from shared.web.service import create_app

DAY_S = 86_400


async def main(settings: IngestSettings) -> None:
    partitions = settings.partitions
    async with writer(settings.redis_url) as redis:
        await settle_partitions(redis, (ARTICLES, VIEWS, COMMENTS), partitions)
        await create_groups(redis, partitions)

        def appenders(stream: Stream, window_s: int = DAY_S) -> list[Appender]:
            names = keys(stream, partitions)
            return [Appender(redis, name, window_s=window_s) for name in names]

        articles = appenders(ARTICLES, window_s=7 * DAY_S)
        views = appenders(VIEWS)
        comments = appenders(COMMENTS)
        rejected = Appender(redis, REJECTED.name)
        records = Records(redis, partitions)
        authority = Authority(redis, public_read=settings.public_read)
        salts = Salts(redis)
        beacons = Beacons(views)
        embargoes = Embargoes(redis, articles, records)
        app = create_app(
            "ingest",
            settings,
            ArticleRoutes(
                authority, Publisher(articles, rejected, records), records, settings
            ).router(),
            ViewRoutes(authority, views, beacons, records, salts, settings).router(),
            CommentRoutes(authority, Comments(comments, records), salts).router(),
            checks={"redis": redis.ping},
        )
        senders = [*articles, *views, *comments, rejected]
        loops = [*(appender.run for appender in senders), beacons.run, embargoes.run]
        await serve(app, settings, loops)

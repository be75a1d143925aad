"""Every metric, by name. Served at `/metrics` of the process that counts it."""

from prometheus_client import Counter, Gauge, Histogram

REQUESTS = Counter(
    "newsrail_requests_total", "HTTP requests answered", ["method", "route", "status"]
)
REQUEST_SECONDS = Histogram(
    "newsrail_request_seconds",
    "Time from the request's head to the end of the answer",
    ["route"],
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5),
)
APPENDED = Counter("newsrail_appended_total", "Events appended", ["stream"])
REPEATED = Counter("newsrail_repeated_total", "Requests recognised as repeats", ["stream"])
APPEND_FAILED = Counter(
    "newsrail_append_failed_total", "Appends of unknown outcome or refused by Redis", ["stream"]
)
CONSUMED = Counter(
    "newsrail_consumed_total", "Entries applied and acknowledged", ["stream", "group"]
)
RECLAIMED = Counter("newsrail_reclaimed_total", "Pending entries taken again", ["stream", "group"])
DEAD = Counter("newsrail_dead_total", "Entries given up as dead letters", ["stream", "group"])
BREAKER_OPEN = Gauge(
    "newsrail_breaker_open",
    "1 while a group has stopped consuming because too much failed",
    ["stream", "group"],
)
LOST_PENDING = Counter(
    "newsrail_trimmed_pending_total", "Entries that were deleted while pending", ["stream", "group"]
)
ARCHIVED = Counter("newsrail_archived_total", "Entries archived, then trimmed", ["stream"])
ARCHIVE_FAILING = Gauge(
    "newsrail_archive_failing",
    "1 while the archive cannot be written: nothing is trimmed",
    ["stream"],
)
PASSED = Counter(
    "newsrail_group_passed_total",
    "Segments trimmed that another's group had not acknowledged for a day",
    ["stream", "group"],
)
BACKLOG = Gauge(
    "newsrail_backlog_ratio",
    "Memory of Redis, and unread entries, of the most there may be",
    ["of"],
)
ARTICLES = Counter("newsrail_articles_total", "Articles posted, by outcome", ["outcome"])
VIEWS = Counter("newsrail_views_total", "Views posted: counted, or the reason why not", ["outcome"])
FOLD_OFFSET_MS = Gauge("newsrail_fold_offset_ms", "Time of the last committed view entry")

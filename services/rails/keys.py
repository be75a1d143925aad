"""Every Redis key rails owns, as suffixes of the stream key it belongs to."""

GROUP = "rails"
"""Of news.views and of news.articles."""

# Of news.views, a partition each.
OFFSET = "rails:offset"
"""Hash: `offset` up to which the totals count, `epoch` of the worker that may commit,
`snapshot` the offset the cells were last kept at, `entries` read in all, `ranked` when
the lists were last ranked, `rebuilt` the rebuild that was the last one."""
TOTALS = "rails:totals"
"""Hash: article to its views."""
TOTALS_REBUILT = "rails:totals:rebuilt"
"""Those that a rebuild is making."""
TOPS = "rails:tops"
"""Hash: list to the partition's candidates for it."""
CHANGED = "rails:changed"
"""Sorted set: list by the number of the commit that last changed its candidates."""
SNAPSHOT = "rails:snapshot"
"""The cells at the offset `snapshot`."""

# Of news.articles, a partition each.
CATALOGUE = "rails:catalogue"
"""Hash: article to its version and what rails knows of it."""
CATALOGUE_REBUILT = "rails:catalogue:rebuilt"
"""The one that a rebuild is making."""

# Of news.rails.
LISTS = "records"
"""Hash: list to its last `news.rail.changed.v1`, with the scores of now. (`append.lua`
compares and sets it in the same step that adds the event.)"""
HEARTBEAT = "rails:heartbeat"
"""As of when all lists hold, in milliseconds."""

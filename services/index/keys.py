"""Every Redis key index owns, as suffixes of the stream key it belongs to."""

LISTS = "index:lists"
"""Hash, of `news.rails`: `<rail>|<section>` to the list as last published."""

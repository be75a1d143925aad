"""The default engine: Tantivy, embedded, in one folder.

One thread writes, with one Tantivy writer; a few read. A batch is one commit, followed by
an explicit reload, so that it is visible when it is answered: about 15 ms for a small one.

What is known of the engine and handled here:

- A document that does not fit the schema kills the writer later, and the commit after
  next then applies deletes and loses adds. So all documents are built against the schema
  before any is queued, and whatever the writer raises is followed by a rollback.
- It panics (a BaseException) where others raise: turned into StoreUnavailable in `_run`.
- Analysers are not stored: registered at each open.
- It sorts by one field: `sort_key` holds time and a tie-break.
- Its scores count replaced documents until they are merged away: ours are made of constant
  ones (domain/relevance.py).
- Its query parser reads readers' words as syntax: queries are built from objects.
"""

import asyncio
import os
import re
import shutil
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from hashlib import blake2b
from pathlib import Path
from typing import Any, Final, Self, TypeVar

import orjson
from tantivy import (
    Document,
    FieldType,
    Filter,
    Index,
    IndexWriter,
    Occur,
    Query,
    Schema,
    SchemaBuilder,
    Searcher,
    SearchResult,
    TextAnalyzerBuilder,
    Tokenizer,
)

from services.index.domain import query as queries
from services.index.domain.languages import is_lone, prep
from services.index.domain.query import title_key
from services.index.domain.relevance import LEVELS, UNIT, levels, rarity
from services.index.store import (
    MAX_SKIP,
    Filters,
    Hit,
    Op,
    Outcome,
    Place,
    Removed,
    SchemaMismatch,
    SearchPage,
    SearchRequest,
    Sort,
    StoreStats,
    StoreUnavailable,
    Upsert,
)
from shared.events import Article, to_json

LAYOUT: Final = "articles-v2"
"""The folder's name changes with the schema; the new one is filled from the log."""
FOLDERS: Final = (LAYOUT, f"{LAYOUT}-rebuilt")
"""A rebuild fills the one that is not in use: an open folder cannot be renamed."""
IN_USE: Final = f"{LAYOUT}.in-use"
"""The file that names the folder in use; none before the first rebuild."""
HEAP_BYTES: Final = 64_000_000
READERS: Final = 4
LONGEST_TOKEN_BYTES: Final = 120

ARTICLE, REMOVED, CHECKPOINT = "article", "removed", "checkpoint"

EXACT_TITLE_SCORE: Final = 2.0**23
"""More than the words of the longest query can score together, and their sum is exact."""

EARLIEST: Final = datetime(1900, 1, 1, tzinfo=UTC)
TIE_BITS: Final = 20
MAX_TIME: Final = 2 ** (64 - TIE_BITS) - 1

T = TypeVar("T")


class TantivyStore:
    def __init__(self, home: Path, name: str | None = None) -> None:
        """`name`: of a folder beside the one in use."""
        self._home = home
        self._name = name
        self._schema = _schema()
        self._analyser = (
            TextAnalyzerBuilder(Tokenizer.simple())
            .filter(Filter.remove_long(LONGEST_TOKEN_BYTES))
            .filter(Filter.lowercase())
            .filter(Filter.ascii_fold())
            .filter(Filter.stemmer("english"))
            .build()
        )
        self.tokens = lru_cache(maxsize=50_000)(self._tokens)
        self._writing = ThreadPoolExecutor(1, "store-write")
        self._reading = ThreadPoolExecutor(READERS, "store-read")
        self._index: Index
        self._writer: IndexWriter | None = None
        self._commits = 0
        self._checkpoint: dict[str, str] = {}

    async def open(self) -> None:
        await _run(self._writing, self._open)

    async def close(self) -> None:
        """Ends the batch under way; what is queued after it fails."""
        await asyncio.to_thread(self._reading.shutdown, cancel_futures=True)
        await asyncio.to_thread(self._writing.shutdown, cancel_futures=True)
        # Dropping the writer frees the folder's lock.
        self._writer = None

    async def apply(
        self, ops: Sequence[Op], checkpoint: Mapping[str, str] | None = None
    ) -> list[Outcome]:
        return await _run(self._writing, self._apply, ops, checkpoint or {})

    async def checkpoint(self) -> Mapping[str, str]:
        return dict(self._checkpoint)

    async def get(self, id_: str) -> Article | Removed | None:
        return await _run(self._reading, self._get, id_)

    async def versions(self, ids: Sequence[str]) -> dict[str, int]:
        return await _run(self._reading, self._versions, ids)

    async def search(self, request: SearchRequest) -> SearchPage:
        return await _run(self._reading, self._search, request)

    async def sections(self, limit: int) -> list[str]:
        return await _run(self._reading, self._sections, limit)

    async def stats(self) -> StoreStats:
        return await _run(self._reading, self._stats)

    async def beside(self) -> Self:
        await _run(self._writing, self._sweep)
        other = type(self)(self._home, self._spare)
        await other.open()
        return other

    async def become(self, other: Self) -> None:
        await _run(self._writing, self._become, other)

    @property
    def _spare(self) -> str:
        (name,) = set(FOLDERS) - {self._name}
        return name

    def _sweep(self) -> None:
        if (self._home / self._spare).exists():
            shutil.rmtree(self._home / self._spare)

    def _become(self, other: Self) -> None:
        """Readers that are in the old one go on: they have its files open."""
        _use(self._home, self._spare)
        self._name, self._index = self._spare, other._index
        self._commits, self._checkpoint = other._commits, other._checkpoint
        self._writer, other._writer = other._writer, None
        # A merge may write there still: what it leaves is swept before the next one.
        shutil.rmtree(self._home / self._spare, ignore_errors=True)

    def _tokens(self, text: str) -> Sequence[str]:
        return tuple(self._analyser.analyze(prep(text)))

    def _open(self) -> None:
        if self._name is None:
            self._name = _in_use(self._home)
            self._sweep()
        folder = self._home / self._name
        folder.mkdir(parents=True, exist_ok=True)
        path = str(folder)
        remedy = f"{path}: move this folder away and start again; it is filled from the log"
        if Index.exists(path) and not Index.is_compatible(path):
            raise SchemaMismatch(f"written by another version of the engine. {remedy}")
        try:
            self._index = Index(self._schema, path)
        except ValueError as error:
            if "schema does not match" in str(error):
                raise SchemaMismatch(f"written with other fields. {remedy}") from error
            raise
        self._index.register_tokenizer("news", self._analyser)
        self._index.config_reader("manual")
        self._writer = self._index.writer(HEAP_BYTES, 1)
        self._index.reload()
        self._commits, self._checkpoint = self._stored_checkpoint()

    def _stored_checkpoint(self) -> tuple[int, dict[str, str]]:
        searcher = self._index.searcher()
        marked = Query.range_query(self._schema, "commit", FieldType.Unsigned, 1, None)
        found = searcher.search(marked, 1, count=False, order_by_field="commit").hits
        if not found:
            return 0, {}
        number, address = found[0]
        stored: dict[str, str] = orjson.loads(_stored(searcher.doc(address), "reached"))
        return int(number), stored

    def _apply(self, ops: Sequence[Op], checkpoint: Mapping[str, str]) -> list[Outcome]:
        newest = self._newest(ops)
        reached = {**self._checkpoint, **checkpoint}
        if newest or reached != self._checkpoint:
            self._commit([ops[place] for place in newest], reached)
        outcomes = [Outcome.STALE] * len(ops)
        for place in newest:
            outcomes[place] = Outcome.APPLIED
        return outcomes

    def _newest(self, ops: Sequence[Op]) -> Collection[int]:
        """Of each article the place of its newest op, where that is newer than what is there."""
        known = self._versions({op.id for op in ops})
        newest: dict[str, int] = {}
        for place, op in enumerate(ops):
            if op.version > known.get(op.id, 0):
                known[op.id] = op.version
                newest[op.id] = place
        return newest.values()

    def _commit(self, ops: Sequence[Op], reached: dict[str, str]) -> None:
        """The last document carries the checkpoint: one of its own would be replaced in each
        commit, and a deletion costs it 3 of its 15 fsyncs."""
        number = self._commits + 1
        fields = [_fields(op, self._tokens) for op in ops] or [{"kind": CHECKPOINT}]
        fields[-1] |= {"commit": number, "reached": orjson.dumps(reached)}
        documents = [Document.from_dict(each, self._schema) for each in fields]
        try:
            writer = self._writer or self._index.writer(HEAP_BYTES, 1)
            self._writer = writer
            if not ops:
                writer.delete_documents_by_term("kind", CHECKPOINT)
            for op in ops:
                writer.delete_documents_by_term("id", op.id)
            for document in documents:
                writer.add_document(document)
            writer.commit()
        except BaseException as error:
            self._roll_back()
            raise StoreUnavailable("the archive cannot be written; try again later") from error
        self._index.reload()
        self._commits, self._checkpoint = number, reached

    def _roll_back(self) -> None:
        """To the last commit. What is queued must not reach the next one."""
        try:
            if self._writer:
                self._writer.rollback()
        except BaseException:  # noqa: BLE001 - it may panic; a new writer starts from the commit too
            self._writer = None

    def _get(self, id_: str) -> Article | Removed | None:
        searcher = self._index.searcher()
        found = searcher.search(_term(self._schema, "id", id_), 1, count=False).hits
        if not found:
            return None
        document = searcher.doc(found[0][1])
        if document.get_first("kind") == ARTICLE:
            return Article.model_validate_json(_stored(document, "source"))
        (version,) = searcher.fast_field_values("version", [found[0][1]])
        return Removed(int(version or 0))

    def _versions(self, ids: Collection[str]) -> dict[str, int]:
        searcher = self._index.searcher()
        found = {
            id_: hits[0][1]
            for id_ in ids
            if (hits := searcher.search(_term(self._schema, "id", id_), 1, count=False).hits)
        }
        versions = searcher.fast_field_values("version", list(found.values()))
        return {id_: int(version or 0) for id_, version in zip(found, versions, strict=True)}

    def _search(self, request: SearchRequest) -> SearchPage:
        searcher = self._index.searcher()
        wanted = self._wanted(searcher, request.query, request.filters)
        if request.sort is Sort.NEWEST:
            return self._newest_page(searcher, wanted, request)
        return self._best_page(searcher, wanted, request)

    def _newest_page(self, searcher: Searcher, wanted: Query, request: SearchRequest) -> SearchPage:
        after = request.after or Place(skip=0)
        rest = wanted
        if after.key is not None:
            rest = _all_of(wanted, self._keys(None, after.key))
        result = searcher.search(
            rest, request.limit + 1, order_by_field="sort_key", offset=after.skip
        )
        hits = result.hits[: request.limit]
        place = None
        if len(result.hits) > request.limit:
            keys = [int(key) for key, _ in hits]
            skipped = after.skip if keys[-1] == after.key else 0
            place = Place(skip=skipped + keys.count(keys[-1]), key=keys[-1])
        if after.key is not None:
            result = searcher.search(wanted, 1)
        articles = (_article(searcher, address) for _, address in hits)
        return SearchPage(
            hits=tuple(Hit(article, score=None) for article in articles),
            total=_count(result),
            next=place,
        )

    def _best_page(self, searcher: Searcher, wanted: Query, request: SearchRequest) -> SearchPage:
        skip = request.after.skip if request.after else 0
        until = min(skip + request.limit, MAX_SKIP)
        ranked, total = _ranked(searcher, wanted, until)
        more = until < min(total, MAX_SKIP)
        return SearchPage(
            hits=tuple(
                Hit(_article(searcher, address), score / UNIT)
                for score, address in ranked[skip:until]
            ),
            total=total,
            next=Place(skip=until) if more else None,
        )

    def _sections(self, limit: int) -> list[str]:
        terms = {"terms": {"field": "section", "size": limit}}
        found: dict[str, Any] = self._index.searcher().aggregate(
            self._kind(ARTICLE), {"sections": terms}
        )
        return [bucket["key"] for bucket in found["sections"]["buckets"]]

    def _stats(self) -> StoreStats:
        searcher = self._index.searcher()
        return StoreStats(
            articles=_count(searcher.search(self._kind(ARTICLE), 1)),
            removed=_count(searcher.search(self._kind(REMOVED), 1)),
            segments=searcher.num_segments,
        )

    def _wanted(self, searcher: Searcher, query: queries.Query | None, filters: Filters) -> Query:
        musts = [Query.const_score_query(one, 0.0) for one in self._filters(filters)]
        return _all_of(*musts, *([self._query(searcher, query)] if query else []))

    def _filters(self, filters: Filters) -> list[Query]:
        made = [self._kind(ARTICLE)]
        if filters.sections:
            values = [section.casefold() for section in filters.sections]
            made.append(Query.term_set_query(self._schema, "sections", values))
        if filters.feeds:
            made.append(Query.term_set_query(self._schema, "feed", list(filters.feeds)))
        if filters.published_from or filters.published_before:
            since, until = filters.published_from, filters.published_before
            made.append(
                self._keys(
                    _time_key(since) if since else None,
                    _time_key(until) - 1 if until else None,
                )
            )
        return made

    def _query(self, searcher: Searcher, query: queries.Query) -> Query:
        title = Query.const_score_query(
            _term(self._schema, "title_key", query.title), EXACT_TITLE_SCORE
        )
        parts = [tokens for part in query.parts if (tokens := self.tokens(part))]
        if not parts:
            return title
        words = dict.fromkeys(token for part in parts for token in part if not is_lone(token))
        scored = self._scored(searcher, list(words)[: queries.MAX_PARTS])
        return _any_of(title, _all_of(*(self._part(part, scored) for part in parts)))

    def _scored(self, searcher: Searcher, tokens: Sequence[str]) -> Mapping[str, Query]:
        """For each the articles that have it, each by its level."""
        articles = _count(searcher.search(self._kind(ARTICLE), 1))
        scored = {}
        for token in tokens:
            there = searcher.search(self._anywhere([token]), 1)
            rare = rarity(_count(there), articles)
            scored[token] = _any_of(
                *(
                    Query.const_score_query(
                        _term(self._schema, "weights", f"{token} {level}"), float(level * rare)
                    )
                    for level in range(1, LEVELS + 1)
                )
            )
        return scored

    def _part(self, tokens: Sequence[str], scored: Mapping[str, Query]) -> Query:
        if len(tokens) == 1 and tokens[0] in scored:
            return scored[tokens[0]]
        words = (scored[token] for token in dict.fromkeys(tokens) if token in scored)
        return _all_of(Query.const_score_query(self._anywhere(tokens), 0.0), *words)

    def _anywhere(self, tokens: Sequence[str]) -> Query:
        return _any_of(*(self._together(field, tokens) for field in ("title", "body")))

    def _together(self, field: str, tokens: Sequence[str]) -> Query:
        """One word or phrase. At its edges a lone character of a run is part of a pair in
        the text: `3월` is in `3월에`."""
        if not is_lone(tokens[0]) and not is_lone(tokens[-1]):
            if len(tokens) == 1:
                return Query.term_query(self._schema, field, tokens[0], "freq")
            return Query.phrase_query(self._schema, field, list(tokens))
        patterns: list[str | tuple[int, str]] = [re.escape(token) for token in tokens]
        if is_lone(tokens[0]):
            patterns[0] = f".?{patterns[0]}"
        if is_lone(tokens[-1]):
            patterns[-1] = f"{patterns[-1]}.?"
        if len(tokens) == 1:
            return Query.regex_query(self._schema, field, str(patterns[0]))
        return Query.regex_phrase_query(self._schema, field, patterns)

    def _kind(self, kind: str) -> Query:
        return _term(self._schema, "kind", kind)

    def _keys(self, lowest: int | None, highest: int | None) -> Query:
        if highest is not None and highest < 0:
            return Query.empty_query()
        return Query.range_query(self._schema, "sort_key", FieldType.Unsigned, lowest, highest)


def _in_use(home: Path) -> str:
    try:
        return (home / IN_USE).read_text()
    except FileNotFoundError:
        return LAYOUT


def _use(home: Path, name: str) -> None:
    """On disk when it returns."""
    new = home / f"{IN_USE}.new"
    with new.open("w") as file:
        file.write(name)
        file.flush()
        os.fsync(file.fileno())
    new.replace(home / IN_USE)
    folder = os.open(home, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


async def _run(executor: ThreadPoolExecutor, work: Callable[..., T], *args: object) -> T:
    """In the executor; what is no Exception does not cross into the event loop."""

    def guarded() -> T:
        try:
            return work(*args)
        except Exception:
            raise
        except BaseException as error:
            raise StoreUnavailable("the archive failed; try again") from error

    return await asyncio.get_running_loop().run_in_executor(executor, guarded)


def _schema() -> Schema:
    builder = SchemaBuilder()
    for name in ("id", "kind", "title_key", "sections", "weights"):
        builder.add_text_field(name, stored=name == "kind", tokenizer_name="raw",
                               index_option="basic")  # fmt: skip
    for name in ("section", "feed", "language", "story"):
        builder.add_text_field(name, fast=True, tokenizer_name="raw", index_option="basic")
    for name in ("title", "body"):
        builder.add_text_field(name, tokenizer_name="news", index_option="position")
    builder.add_unsigned_field("version", fast=True)
    builder.add_unsigned_field("sort_key", indexed=True, fast=True)
    builder.add_unsigned_field("commit", indexed=True, fast=True)
    for name in ("source", "reached"):
        builder.add_bytes_field(name, stored=True)
    return builder.build()


def _fields(op: Op, tokens: Callable[[str], Sequence[str]]) -> dict[str, Any]:
    if not isinstance(op, Upsert):
        return {"id": op.id, "kind": REMOVED, "version": op.version}
    article = op.article
    body = [text for text in (article.summary, article.body_text, *article.authors, *article.tags)
            if text]  # fmt: skip
    words = [token for text in body for token in tokens(text)]
    fields = {
        "id": article.id,
        "kind": ARTICLE,
        "version": article.version,
        "sort_key": _sort_key(article),
        "title_key": title_key(article.title),
        "title": prep(article.title),
        # Values of one field stand apart: no phrase reaches from one into the next.
        "body": [prep(text) for text in body],
        "weights": [
            f"{word} {level}" for word, level in levels(tokens(article.title), words).items()
        ],
        "sections": sorted({s.casefold() for s in (article.section, *article.sections) if s}),
        "section": article.section,
        "feed": article.feed,
        "language": article.language,
        "story": article.story,
        "source": to_json(article),
    }
    return {name: value for name, value in fields.items() if value not in (None, [])}


def _sort_key(article: Article) -> int:
    """Time, and below it a hash, so that articles of one moment keep their order."""
    tie = int.from_bytes(blake2b(article.id.encode(), digest_size=4).digest())
    return _time_key(article.published_at) | tie >> (32 - TIE_BITS)


def _time_key(at: datetime) -> int:
    """The smallest sort key of that millisecond. From 1900, since archives go back."""
    ms = (at - EARLIEST) // timedelta(milliseconds=1)
    return min(max(ms, 0), MAX_TIME) << TIE_BITS


def _ranked(searcher: Searcher, wanted: Query, until: int) -> tuple[list[tuple[float, Any]], int]:
    """The best `until` or more, of equal ones the newest first, and how many match.

    The engine puts equal ones in the order in which it happens to hold them, and which of
    them it leaves out: so all that equal the last are asked for.
    """
    asked = until
    while True:
        asked = 2 * asked
        result = searcher.search(wanted, asked)
        hits = result.hits
        if len(hits) < asked or hits[until - 1][0] > hits[-1][0]:
            break
    keys = searcher.fast_field_values("sort_key", [address for _, address in hits])
    ranked = sorted(zip(hits, keys, strict=True), key=lambda one: (one[0][0], one[1]), reverse=True)
    return [(float(score), address) for (score, address), _ in ranked], _count(result)


def _term(schema: Schema, field: str, value: str) -> Query:
    return Query.term_query(schema, field, value, "basic")


def _any_of(*some: Query) -> Query:
    return Query.boolean_query([(Occur.Should, one) for one in some])


def _all_of(*musts: Query) -> Query:
    return Query.boolean_query([(Occur.Must, must) for must in musts])


def _stored(document: Document, field: str) -> bytes:
    stored = document.get_first(field)
    assert isinstance(stored, bytes)  # noqa: S101 - it was asked for one that has it
    return stored


def _count(result: SearchResult) -> int:
    count: int = result.count  # type: ignore[attr-defined]  # Its stub leaves it out.
    return count


def _article(searcher: Searcher, address: Any) -> Article:
    return Article.model_validate_json(_stored(searcher.doc(address), "source"))

"""Identity, order, retraction and embargo, as ingest decides them."""

from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st

from services.ingest.domain import versions
from services.ingest.domain.normalise import Normalised
from services.ingest.domain.versions import Hold, Keep, Order, Publish, Record, Retract, decide
from shared.events import Correction
from tests.builders import NOON, an_article

AN_HOUR = timedelta(hours=1)


def known_after(*posts: Normalised) -> Record:
    """The record once these were posted, one after the other."""
    record: Record | None = None
    for post in posts:
        decision = decide(record, post, NOON)
        record = decision.record or record
    assert record
    return record


def test_what_nobody_has_seen_is_published_as_version_1() -> None:
    decision = decide(None, an_article(), NOON)
    assert isinstance(decision, Publish)
    assert (decision.article.version, decision.first, decision.changed) == (1, True, ())


def test_the_same_again_is_unchanged_and_writes_nothing() -> None:
    assert decide(known_after(an_article()), an_article(), NOON) == Keep("unchanged", 1)


def test_white_space_alone_is_no_material_change() -> None:
    known = known_after(an_article(body_text="One two."))
    assert decide(known, an_article(body_text="One   two.\n"), NOON) == Keep("unchanged", 1)


def test_a_change_is_the_next_version_and_names_its_fields() -> None:
    decision = decide(known_after(an_article()), an_article(title="Harbour closes"), NOON)
    assert isinstance(decision, Publish)
    assert (decision.article.version, decision.changed, decision.first) == (2, ("title",), False)


def test_unchanged_with_a_newer_time_moves_the_record_on_without_an_event() -> None:
    """Else a version between the two times would be taken for news."""
    known = known_after(an_article(updated_at="2026-05-04T08:00:00Z"))
    decision = decide(known, an_article(updated_at="2026-05-04T10:00:00Z"), NOON)
    assert isinstance(decision, Keep)
    assert decision.outcome == "unchanged"
    between = an_article(title="Other", updated_at="2026-05-04T09:00:00Z")
    assert decide(decision.record, between, NOON) == Keep("late", 1)


def test_an_older_version_is_late_whatever_it_says() -> None:
    known = known_after(an_article(updated_at="2026-05-04T10:00:00Z"))
    older = an_article(title="Older", updated_at="2026-05-04T09:00:00Z")
    assert decide(known, older, NOON) == Keep("late", 1)


def test_the_feeds_own_version_tells_the_order_before_the_time_does() -> None:
    known = known_after(an_article(feed_version=7, updated_at="2026-05-04T08:00:00Z"))
    older = an_article(title="Older", feed_version=6, updated_at="2026-05-04T09:00:00Z")
    assert decide(known, older, NOON) == Keep("late", 1)


def test_without_version_and_time_what_arrives_last_is_newest() -> None:
    known = known_after(an_article(title="A"), an_article(title="B"))
    decision = decide(known, an_article(title="A"), NOON)
    assert isinstance(decision, Publish)
    assert decision.article.version == 3


def test_a_correction_is_told_from_an_update() -> None:
    known = known_after(an_article())
    corrected = an_article(
        title="Harbour opens in May", corrections=(Correction(at=NOON, text="The month."),)
    )
    decision = decide(known, corrected, NOON)
    assert isinstance(decision, Publish)
    assert decision.correction


def test_a_cancelled_article_is_retracted_once() -> None:
    canceled = an_article(status="canceled")
    decision = decide(known_after(an_article()), canceled, NOON)
    assert isinstance(decision, Retract)
    assert (decision.published, decision.record.version) == (True, 2)
    assert decide(decision.record, canceled, NOON) == Keep("retracted", 2)


def test_a_re_poll_of_a_retracted_article_stays_retracted() -> None:
    retracted = versions.retract(known_after(an_article())).record
    assert decide(retracted, an_article(title="Back again"), NOON) == Keep("retracted", 2)


def test_only_an_explicit_reinstatement_brings_it_back_as_a_higher_version() -> None:
    retracted = versions.retract(known_after(an_article())).record
    decision = decide(retracted, an_article(reinstated=True), NOON)
    assert isinstance(decision, Publish)
    assert (decision.article.version, decision.first) == (3, True)


def test_an_embargo_waits_until_its_time_and_no_longer() -> None:
    until = (NOON + AN_HOUR).isoformat()
    embargoed = an_article(embargoed_until=until)
    assert isinstance(decide(None, embargoed, NOON), Hold)
    assert isinstance(decide(None, embargoed, NOON + AN_HOUR), Publish)


def test_an_embargoed_update_leaves_the_published_version_as_it_is() -> None:
    known = known_after(an_article())
    update = an_article(title="Secret", embargoed_until=(NOON + AN_HOUR).isoformat())
    decision = decide(known, update, NOON)
    assert isinstance(decision, Hold)
    assert (decision.record.version, decision.record.content_hash) == (1, known.content_hash)


def test_what_is_held_already_is_not_held_again_unless_its_embargo_moves() -> None:
    embargoed = an_article(embargoed_until=(NOON + AN_HOUR).isoformat())
    known = known_after(embargoed)
    assert decide(known, embargoed, NOON) == Keep("held", 0)
    moved = an_article(embargoed_until=(NOON + 2 * AN_HOUR).isoformat())
    assert isinstance(decide(known, moved, NOON), Hold)


def test_publishing_the_held_one_ends_the_hold() -> None:
    known = known_after(an_article(embargoed_until=(NOON + AN_HOUR).isoformat()))
    decision = decide(known, an_article(), NOON)
    assert isinstance(decision, Publish)
    assert decision.ends_hold
    assert decision.record.held_hash is None


def test_an_older_one_published_meanwhile_leaves_the_newer_one_waiting() -> None:
    newer = an_article(
        title="Newer",
        updated_at="2026-05-04T11:00:00Z",
        embargoed_until=(NOON + AN_HOUR).isoformat(),
    )
    decision = decide(known_after(newer), an_article(updated_at="2026-05-04T09:00:00Z"), NOON)
    assert isinstance(decision, Publish)
    assert not decision.ends_hold
    assert decision.record.held_hash is not None


def test_of_two_with_one_id_in_a_document_only_the_newer_counts() -> None:
    newer = an_article(updated_at="2026-05-04T10:00:00Z")
    older = an_article(updated_at="2026-05-04T09:00:00Z")
    assert versions.newest_places([newer, older]) == {0}
    assert versions.newest_places([older, newer]) == {1}
    assert versions.newest_places([an_article(), an_article(external_id="2")]) == {0, 1}


def test_a_new_version_without_a_time_of_its_own_keeps_the_first_ones() -> None:
    """Else each edit of a feed without dates would be the latest story again."""
    known = known_after(an_article())
    later = NOON + AN_HOUR
    decision = decide(known, an_article(title="Edited", now=later), later)
    assert isinstance(decision, Publish)
    assert decision.article.published_at == NOON


orders = st.builds(Order, st.none() | st.integers(0, 3), st.none() | st.integers(0, 3))


@given(orders, orders)
def test_no_two_versions_are_each_before_the_other(one: Order, other: Order) -> None:
    assert not (one.is_before(other) and other.is_before(one))


@given(st.permutations(range(5)))
def test_whatever_the_order_of_arrival_the_newest_is_published_last(arrival: list[int]) -> None:
    posts = [an_article(title=f"Take {n}", feed_version=n) for n in range(5)]
    record: Record | None = None
    published: list[str] = []
    for n in arrival:
        decision = decide(record, posts[n], NOON)
        record = decision.record or record
        if isinstance(decision, Publish):
            published.append(decision.article.title)
    assert published == sorted(published)
    assert published[-1] == "Take 4"


@given(orders, orders, st.booleans(), st.none() | st.text())
def test_a_record_survives_being_stored(
    order: Order, held: Order, retracted: bool, url: str | None
) -> None:
    record = Record("wire", 3, "abc", {"title": "x"}, order, retracted, url, 7, "h@1", held)
    assert Record.from_json(record.to_json()) == record

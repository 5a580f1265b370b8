"""The account of lab/soak: which messages it calls lost, doubled, bounced and wrongly refused, and which not."""

import dataclasses
from collections import Counter
from collections.abc import Iterable

import pytest

from lab.account import Attempt, Course, Figures, Mail, Reply, Span, discrepancies, figures, filed, rows, where
from lab.rollouts import CUSTOMERS, NEXT_HOPS, STEADY, Kind, first_declared, rollouts

ACCEPTED = (Reply("rcpt", 250, "2.1.5 Ok"), Reply("data", 250, "2.0.0 Ok: queued as 4C1"))
REFUSED = (Reply("rcpt", 554, "5.7.1 Relay access denied"),)
PUT_OFF = (Reply("rcpt", 451, "4.3.0 Temporary lookup failure"),)
ALWAYS = "steady.example"
COMES = "comes.example"
# From second 100 to 110 a domain is added; what comes and goes besides is in each test.
COURSE = Course(frozenset({ALWAYS}), (Span({COMES: "added"}, {ALWAYS, COMES}, 100, 110),))


def attempt(
    replies: tuple[Reply, ...], domain: str = ALWAYS, at: float = 105, session: float | None = None, id: str = "0-1"
) -> Attempt:
    return Attempt(id, "mx1.lab.test", domain, at if session is None else session, at, at + 0.1, replies)


def mail(arrived: Iterable[str] = (), returned: Iterable[str] = (), deferred: Iterable[str] = ()) -> Mail:
    return Mail(Counter(arrived), frozenset(returned), frozenset(), frozenset(deferred))


def course(*spans: tuple[dict[str, Kind], set[str], float, float], first: set[str] | None = None) -> Course:
    return Course(frozenset(first or {ALWAYS}), tuple(Span(*span) for span in spans))


def account(*attempts: Attempt, found: Mail | None = None, during: Course = COURSE) -> Figures:
    accepted = (one.id for one in attempts if one.is_accepted)
    return figures(attempts, mail(accepted) if found is None else found, during)


def test_a_message_that_was_accepted_and_arrived_once_is_well() -> None:
    found = account(attempt(ACCEPTED))
    assert (found.offered, found.accepted, found.arrived_once) == (1, 1, 1)
    assert found.is_clean


def test_an_accepted_message_that_is_nowhere_is_lost() -> None:
    found = account(attempt(ACCEPTED), attempt(ACCEPTED, id="0-2"), found=mail(["0-1"]))
    assert (found.arrived_once, found.lost) == (1, 1)
    assert not found.is_clean


def test_an_accepted_message_that_was_deferred_and_never_arrived_is_told_from_a_lost_one() -> None:
    found = account(attempt(ACCEPTED), found=mail(deferred=["0-1"]))
    assert (found.arrived_once, found.lost, found.waiting) == (0, 0, 1)
    assert not found.is_clean


def test_a_message_that_was_deferred_and_then_arrived_is_well() -> None:
    assert account(attempt(ACCEPTED), found=mail(["0-1"], deferred=["0-1"])).is_clean


def test_a_message_that_arrived_twice_is_no_message_that_arrived_once() -> None:
    found = account(attempt(ACCEPTED), found=mail(["0-1", "0-1"]))
    assert (found.arrived_once, found.duplicated, found.lost) == (0, 1, 0)
    assert not found.is_clean


def test_a_message_that_came_back_is_bounced_and_not_lost() -> None:
    found = account(attempt(ACCEPTED), found=mail(returned=["0-1"]))
    assert (found.bounced, found.lost, found.arrived_once) == (1, 0, 0)
    assert not found.is_clean


def test_a_bounce_that_only_the_log_knows_of_counts_too() -> None:
    log = ["mx1 mail.info postfix/cleanup[7]: 4C1: message-id=<0-1@soak.example>"]
    log += [
        "mx1 mail.info postfix/smtp[8]: 4C1: to=<info@steady.example>, relay=none, dsn=5.4.6, status=bounced (loop)"
    ]
    assert account(attempt(ACCEPTED), found=where([], [log])).bounced == 1


def test_a_removed_message_for_which_nobody_was_asked_any_more_must_arrive_all_the_same() -> None:
    removed = course(({COMES: "removed"}, {ALWAYS}, 100, 110), first={ALWAYS, COMES})
    found = account(attempt(ACCEPTED, COMES, at=99), found=mail(), during=removed)
    assert found.lost == 1


@pytest.mark.parametrize(
    ("replies", "figure"), [(REFUSED, "unchanged_5xx"), (PUT_OFF, "unchanged_4xx"), (ACCEPTED, "accepted")]
)
@pytest.mark.parametrize("at", [99, 105, 111])
def test_a_domain_that_is_not_touched_is_owed_acceptance_at_any_time(
    replies: tuple[Reply, ...], figure: str, at: float
) -> None:
    found = account(attempt(replies, at=at))
    assert dataclasses.asdict(found)[figure] == 1
    assert found.is_clean == (figure != "unchanged_5xx")


@pytest.mark.parametrize(
    ("at", "figure"),
    [(99, "refused_undeclared"), (99.95, "refused_changing"), (105, "refused_changing"), (110.1, "unchanged_5xx")],
)
def test_an_added_domain_may_be_refused_until_its_rollout_has_ended(at: float, figure: str) -> None:
    assert dataclasses.asdict(account(attempt(REFUSED, COMES, at)))[figure] == 1


def test_a_session_that_was_open_during_a_change_may_see_either_side_to_its_end() -> None:
    found = account(attempt(REFUSED, COMES, at=112, session=109), attempt(REFUSED, ALWAYS, at=112, session=109))
    assert (found.refused_changing, found.unchanged_5xx) == (1, 1)


def test_a_removed_domain_is_refused_and_not_taken_any_more() -> None:
    removed = course(({COMES: "removed"}, {ALWAYS}, 100, 110), first={ALWAYS, COMES})
    found = account(attempt(REFUSED, COMES, 111), attempt(ACCEPTED, COMES, 112, id="0-2"), during=removed)
    assert (found.refused_undeclared, found.taken_undeclared) == (1, 1)


def test_a_refusal_while_a_domain_moves_is_told_from_one_while_it_comes_or_goes() -> None:
    both = course(
        ({COMES: "moved"}, {ALWAYS, COMES}, 100, 110), ({COMES: "removed"}, {ALWAYS}, 120, 130), first={ALWAYS, COMES}
    )
    moving, going = attempt(REFUSED, COMES, 105), attempt(REFUSED, COMES, 125, session=105)
    found = account(moving, going, during=both)
    assert (found.refused_moving, found.refused_changing) == (1, 1)


def test_a_domain_whose_rollout_never_ended_stays_in_change() -> None:
    unfinished = course(({COMES: "added"}, {ALWAYS, COMES}, 100, float("inf")))
    assert account(attempt(REFUSED, COMES, 500), during=unfinished).refused_changing == 1
    assert not account(during=dataclasses.replace(unfinished, failed=1)).is_clean


@pytest.mark.parametrize(
    "last", [Reply("connect", 0, "refused"), Reply("connect", 421, "busy"), Reply("data", 0, "connection lost")]
)
def test_a_host_that_does_not_answer_is_no_refusal(last: Reply) -> None:
    found = account(attempt((last,)))
    assert (found.unanswered, found.unchanged_4xx, found.accepted) == (1, 0, 0)


def test_every_message_offered_is_in_exactly_one_figure_of_answers() -> None:
    some = [
        attempt(replies, domain, at)
        for replies in (ACCEPTED, REFUSED, PUT_OFF)
        for domain in (ALWAYS, COMES)
        for at in (9, 105)
    ]
    some = [dataclasses.replace(one, id=f"0-{number}") for number, one in enumerate(some)]
    found = account(*some)
    refused = found.unchanged_5xx + found.unchanged_4xx + found.refused_changing + found.refused_undeclared
    assert found.offered == found.accepted + found.unanswered + refused + found.refused_moving == 12


def test_a_filed_message_is_told_from_the_notice_that_returns_one() -> None:
    message = b"Received: from mx1\nX-Soak-Id: 3-7\nSubject: soak\n\nX-Soak-Id: no\n"
    notice = b"Return-Path: <>\nSubject: Undelivered\n\nX-Soak-Idle: 1\n\nFrom: a\nX-Soak-Id: 3-7\n\nhello\n"
    assert filed(message) == ("arrived", "3-7")
    assert filed(notice) == ("returned", "3-7")
    assert filed(b"Subject: something else\n\nhello\n") is None


def test_a_queue_name_that_postfix_uses_again_means_the_later_message() -> None:
    log = [
        "mx1 mail.info postfix/cleanup[7]: 4C1: message-id=<0-1@soak.example>",
        "mx1 mail.info postfix/smtp[8]: 4C1: to=<a@x.example>, relay=r, status=sent (250 ok)",
        "mx1 mail.info postfix/cleanup[7]: 4C1: message-id=<0-2@soak.example>",
        "mx1 mail.info postfix/smtp[8]: 4C1: to=<a@x.example>, relay=none, status=deferred (timed out)",
        "mx1 mail.info postfix/cleanup[7]: 4C1: message-id=<2026.4C1@mx1.lab.test>",
        "mx1 mail.info postfix/smtp[8]: 4C1: to=<a@x.example>, relay=none, status=bounced (a notice that bounced)",
    ]
    found = where([], [log, []])
    assert (found.deferred, found.bounced) == (frozenset({"0-2"}), frozenset())


def test_a_host_differs_by_a_route_by_a_refusal_and_by_what_it_takes_beyond() -> None:
    declared = {"a.example": "smtp:[1]", "b.example": "smtp:[2]"}
    assert discrepancies(declared, declared, set(declared)) == []
    # A route that waits for the queue is no difference as long as its domain is refused.
    assert discrepancies(declared, {**declared, "gone.example": "smtp:[1]"}, set(declared)) == []
    assert discrepancies(declared, {"a.example": "smtp:[2]"}, {"a.example", "gone.example"}) == [
        "gone.example is taken, and not declared",
        "a.example is routed to smtp:[2], declared is smtp:[1]",
        "b.example is refused",
        "b.example is routed to nowhere, declared is smtp:[2]",
    ]


def test_each_rollout_changes_exactly_what_it_says() -> None:
    before = first_declared()
    for rollout in rollouts(seed=1, count=100, killed_every=5):
        after = rollout.declared
        touched = {domain for domain in before.keys() | after.keys() if before.get(domain) != after.get(domain)}
        assert touched == set(rollout.changes)
        for domain, kind in rollout.changes.items():
            assert (domain in before, domain in after) == (kind != "added", kind != "removed")
        assert all(after[domain] == NEXT_HOPS[0] for domain in STEADY)
        assert set(after.values()) <= set(NEXT_HOPS)
        before = dict(after)


def test_a_hundred_rollouts_hold_every_kind_alone_and_together_and_leave_something_to_change() -> None:
    made = rollouts(seed=1, count=100, killed_every=5)
    kinds = {frozenset(rollout.changes.values()) for rollout in made}
    assert {
        frozenset({"added"}),
        frozenset({"moved"}),
        frozenset({"removed"}),
        frozenset({"added", "removed"}),
    } <= kinds
    assert sum(rollout.server_away for rollout in made) >= 10
    assert {domain for rollout in made for domain in rollout.changes} == set(CUSTOMERS)


def test_the_kills_of_a_soak_change_nothing_else_in_it() -> None:
    killed, undisturbed = (rollouts(seed=7, count=30, killed_every=every) for every in (5, None))
    assert [rollout.number for rollout in killed if rollout.killed_at is not None] == [5, 10, 15, 20, 25, 30]
    assert [dataclasses.replace(rollout, killed_at=None) for rollout in killed] == undisturbed
    assert rollouts(seed=8, count=30, killed_every=None) != undisturbed


def test_the_table_has_every_figure_once() -> None:
    found = account(attempt(ACCEPTED))
    numbers = [row[1] for row in rows([found, found])]
    assert numbers == [str(value) for value in rows_in_order(found)]


def rows_in_order(found: Figures) -> list[int]:
    return list(dataclasses.asdict(found).values())

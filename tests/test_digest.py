"""The digest of a review: the same for the same fleet, and it names what moved."""

import dataclasses
import subprocess
import sys

import pytest

from mailproxy.digest import Fingerprint, differences, digest, fingerprint
from mailproxy.lock import Lock
from mailproxy.model import DesiredState
from mailproxy.observed import ObservedState, Unread
from mailproxy.render import Content
from tests.states import GUIDE, desired, edited, observed

NAMES = [f"mx{number}.example.com" for number in range(1, 201)]


def printed(state: DesiredState, host: ObservedState | Unread, how: str = "wave 1") -> Fingerprint:
    return fingerprint(state, host, how)


def fleet(names: list[str]) -> dict[str, Fingerprint]:
    return {name: printed(desired(myhostname=name), observed(desired(myhostname=name))) for name in names}


def moved(name: str) -> Fingerprint:
    state = desired(myhostname=name)
    return printed(state, edited(state, mynetworks="10.0.0.0/8\n"))


def test_the_same_fleet_has_the_same_digest_in_another_process_and_order() -> None:
    program = "from tests.test_digest import *; print(digest(dict(reversed(fleet(NAMES[:20]).items()))))"
    elsewhere = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert elsewhere.stdout.strip() == digest(fleet(NAMES[:20]))


def test_neither_a_lock_nor_the_queue_is_part_of_what_was_reviewed() -> None:
    state = desired()
    busy = observed(state, lock=Lock("t", "somebody", 3, True), queue=7, queued={"example.com": 7})
    assert printed(state, busy) == printed(state, observed(state))


@pytest.mark.parametrize(
    "change",
    [
        {"running": False},
        {"manifest": None},
        {"missing_users": frozenset({"ops"})},
        {"journal": {"generation": "3"}},
    ],
)
def test_whatever_a_plan_depends_on_is_part_of_it(change: dict[str, object]) -> None:
    assert printed(desired(), observed(desired(), **change)) != printed(desired(), observed(desired()))


def test_an_unread_host_differs_from_a_read_one() -> None:
    assert printed(desired(), Unread("x")) != printed(desired(), observed(desired()))
    assert printed(desired(), Unread("x")) == printed(desired(), Unread("y"))


def test_the_order_of_activation_and_what_is_rendered_are_part_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    state = desired()
    before = printed(state, observed(state))
    assert printed(state, observed(state), "wave 2") != before
    monkeypatch.setattr("mailproxy.digest.rendered", lambda *_: {"main.cf": Content("main.cf", "another template")})
    assert printed(state, observed(state)) != before


def test_nothing_differs_from_what_was_reviewed() -> None:
    assert differences(digest(fleet(NAMES)), fleet(NAMES), []) == []


@pytest.mark.parametrize("name", ["mx1.example.com", "mx77.example.com", "mx200.example.com"])
def test_a_host_that_moved_is_named(name: str) -> None:
    found = differences(digest(fleet(NAMES)), {**fleet(NAMES), name: moved(name)}, [])
    assert f"{name}: the host is not as it was reviewed" in found
    assert len(found) < 4


def test_other_content_is_named_as_such() -> None:
    name = NAMES[0]
    other = desired(myhostname=name, relay_domains={**GUIDE, "x.example": "smtp:[10.1.0.2]"})
    now = {**fleet(NAMES[:3]), name: dataclasses.replace(fleet([name])[name], desired=other.digest)}
    assert f"{name}: other content is declared than was reviewed" in differences(digest(fleet(NAMES[:3])), now, [])


def test_a_host_more_and_a_host_less_are_named() -> None:
    reviewed = digest(fleet(NAMES[:3]))
    assert f"{NAMES[3]}: it was not reviewed, or is not as it was" in differences(reviewed, fleet(NAMES[:4]), [])
    assert f"{NAMES[2]}: it was reviewed, and is not in this run" in differences(reviewed, fleet(NAMES[:2]), NAMES[2:])
    assert differences(reviewed, fleet(NAMES[:2]), []) != []


def test_when_many_moved_all_of_them_are_named() -> None:
    now = {**fleet(NAMES[:20]), **{name: moved(name) for name in NAMES[:7]}}
    found = " ".join(differences(digest(fleet(NAMES[:20])), now, []))
    for name in NAMES[:7]:
        assert f"{name}:" in found


@pytest.mark.parametrize(
    "wrong", ["", "12345", "12e45", "v1-short", digest({})[:-1], f"{digest({})}x", "v2" + digest({})[2:]]
)
def test_what_is_no_digest_is_refused(wrong: str) -> None:
    with pytest.raises(ValueError, match="expected a digest as a review ends with"):
        differences(wrong, fleet(NAMES[:1]), [])


def test_a_digest_is_one_word_that_no_shell_or_parser_takes_for_something_else() -> None:
    found = digest(fleet(NAMES))
    assert found.startswith("v1-")
    assert set(found) <= set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_")
    assert len(f"digest: {found}") < 80

"""What --data asks of a run: everything that is wrong at once, before any host is touched."""

from pathlib import Path

import pytest

from mailproxy.digest import digest
from mailproxy.options import Options, options


def test_without_data_nothing_is_asked_for() -> None:
    assert options({"ssh_user": "root"}) == Options()


def test_all_of_it(tmp_path: Path) -> None:
    page, document = tmp_path / "a.html", tmp_path / "a.json"
    given = {
        "approve": "removals, networks",
        "review": f"{page},{document}",
        "reviewed": digest({}),
        "expect": "no_changes",
        "inconclusive": "pass",
    }
    assert options(given) == Options(frozenset({"removals", "networks"}), (page, document), digest({}), True, True)


def test_a_phase_and_how_many_waves() -> None:
    assert options({"phase": "stage"}) == Options(phase="stage")
    assert options({"phase": "activate", "waves": 1}) == Options(phase="activate", waves=1)


def test_gates_may_come_as_json() -> None:
    assert options({"approve": ["restart"]}).approved == {"restart"}


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ({"approve": "all"}, "approve=all: no such gate; expected some of removals, queued, networks"),
        ({"approve": "removals,network"}, "approve=network: no such gate"),
        ({"approve": True}, "approve=True: no such gate"),
        ({"review": "review.pdf"}, "expected a file that ends in .md, .html, .json"),
        ({"review": "/nonexistent/review.md"}, "there is no directory /nonexistent"),
        ({"expect": "changes"}, "expect=changes: expected no_changes"),
        ({"inconclusive": "fail"}, "inconclusive=fail: expected pass"),
        ({"inconclusive": True}, "inconclusive=True: expected pass"),
        ({"reviewed": ""}, "reviewed=: expected a digest"),
        ({"phase": "confirm"}, "phase=confirm: expected stage or activate"),
        ({"phase": "stage", "expect": "no_changes"}, "expect=no_changes: expected no phase beside it"),
        ({"phase": "stage", "approve": "unreachable"}, "approve=unreachable: a phase leaves no host behind"),
        ({"phase": "activate", "waves": 0}, "waves=0: expected how many waves"),
        ({"phase": "activate", "waves": "canary"}, "waves=canary: expected how many waves"),
        ({"phase": "stage", "waves": 1}, "waves=1: expected phase=activate beside it"),
        ({"waves": 1}, "waves=1: expected phase=activate beside it"),
        ({"reviewed": 12345}, "reviewed=12345: expected a digest"),
    ],
)
def test_what_cannot_be_is_refused(given: dict[str, object], reason: str) -> None:
    with pytest.raises(ValueError, match="=") as error:
        options(given)
    assert reason in str(error.value)


@pytest.mark.parametrize("name", ["aprove", "expct", "reviewd", "expects", "reviews", "inconclusiv"])
def test_what_is_nearly_an_option_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="no such option; did you mean"):
        options({name: "x", "ssh_user": "root", "rollout": {}})


def test_everything_wrong_comes_at_once() -> None:
    with pytest.raises(ValueError, match="no such gate") as error:
        options({"approve": "x", "expect": "y"})
    assert len(str(error.value).splitlines()) == 2

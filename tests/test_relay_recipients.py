"""The key relay_recipients: what it renders, what cannot be, how a change of it reads, and what a host is asked for."""

from pathlib import Path
from typing import Any

import pytest

from mailproxy.changes import difference
from mailproxy.check import checked, validated
from mailproxy.judging import Reply, outcomes
from mailproxy.plan import Plan, planned
from mailproxy.probe import MADE_UP, Probes, probes
from mailproxy.recipient_file import with_files
from mailproxy.render import rendered
from tests.states import GUIDE, desired, observed, postfix
from tests.test_render import GOLDEN, POSTFIXES

NAMES = {"relay_domains": GUIDE, "myhostname": "mx1.example.com", "mydomain": "example.com"}
SOME = {"example.com": ["alice", "Postmaster@Example.com"], "example.net": "verify"}


@pytest.mark.parametrize("tree", ["2.7", "3.5", "3.10"])
def test_recipients_are_rendered_as_the_golden_tree_of_each_postfix(tree: str) -> None:
    contents = rendered(desired(relay_recipients=SOME), POSTFIXES[tree])
    for name in ("main.cf", "relayrecipients", "verifydomains"):
        assert contents[name].text == (GOLDEN / "relay_recipients" / tree / name).read_text(), name


@pytest.mark.parametrize("anybody", [{}, "any", {"*": "any"}, {"example.com": "any"}])
def test_where_anybody_is_taken_nothing_is_left_on_a_host(anybody: Any) -> None:
    assert rendered(desired(relay_recipients=anybody), postfix()) == rendered(desired(), postfix())


def test_a_list_leaves_the_other_domains_as_they_are() -> None:
    table = rendered(desired(relay_recipients={"example.com": ["alice"]}), postfix())["relayrecipients"].text
    assert table.splitlines()[1:] == ["@example.net OK", "@example.org OK", "alice@example.com OK"]


def test_a_word_for_all_domains_leaves_those_that_are_named() -> None:
    contents = rendered(desired(relay_recipients={"*": "verify", "example.com": "any"}), postfix())
    assert contents["verifydomains"].text.split()[4:] == [
        *("example.net", "reject_unverified_recipient"),
        *("example.org", "reject_unverified_recipient"),
    ]
    assert "relayrecipients" not in contents


def test_lmdb_keeps_the_answers_of_next_hops_where_there_may_be_nothing_else() -> None:
    state = desired(relay_recipients="verify", database_type="lmdb")
    assert "address_verify_map = lmdb:$data_directory/verify_cache" in rendered(state, postfix())["main.cf"].text
    assert "address_verify_map" not in rendered(desired(relay_recipients="verify"), postfix())["main.cf"].text


@pytest.mark.parametrize(
    ("declared", "expected"),
    [
        ({"exmaple.com": "any"}, "['exmaple.com'] = \"any\": is no relay domain; did you mean example.com?"),
        ({"example.com": []}, "['example.com'] = []: is empty, so nobody has mail there"),
        (
            {"example.com": "verified"},
            '= \'verified\': expected "any", "verify", a list of addresses',
        ),
        ({"example.com": [7]}, '[\'example.com\'] = [7]: expected "any", "verify", a list of addresses'),
        (
            {"example.com": ["a", "A@example.com"]},
            "['example.com'][1] = 'A@example.com': is a@example.com a second",
        ),
        ({"example.com": ["a@example.net"]}, "['example.com'][0] = 'a@example.net': is of another domain; expected it"),
        ({"example.com": ["a b"]}, "['example.com'][0] = 'a b': expected an address such as alice@example.com"),
        ({"example.com": ["a OK\nb@example.net"]}, "holds the control character '\\n'"),
        ({"example.com": ["größe"]}, "expected an address such as alice@example.com, before the @ a dot-atom"),
        ({"example.com": [""]}, "['example.com'][0] = '': expected an address such as alice@example.com"),
        ({"*": ["a"]}, '[\'*\'] = 1 address: stands for many domains; expected "any" or "verify"'),
        ({"example.com": "any", "Example.COM.": "verify"}, "names example.com twice, first as 'example.com'"),
        (["a@example.com"], " = ['a@example.com']: expected a valid dictionary"),
    ],
)
def test_mistakes_are_told(declared: Any, expected: str) -> None:
    state, problems = validated({**NAMES, "relay_recipients": declared})
    assert state is None
    told = [str(problem) for problem in problems]
    assert any(expected in line and line.startswith("relay_recipients") for line in told), told


def test_lists_say_nothing_of_subdomains() -> None:
    _, (problem,) = validated({**NAMES, "relay_subdomains": True, "relay_recipients": {"example.com": ["postmaster"]}})
    assert 'relay_subdomains takes mail for them; expected "verify" or "any"' in str(problem)
    assert validated({**NAMES, "relay_subdomains": True, "relay_recipients": "verify"})[1] == ()


def test_a_parameter_that_it_sets_is_no_parameter_of_main_cf_too() -> None:
    declared = {**NAMES, "relay_recipients": SOME, "main_cf": {"relay_recipient_maps": "hash:/etc/postfix/all"}}
    (problem,) = validated(declared)[1]
    assert str(problem).startswith(
        "main_cf['relay_recipient_maps'] = 'hash:/etc/postfix/all': is what relay_recipients"
    )


def test_a_list_without_postmaster_is_warned_of() -> None:
    found = checked({**NAMES, "relay_recipients": {"example.com": ["alice"], "example.net": ["postmaster"]}})
    assert [str(warning) for warning in found.warnings] == [
        "relay_recipients['example.com'] = the list of example.com: without postmaster, which has to be taken"
        " (RFC 5321, 4.5.1)"
    ]


def test_a_file_is_read_by_line(tmp_path: Path) -> None:
    (tmp_path / "all").write_text("# ours\nalice@example.com OK\n\nBob@Example.NET\nalice@example.com\nnobody\n")
    (tmp_path / "one").write_text("alice\nbob@example.org\ncarol@example.com\n")
    found, problems = with_files(str(tmp_path / "all"))
    assert found == {"example.com": ("alice",), "example.net": ("bob",)}
    assert [(place.rpartition("/")[2], problem.found) for place, problem in problems] == [
        ("all:5", "'alice@example.com'"),
        ("all:6", "'nobody'"),
    ]
    declared = {"example.org": str(tmp_path / "one"), "example.com": "verify", "example.net": str(tmp_path / "none")}
    found, problems = with_files(declared)
    assert (found["example.org"], found["example.com"]) == (("alice", "bob"), "verify")
    assert [str(problem).partition("/")[0] for _, problem in problems] == [
        "relay_recipients['example.org'] = 'carol@example.com': is of another domain; expected it under example.com",
        "relay_recipients['example.net'] = '",
    ]


def lines_of(before: Any, after: Any) -> list[str]:
    host = observed(desired(relay_recipients=before))
    state = desired(relay_recipients=after)
    plan = planned(state, host)
    assert isinstance(plan, Plan)
    told = [str(change) for changes in plan.changes for change in changes]
    return [line for line in told if " recipients of " in line]


def test_a_change_is_told_by_domain_with_counts() -> None:
    many = [f"user{number}" for number in range(1000)]
    assert lines_of({}, {"example.com": many, "example.net": "verify"}) == [
        "+ recipients of example.com: 1000 addresses",
        "+ verify recipients of example.net",
    ]
    assert lines_of({"example.com": many}, {"example.com": [*many[1:], "new"]}) == [
        "~ recipients of example.com: 1000 addresses -> 1000 addresses (+ new; - user0)"
    ]
    assert lines_of({"example.com": many}, {"example.com": many[:10]}) == [
        "~ recipients of example.com: 1000 addresses -> 10 addresses (- user100, user101, user102 and 987 more)"
    ]
    assert lines_of({"example.com": many, "example.net": "verify"}, {"*": "verify"}) == [
        "- recipients of example.com: 1000 addresses",
        "+ verify recipients of example.com",
        "+ verify recipients of example.org",
    ]


def test_100000_addresses_cost_a_host_no_more_than_their_change(monkeypatch: pytest.MonkeyPatch) -> None:
    many = tuple(f"user{number}" for number in range(100_000))
    before, after = ({"example.com": addresses} for addresses in (many, (*many, "new")))
    old, new = desired(relay_recipients=before), desired(relay_recipients=after)
    plan = planned(new, observed(old))
    assert isinstance(plan, Plan)
    assert [str(change) for changes in plan.changes for change in changes] == [
        "~ recipients of example.com: 100000 addresses -> 100001 addresses (+ new)"
    ]
    # A second host of the fleet is asked nothing that was not found for the first.
    monkeypatch.setattr("mailproxy.relay_recipients.local_part", None)
    assert planned(new, observed(old)) == plan


def test_hosts_are_asked_for_somebody_known_and_somebody_made_up() -> None:
    state = desired(relay_recipients=SOME)
    found = difference(rendered(state, postfix()), observed(desired()))
    asked = probes(found, {}, is_unproven=True)
    assert dict(asked.known) == {"example.com": "alice"}
    assert asked.unknown == ("example.com", "example.net")


REFUSED = (
    "5.1.1 <mailproxy-probe-nobody@example.com>: Recipient address rejected: User unknown in relay recipient table"
)


@pytest.mark.parametrize(
    ("domain", "code", "said", "verdict", "expected"),
    [
        ("example.com", 550, REFUSED, None, ""),
        ("example.com", 250, "2.1.5 Ok", "fail", "who is on no list, is accepted: 250 2.1.5 Ok; expected 550"),
        ("example.net", 550, "5.1.1 undeliverable address: x", None, ""),
        ("example.net", 450, "4.1.1 unverified address: x", None, ""),
        ("example.net", 250, "2.1.5 Ok", "pass", "the next hop of example.net takes any recipient"),
        ("example.com", 451, "4.3.0 Temporary lookup failure", "fail", "is deferred: 451"),
    ],
)
def test_somebody_made_up_is_to_be_refused(
    domain: str, code: int, said: str, verdict: str | None, expected: str
) -> None:
    asked = Probes(unknown=(domain,), verified=frozenset({"example.net"}))
    found = list(outcomes(asked, [Reply("unknown", code, said, domain, MADE_UP)], "192.0.2.1", True))
    assert [one.verdict for one in found] == ([verdict] if verdict else [])
    assert expected in "".join(one.text for one in found)


def test_a_subdomain_that_is_declared_otherwise_is_not_verified_with_its_parent() -> None:
    domains = {"example.com": GUIDE["example.com"], "sub.example.com": GUIDE["example.com"]}
    state = desired(relay_domains=domains, relay_recipients={"*": "verify", "sub.example.com": "any"})
    host = observed(desired(relay_domains=domains))
    table = rendered(state, postfix())["verifydomains"].text
    assert table.splitlines()[1:] == ["example.com reject_unverified_recipient", "sub.example.com DUNNO"]
    plan = planned(state, host)
    assert isinstance(plan, Plan)
    told = [str(change) for changes in plan.changes for change in changes if change.file]
    assert told == ["+ verify recipients of example.com"]


def test_a_key_that_can_be_no_domain_is_told_once_whatever_its_file_holds(tmp_path: Path) -> None:
    (tmp_path / "all").write_text("a@example.com\nb@example.com\n")
    found, problems = with_files({"*": str(tmp_path / "all")})
    assert problems == ()
    _, (problem,) = validated({**NAMES, "relay_recipients": found})
    assert str(problem).startswith("relay_recipients['*'] = ")

"""Every mistake in a declaration is refused with key, value and what to write instead; all at once."""

from collections.abc import Iterator
from typing import Any

import pytest

from mailproxy.check import local_targets, validated, warnings_of
from tests.states import GUIDE, desired

NAMES = {"myhostname": "mx1.example.com", "mydomain": "example.com"}


def problems(**keys: Any) -> list[str]:
    declared = {"relay_domains": GUIDE, **NAMES, **keys}
    state, found = validated(declared)
    assert (state is None) == bool(found)
    return [str(problem) for problem in found]


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        (
            {"relay_domains": {"example.com": "smtp:10.1.0.2"}},
            "relay_domains['example.com'] = 'smtp:10.1.0.2': expected brackets",
        ),
        ({"relay_domains": {"example.com": "[10.1.0.2]"}}, 'expected "transport:next-hop" such as "smtp:[10.1.0.2]"'),
        ({"relay_domains": {"example.com": "smtp:[10.1.0.256]"}}, "expected four numbers below 256"),
        ({"relay_domains": {"example.com": "smtp:[2001:db8::1]"}}, 'expected "[ipv6:2001:db8::1]"'),
        ({"relay_domains": {"example.com": "smtp:2001:db8::1"}}, "expected brackets around an address"),
        ({"relay_domains": {"example.com": "smtp:[10.1.0.2]:0"}}, "expected a port from 1 to 65535, found 0"),
        ({"relay_domains": {"example.com": "smtp:[10.1.0.2] # ours"}}, "expected a next hop"),
        ({"relay_domains": {"exa mple.com": "smtp:[10.1.0.2]"}}, "expected a domain name such as example.com"),
        ({"relay_domains": {"@example.com": "smtp:[10.1.0.2]"}}, "expected a domain name such as example.com"),
        ({"relay_domains": {"a.example": "smtp:[10.1.0.2]\nb.example x:"}}, "holds the control character '\\n'"),
        ({"relay_domains": {"a.example": "smtp:[h]", "A.example.": "smtp:[i]"}}, "names a.example twice"),
        ({"relay_domains": {"mx1.example.com": "smtp:[10.1.0.2]"}}, "is this host's own name"),
        ({"relay_domains": None}, "relay_domains = None: expected a valid dictionary"),
        ({"mynetworks": ["10.1.2.3/8"]}, "mynetworks[0] = '10.1.2.3/8': expected a network such as 10.1.0.0/16"),
        (
            {"mynetworks": ["10.0.0.0/8", "0.0.0.0/0"]},
            "mynetworks[1] = '0.0.0.0/0': would relay for a large part of the internet",
        ),
        ({"mynetworks": ["[::]/0"]}, "would relay for a large part of the internet"),
        ({"mynetworks": ["0.0.0.0/1", "128.0.0.0/1"]}, "expected networks you trust, of /8 at the widest"),
        ({"mynetworks": ["10.0.0.0/255.0.0.0"]}, "expected a number of bits behind the /, found '255.0.0.0'"),
        ({"relay_domains": {"example.com": "smtp:example.com"}}, "leads back to example.com by its MX"),
        ({"relay_domains": {"example.com": "smtp:[mx1.example.com]"}}, "is this host itself"),
        ({"relay_domains": {"example.com": "smtp:mail.example.com:25 # ours"}}, "expected a next hop"),
        ({"relay_domains": {"example.com": "smtp:256.1.1.1"}}, "expected a next hop"),
        ({"relay_domains": "a\0b"}, "expected a valid dictionary"),
        ({"mynetworks": ["hash:/etc/x"]}, "expected a network such as 10.1.0.0/16"),
        ({"mynetworks": "10.0.0.0/8"}, "expected a list"),
        ({"aliases": {"a@b.example": "root"}}, "expected a local name without @"),
        ({"aliases": {"root": ""}}, "expected at least one target"),
        ({"aliases": {"root": "alice # on call"}}, "expected no #"),
        ({"aliases": {"root": '"unclosed'}}, "expected each quote to be closed"),
        ({"aliases": {"root": "a\\b"}}, "expected no \\ outside of quotes"),
        ({"aliases": {"a": "b", "b": "c", "c": "a"}}, "aliases['a'] = 'b': leads back to a"),
        ({"myhostname": "mx1"}, "expected a fully qualified name such as mx1.example.com"),
        ({"message_size_limit": "20M"}, "message_size_limit = '20M': expected a valid integer"),
        ({"message_size_limit": -1}, "greater than or equal to 0"),
        ({"database_type": "sdbm"}, "expected 'hash', 'btree', 'lmdb', 'cdb' or 'dbm'"),
        ({"relay_subdomains": "yes"}, "relay_subdomains = 'yes': expected a valid boolean"),
        ({"main_cf": {"message_size-limit": 1}}, "is no parameter of Postfix; declare message_size_limit instead"),
        (
            {"main_cf": {"relay_domains": "a"}},
            "main_cf['relay_domains'] = 'a': is set by mailproxy; declare relay_domains",
        ),
        ({"main_cf": {"smtpd_banner": "a\nrelay_domains = b"}}, "holds the control character"),
        ({"main_cf": {"a = b": "c"}}, "expected the name of a main.cf parameter"),
        ({"rollout": {"wave": ["canary"]}}, "rollout['wave'] = ['canary']: no such key; did you mean waves?"),
        ({"rollout": {"waves": [0]}}, "rollout['waves'][0] = 0: expected a group, a number of hosts, or a percentage"),
        ({"rollout": {"waves": ["150%"]}}, "expected a group, a number of hosts, or a percentage from 1% to 100%"),
        ({"rollout": {"waves": [True]}}, "expected a group, a number of hosts, or a percentage"),
    ],
)
def test_a_mistake_is_refused_with_what_was_found_and_expected(keys: dict[str, Any], expected: str) -> None:
    assert any(expected in problem for problem in problems(**keys)), problems(**keys)


def test_all_problems_are_reported_at_once_also_those_between_fields() -> None:
    found = problems(
        relay_domains={"example.com": "smtp:10.1.0.2", "mx1.example.com": "smtp:[10.1.0.2]"},
        mynetworks=["10.1.2.3/8"],
        aliases={"a": "a@b", "b": "c", "c": "b"},
        main_cf={"relay_domains": "x", "bad name": "y"},
    )
    assert len(found) == 7


def test_a_missing_declaration_says_which_key_is_required() -> None:
    _, found = validated(NAMES)
    assert [str(problem) for problem in found] == ["relay_domains = nothing: required, and found in no group_data"]


@pytest.mark.parametrize(
    "hop",
    [
        "smtp:[10.1.0.2]",
        "smtp:[10.1.0.2]:2525",
        "smtp:[ipv6:2001:db8::1]",
        "smtp:mail.internal.example",
        "relay:[mail.internal.example]:submission",
        "lmtp:unix:/var/run/lmtp",
        ":[10.1.0.2]",
        "error:5.1.1 this mailbox has moved",
    ],
)
def test_the_next_hops_of_transport_5_are_taken(hop: str) -> None:
    assert problems(relay_domains={"example.com": hop}) == []


def test_names_are_normalised_as_postfix_folds_them() -> None:
    state = desired(relay_domains={"Example.COM.": "smtp:[10.1.0.2]"}, aliases={"PostMaster": ["root"]})
    assert dict(state.relay_domains) == {"example.com": "smtp:[10.1.0.2]"}
    assert dict(state.aliases) == {"postmaster": "root"}


@pytest.mark.parametrize(
    ("declared", "spelled"),
    [
        ("b,c", "b, c"),
        ("a@b.example,,root ,", "a@b.example, root"),
        (["root", "x@b.example,y@b.example"], "root, x@b.example, y@b.example"),
        ('"|/bin/cat -n, x", root', '"|/bin/cat -n, x", root'),
        ('"foo bar"@b.example', '"foo bar"@b.example'),
        (":include:/etc/list", ":include:/etc/list"),
    ],
)
def test_targets_are_spelled_as_postalias_stores_them(declared: Any, spelled: str) -> None:
    assert desired(aliases={"a": declared}).aliases["a"] == spelled


def test_networks_of_ipv6_are_spelled_as_postfix_wants_them() -> None:
    assert desired(mynetworks=["2001:db8::/32", "[::1]/128", "!10.1.0.9"]).mynetworks == (
        "[2001:db8::]/32",
        "[::1]/128",
        "!10.1.0.9",
    )


def test_the_accounts_that_aliases_lead_to_are_neither_aliases_nor_addresses_nor_commands() -> None:
    aliases = {"root": ["alice", "bob@example.com"], "postmaster": "root", "archive": "/var/mail/all", "x": '"|cat"'}
    assert local_targets(desired(aliases=aliases)) == {"alice"}


def test_the_same_content_is_validated_once_and_shared() -> None:
    assert desired(relay_domains=dict(GUIDE)).relay_domains is desired(relay_domains=dict(GUIDE)).relay_domains


def test_names_that_are_one_are_told_along_with_all_the_rest() -> None:
    found = problems(
        relay_domains={"a.example": "smtp:[h.example]", "A.example.": "smtp:10.1.0.2", "b.example": "smtp:10.1.0.2"},
        mynetworks=["10.1.2.3/8", "10.9.0.0/16", "!10.0.0.0/8"],
    )
    assert [problem.partition(" = ")[0] for problem in found] == [
        "relay_domains['A.example.']",
        "relay_domains['b.example']",
        "mynetworks[0]",
        "mynetworks[1]",
    ]


def test_what_is_wrong_is_found_once_for_all_hosts_that_share_it() -> None:
    looks = 0

    class Looked(dict[str, str]):
        def __iter__(self) -> Iterator[str]:
            nonlocal looks
            looks += 1
            return super().__iter__()

    wrong = Looked({"good.example": "smtp:[10.1.0.2]", "bad.example": "smtp:10.1.0.2"})
    for number in range(100):
        state, found = validated({"relay_domains": wrong, **NAMES, "myhostname": f"mx{number}.example.com"})
        assert (state, len(found)) == (None, 1)
    # More than one plain look a host would be a check of it.
    assert 0 < looks < 110


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ({"mynetworks": ["8.8.8.0/24"]}, "mynetworks[0] = '8.8.8.0/24': is a public range"),
        ({"aliases": {"root": "ops@example.com"}}, 'expected an alias for it, such as "postmaster": "root"'),
        ({"alias_programs": ["archive"]}, "alias_programs[0] = 'archive': leads to no command or file"),
    ],
)
def test_what_may_not_be_meant_is_a_warning_and_no_problem(keys: dict[str, Any], expected: str) -> None:
    assert problems(**keys) == []
    (found,) = warnings_of(desired(**keys))
    assert expected in str(found)


def test_a_permission_changes_nothing_on_a_host() -> None:
    aliases = {"postmaster": "root", "archive": "/var/mail/all"}
    assert desired(aliases=aliases).digest == desired(aliases=aliases, alias_programs=["Archive"]).digest

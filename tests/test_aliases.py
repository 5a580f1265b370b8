"""Aliases lead to somebody, and to a command or a file only where that is allowed by name."""

import pytest

from mailproxy.aliases import accounts, alias_targets, is_program, problems_of_aliases, warnings_of_aliases
from mailproxy.entries import Entries

OWN = frozenset({"mx1.example.com", "localhost"})


def problems(programs: tuple[str, ...] = (), **aliases: str) -> list[str]:
    return [str(problem) for problem in problems_of_aliases(Entries(aliases), programs, OWN)]


@pytest.mark.parametrize(
    "target",
    [
        "|/bin/cat",
        '"|/bin/cat -n"',
        "/var/mail/all",
        '"/var/mail/all of them"',
        ":include:/etc/list",
        ":INCLUDE:/etc/list",
        '":include:/etc/list"',
        "/dev/null",
        '"|cmd"@example.com',
    ],
)
def test_a_command_or_a_file_is_one_in_every_spelling(target: str) -> None:
    assert is_program(target)
    (found,) = problems(a=alias_targets(target))
    assert "leads to a command or file" in found
    assert "if that is meant: alias_programs = ['a']" in found
    assert problems(("a",), a=target) == []


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ("bob smith", "expected a comma between targets, found 'bob smith'"),
        ("Bob <bob@example.com>", "expected a comma between targets"),
        ("<|/bin/cat>", "expected an address alone"),
        ("(x)|cat", "expected an address alone"),
        ("friends:bob;", "expected an address alone"),
        ("a@b@example.com", "expected one name before the @"),
        ("@example.com", "expected one name before the @"),
        ("bob@", "behind the @ of 'bob@'"),
        ("bob@exa$mple.com", "behind the @ of"),
        ('$"a b"@example.com', "expected quotes around all of a name or around none of it"),
        ('"a b"?@example.com', "expected quotes around all of a name or around none of it"),
        ('bob@"example.com"', "expected quotes around all of a name or around none of it"),
        ("bob@[192.0.2.1]x", "behind the @ of 'bob@[192.0.2.1]x'"),
        ("|/bin/cat -n", "expected quotes around |/bin/cat -n, as there are blanks or brackets in it"),
    ],
)
def test_what_aliases_5_would_read_otherwise_is_refused(value: str, reason: str) -> None:
    with pytest.raises(ValueError) as raised:  # noqa: PT011 - the reason is what is looked at
        alias_targets(value)
    assert reason in str(raised.value)


def test_loops_are_found_also_by_the_hosts_own_names() -> None:
    assert problems(a="b@mx1.example.com", b="a@LOCALHOST.") == [
        "aliases['a'] = 'b@mx1.example.com': leads back to a; expected an account or an address",
        "aliases['b'] = 'a@LOCALHOST.': leads back to b; expected an account or an address",
    ]
    assert problems(a="b@elsewhere.example", b="a") == []
    assert problems(alice="alice") == []


def test_postmaster_and_root_are_read_by_somebody() -> None:
    found = problems(("root",), postmaster="root", root="/dev/null")
    assert found == [
        f"aliases[{name!r}] = {value!r}: mail for {name} is thrown away; expected an account or an address "
        "where somebody reads it (RFC 5321 4.5.1)"
        for name, value in (("postmaster", "root"), ("root", "/dev/null"))
    ]
    assert problems(("root",), postmaster="root", root="/dev/null, ops@example.com") == []
    assert problems(("root",), postmaster="root", root='"|/usr/bin/ticket"') == []


def test_an_alias_of_postmaster_is_missed() -> None:
    (found,) = warnings_of_aliases(Entries({"root": "ops@example.com"}), ())
    assert 'expected an alias for it, such as "postmaster": "root" (RFC 5321 4.5.1)' in str(found)


def test_what_is_allowed_and_not_there_is_told() -> None:
    (found,) = warnings_of_aliases(Entries({"postmaster": "root", "a": "b"}), ("a",))
    assert str(found) == "alias_programs[0] = 'a': leads to no command or file: nothing to allow"


def test_accounts_are_told_with_the_aliases_that_lead_to_them() -> None:
    aliases = Entries({"a": "bob, x@example.com", "b": "bob@mx1.example.com", "c": "a", "d": "/dev/null", "e": "e"})
    assert accounts(aliases, OWN) == {"bob": ["a", "b"], "e": ["e"]}

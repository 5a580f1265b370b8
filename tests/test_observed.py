"""What a host printed, and what it must never be taken for."""

import pytest

from mailproxy.answer import parsed
from mailproxy.observed import ObservedState, Unread
from mailproxy.syntax import main_cf_parameters, numbered_lines, table_entries

ANSWER = """\
default mail_version = 3.7.11
default config_directory = /etc/postfix
default default_database_type = hash
default inet_interfaces = all
default inet_protocols = all
default parent_domain_matches_subdomains = debug_peer_list,relay_domains
table_types btree cidr hash
running yes
file main.cf aaaa -rw-r--r-- 0 0
file aliases.db bbbb -rw-r----- 0 5
content main.cf text
|# a comment
|queue_directory = /srv/queue
|
|myhostname = a
content mynetworks hex
| 31 32 e9 0a
nouser nobody2
manifest file aaaa main.cf
manifest loaded inet_interfaces 10.1.0.1, 127.0.0.1
manifest loaded mail_owner _postfix
manifest end
journal generation 3
lock token t1
lock holder alice@ci process 7 of x
lock since 1699999990
lock_busy no
now 1700000000
end
"""


def test_the_records_are_read() -> None:
    host = parsed(ANSWER.splitlines())
    assert isinstance(host, ObservedState)
    assert host.postfix.version == (3, 7)
    # One from main.cf; one from the manifest, which main.cf has lost since.
    assert dict(host.postfix.kept) == {"queue_directory": "/srv/queue", "mail_owner": "_postfix"}
    assert host.texts["main.cf"] == "# a comment\nqueue_directory = /srv/queue\n\nmyhostname = a\n"
    assert host.texts["mynetworks"] == "12\\xe9\n"
    assert not host.live["aliases.db"].is_ours_alone("aliases.db")
    assert host.digest("transport") is None
    assert host.manifest is not None
    assert host.manifest.loaded == {"inet_interfaces": "10.1.0.1, 127.0.0.1", "mail_owner": "_postfix"}
    assert host.journal == {"generation": "3"}
    assert host.lock is not None
    assert (host.lock.token, host.lock.holder, host.lock.age, host.lock.busy) == (
        "t1",
        "alice@ci process 7 of x",
        10,
        False,
    )
    assert host.missing_users == {"nobody2"}


@pytest.mark.parametrize("length", range(len(ANSWER.splitlines())))
def test_an_answer_that_was_cut_off_is_no_answer(length: int) -> None:
    assert parsed(ANSWER.splitlines()[:length]) == Unread("its answer came incomplete")


def test_a_manifest_that_was_cut_off_is_none() -> None:
    host = parsed([line for line in ANSWER.splitlines() if line != "manifest end"])
    assert isinstance(host, ObservedState)
    assert host.manifest is None


def test_what_a_login_shell_says_is_no_traceback() -> None:
    assert isinstance(parsed(["| hello |", *ANSWER.splitlines()]), Unread)


def test_a_reason_of_the_host_is_passed_on() -> None:
    assert parsed(["unreadable found no postconf", "end"]) == Unread("found no postconf")


def test_a_link_in_the_place_of_a_file_is_refused() -> None:
    lines = [*ANSWER.splitlines()[:-1], "odd transport lrwxrwxrwx", "end"]
    assert parsed(lines) == Unread(
        "transport is lrwxrwxrwx; expected regular files (ls -l shows - as the first character)"
    )


def test_an_answer_of_another_form_is_no_answer() -> None:
    assert isinstance(parsed(["version 3", "end"]), Unread)


def test_main_cf_is_read_as_postfix_reads_it() -> None:
    text = "a = 1\n# a = 2\n  # inside a continuation\n  and more\n\nb=\na = 3\n   x\n"
    assert dict(main_cf_parameters(text)) == {"a": "3 x", "b": ""}


def test_tables_are_read_as_postmap_reads_them() -> None:
    text = "# c\nExample.com  smtp:[10.1.0.2]\n  \n b\nexample.com twice\nlonely\n"
    assert dict(table_entries(text)) == {"example.com": "smtp:[10.1.0.2] b"}


def test_a_foreign_main_cf_comes_with_what_nothing_reads_and_what_was_not_indexed() -> None:
    records = [
        *ANSWER.splitlines()[:-1],
        "effective myhostname = a",
        "builtin message_size_limit = 10240000",
        "unused foo",
        "unindexed /etc/aliases",
        "content main.cf text",
        "|message_size-limit = 1",
        "|smtp-x_rate_delay = 1s",
        "end",
    ]
    host = parsed(records)
    assert isinstance(host, ObservedState)
    assert host.foreign is not None
    # Before 2.9 Postfix does not tell; no name that is built in has a hyphen.
    assert host.foreign.unused == {"foo", "message_size-limit"}
    assert host.foreign.unindexed == {"/etc/aliases"}


def test_lines_are_numbered_by_where_they_begin() -> None:
    text = "a = 1\n# c\n  # d\n  2\n\nb =\t3\n"
    assert list(numbered_lines(text)) == [(1, "a = 1 2"), (6, "b =\t3")]

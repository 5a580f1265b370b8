"""What is declared for a host that somebody made by hand, and what is told of the rest."""

import ast
import dataclasses
from collections.abc import Mapping
from typing import Any

import pytest

from mailproxy.adoption import Adopted, adopted
from mailproxy.check import validated
from mailproxy.declared_files import by_file, declared_in, text_of
from mailproxy.handmade import HandMade
from mailproxy.observed import Foreign, ObservedState
from mailproxy.syntax import main_cf_parameters
from mailproxy.unexpressed import networks
from tests.states import GUIDE, empty_host, postfix

NAME = "mx1.example.com"
# What this Postfix says where main.cf does not.
BUILTIN = {
    "compatibility_level": "0",
    "mailbox_size_limit": "51200000",
    "message_size_limit": "10240000",
    "smtpd_relay_restrictions": "permit_mynetworks, permit_sasl_authenticated, defer_unauth_destination",
    "biff": "yes",
    "parent_domain_matches_subdomains": postfix().defaults["parent_domain_matches_subdomains"],
}
MATCHING = ", ".join(
    name
    for name in postfix().defaults["parent_domain_matches_subdomains"].replace(",", " ").split()
    if name != "relay_domains"
)
MAIN_CF = f"""\
compatibility_level = 3.6
myhostname = {NAME}
mynetworks = /etc/postfix/mynetworks
alias_maps = hash:/etc/aliases
relay_domains = example.com, example.net
    example.org
transport_maps = hash:/etc/postfix/maps/routes
parent_domain_matches_subdomains = {MATCHING}
"""
TEXTS = {
    "mynetworks": "127.0.0.0/8\n10.1.0.2\n",
    "/etc/aliases": "postmaster: root\n",
    "/etc/postfix/maps/routes": "".join(f"{domain} {hop}\n" for domain, hop in GUIDE.items()),
}


def host(
    more: str = "",
    texts: Mapping[str, str] | None = None,
    effective: Mapping[str, str] | None = None,
    unused: tuple[str, ...] = (),
    main_cf: str = MAIN_CF,
    **changes: Any,
) -> ObservedState:
    """Return a host as observe.sh finds one that relays the guide's domains, with more lines in its main.cf."""
    text = main_cf + more
    holding = {
        "myhostname": NAME,
        "mydomain": "example.com",
        "mydestination": f"{NAME}, localhost.example.com, localhost",
        "mynetworks": "127.0.0.0/8",
        "smtpd_relay_restrictions": BUILTIN["smtpd_relay_restrictions"],
        "smtpd_recipient_restrictions": "",
        **main_cf_parameters(text),
        **(effective or {}),
    }
    foreign = Foreign(holding, BUILTIN, frozenset(unused))
    return empty_host(**{"texts": {"main.cf": text, **TEXTS, **(texts or {})}, "foreign": foreign, **changes})


def adopt(*arguments: Any, name: str = NAME, **keywords: Any) -> Adopted:
    """Adopt a host, and insist that what is declared for it holds."""
    found = adopted(name, host(*arguments, **keywords))
    desired, problems = validated(found.declared)
    assert desired is not None, problems
    return found


def told(found: Adopted, *, is_void: bool) -> list[str]:
    return [f"{one.place}; {one.reason}; {one.remedy}" for one in found.unexpressed if one.is_void == is_void]


def assert_told(found: Adopted, *parts: str, is_void: bool = False) -> None:
    """Insist that one remark says all of this."""
    all_told = told(found, is_void=is_void)
    assert any(all(part in one for part in parts) for one in all_told), all_told


def assert_same(found: Adopted) -> None:
    """Insist that the first rollout changes nothing, and that nothing is left unsaid."""
    assert [str(change) for change in found.changes or ()] == []
    assert found.changes is not None
    assert told(found, is_void=False) == []


def test_what_main_cf_and_its_files_say_is_declared_and_nothing_changes() -> None:
    found = adopt()
    assert found.declared["relay_domains"] == GUIDE
    assert found.declared["mynetworks"] == ["127.0.0.0/8", "10.1.0.2"]
    assert found.declared["aliases"] == {"postmaster": "root"}
    assert found.declared["message_size_limit"] == 10240000
    assert found.declared["myhostname"] == NAME
    assert_same(found)


def test_where_the_template_would_set_something_else_the_default_that_holds_is_declared() -> None:
    assert adopt().declared["main_cf"] == {
        "mailbox_size_limit": "51200000",
        "smtpd_relay_restrictions": BUILTIN["smtpd_relay_restrictions"],
    }
    found = adopt(main_cf=MAIN_CF.replace("compatibility_level = 3.6\n", ""))
    assert found.declared["main_cf"]["compatibility_level"] == "0"
    assert_same(found)


def test_what_the_template_sets_so_by_itself_is_not_declared() -> None:
    found = adopt("mailbox_size_limit = 0\nsmtpd_relay_restrictions = permit_mynetworks  reject_unauth_destination\n")
    assert found.declared["main_cf"] == {}
    assert_same(found)


def test_before_2_10_the_rule_for_strangers_stands_among_the_recipient_restrictions() -> None:
    old = postfix((2, 7))
    rule = {"smtpd_recipient_restrictions": "permit_mynetworks, reject_unauth_destination"}
    found = adopt(main_cf=MAIN_CF.replace("compatibility_level = 3.6\n", ""), postfix=old, effective=rule)
    assert found.declared["main_cf"] == {"mailbox_size_limit": "51200000"}
    assert_same(found)


def test_an_old_rule_for_strangers_is_kept_where_the_new_list_is_empty() -> None:
    found = adopt(
        "smtpd_recipient_restrictions = permit_mynetworks, reject_unauth_destination\n",
        effective={"smtpd_relay_restrictions": ""},
    )
    assert found.declared["main_cf"]["smtpd_relay_restrictions"] == ""
    assert_same(found)


def test_an_smtpd_that_does_not_start_for_want_of_a_rule_is_told_and_gets_one() -> None:
    found = adopt(effective={"smtpd_relay_restrictions": ""})
    assert "smtpd_relay_restrictions" not in found.declared["main_cf"]
    assert_told(found, "smtpd does not start", "permit_mynetworks, reject_unauth_destination")
    assert found.changes == ()


def test_of_a_parameter_set_twice_the_last_counts_and_the_first_is_told() -> None:
    found = adopt("biff = yes\n\nbiff = no\n")
    assert found.declared["main_cf"]["biff"] == "no"
    assert_told(found, "main.cf line 9: biff = yes", "Postfix takes line 11 for it", is_void=True)
    assert_same(found)


def test_of_a_key_that_a_table_has_twice_the_first_counts_and_the_last_is_told() -> None:
    table = "# routes\nEXAMPLE.com smtp:[10.1.0.2]\nexample.net\n  smtp:[10.1.0.2]\nexample.com smtp:[10.1.0.9]\n"
    found = adopt(texts={"/etc/postfix/maps/routes": f"{table}example.org smtp:[10.1.0.2]\nexample.info\n"})
    assert found.declared["relay_domains"] == GUIDE
    assert_told(found, "maps/routes line 5: example.com smtp:[10.1.0.9]", "takes line 2 for it", is_void=True)
    assert_told(found, "maps/routes line 7: example.info", "without a value", is_void=True)
    assert_same(found)


def test_of_several_tables_the_first_that_knows_a_key_counts() -> None:
    maps = "transport_maps = hash:/etc/postfix/maps/routes, texthash:/etc/postfix/more\n"
    found = adopt(maps, texts={"/etc/postfix/more": "example.com smtp:[10.1.0.9]\n"})
    assert found.declared["relay_domains"] == GUIDE
    assert_told(found, "more line 1", "Postfix takes /etc/postfix/maps/routes line 1 for it", is_void=True)


def test_comments_continuations_and_blanks_are_read_as_postfix_reads_them() -> None:
    found = adopt("smtpd_banner =\t$myhostname\n# in between\n\n   ESMTP  (two blanks)\n\ttab\n")
    assert found.declared["main_cf"]["smtpd_banner"] == "$myhostname ESMTP  (two blanks) tab"
    assert_same(found)


def test_a_hosts_own_name_becomes_a_reference_so_that_hosts_share_a_main_cf() -> None:
    lines = f"smtpd_banner = MX1.Example.com ESMTP\nsmtp_tls_cert_file = /etc/live/{NAME}/cert.pem\n"
    found = adopt(f"{lines}smtp_helo_name = x.{NAME}\nmyorigin = ${{myhostname}}x\nluser_relay = a@{NAME}\n")
    values = found.declared["main_cf"]
    assert values["smtpd_banner"] == "$myhostname ESMTP"
    assert values["smtp_tls_cert_file"] == "/etc/live/$myhostname/cert.pem"
    assert (values["smtp_helo_name"], values["myorigin"]) == (f"x.{NAME}", "${myhostname}x")
    # Postfix expands other names there, and not this one.
    assert values["luser_relay"] == f"a@{NAME}"
    assert_same(found)


def test_a_name_that_main_cf_leaves_to_postfix_is_no_change() -> None:
    found = adopt(main_cf=MAIN_CF.replace(f"myhostname = {NAME}\n", ""))
    assert found.declared["myhostname"] == NAME
    assert found.declared["mydomain"] == "example.com"
    assert_same(found)


def test_a_name_in_upper_case_is_the_same_name() -> None:
    found = adopt(effective={"myhostname": "MX1.Example.COM", "mydomain": "Example.COM"})
    assert (found.declared["myhostname"], found.declared["mydomain"]) == (NAME, "example.com")
    assert_same(found)


def test_a_name_that_is_none_gives_way_to_the_inventorys() -> None:
    found = adopt(effective={"myhostname": "mx1", "mydomain": "localdomain"})
    assert found.declared["myhostname"] == NAME
    assert_told(found, f"main.cf line 2: myhostname = {NAME}", "expected a fully qualified name")


def test_where_postfix_lives_on_a_host_is_left_to_the_rollout() -> None:
    found = adopt("queue_directory = /srv/queue\nmail_owner = postfix\ndefault_database_type = hash\n")
    assert not {"queue_directory", "mail_owner", "default_database_type"} & set(found.declared["main_cf"])


def test_a_parameter_that_nothing_reads_is_told_and_left_out() -> None:
    found = adopt("message_size-limit=20480000\nfoo = bar\n", unused=("message_size-limit", "foo"))
    assert not {"message_size-limit", "foo"} & set(found.declared["main_cf"])
    assert_told(found, "line 9: message_size-limit=20480000", "declare message_size_limit", is_void=True)
    assert_told(found, "line 10: foo = bar", is_void=True)
    assert_same(found)


def test_a_secret_is_neither_declared_nor_shown() -> None:
    lines = "smtp_sasl_password_maps = static:user:hunter2\nlmtp_sasl_password_maps = hash:/etc/postfix/sasl\n"
    found = adopt(lines)
    assert "hunter2" not in repr(found) + str(found.changes) + "".join(told(found, is_void=False))
    assert_told(found, "smtp_sasl_password_maps = <not shown>", "group_data holds none")
    assert found.declared["main_cf"]["lmtp_sasl_password_maps"] == "hash:/etc/postfix/sasl"
    assert [str(change) for change in found.changes or ()] == ["- smtp_sasl_password_maps: changed, not shown"]


def test_a_domain_without_a_route_goes_where_relay_transport_says() -> None:
    found = adopt("relayhost = [10.1.0.7]\n", texts={"/etc/postfix/maps/routes": "example.com smtp:[10.1.0.2]\n"})
    assert found.declared["relay_domains"]["example.net"] == "relay:[10.1.0.7]"
    assert_same(found)


def test_a_next_hop_that_is_refused_is_told_with_its_line() -> None:
    routes = "example.com smtp:10.1.0.2\nexample.net smtp:[10.1.0.2]\n"
    found = adopt(texts={"/etc/postfix/maps/routes": routes})
    assert found.declared["relay_domains"] == {"example.net": "smtp:[10.1.0.2]"}
    assert_told(found, "maps/routes line 1: example.com smtp:10.1.0.2", "expected brackets")
    assert_told(found, "main.cf line 5: relay_domains", "by its MX, which is this proxy")
    assert [str(change) for change in found.changes or ()] == ["- example.com", "- example.org"]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("user@example.com smtp:[10.1.0.3]", "routes one address"),
        ("* smtp:[10.1.0.3]", 'main_cf["default_transport"]'),
        (".example.com smtp:[10.1.0.2]", "relay_subdomains = True routes those of all"),
        ("other.example smtp:[10.1.0.3]", "not in relay_domains"),
        (f"{NAME} smtp:[10.1.0.3]", "mydestination"),
    ],
)
def test_a_route_that_has_no_form_is_told_with_its_line(line: str, reason: str) -> None:
    found = adopt(texts={"/etc/postfix/maps/routes": TEXTS["/etc/postfix/maps/routes"] + line + "\n"})
    assert found.declared["relay_domains"] == GUIDE
    assert_told(found, f"/etc/postfix/maps/routes line 4: {line}", reason)
    assert [change.sign for change in found.changes or ()] == ["-"]


def test_a_domain_that_is_delivered_on_the_host_is_none_to_relay() -> None:
    found = adopt(effective={"mydestination": "localhost, Example.com"})
    assert "example.com" not in found.declared["relay_domains"]
    assert_told(found, "main.cf line 5", "example.com is in mydestination too", is_void=True)
    assert_told(found, "maps/routes line 1", "routes a domain of mydestination")


def test_tables_of_other_kinds_are_told() -> None:
    found = adopt("transport_maps = hash:/etc/postfix/maps/routes, pcre:/etc/postfix/x\n")
    assert_told(found, "main.cf line 9: transport_maps", "pcre:/etc/postfix/x is of a kind that is not read")


def test_subdomains_that_are_routed_with_their_parents_stay_so() -> None:
    routes = "".join(f"{domain} {hop}\n.{domain} {hop}\n" for domain, hop in GUIDE.items())
    found = adopt(
        effective={"parent_domain_matches_subdomains": f"{MATCHING}, relay_domains"},
        main_cf=MAIN_CF.replace(f"parent_domain_matches_subdomains = {MATCHING}\n", ""),
        texts={"/etc/postfix/maps/routes": routes},
    )
    assert found.declared["relay_subdomains"] is True
    assert found.declared["relay_domains"] == GUIDE
    assert_same(found)


def test_subdomains_that_are_accepted_without_routes_are_told() -> None:
    found = adopt(
        effective={"parent_domain_matches_subdomains": f"{MATCHING}, relay_domains"},
        main_cf=MAIN_CF.replace(f"parent_domain_matches_subdomains = {MATCHING}\n", ""),
    )
    assert found.declared["relay_subdomains"] is False
    assert_told(found, "subdomains of relay domains", "relay_subdomains = True routes it")
    assert found.changes == ()


def test_what_else_matches_subdomains_is_told_where_it_is_not_the_default() -> None:
    found = adopted(NAME, host("parent_domain_matches_subdomains = mynetworks\n"))
    assert_told(found, "main.cf line 9", "smtpd_access_maps")


def test_networks_are_spelled_as_group_data_does_and_refused_ones_told() -> None:
    items = "127.0.0.0/8\n[2001:DB8::]/32 10.1.0.2/32\n# old\n!192.168.1.1 192.168.0.0/16\n10.1.2.3/8\n0.0.0.0/0\n"
    found = adopt(texts={"mynetworks": items})
    assert found.declared["mynetworks"] == [
        "127.0.0.0/8",
        "[2001:db8::]/32",
        "10.1.0.2",
        "!192.168.1.1",
        "192.168.0.0/16",
    ]
    assert_told(found, "/etc/postfix/mynetworks line 6: 0.0.0.0/0", "a large part of the internet")
    assert_told(found, "/etc/postfix/mynetworks line 5: 10.1.2.3/8", "host bits")


@pytest.mark.parametrize(
    ("items", "declared"),
    [
        ("!10.0.0.1 10.0.0.0/8", ["!10.0.0.1", "10.0.0.0/8"]),
        ("192.168.0.0/16 !10.0.0.1 10.0.0.0/8", ["192.168.0.0/16", "!10.0.0.1", "10.0.0.0/8"]),
        ("10.0.0.0/8 !10.0.0.1", ["10.0.0.0/8"]),
        ("10.1.0.0/16 !10.0.0.0/8 10.2.0.0/16", ["10.1.0.0/16"]),
    ],
)
def test_exclusions_exclude_what_they_did_where_they_stood(items: str, declared: list[str]) -> None:
    assert networks(items.split()) == declared


def test_aliases_that_are_refused_are_told_with_their_line() -> None:
    text = 'Root: ops@example.com,\n  other\nweird name: x\nprog: "|/bin/true a, b"\na: b\nb: a\nroot: nobody\n'
    found = adopt(texts={"/etc/aliases": text})
    assert found.declared["aliases"] == {"root": "ops@example.com, other", "prog": '"|/bin/true a, b"'}
    assert found.declared["alias_programs"] == ["prog"]
    assert_told(found, "/etc/aliases line 3: weird name: x", "expected a local name")
    assert_told(found, "/etc/aliases line 5: a: b", "leads back to a")
    assert_told(found, "/etc/aliases line 7: root: nobody", "takes line 1 for it", is_void=True)


def test_a_table_that_was_edited_and_not_indexed_is_told() -> None:
    observed = host()
    assert observed.foreign is not None
    stale = dataclasses.replace(observed.foreign, unindexed=frozenset({"/etc/postfix/maps/routes"}))
    found = adopted(NAME, dataclasses.replace(observed, foreign=stale))
    assert_told(found, "/etc/postfix/maps/routes: edited after it was indexed", "Postfix still the table")


def test_a_host_that_relays_nothing_is_adopted_too() -> None:
    found = adopted(NAME, host(main_cf=f"compatibility_level = 3.6\nmyhostname = {NAME}\n"))
    assert found.declared["relay_domains"] == {}
    assert found.changes == ()


def test_a_line_of_main_cf_that_sets_nothing_is_told() -> None:
    files = HandMade({"main.cf": "biff = no\nwhat is this\n"}, "/etc/postfix", None)
    assert list(files.counting) == ["biff"]
    assert_told(adopt("what is this\n"), "main.cf line 9: what is this", "no = in it", is_void=True)


def test_what_hosts_have_in_common_stands_once_and_a_key_is_never_merged() -> None:
    hosts = {f"mx{number}.example.com": f"mx{number}.example.com" for number in (1, 2, 3)}
    found = {
        name: adopt(
            "biff = no\n" if name.startswith("mx2") else "",
            main_cf=MAIN_CF.replace(NAME, name),
            effective={"myhostname": name, "mydestination": name},
            name=name,
        )
        for name in hosts
    }
    files = by_file(found)
    assert list(files) == ["all", "mx2.example.com"]
    assert set(files["all"]) == {"relay_domains", "mynetworks", "aliases", "message_size_limit", "main_cf"}
    assert files["mx2.example.com"] == {"main_cf": {**files["all"]["main_cf"], "biff": "no"}}


def test_a_host_where_the_default_holds_says_so_once_the_others_declare_otherwise() -> None:
    one = adopt()
    subdomains = dataclasses.replace(one, declared={**one.declared, "relay_subdomains": True, "mydomain": "x.example"})
    found = {"mx1.example.com": one}
    for number in (2, 3):
        name = f"mx{number}.example.com"
        found[name] = dataclasses.replace(subdomains, declared={**subdomains.declared, "myhostname": name})
    files = by_file(found)
    assert files["all"]["relay_subdomains"] is True
    assert files["mx1.example.com"] == {"mydomain": "example.com", "relay_subdomains": False}


def test_a_hosts_own_name_stands_in_its_own_file() -> None:
    files = by_file({"proxy": adopt()})
    assert files["proxy"] == {"myhostname": NAME}
    assert "mydomain" not in files["all"]


def test_what_is_implied_is_written_where_something_else_stands_for_all_already() -> None:
    assert by_file({NAME: adopt()}, said=["relay_subdomains"])["all"]["relay_subdomains"] is False


def test_what_is_written_reads_back_as_what_was_found() -> None:
    keys = {
        **adopt('smtpd_banner = "quoted" \\ and ünïcode ${x?y}\n').declared,
        "aliases": {"b": '"|/bin/true a, b"', "a": "x"},
        "mynetworks": [],
    }
    text = text_of(keys)
    body = ast.parse(text).body
    read = {node.targets[0].id: ast.literal_eval(node.value) for node in body if isinstance(node, ast.Assign)}  # type: ignore[attr-defined]
    assert read == keys
    assert '    "example.com": "smtp:[10.1.0.2]",\n    "example.net"' in text
    assert text.index('"a": "x"') < text.index('"b": ')
    assert "message_size_limit = 10240000  # bytes\n" in text
    assert declared_in(text) == set(keys)


def test_other_settings_of_a_file_are_none_of_ours() -> None:
    assert declared_in("ssh_connect_retries = 2\nrollout = {'waves': [1]}\n") == set()
    assert declared_in("main_cf = {}\nmain_cf['a'] = 'b'\n") == {"main_cf"}

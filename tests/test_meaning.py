"""What files mean, however they are spelled."""

import pytest

from mailproxy.meaning import UNROUTED, Meaning, meaning
from mailproxy.observed import Foreign
from mailproxy.render import rendered
from tests.states import GUIDE, desired, postfix

DIRECTORY = "/etc/postfix"


def of_main_cf(main_cf: str, **texts: str) -> Meaning:
    return meaning({"main.cf": main_cf, **texts}, DIRECTORY)


def test_what_is_rendered_means_what_is_declared() -> None:
    state = desired(mynetworks=["127.0.0.0/8", "2001:db8::/32"], aliases={"postmaster": ["a@x.example", "root"]})
    found = meaning({name: content.text for name, content in rendered(state, postfix()).items()}, DIRECTORY)
    assert dict(found.domains) == GUIDE
    assert list(found.networks) == ["127.0.0.0/8", "[2001:db8::]/32"]
    assert dict(found.aliases) == {"postmaster": "a@x.example, root"}
    assert found.parameters["message_size_limit"] == "20480000"
    assert found.subdomains == "refused"
    assert found.unread == ()


def test_subdomains_that_are_routed_as_their_parent_are_no_domains_of_their_own() -> None:
    state = desired(relay_subdomains=True)
    found = meaning({name: content.text for name, content in rendered(state, postfix()).items()}, DIRECTORY)
    assert dict(found.domains) == GUIDE
    assert found.subdomains == "routed as their parent"


def test_postfix_accepts_subdomains_by_default_without_routing_them() -> None:
    assert of_main_cf("relay_domains = a.example\n").subdomains == UNROUTED


def test_other_file_names_and_inline_lists_mean_the_same() -> None:
    found = of_main_cf(
        "relay_domains = /srv/domains,\n  inline.example\nmynetworks = 127.0.0.0/8 10.1.0.2/32\n"
        "transport_maps = regexp:/srv/re, proxy:btree:/srv/routes hash:/srv/more\n",
        **{
            "/srv/domains": "# ours\nA.Example\n",
            "/srv/routes": "a.example   smtp:[10.0.0.1]\n",
            "/srv/more": "a.example smtp:[10.0.0.9]\ninline.example\n  smtp:[10.0.0.2]\n",
        },
    )
    assert dict(found.domains) == {"a.example": "smtp:[10.0.0.1]", "inline.example": "smtp:[10.0.0.2]"}
    assert list(found.networks) == ["10.1.0.2", "127.0.0.0/8"]
    assert found.unread == ("transport_maps = regexp:/srv/re",)


@pytest.mark.parametrize(
    ("main_cf", "next_hop"),
    [
        ("", "relay:a.example"),
        ("relayhost = [10.0.0.9]\n", "relay:[10.0.0.9]"),
        ("relay_transport = lmtp:[10.0.0.8]\n", "lmtp:[10.0.0.8]"),
    ],
)
def test_a_domain_without_a_route_goes_where_postfix_sends_it(main_cf: str, next_hop: str) -> None:
    assert dict(of_main_cf(f"relay_domains = a.example\n{main_cf}").domains) == {"a.example": next_hop}


def test_a_route_without_a_next_hop_leads_to_the_domain_itself() -> None:
    found = of_main_cf("relay_domains = a.example\ntransport_maps = hash:/t\n", **{"/t": "a.example smtp:\n"})
    assert dict(found.domains) == {"a.example": "smtp:a.example"}


def test_a_route_without_acceptance_is_told_from_a_relay_domain() -> None:
    found = of_main_cf("transport_maps = hash:/t\n", **{"/t": "a.example smtp:[10.0.0.1]\n"})
    assert dict(found.domains) == {"a.example": "not accepted, routed to smtp:[10.0.0.1]"}


def test_the_hosts_own_names_are_delivered_there_and_not_relayed() -> None:
    assert not of_main_cf("mydestination = a.example, localhost\nrelay_domains = a.example\n").domains


def test_a_hosts_own_name_reads_the_same_on_every_host() -> None:
    found = of_main_cf("myhostname = mx1.x.example\nmydestination = mx1.x.example localhost ${myhostname}.local\n")
    assert found.parameters["mydestination"] == "$myhostname, localhost, $myhostname.local"
    assert found.parameters["myhostname"] == "mx1.x.example"
    assert of_main_cf("myhostname = x.example\na = mx1.x.example\n").parameters["a"] == "mx1.x.example"


def test_what_postfix_expands_to_counts_where_it_is_known() -> None:
    foreign = Foreign({"relay_domains": "a.example b.example"}, {})
    found = meaning({"main.cf": "mine = b.example\nrelay_domains = a.example $mine\n"}, DIRECTORY, foreign)
    assert list(found.domains) == ["a.example", "b.example"]

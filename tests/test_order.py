"""The order of the renames of a change: in every moment, what is accepted has its route."""

from mailproxy.model import Entries
from mailproxy.order import bridged, renames, rerouted
from mailproxy.render import transport_table

BEFORE = Entries({"a.example": "smtp:[10.1.0.2]", "b.example": "smtp:[10.1.0.2]"})
AFTER = Entries({"b.example": "smtp:[10.1.0.3]", "c.example": "smtp:[10.1.0.2]"})
TABLES = {"transport": ["transport.db"], "aliases": ["aliases.db"]}
EVERYTHING = {"main.cf", "mynetworks", "aliases", "relaydomains", "transport"}


def live(renames: tuple[tuple[str, str], ...]) -> list[str]:
    return [name for _, name in renames]


def test_between_two_sets_of_routes_all_are_there_and_those_that_stay_lead_to_where_they_will() -> None:
    gone, both = bridged(transport_table(BEFORE).text, AFTER)
    assert gone == ("a.example",)
    assert both == Entries({**BEFORE, **AFTER})
    assert both["b.example"] == "smtp:[10.1.0.3]"


def test_where_no_route_goes_nothing_is_bridged() -> None:
    assert bridged(transport_table(BEFORE).text, Entries({**BEFORE, **AFTER})) == ((), None)
    assert bridged(None, AFTER) == ((), None)


def test_what_comes_is_routed_before_it_is_accepted_and_main_cf_which_names_the_tables_is_last() -> None:
    first, late = renames(EVERYTHING, TABLES, routes_go=False, with_bridge=False, live=EVERYTHING | {"transport.db"})
    names = live(first)
    assert names[-2:] == ["relaydomains", "main.cf"]
    assert names.index("transport.db") < names.index("relaydomains")
    assert late == ()


def test_what_goes_is_refused_before_its_route_goes() -> None:
    first, late = renames(
        {"relaydomains", "transport"}, TABLES, routes_go=True, with_bridge=False, live=EVERYTHING | {"transport.db"}
    )
    assert live(first) == ["aliases.db", "relaydomains"]
    assert live(late) == ["transport.db", "transport"]


def test_the_routes_of_both_sides_are_there_before_the_first_change_of_what_is_accepted() -> None:
    first, late = renames(
        {"relaydomains", "transport"}, TABLES, routes_go=True, with_bridge=True, live=EVERYTHING | {"transport.db"}
    )
    assert first[:2] == (("bridge.db", "transport.db"), ("bridge", "transport"))
    assert live(first)[2:] == ["aliases.db", "relaydomains"]
    assert late == (("transport.db", "transport.db"), ("transport", "transport"))


def test_a_table_of_several_files_is_renamed_whole_before_its_source() -> None:
    first, _ = renames({"transport"}, {"transport": ["transport.dir", "transport.pag"]}, False, False, EVERYTHING)
    assert live(first) == ["transport.dir", "transport.pag", "transport"]


def test_only_what_changes_is_renamed() -> None:
    assert renames({"mynetworks"}, {}, routes_go=False, with_bridge=False, live=EVERYTHING | {"transport.db"}) == (
        (("mynetworks", "mynetworks"),),
        (),
    )
    assert renames((), {"transport": ["transport.db"]}, False, False, EVERYTHING) == (
        (("transport.db", "transport.db"),),
        (),
    )


def test_moved_domains_are_those_that_stay_and_lead_elsewhere() -> None:
    before = "a.example smtp:[10.1.0.2]\nb.example smtp:[10.1.0.2]\nc.example smtp:[10.1.0.2]\n"
    after = Entries({"a.example": "smtp:[10.1.0.2]", "b.example": "smtp:[10.1.0.3]", "d.example": "smtp:[10.1.0.3]"})
    assert rerouted(before, after) == ("b.example",)
    assert rerouted(None, after) == ()


def test_the_route_of_a_removed_domain_that_stayed_for_its_mail_is_one_that_goes() -> None:
    before = "a.example smtp:[10.1.0.2]\nleft.example smtp:[10.1.0.2]\nboss@a.example smtp:[10.1.0.3]\n"
    after = Entries({"a.example": "smtp:[10.1.0.2]"})
    assert bridged(before, after)[0] == ("left.example",)

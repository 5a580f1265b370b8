"""The key routes: exceptions, a default with credentials, a fallback; and that nobody sees the credentials."""

import dataclasses
from pathlib import Path
from typing import Any

import pytest
from pyinfra.api import Inventory

from mailproxy.as_html import as_html
from mailproxy.as_json import as_json
from mailproxy.as_markdown import as_markdown
from mailproxy.as_text import text
from mailproxy.changes import difference
from mailproxy.check import checked, validated
from mailproxy.declaration import DeclarationError, declared
from mailproxy.inputs import change
from mailproxy.meaning import ROUTED
from mailproxy.observed import MODE, SECRET_MODE, LiveFile, ObservedState
from mailproxy.plan import Plan, planned
from mailproxy.probe import all_probes
from mailproxy.render import Content, rendered, routes
from mailproxy.review import Review
from mailproxy.syntax import main_cf_parameters
from tests.states import GUIDE, desired, observed, postfix, reviewed
from tests.test_render import GOLDEN, POSTFIXES

SECRET = "relay:qZ7-top-secret"
SMARTHOST = "[smarthost.example.net]:587"
TLS = {"smtp_tls_security_level": "encrypt"}
ALL: dict[str, Any] = {
    "exceptions": {
        "Boss@Example.org": "smtp:[10.1.0.9]",
        "partner.example": "smtp:",
        "lists.example": "lmtp:unix:/run/l",
    },
    "default": "[SmartHost.example.net]:587",
    "credentials": {"[Smarthost.example.net]:587": SECRET},
    "fallback": ["[10.1.0.8]", "backup.example.net:2525"],
}


@pytest.mark.parametrize("tree", ["2.7", "3.5", "3.10"])
def test_routes_are_rendered_as_the_golden_tree_of_each_postfix(tree: str) -> None:
    contents = rendered(desired(routes=ALL, main_cf=TLS), POSTFIXES[tree])
    for name in ("main.cf", "transport", "passwords"):
        assert contents[name].text == (GOLDEN / "routes" / tree / name).read_text(), name


def test_what_is_not_declared_leaves_no_trace() -> None:
    plain, empty = desired(), desired(routes={})
    assert empty.digest == plain.digest != desired(routes={"default": "[10.1.0.7]"}).digest
    assert rendered(empty, postfix()) == rendered(plain, postfix())
    main_cf = rendered(desired(routes={"exceptions": {"partner.example": "smtp:"}}), postfix())["main.cf"].text
    assert main_cf == rendered(plain, postfix())["main.cf"].text


def test_other_credentials_are_another_declaration() -> None:
    others = {**ALL, "credentials": {SMARTHOST: "relay:another"}}
    assert desired(routes=ALL).digest != desired(routes=others).digest


def test_subdomains_go_the_way_of_the_nearest_exception_where_they_are_relayed_and_the_hosts_own_stay() -> None:
    exceptions = {"sub.example.net": "smtp:[10.1.0.9]", "boss@example.org": "smtp:[10.1.0.9]", "example.com": "smtp:"}
    relayed = {"example.net": "smtp:[10.1.0.2]"}
    state = desired(relay_domains=relayed, relay_subdomains=True, routes={"exceptions": exceptions})
    assert dict(routes(state)) == {
        "example.net": "smtp:[10.1.0.2]",
        ".example.net": "smtp:[10.1.0.2]",
        "sub.example.net": "smtp:[10.1.0.9]",
        ".sub.example.net": "smtp:[10.1.0.9]",
        "boss@example.org": "smtp:[10.1.0.9]",
        "example.com": "smtp:",
        ".example.com": "smtp:",
        "mx1.example.com": "local:",
        "localhost.example.com": "local:",
    }


def problems(routes: Any, **keys: Any) -> list[str]:
    names = {"myhostname": "mx1.example.com", "mydomain": "example.com"}
    return [str(one) for one in validated({"relay_domains": GUIDE, **names, "routes": routes, **keys})[1]]


@pytest.mark.parametrize(
    ("exception", "hop", "expected"),
    [
        ("*", "smtp:[10.1.0.9]", "expected an address or a domain; all other mail goes by default"),
        (".sub.example.net", "smtp:[10.1.0.9]", "subdomains are relayed by relay_subdomains = True"),
        ("two words@example.org", "smtp:[10.1.0.9]", "expected an address such as alice@example.org"),
        ("#boss@example.org", "smtp:[10.1.0.9]", "expected an address such as alice@example.org"),
        ("boss@", "smtp:[10.1.0.9]", "expected a domain name"),
        ("example.org", "smtp:[10.1.0.9]", "is a relay domain; expected its next hop in relay_domains"),
        ("root@mx1.example.com", "smtp:[10.1.0.9]", "is of this host itself, where mail is delivered by aliases"),
        ("boss@example.org", "smtp:", "leads to the domain's own MX, which is this proxy"),
        ("boss@example.org", "smtp:10.1.0.9", "expected brackets around an address"),
        ("boss@example.org", "[10.1.0.9]", 'expected "transport:next-hop"'),
        ("boss@example.org", "smtp:[127.0.0.1]", "is this host itself: a loop"),
        ("partner.example", "smtp:mx1.example.com", "is this host itself: a loop"),
    ],
)
def test_an_exception_that_cannot_be_is_refused_with_what_was_expected(exception: str, hop: str, expected: str) -> None:
    (problem,) = problems({"exceptions": {exception: hop}})
    assert problem.startswith(f"routes['exceptions'][{exception!r}] = ")
    assert expected in problem


def test_two_exceptions_that_are_one_to_postfix_are_refused() -> None:
    (problem,) = problems({"exceptions": {"boss@bücher.example": "smtp:", "BOSS@xn--bcher-kva.example": "discard:"}})
    assert "names one twice, as 'boss@bücher.example' and as 'BOSS@xn--bcher-kva.example'" in problem


@pytest.mark.parametrize(
    ("declared", "expected"),
    [
        ({"default": "smtp:[10.1.0.7]"}, "routes['default'] = 'smtp:[10.1.0.7]': expected a next hop such as"),
        ({"default": "10.1.0.7"}, "routes['default'] = '10.1.0.7': expected brackets around an address"),
        ({"default": "[mx1.example.com]"}, "routes['default'] = '[mx1.example.com]': is this host itself: a loop"),
        ({"default": "example.org"}, "routes['default'] = 'example.org': leads back to example.org by its MX"),
        ({"fallback": "[10.1.0.8]"}, "routes['fallback'] = '[10.1.0.8]': expected a list"),
        (
            {"fallback": ["[10.1.0.8]", "[127.0.0.1]"]},
            "routes['fallback'][1] = '[127.0.0.1]': is this host itself: a loop",
        ),
    ],
)
def test_a_default_or_a_fallback_that_cannot_be_is_refused(declared: dict[str, Any], expected: str) -> None:
    (problem,) = problems(declared)
    assert expected in problem


def test_what_routes_and_main_cf_both_set_is_refused_and_the_rest_is_main_cfs() -> None:
    (problem,) = problems({"default": "[10.1.0.7]"}, main_cf={"relayhost": "[10.1.0.8]"})
    assert problem == "main_cf['relayhost'] = '[10.1.0.8]': is what routes sets; expected it in one of the two"
    assert problems({"fallback": ["[10.1.0.7]"]}, main_cf={"relayhost": "[10.1.0.8]"}) == []


def test_credentials_that_nothing_encrypts_or_asks_for_are_refused() -> None:
    given = {"default": SMARTHOST, "credentials": {SMARTHOST: SECRET}}
    (problem,) = problems(given)
    assert 'expected main_cf = {"smtp_tls_security_level": "encrypt"}, or whatever is meant' in problem
    assert problems(given, main_cf=TLS) == []
    (problem,) = problems({**given, "credentials": {"[smarthost.example.net]": SECRET}}, main_cf=TLS)
    assert problem.startswith("routes['credentials']['[smarthost.example.net]'] = (not shown): no mail is led there;")
    assert problem.endswith(f"[10.1.0.2], {SMARTHOST}")


@pytest.mark.parametrize(
    "mistyped",
    [
        {"credentials": {SMARTHOST: "qZ7-top-secret"}},
        {"credentials": {SMARTHOST: f"{SECRET} "}},
        {"credentials": {SMARTHOST: f"{SECRET}\nx"}},
        {"credentials": {SMARTHOST: [SECRET]}},
        {"credentials": {SECRET: SMARTHOST}},
        {"credentials": {f"{SECRET}@smarthost.example.net": "x"}},
        {"credentials": {SECRET: "a:b", SECRET.upper(): "a:b"}},
        {"credentials": [SECRET]},
        {"credentails": {SMARTHOST: SECRET}},
        {"default": f"{SECRET}@smarthost.example.net:587"},
        {"fallback": [f"{SECRET}@[smarthost.example.net]"]},
        {"exceptions": {SMARTHOST: {SMARTHOST: f"{SECRET}@x"}}},
        [SECRET],
        SECRET,
    ],
)
def test_what_is_mistyped_does_not_show_a_secret(mistyped: Any) -> None:
    found = problems(mistyped, main_cf=TLS)
    assert found
    assert "qz7" not in "".join(found).lower()


def test_credentials_come_from_a_file_and_what_is_wrong_with_that_is_told_by_line_without_its_text(
    tmp_path: Path,
) -> None:
    path = tmp_path / "relayhost"
    path.write_text(f"# of the provider\n\n{SMARTHOST}  {SECRET}\n")
    assert declared_with(str(path))["passwords"].text.endswith(f"\n{SMARTHOST} {SECRET}\n")
    path = tmp_path / "wrong"
    path.write_text(f"{SMARTHOST} {SECRET}\nqZ7\n{SMARTHOST} qZ7:x\n")
    for name in (str(path), SECRET, str(tmp_path)):
        with pytest.raises(DeclarationError) as raised:
            declared_with(name)
        assert "qZ7" not in str(raised.value)
        if name == str(path):
            assert f"{path}:2: routes['credentials'] = (not shown): expected \"destination user:password\"" in str(
                raised.value
            )
            assert f"{path}:3: routes['credentials'] = (not shown): names one a second time" in str(raised.value)
        else:
            assert "cannot be read as a file of credentials: " in str(raised.value)


def declared_with(credentials: str) -> dict[str, Content]:
    data = {"relay_domains": GUIDE, "main_cf": TLS, "routes": {"default": SMARTHOST, "credentials": credentials}}
    fleet = Inventory(([("mx1.example.com", {})], data))
    return rendered(declared(fleet, list(fleet)).desired["mx1.example.com"], postfix())


def test_a_misspelled_key_does_not_show_what_it_holds() -> None:
    fleet = Inventory(([("mx1.example.com", {})], {"relay_domains": GUIDE, "route": ALL}))
    with pytest.raises(DeclarationError) as raised:
        declared(fleet, list(fleet))
    assert "route = (not shown): no such key; did you mean routes?" in str(raised.value)


def served(**changes: Any) -> ObservedState:
    """Return a host with all routes, whose credentials may be otherwise by digest, owner or mode."""
    host = observed(desired(routes=ALL, main_cf=TLS))
    secret = host.live["passwords"].digest
    live = {"passwords": LiveFile(secret, SECRET_MODE, "0:0"), "passwords.db": LiveFile("f" * 64, SECRET_MODE, "0:0")}
    live["passwords"] = dataclasses.replace(live["passwords"], **changes)
    texts = {name: text for name, text in host.texts.items() if name != "passwords"}
    manifest = host.manifest and dataclasses.replace(
        host.manifest, digests={**host.manifest.digests, "passwords": secret, "passwords.db": "f" * 64}
    )
    return dataclasses.replace(host, live={**host.live, **live}, texts=texts, manifest=manifest)


def plan_of(state: Any, host: ObservedState) -> Plan:
    plan = planned(state, host)
    assert isinstance(plan, Plan)
    return plan


def test_credentials_that_were_edited_are_put_back_though_nobody_read_them() -> None:
    state = desired(routes=ALL, main_cf=TLS)
    assert plan_of(state, served()).is_empty
    found = reviewed({"mx1.example.com": (state, served(digest="e" * 64))})
    assert "~ credentials: changed, not shown (by hand)" in text(found)
    assert "edited on the host since the last rollout, and put back" in text(found)
    sent = change(plan_of(state, served(digest="e" * 64)), {})
    assert "\nfile passwords 2 " in sent
    assert "table passwords hash 1 " in sent
    plan = plan_of(state, served(mode=MODE))
    assert [file.desired.name for file in plan.files] == ["passwords"]


def test_no_review_shows_credentials() -> None:
    state = desired(routes=ALL, main_cf=TLS)
    others = desired(routes={**ALL, "credentials": {SMARTHOST: "relay:qZ7-another"}}, main_cf=TLS)
    for wanted, host in ((state, observed(desired())), (others, served()), (desired(), served())):
        found = reviewed({"mx1.example.com": (wanted, host)})
        for shown in everything(found):
            assert "changed, not shown" in shown or "<secret>" in shown
            assert "qZ7" not in shown
        assert "qZ7" not in repr(plan_of(wanted, host)) + repr(wanted)


def everything(found: Review) -> list[str]:
    return [text(found, with_files=True), as_markdown(found), as_html(found), as_json(found)]


def test_a_review_says_who_may_send_by_an_exception() -> None:
    exceptions = {
        "boss@example.org": "smtp:[10.1.0.9]",
        "sub.example.net": "smtp:[10.1.0.9]",
        "boss@partner.example": "smtp:[10.1.0.9]",
        "partner.example": "smtp:",
    }
    wanted = {"exceptions": exceptions}
    found = text(reviewed({"mx1.example.com": (desired(routes=wanted), observed(desired()))}))
    assert "+ boss@example.org -> this address alone routed to smtp:[10.1.0.9]" in found
    assert "+ boss@partner.example -> not accepted, routed to smtp:[10.1.0.9]" in found
    assert "+ partner.example -> not accepted, routed to smtp:" in found
    assert "+ sub.example.net -> not accepted, routed to smtp:[10.1.0.9]" in found
    with_subdomains = desired(routes=wanted, relay_subdomains=True)
    changes = difference(rendered(with_subdomains, postfix()), observed(desired(relay_subdomains=True)))
    assert changes.wanted.domains["sub.example.net"] == "accepted as a subdomain, routed to smtp:[10.1.0.9]"
    assert changes.wanted.domains["partner.example"] == "not accepted, routed to smtp:"
    assert changes.wanted.subdomains == ROUTED
    assert not any(key.startswith(".") for key in changes.wanted.domains)


def test_the_route_of_an_address_waits_for_no_queue_and_no_exception_is_a_removed_domain() -> None:
    exceptions = {"boss@example.org": "smtp:[10.1.0.9]", "partner.example": "smtp:[10.1.0.9]"}
    host = observed(desired(routes={"exceptions": exceptions}), queued={"example.org": 3})
    plan = plan_of(desired(), host)
    # A domain that is not accepted may be one whose mail is still queued.
    assert (plan.gone, plan.gates) == (("partner.example",), ())
    # With its domain it stays until that is refused.
    others = {**GUIDE, "added.example": "smtp:[10.1.0.2]"}
    del others["example.org"]
    plan = plan_of(desired(relay_domains=others), host)
    assert plan.gone == ("example.org", "partner.example")
    assert plan.bridge is not None
    assert plan.bridge["boss@example.org"] == "smtp:[10.1.0.9]"


def test_the_next_hops_of_all_routes_are_asked_and_of_a_change_those_that_it_brings() -> None:
    state = desired(routes=ALL, main_cf=TLS)
    brought = plan_of(state, observed(desired(main_cf=TLS))).probes.hops
    assert set(brought) == {"[10.1.0.9]", "lmtp:unix:/run/l", SMARTHOST, "[10.1.0.8]", "backup.example.net:2525"}
    contents = rendered(state, postfix())
    asked = all_probes(difference(contents, served()), main_cf_parameters(contents["main.cf"].text), None)
    assert set(asked.hops) == {"[10.1.0.2]", *brought}


def test_a_mistake_is_told_with_the_line_of_its_entry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "group_data").mkdir()
    entries = ('        "partner.example": "smtp:",', '        "*": "smtp:[10.1.0.9]",')
    written = "\n".join(("routes = {", '    "exceptions": {', *entries, "    },", "}", ""))
    (tmp_path / "group_data/all.py").write_text(written)
    routes = {"exceptions": {"partner.example": "smtp:", "*": "smtp:[10.1.0.9]"}}
    fleet = Inventory(([("mx1.example.com", {})], {"relay_domains": GUIDE, "routes": routes}))
    with pytest.raises(DeclarationError) as raised:
        declared(fleet, list(fleet))
    assert "group_data/all.py:4: routes['exceptions']['*'] = '*': expected an address" in str(raised.value)


def test_a_fallback_that_answers_for_a_next_hop_that_is_asked_is_warned_of() -> None:
    declared = {"relay_domains": GUIDE, "myhostname": "mx1.example.com", "mydomain": "example.com"}
    keys = {"routes": {"fallback": ["[10.1.0.8]"]}, "relay_recipients": {"example.net": "verify"}}
    (warning,) = checked({**declared, **keys}).warnings
    assert "is asked for recipients, too, where example.net is to" in str(warning)
    assert checked({**declared, "routes": keys["routes"]}).warnings == ()

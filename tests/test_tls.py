"""The key tls: what it sets, what is refused or warned of, what a review says, and that no private key is shown."""

import dataclasses
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from mailproxy.as_html import as_html
from mailproxy.as_json import as_json
from mailproxy.as_markdown import as_markdown
from mailproxy.as_text import text
from mailproxy.certificates import certificate_in, public_key_of
from mailproxy.check import checked
from mailproxy.inputs import change, expectation
from mailproxy.judging import Reply, outcomes
from mailproxy.ledger import row
from mailproxy.local_file import local_file
from mailproxy.model import DesiredState
from mailproxy.observed import SECRET_MODE, LiveFile, ObservedState
from mailproxy.plan import Plan, Refusal, planned
from mailproxy.probe import Probes
from mailproxy.render import rendered
from mailproxy.review import file_lines
from tests.pairs import NOW, Pair, pair
from tests.states import GUIDE, desired, observed, postfix, reviewed
from tests.test_render import GOLDEN, POSTFIXES

NAME = "mx1.example.com"
GOOD = pair(NAME)
ON_HOST = {"certificate": "/etc/ssl/mx.pem", "key": "/etc/ssl/private/mx.key"}
AUTHORITIES = "/etc/ssl/certs/ca-certificates.crt"
FINGERPRINT = ":".join(["AB"] * 32)
POLICY = {
    "[10.1.0.2]": "secure match=mail.internal.example:.internal.example",
    "partner.example": "encrypt protocols=!SSLv2:!SSLv3 ciphers=high",
    ".partner.example": "dane-only",
    "other.example": f"fingerprint match={FINGERPRINT}|{FINGERPRINT}",
}


def problems(tls: Any, **keys: Any) -> list[str]:
    declared = {"relay_domains": GUIDE, "myhostname": NAME, "mydomain": "example.com", "tls": tls, **keys}
    return [str(problem) for problem in checked(declared).problems]


def warnings(tls: Any) -> list[str]:
    declared = {"relay_domains": GUIDE, "myhostname": NAME, "mydomain": "example.com", "tls": tls}
    return [str(warning) for warning in checked(declared).warnings]


def found(state: DesiredState, made: Pair = GOOD, **changes: Any) -> ObservedState:
    """Return a host as declared that answers about a pair of its own."""
    told: dict[str, Any] = {
        "certificates": {ON_HOST["certificate"]: made.certificate},
        "keys": {ON_HOST["key"]: public_key_of(made.key)},
        "at": NOW,
    }
    return observed(state, **{**told, **changes})


@pytest.mark.parametrize("tree", ["2.7", "3.5", "3.10"])
def test_tls_is_rendered_as_the_golden_tree_of_each_postfix(tree: str) -> None:
    policy = {key: value for key, value in POLICY.items() if tree != "2.7" or "dane" not in value}
    state = desired(tls={**GOOD.declared(), "policy": policy, "authorities": AUTHORITIES})
    lacking = frozenset({"smtpd_tls_chain_files", "smtp_dns_support_level"} if tree == "2.7" else ())
    contents = rendered(state, dataclasses.replace(POSTFIXES[tree], lacking=lacking))
    for name in ("main.cf", "tlspolicy"):
        assert contents[name].text == (GOLDEN / "tls" / tree / name).read_text(), name


def test_a_key_is_sent_with_its_certificates_behind_it_and_as_a_secret() -> None:
    chain = Pair(f"{GOOD.certificate}\r\n{pair('authority.example').certificate}", f"Bag Attributes\n{GOOD.key}")
    state = desired(tls=chain.declared())
    text = rendered(state, postfix())["tls.pem"].text
    kinds = [line.split(maxsplit=1)[1] for line in text.splitlines() if line.startswith("-----BEGIN")]
    assert kinds == ["PRIVATE KEY-----", "CERTIFICATE-----", "CERTIFICATE-----"]
    plan = planned(state, observed(desired()))
    assert isinstance(plan, Plan)
    assert text in change(plan, {})
    assert plan.service.action == "reload"
    done = planned(state, observed(state))
    assert isinstance(done, Plan)
    assert done.is_empty


def test_what_is_not_declared_leaves_no_trace() -> None:
    plain, empty = desired(), desired(tls={})
    assert empty.digest == plain.digest
    assert expectation(empty) == expectation(plain)
    assert rendered(empty, postfix()) == rendered(plain, postfix())
    assert "tls" not in "".join(content.text for content in rendered(plain, postfix()).values())
    of_next_hops = rendered(desired(tls={"policy": {"partner.example": "encrypt"}}), postfix())
    assert "smtpd_tls" not in of_next_hops["main.cf"].text
    assert "tls.pem" not in of_next_hops


def test_the_protocols_are_what_main_cf_says_where_it_does() -> None:
    state = desired(tls=ON_HOST, main_cf={"smtpd_tls_protocols": "!SSLv2, !SSLv3"})
    lines = rendered(state, postfix())["main.cf"].text.splitlines()
    assert [line for line in lines if line.startswith("smtpd_tls_protocols")] == [
        "smtpd_tls_protocols = !SSLv2, !SSLv3"
    ]
    assert "smtp_tls_protocols = >=TLSv1.2" in lines
    (problem,) = problems(ON_HOST, main_cf={"smtpd_tls_chain_files": "/etc/ssl/other.pem"})
    assert problem.endswith("is what tls sets; expected it in one of the two")


@pytest.mark.parametrize(
    ("tls", "expected"),
    [
        ({"certificates": "x"}, "tls['certificates'] = 'x': no such key"),
        ({"certificate": "/etc/ssl/mx.pem"}, "tls['certificate'] = '/etc/ssl/mx.pem': needs the key that belongs to"),
        ({"level": "may"}, "tls['level'] = 'may': needs a certificate and its key"),
        ({**ON_HOST, "level": "must"}, "tls['level'] = 'must': expected 'none', 'may' or 'encrypt'"),
        ({**ON_HOST, "key": "/etc/ssl/my key"}, "tls['key'] = '/etc/ssl/my key': expected the absolute path of a file"),
        ({**ON_HOST, "key": GOOD.key}, "tls['key'] = (not shown): expected the absolute path of a file on the host"),
        ({**GOOD.declared(), "key": "/etc/ssl/mx.key"}, "tls['key'] = '/etc/ssl/mx.key': expected both on the host"),
        ({"default": "fingerprint"}, "tls['default'] = 'fingerprint': expected 'none'"),
        ({"default": "verify", "authorities": AUTHORITIES}, "certificates are for names, and [10.1.0.2] is an address"),
        ({"default": "dane-only"}, "tls['default'] = 'dane-only': [10.1.0.2] is an address, for which the DNS has no"),
        ("strict", "tls = 'strict': expected a dict"),
    ],
)
def test_what_cannot_be_is_refused_with_what_was_expected(tls: Any, expected: str) -> None:
    (problem,) = problems(tls)
    assert expected in problem


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        (
            "[10.1.0.2]:25",
            "encrypt",
            "is no next hop of relay_domains, as it is spelled there, and no domain; did you ",
        ),
        ("[10.1.0.2", "encrypt", "expected a next hop such as"),
        ("smtp:[10.1.0.2]", "encrypt", "expected the next hop without its transport"),
        ("partner", "encrypt", "is no next hop of relay_domains"),
        ("example.com", "encrypt", "mail for it goes to smtp:[10.1.0.2]; expected that next hop as the key"),
        ("[10.1.0.2]", "dane", "[10.1.0.2] is an address, for which the DNS has no TLSA records"),
        ("[10.1.0.2]", "verify", "certificates are for names, and [10.1.0.2] is an address; expected the name, as in"),
        ("partner.example", "encrypted", "expected none, may, encrypt, dane, dane-only, fingerprint, verify or secure"),
        (
            "partner.example",
            "encrypt match=mx.example",
            "match is for verify, secure, fingerprint, and not for encrypt",
        ),
        ("partner.example", "secure match=a b", "found 'b'; expected a level, and behind it match=..."),
        ("partner.example", "secure match=a:-", "expected a domain name such as example.com"),
        ("partner.example", "encrypt ciphers=best", "expected ciphers=null|export|low|medium|high"),
        ("partner.example", "encrypt protocols=TLS1.2", "expected protocols as in protocols=!SSLv2:!SSLv3:!TLSv1"),
        ("partner.example", "fingerprint", "expected the fingerprint of the certificate"),
        ("partner.example", "fingerprint match=AB:CD", "expected a SHA-256 as 32 pairs of hexadecimal digits"),
        ("partner.example", "", "expected none, may, encrypt"),
    ],
)
def test_a_policy_that_no_mail_meets_or_that_holds_for_none_is_refused(key: str, value: str, expected: str) -> None:
    (problem,) = problems({"policy": {key: value}, "authorities": AUTHORITIES})
    assert problem.startswith(f"tls['policy'][{key!r}] = ")
    assert expected in problem


def test_a_next_hop_of_main_cf_may_have_a_policy() -> None:
    tls = {"policy": {"[smart.example]:587": "encrypt"}}
    assert problems(tls, main_cf={"relayhost": "[smart.example]:587"}) == []
    (problem,) = problems(tls)
    assert "there is [10.1.0.2]" in problem


def test_who_is_to_be_believed_has_to_be_said_where_it_matters() -> None:
    tls = {"policy": {"partner.example": "secure"}}
    (problem,) = problems(tls)
    assert problem.startswith("tls['authorities'] = nothing: secure needs a file on the host of whom to believe")
    assert problems({**tls, "authorities": AUTHORITIES}) == []
    assert problems(tls, main_cf={"tls_append_default_CA": True}) == []


@pytest.mark.parametrize(
    ("certificate", "key", "days", "expected"),
    [
        (GOOD, pair(NAME), 0, "tls['certificate'] = 'tls/mx.pem': the key is not that of the first certificate"),
        (GOOD, GOOD, 91, "tls['certificate'] = 'tls/mx.pem': expired on 2027-02-23 00:00 UTC"),
        (GOOD, GOOD, -1, "tls['certificate'] = 'tls/mx.pem': is not valid before 2026-11-25 00:00 UTC"),
        (Pair("nothing", ""), GOOD, 0, "tls['certificate'] = 'tls/mx.pem': holds no certificate in PEM"),
        (GOOD, Pair("", GOOD.certificate), 0, "tls['key'] = 'tls/mx.key': holds no private key in PEM"),
        (GOOD, Pair("", GOOD.key * 2), 0, "tls['key'] = 'tls/mx.key': holds more than one private key; expected one"),
        (GOOD, pair(NAME, password=b"x"), 0, "tls['key'] = 'tls/mx.key': is locked by a password, which Postfix"),
    ],
)
def test_a_pair_that_cannot_be_served_is_refused_before_any_host_is_read(
    certificate: Pair, key: Pair, days: int, expected: str
) -> None:
    (problem,) = problems(Pair(certificate.certificate, key.key).declared(NOW + timedelta(days=days)))
    assert problem.startswith(expected)


def test_a_file_that_cannot_be_read_is_told_by_its_path(tmp_path: Path) -> None:
    found = problems({"certificate": local_file(str(tmp_path / "none.pem")), "key": local_file(str(tmp_path))})
    assert [problem.partition(": ")[2] for problem in found] == [
        "cannot be read here: No such file or directory",
        "cannot be read here: Is a directory",
    ]


def test_what_may_not_be_meant_is_a_warning() -> None:
    assert warnings(GOOD.declared()) == []
    assert warnings(pair(f"*.{NAME.partition('.')[2]}").declared()) == []
    (found,) = warnings(GOOD.declared(NOW + timedelta(days=61)))
    assert found == "tls['certificate'] = 'tls/mx.pem': expires in 29 days, on 2027-02-23"
    (found,) = warnings(pair("mail.example.com").declared())
    assert found.endswith(f"is for mail.example.com, and not for {NAME}")
    (found,) = warnings({**ON_HOST, "level": "encrypt"})
    assert found.startswith("tls['level'] = 'encrypt': keeps out who sends without TLS")
    (found,) = warnings({"policy": {"partner.example": "dane"}})
    assert found.startswith("tls['policy'] = 'dane': holds only where a resolver of the host's own validates DNSSEC")


def refusal(state: DesiredState, host: ObservedState) -> str:
    plan = planned(state, host)
    return plan.reason if isinstance(plan, Refusal) else ""


def test_files_on_a_host_are_looked_at_before_anything_is_staged() -> None:
    state = desired(tls=ON_HOST)
    assert "certificate /etc/ssl/mx.pem /etc/ssl/private/mx.key\n" in expectation(state)
    assert refusal(state, found(state, GOOD)) == ""
    other = {ON_HOST["key"]: public_key_of(pair(NAME).key)}
    for changes, expected in (
        ({"keys": other}, "tls['certificate'] = '/etc/ssl/mx.pem': the key is not that of the first certificate"),
        ({"at": NOW + timedelta(days=90)}, "tls['certificate'] = '/etc/ssl/mx.pem': expired on 2027-02-23"),
        (
            {"certificates": {ON_HOST["certificate"]: None}},
            "tls['certificate'] = '/etc/ssl/mx.pem': there is no such file",
        ),
        (
            {"certificates": {ON_HOST["certificate"]: ""}},
            "tls['certificate'] = '/etc/ssl/mx.pem': holds no certificate",
        ),
        (
            {"keys": {ON_HOST["key"]: "absent"}},
            "tls['key'] = '/etc/ssl/private/mx.key': there is no such file on the host",
        ),
        (
            {"keys": {ON_HOST["key"]: "damaged"}},
            "tls['key'] = '/etc/ssl/private/mx.key': openssl finds no private key in it",
        ),
    ):
        assert refusal(state, found(state, GOOD, **changes)).startswith(expected)
    believing = desired(tls={"authorities": AUTHORITIES})
    assert f"path {AUTHORITIES}\n" in expectation(believing)
    reason = refusal(believing, observed(believing, missing_paths=frozenset({AUTHORITIES})))
    assert reason == f"tls['authorities'] = '{AUTHORITIES}': there is no such file on the host"


def test_what_a_host_cannot_tell_is_a_warning() -> None:
    state = desired(tls=ON_HOST)
    plan = planned(state, found(state, GOOD, keys={ON_HOST["key"]: "unknown"}, at=NOW + timedelta(days=70)))
    assert isinstance(plan, Plan)
    soon, unknown = (one for one in plan.warnings if "/etc/ssl" in one)
    assert soon == "the certificate /etc/ssl/mx.pem expires in 20 days, on 2027-02-23"
    assert unknown.startswith("the host has no openssl: whether /etc/ssl/private/mx.key is the key of")


def test_a_postfix_without_dane_is_refused() -> None:
    state = desired(tls={"policy": {"partner.example": "dane"}})
    assert "ask smtp_dns_support_level\n" in expectation(state)
    old = dataclasses.replace(postfix((2, 10)), lacking=frozenset({"smtp_dns_support_level"}))
    reason = refusal(state, observed(state, postfix=old))
    assert reason == "tls: dane came with Postfix 2.11 (its Postfix is 2.10)"


def test_a_review_says_whose_certificate_comes_and_shows_no_key() -> None:
    before, after = desired(tls=GOOD.declared()), desired(tls=pair(NAME, "mail.example.com", days=300).declared())
    host = observed(before, certificates={"tls.pem": GOOD.certificate})
    review = reviewed({NAME: (after, host)})
    (change,) = (str(one) for block in review.blocks for one in block.changes)
    old, new = certificate_in(GOOD.certificate), after.tls.certificate_to_come(host)
    assert change == f"~ certificate: {old} -> {new}"
    assert str(new).startswith(f"{NAME} and 1 more, until 2027-09-21 (SHA-256 ")
    first = reviewed({NAME: (before, observed(desired()))})
    assert f"+ certificate: {old}" in [str(one) for block in first.blocks for one in block.changes]
    secret = GOOD.key.splitlines()[1]
    assert '<span class="subject">certificate</span>' in as_html(review)
    for one in (first, review):
        lines = [line for block in one.files for line in file_lines(block.change)]
        written = (text(one), as_markdown(one), as_json(one), as_html(one), repr(one), *lines)
        assert secret not in "".join(map(str, written))
    assert secret not in repr(before) + repr(observed(before))


def test_a_review_says_the_protocols_of_old_and_new_hosts_alike() -> None:
    state = desired(tls=ON_HOST)
    fleet = {str(version): (state, found(desired(), postfix=postfix(version))) for version in ((3, 5), (3, 7))}
    said = {str(one): block.hosts for block in reviewed(fleet).blocks for one in block.changes}
    assert len(said["+ smtpd_tls_protocols = >=TLSv1.2"]) == 2


def test_status_tells_until_when_the_certificate_on_a_host_holds() -> None:
    sent, on_host = desired(tls=GOOD.declared()), desired(tls=ON_HOST)
    assert row(NAME, sent, observed(sent, at=NOW)).certificate == "2027-02-23"
    host = found(on_host, GOOD, at=NOW + timedelta(days=70))
    assert row(NAME, on_host, host).certificate == "2027-02-23"
    assert row(NAME, on_host, host).state == "the certificate expires in 20 days, on 2027-02-23"
    gone = row(NAME, on_host, found(on_host, certificates={ON_HOST["certificate"]: None}))
    assert (gone.certificate, "there is no such file on the host" in gone.state) == ("-", True)
    behind = observed(sent, certificates={"tls.pem": pair(NAME, days=3).certificate}, at=NOW)
    behind.live["tls.pem"] = LiveFile("0" * 64, SECRET_MODE, "0:0")
    assert row(NAME, sent, behind).certificate == "2026-11-28"
    assert row(NAME, desired(), observed(desired())).certificate == ""


def test_another_certificate_than_expected_fails_a_host() -> None:
    state = desired(tls=GOOD.declared())
    plan = planned(state, observed(desired()))
    assert isinstance(plan, Plan)
    assert plan.probes.starttls
    expected = certificate_in(GOOD.certificate)
    assert plan.probes.certificate == expected
    for seen, verdicts in ((expected, []), (certificate_in(pair(NAME).certificate), ["fail"]), (None, ["fail"])):
        reply = Reply("starttls", 220, "ready", certificate=seen)
        assert [one.verdict for one in outcomes(plan.probes, [reply], "192.0.2.1", True) if one.text] == verdicts
    # Where only tables change, processes go on with what they have read.
    moved = planned(
        desired(tls=GOOD.declared(), relay_domains={**GUIDE, "example.com": "smtp:[10.1.0.3]"}), found(state)
    )
    assert isinstance(moved, Plan)
    assert (moved.service.action, moved.probes.starttls, moved.probes.certificate) == ("none", True, None)
    assert list(outcomes(Probes(starttls=True), [Reply("starttls", 220, "")], "192.0.2.1", True)) == []


def test_a_default_alone_is_declared() -> None:
    assert "smtp_tls_security_level = may" in rendered(desired(tls={"default": "may"}), postfix())["main.cf"].text
    assert "smtp_tls" not in rendered(desired(), postfix())["main.cf"].text

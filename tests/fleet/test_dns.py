"""mailproxy.dns: what a name server in the controller's network says of the lab's hosts and of domains of all kinds."""

import contextlib
import json
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path

from tests.fleet.controller import PYINFRA, Controller
from tests.name_server import name_server

Zone = Mapping[tuple[str, str], list[str]]
HOSTS = {"mx1.lab.test": "198.18.1.1", "mx2.lab.test": "198.18.1.2", "mx3.lab.test": "198.18.1.3"}
WELL: Zone = {
    **{(name, "A"): [address] for name, address in HOSTS.items()},
    **{
        (".".join(reversed(address.split("."))) + ".in-addr.arpa", "PTR"): [f"{name}."]
        for name, address in HOSTS.items()
    },
    **{(f"example.{suffix}", "MX"): [f"10 {name}." for name in HOSTS] for suffix in ("com", "net", "org")},
    **{(f"example.{suffix}", "TXT"): ['"v=spf1 mx -all"'] for suffix in ("com", "net", "org")},
    ("_25._tcp.mx1.lab.test", "TLSA"): [f"3 1 1 {'ab' * 32}"],
    ("_mta-sts.example.com", "TXT"): ['"v=STSv1; id=1"'],
    ("mta-sts.example.com", "A"): ["198.51.100.80"],
}
# Each finding but those above, by a domain of its name.
WRONG: Zone = {
    ("elsewhere.example", "MX"): ["10 mail.provider.test."],
    ("elsewhere-too.example", "MX"): ["5 mx1.lab.test.", "10 mail.provider.test."],
    ("mail.provider.test", "A"): ["198.51.100.7"],
    ("dangling.example", "MX"): ["10 mx1.lab.test.", "20 gone.lab.test."],
    ("implicit.example", "A"): [HOSTS["mx1.lab.test"]],
    ("null.example", "MX"): ["0 ."],
    ("two-spf.example", "MX"): ["10 mx1.lab.test."],
    ("two-spf.example", "TXT"): ['"v=spf1 -all"', '"v=spf1 mx -all"'],
    ("sts.example", "MX"): ["10 mx1.lab.test."],
    ("_mta-sts.sts.example", "TXT"): ['"v=STSv1; id=1"'],
    ("_25._tcp.mx1.lab.test", "TLSA"): [f"1 1 1 {'ab' * 32}"],
    ("3.1.18.198.in-addr.arpa", "PTR"): ["old.lab.test."],
}
NOT_THERE = "no-such-domain.example"
SLOW = "slow.example"
UNKNOWN = "its MX is not known, and SPF and MTA-STS were not asked for: no answer in time"
DOMAINS = [
    *dict.fromkeys(name for name, kind in WRONG if name.endswith(".example") and "_" not in name),
    NOT_THERE,
    SLOW,
]

Found = set[tuple[str, str, tuple[str, ...]]]


@contextlib.contextmanager
def answering(controller: Controller, directory: Path, zone: Zone, unanswered: Collection[str] = ()) -> Iterator[None]:
    """Inside, the controller's resolver is a name server on its loopback."""
    configuration = directory / "resolv.conf"
    configuration.write_text("nameserver 127.0.0.1\n")
    bound = f'mount --bind {configuration} /etc/resolv.conf && exec "$0" "$@"'
    controller.pyinfra = ("unshare", "--mount", "sh", "-c", bound, *PYINFRA)
    with controller.fleet.network():
        server = name_server(zone, at=("127.0.0.1", 53), unanswered=unanswered)
        server.__enter__()
    try:
        yield
    finally:
        server.__exit__(None, None, None)


def test_a_fleet_that_the_dns_leads_to(controller: Controller, tmp_path: Path) -> None:
    with answering(controller, tmp_path, WELL):
        result = controller.call("mailproxy.dns", "-y")
    assert result.status == 0, result.everything
    assert "3 domains, 3 hosts" in result.review
    assert {line.strip() for line in result.review.splitlines() if line and not line.startswith(" ")} == {
        "3 domains, 3 hosts",
        "well",
    }
    for text, names in (
        (
            "its MX leads to mx1.lab.test, mx2.lab.test, mx3.lab.test",
            "3 domains: example.com, example.net, example.org",
        ),
        ("its SPF passes for mx1.lab.test, mx2.lab.test, mx3.lab.test", "3 domains: example.com, example.net"),
        ("declares MTA-STS", "1 domain: example.com"),
        ("declares DANE: TLSA 3 1 1", "1 MX host: mx1.lab.test"),
        ("its name leads to its address, and that back to its name", "3 hosts: mx1.lab.test, mx2.lab.test, mx3"),
    ):
        assert text in result.said
        assert names in result.said


def test_what_is_wrong_is_told_once_and_what_is_not_known_is_not_wrong(controller: Controller, tmp_path: Path) -> None:
    controller.declare(relay_domains=dict.fromkeys(["example.com", *DOMAINS], "smtp:[10.1.0.2]"))
    zone = {**WELL, **WRONG, ("example.com", "MX"): ["10 mx1.lab.test.", "10 mx2.lab.test."]}
    with answering(controller, tmp_path, zone, [SLOW]):
        result = controller.call("mailproxy.dns", "--json", "-y")
    assert result.status == 1, result.everything
    found: Found = {(one["level"], one["text"], tuple(one["names"])) for one in json.loads(result.review)}
    provider = "mail.provider.test (198.51.100.7)"
    dane = "declares DANE by nothing that mail servers use: TLSA 1 1 1; expected 3 1 1 (RFC 7672 3.1)"
    sts = "declares MTA-STS, and there is no mta-sts below it that would have the policy"
    assert {one for one in found if one[0] == "wrong"} == {
        ("wrong", f"its MX leads elsewhere, and not here: {provider}", ("elsewhere.example",)),
        ("wrong", "its MX gone.lab.test does not exist", ("dangling.example",)),
        ("wrong", "says by a null MX that it takes no mail (RFC 7505)", ("null.example",)),
        ("wrong", "does not exist in the DNS", (NOT_THERE,)),
        ("wrong", "its SPF counts as broken: Two or more type TXT spf records found.", ("two-spf.example",)),
        ("wrong", sts, ("sts.example",)),
        ("wrong", dane, ("mx1.lab.test",)),
        ("wrong", f"the reverse name of {HOSTS['mx3.lab.test']} is old.lab.test", ("mx3.lab.test",)),
    }
    without_spf = sorted({*DOMAINS} - {"two-spf.example", SLOW})
    assert {one for one in found if one[0] == "warning"} == {
        ("warning", f"its MX leads elsewhere too: {provider}", ("elsewhere-too.example",)),
        ("warning", "has no MX: mail goes to its own address (RFC 5321 5.1)", ("implicit.example",)),
        ("warning", "no MX that could be found leads to it", ("mx3.lab.test",)),
        ("warning", "has no SPF, and hosts of this fleet may send for it", tuple(without_spf)),
        ("warning", "its SPF says fail of mx3.lab.test, where others may send through it", ("example.com",)),
    }
    assert {one for one in found if one[0] == "unknown"} == {("unknown", UNKNOWN, (SLOW,))}

"""Access holds in a real smtpd, with the text of its refusals, and whatever it allows never opens the relay."""

import dataclasses
import itertools
import smtplib
from collections.abc import Iterator, Mapping

import pytest

from lab.fleet import Fleet
from lab.hosts import Host
from mailproxy.check import validated
from mailproxy.render import rendered
from tests.fleet.conftest import GUIDE
from tests.fleet.controller import Controller, live, reply_to
from tests.states import postfix

# Who may come: each with what access declares of it, None for nothing.
ACTIONS = {"good": "allow", "bad": "reject no {}", "any": None}
ADDRESSES = {"good": "192.0.2.1", "bad": "192.0.2.2", "any": "192.0.2.3"}
RELAYED, FOREIGN = "example.com", "foreign.example"
LISTS = {
    "clients": [ADDRESSES],
    "helo": [{word: f"{word}.helo.example" for word in ACTIONS}],
    "senders": [{word: f"{word}@sender.example" for word in ACTIONS}],
    "recipients": [{word: f"{word}@{domain}" for word in ACTIONS} for domain in (RELAYED, FOREIGN)],
}
ACCESS = {
    key: {named[word]: action.format(key) for named in names for word, action in ACTIONS.items() if action}
    for key, names in LISTS.items()
}
# What else somebody may declare for recipients, for senders, and for who may relay.
MAIN_CFS: dict[str, dict[str, str]] = {
    "nothing else": {},
    "recipients": {"smtpd_recipient_restrictions": "permit"},
    "own rule": {"smtpd_relay_restrictions": "permit_mynetworks, permit_auth_destination, reject"},
    "senders": {"smtpd_sender_restrictions": "permit", "smtpd_helo_restrictions": "permit"},
}
DIRECTORY = "/tmp/access"
# For a session of its own that is longer than those of clients.
PATIENT = """
smtpd_authorized_xclient_hosts = static:all
smtpd_hard_error_limit = 100000
smtpd_soft_error_limit = 100000
smtpd_junk_command_limit = 100000
smtpd_forbid_unauth_pipelining = no
"""


def write(host: Host, version: tuple[int, int], main_cf: Mapping[str, str]) -> None:
    """Write what is rendered for a version of Postfix beside a host's own configuration."""
    declared = {"relay_domains": GUIDE, "myhostname": host.name, "mydomain": "lab.test", "mynetworks": ["10.1.0.2"]}
    desired, problems = validated({**declared, "access": ACCESS, "main_cf": main_cf})
    assert desired is not None, problems
    place = dataclasses.replace(postfix(version), config_directory=DIRECTORY)
    texts = {name: content.text for name, content in rendered(desired, place).items()}
    # A later Postfix is as one before 2.10 without a rule of its own in the list that these do not know.
    texts["main.cf"] += PATIENT + ("smtpd_relay_restrictions =\n" if version < (2, 10) else "")
    host.run(["sh", "-c", f"rm -rf {DIRECTORY} && mkdir {DIRECTORY} && cp /etc/postfix/master.cf {DIRECTORY}"])
    for name, text in texts.items():
        (host.root / DIRECTORY.lstrip("/") / name).write_text(text)
    tables = " ".join(f"hash:{name}" for name in texts if name.endswith("access") and not name.startswith("client"))
    # Postfix reads no main.cf of this very second, and no directory of others that its own does not name.
    named = f"postconf -e alternate_config_directories={DIRECTORY} && touch -d '-1 min' main.cf /etc/postfix/main.cf"
    host.run(["sh", "-c", f"cd {DIRECTORY} && postmap {tables} hash:transport && postalias hash:aliases && {named}"])


def session(host: Host, commands: list[str]) -> list[str]:
    """Return the replies of a host's smtpd to commands, its greeting aside; as its owner, so that it restricts."""
    run = ["setpriv", "--reuid=postfix", "--regid=postfix", "--clear-groups", "sendmail", "-C", DIRECTORY, "-bs"]
    said = host.run(run, input="".join(f"{command}\r\n" for command in [*commands, "QUIT"]))
    replies = [line for line in said.stdout.splitlines() if line[3:4] == " "]
    assert len(replies) == len(commands) + 2, said.stdout[-500:] + said.stderr
    return replies[1:-1]


def everybody() -> Iterator[tuple[tuple[str, str, str, str], str]]:
    """Yield what stands for client, HELO, sender and recipient, and the domain of that, in the order of a session."""
    for client, helo, sender in itertools.product(ACTIONS, repeat=3):
        for domain, recipient in itertools.product((RELAYED, FOREIGN), ACTIONS):
            yield (client, helo, sender, recipient), domain


def commands(client_address: Mapping[str, str]) -> Iterator[tuple[str, bool]]:
    """Yield the commands of a session with everybody, each with whether it names a recipient."""
    for client, helo, sender in itertools.product(ACTIONS, repeat=3):
        yield "RSET", False
        yield f"XCLIENT NAME=[UNAVAILABLE] ADDR={client_address[client]}", False
        yield f"HELO {helo}.helo.example", False
        yield f"MAIL FROM:<{sender}@sender.example>", False
        for domain, recipient in itertools.product((RELAYED, FOREIGN), ACTIONS):
            yield f"RCPT TO:<{recipient}@{domain}>", True


def asked(host: Host, client_address: Mapping[str, str]) -> list[str]:
    """Return what everybody is answered to each recipient."""
    sent = list(commands(client_address))
    replies = session(host, [command for command, _ in sent])
    found = [reply for (_, names_recipient), reply in zip(sent, replies, strict=True) if names_recipient]
    assert {reply[0] for (_, names), reply in zip(sent, replies, strict=True) if not names} == {"2"}
    return found


@pytest.mark.parametrize("main_cf", MAIN_CFS)
def test_whatever_is_allowed_a_stranger_never_relays_to_a_foreign_domain(controller: Controller, main_cf: str) -> None:
    oldest, _, newest = controller.fleet.hosts
    for host, version in ((oldest, (3, 5)), (newest, (3, 10)), (newest, (2, 7))):
        write(host, version, MAIN_CFS[main_cf])
        replies = asked(host, ADDRESSES)
        for (words, domain), reply in zip(everybody(), replies, strict=True):
            # The first list that knows them decides, and where that is an allow, what access has nothing to do with.
            decided = next((index for index, word in enumerate(words) if word != "any"), None)
            refuses = decided is not None and words[decided] == "bad"
            expected = f"no {list(LISTS)[decided or 0]}" if refuses else ""
            assert reply[0] == ("5" if refuses or domain == FOREIGN else "2"), (version, words, domain, reply)
            assert expected in reply, (version, words, domain, reply)
        # Who is trusted is not asked for any of it.
        trusted = asked(host, dict.fromkeys(ACTIONS, "10.1.0.2"))
        assert {reply[0] for reply in trusted} == {"2"}


def refusal(fleet: Fleet, host: Host, client: str, helo: str, sender: str, recipient: str) -> str:
    """Return what a host answers at RCPT TO, over its own port, to who comes from an address."""
    with fleet.network(), smtplib.SMTP(host.address, 25, local_hostname=helo, timeout=20) as smtp:
        smtp.ehlo()
        assert smtp.docmd(f"XCLIENT NAME=[UNAVAILABLE] ADDR={client}")[0] == 220
        assert smtp.docmd(f"EHLO {helo}")[0] == 250
        assert smtp.docmd(f"MAIL FROM:<{sender}>")[0] == 250
        code, said = smtp.docmd(f"RCPT TO:<{recipient}>")
        return f"{code} {said.decode()}"


def test_mail_is_refused_with_the_text_that_is_declared_until_that_is_gone(controller: Controller) -> None:
    fleet, host = controller.fleet, controller.fleet.hosts[2]
    access = {
        "clients": {"192.0.2.0/24": "reject 5.7.1 ask postmaster@example.com", "192.0.2.7": "allow"},
        "helo": {"ylmf-pc": "reject"},
        "senders": {"spam.example": "reject not from you", "<>": "allow"},
        "recipients": {"old@example.com": "defer 4.2.1 moving house", "example.net": "reject closed"},
    }
    controller.declare(access=access, main_cf={"smtpd_authorized_xclient_hosts": "198.18.0.1"})
    result = controller.roll_out("--limit", host.name)
    for change in (
        "+ client access 192.0.2.0/24: REJECT 5.7.1 ask postmaster@example.com",
        "+ HELO access ylmf-pc: REJECT",
        "+ recipient access example.net: REJECT closed",
    ):
        assert change in result.said
    cases = {
        ("192.0.2.8", "a.example", "a@a.example", "a@example.com"): "554 5.7.1 <unknown[192.0.2.8]>: Client host "
        "rejected: ask postmaster@example.com",
        ("192.0.2.7", "ylmf-pc", "a@spam.example", "old@example.com"): "250 2.1.5 Ok",
        ("198.51.100.1", "YLMF-PC", "a@a.example", "a@example.com"): "554 5.7.1 <YLMF-PC>: Helo command rejected: "
        "Access denied",
        ("198.51.100.1", "a.example", "a@mx.SPAM.example", "a@example.com"): "554 5.7.1 <a@mx.SPAM.example>: Sender "
        "address rejected: not from you",
        ("198.51.100.1", "a.example", "", "old@example.com"): "250 2.1.5 Ok",
        (
            "198.51.100.1",
            "a.example",
            "a@a.example",
            "Old@example.com",
        ): "450 4.2.1 <Old@example.com>: Recipient address rejected: moving house",
        ("198.51.100.1", "a.example", "a@a.example", "a@example.net"): "554 5.7.1 <a@example.net>: Recipient address "
        "rejected: closed",
        ("198.51.100.1", "a.example", "a@a.example", "a@example.com"): "250 2.1.5 Ok",
        ("192.0.2.7", "a.example", "a@a.example", "a@foreign.example"): "554 5.7.1 <a@foreign.example>: Relay access "
        "denied",
    }
    for case, expected in cases.items():
        assert refusal(fleet, host, *case) == expected
    assert "pass" in controller.call("mailproxy.verify", "--limit", host.name).said

    controller.declare(access={})
    controller.roll_out("--limit", host.name)
    for case in cases:
        assert refusal(fleet, host, *case)[:3] == ("554" if "foreign" in case[3] else "250")
    assert not [name for name in live(host) if "access" in name]
    assert list(host.configuration.glob("*access*")) == []
    assert reply_to(fleet, host, "user@foreign.example")[0] == 554

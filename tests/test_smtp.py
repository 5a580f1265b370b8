"""The dialogue that asks a host, held with a fake: what is said to it, and what is made of what it says."""

import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

import pytest

from mailproxy import smtp
from mailproxy.judging import Reply, outcomes, verdict
from mailproxy.probe import FOREIGN, Probes

LOCALHOST = "127.0.0.1"
CLOSE = "close the connection"
SILENCE = "say nothing"
DENIED = "554 5.7.1 Relay access denied"
# What the fake answers: by command, a reply or what returns one for the commands of the session so far.
Answer = str | Callable[[list[str]], str]
WELL: Mapping[str, Answer] = {
    "greeting": "220 fake ESMTP",
    "EHLO": "250-fake\r\n250 ENHANCEDSTATUSCODES",
    "RSET": "250 2.0.0 Ok",
    "MAIL": "250 2.1.0 Ok",
    "RCPT": lambda said: DENIED if FOREIGN in said[-1] else "250 2.1.5 Ok",
    "QUIT": "221 2.0.0 Bye",
}


class Fake:
    """A fake SMTP server: no mail server at all, it only says what a test has written down for it."""

    def __init__(self, answers: Mapping[str, Answer]):
        self.answers = answers
        self.sessions: list[list[str]] = []
        self.listener = socket.create_server((LOCALHOST, 0))
        self.port: int = self.listener.getsockname()[1]
        self.connections: list[socket.socket] = []
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            self.connections.append(connection)
            self.sessions.append([])
            self._talk(connection, self.sessions[-1])

    def _talk(self, connection: socket.socket, said: list[str]) -> None:
        with connection, connection.makefile("rb") as lines:
            try:
                goes_on = self._say(connection, "greeting", said)
                while goes_on and (line := lines.readline()):
                    verb, blank, rest = line.decode("ascii", "replace").strip().partition(" ")
                    said.append(f"{verb.upper()}{blank}{rest}")
                    goes_on = self._say(connection, verb.upper(), said)
            except OSError:
                pass

    def _say(self, connection: socket.socket, command: str, said: list[str]) -> bool:
        answer = self.answers.get(command, "502 5.5.2 Error: command not recognized")
        text = answer if isinstance(answer, str) else answer(said)
        if text == CLOSE:
            return False
        if text != SILENCE:
            connection.sendall(f"{text}\r\n".encode())
        return True

    def close(self) -> None:
        # A thread that waits in accept(2) is woken by this alone.
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()


@contextmanager
def fake(monkeypatch: pytest.MonkeyPatch, **answers: Answer) -> Iterator[Fake]:
    """Stand a fake in for a host that answers well but for some commands."""
    server = Fake({**WELL, **answers})
    monkeypatch.setattr(smtp, "PORT", server.port)
    monkeypatch.setattr(smtp, "TIMEOUT", 0.3)
    try:
        yield server
    finally:
        server.close()


def ask(monkeypatch: pytest.MonkeyPatch, asked: Probes, **answers: Answer) -> tuple[list[Reply], list[list[str]]]:
    """Return the replies of a dialogue with a fake, and what was said to it, a list for each session."""
    with fake(monkeypatch, **answers) as server:
        replies, _ = smtp.dialogue(LOCALHOST, asked)
    return replies, server.sessions


def recipients(session: list[str]) -> int:
    return sum(line.startswith("RCPT ") for line in session)


def verdict_of(replies: list[Reply], asked: Probes) -> str:
    return verdict(outcomes(asked, replies, "192.0.2.1", was_reachable=True))


def named(count: int, first: str = "d") -> tuple[str, ...]:
    return tuple(f"{first}{number}.example" for number in range(count))


ASKED = Probes(accepted=("a.example", "b.example"), refused=("gone.example", FOREIGN))


def test_each_domain_is_asked_for_by_its_postmaster_and_no_message_is_ever_sent(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    replies, sessions = ask(monkeypatch, ASKED)
    said = [line for session in sessions for line in session]
    assert [line for line in said if line.startswith("RCPT")] == [
        "RCPT TO:<postmaster@a.example>",
        "RCPT TO:<postmaster@b.example>",
        "RCPT TO:<postmaster@gone.example>",
        f"RCPT TO:<postmaster@{FOREIGN}>",
    ]
    assert {line.split(" ")[0] for line in said} == {"EHLO", "RSET", "MAIL", "RCPT", "QUIT"}
    assert {line for line in said if line.startswith("MAIL")} == {"MAIL FROM:<>"}
    assert [(reply.domain, reply.code) for reply in replies if reply.domain] == [
        ("a.example", 250),
        ("b.example", 250),
        ("gone.example", 250),
        (FOREIGN, 554),
    ]


def test_the_host_is_told_the_address_that_asks_and_so_is_the_judge(monkeypatch: pytest.MonkeyPatch) -> None:
    with fake(monkeypatch) as server:
        _, client = smtp.dialogue(LOCALHOST, ASKED)
    assert client == LOCALHOST
    assert {session[0] for session in server.sessions} == {f"EHLO [{LOCALHOST}]"}


def test_refusals_that_are_expected_are_spread_over_sessions_as_postfix_ends_one_at_twenty(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked = Probes(accepted=("a.example",), refused=(*named(30, "gone"), FOREIGN))
    replies, sessions = ask(monkeypatch, asked, RCPT=lambda said: "250 Ok" if "@a." in said[-1] else DENIED)
    assert sum(reply.kind == "refused" for reply in replies) == 31
    assert max(recipients(session) for session in sessions) < 10
    assert verdict_of(replies, asked) == "pass"


def test_thousands_of_domains_are_asked_for_in_sessions_that_postfix_does_not_slow_down(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked = Probes(accepted=named(2500), refused=(FOREIGN,))
    replies, sessions = ask(monkeypatch, asked)
    assert sum(reply.kind == "accepted" for reply in replies) == 2500
    for session in sessions:
        # smtpd_junk_command_limit is 100, and 1 under stress, where 10 errors are let pass (smtpd_soft_error_limit).
        assert session.count("RSET") <= 10
        assert recipients(session) <= 1000


def test_a_message_is_not_given_more_recipients_than_hosts_allow(monkeypatch: pytest.MonkeyPatch) -> None:
    _, (session, _) = ask(monkeypatch, Probes(accepted=named(250), refused=(FOREIGN,)))
    of_messages = "\n".join(session).split("MAIL FROM")
    assert [part.count("RCPT") for part in of_messages] == [0, 100, 100, 50]


def test_a_host_that_takes_few_recipients_a_message_is_asked_in_more_messages(monkeypatch: pytest.MonkeyPatch) -> None:
    def at_most_three(said: list[str]) -> str:
        last = len(said) - next(index for index, line in enumerate(reversed(said)) if line.startswith("MAIL"))
        if FOREIGN in said[-1]:
            return DENIED
        return "452 4.5.3 Error: too many recipients" if len(said) - last > 3 else "250 2.1.5 Ok"

    asked = Probes(accepted=named(10), refused=(FOREIGN,))
    replies, _ = ask(monkeypatch, asked, RCPT=at_most_three)
    assert [reply.code for reply in replies if reply.kind == "accepted"] == [250] * 10
    assert verdict_of(replies, asked) == "pass"


def test_a_host_without_room_is_not_asked_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = Probes(accepted=named(30), refused=(FOREIGN,))
    replies, sessions = ask(monkeypatch, asked, RCPT="452 4.3.1 Insufficient system storage")
    assert verdict_of(replies, asked) == "inconclusive"
    assert sum(map(recipients, sessions)) < 20


def test_a_host_that_defers_whoever_it_does_not_know_is_not_asked_until_it_closes_the_connection(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def greylisting(said: list[str]) -> str:
        # As Postfix does at its smtpd_hard_error_limit.
        return "421 4.7.0 Error: too many errors" if recipients(said) > 20 else "450 4.2.0 Greylisted"

    asked = Probes(accepted=named(50), refused=(FOREIGN,))
    replies, sessions = ask(monkeypatch, asked, RCPT=greylisting)
    assert verdict_of(replies, asked) == "inconclusive"
    assert max(map(recipients, sessions)) < 10
    # Whether it relays for everybody is asked all the same.
    assert any(FOREIGN in line for line in sessions[-1])


@pytest.mark.parametrize("command", ["EHLO", "MAIL", "RCPT"])
def test_a_host_that_closes_with_421_has_proven_nothing(monkeypatch: pytest.MonkeyPatch, command: str) -> None:
    replies, sessions = ask(monkeypatch, ASKED, **{command: "421 4.3.2 Service shutting down"})
    assert verdict_of(replies, ASKED) == "inconclusive"
    assert not any(reply.kind == "end" for reply in replies)
    assert sum(map(recipients, sessions)) <= 2


def test_a_greeting_that_turns_away_is_told_as_it_was_said(monkeypatch: pytest.MonkeyPatch) -> None:
    replies, _ = ask(monkeypatch, ASKED, greeting="554 5.7.1 no service here")
    assert replies[0] == Reply("greeting", 554, "5.7.1 no service here")


@pytest.mark.parametrize("command", ["MAIL", "RCPT"])
def test_a_connection_that_is_closed_in_the_middle_fails_and_is_not_tried_on(
    monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    replies, sessions = ask(monkeypatch, ASKED, **{command: CLOSE})
    assert replies[-1] == Reply("end", 0, "the connection was closed in the middle of the dialogue")
    assert len(sessions) == 1
    assert verdict_of(replies, ASKED) == "fail"


def test_a_host_that_closes_before_it_greets_did_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    (reply,), sessions = ask(monkeypatch, ASKED, greeting=CLOSE)
    assert (reply.kind, reply.code) == ("greeting", 0)
    assert len(sessions) == 1


def test_a_host_that_falls_silent_is_given_up_and_told_from_one_that_closes(monkeypatch: pytest.MonkeyPatch) -> None:
    replies, sessions = ask(monkeypatch, ASKED, RCPT=SILENCE)
    assert replies[-1] == Reply("end", 0, "no answer within 0.3 s")
    assert len(sessions) == 1
    (reply,), _ = ask(monkeypatch, ASKED, greeting=SILENCE)
    assert reply == Reply("silence", 0, "no answer within 0.3 s")


def test_a_port_where_nobody_listens_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    with fake(monkeypatch) as server:
        pass
    monkeypatch.setattr(smtp, "PORT", server.port)
    (reply,), client = smtp.dialogue(LOCALHOST, ASKED)
    assert reply == Reply("greeting", 0, "Connection refused")
    assert client == ""


@pytest.mark.parametrize(
    ("answers", "code", "reason"),
    [
        ({}, 0, "EHLO does not list it"),
        # So does Postfix where its certificate cannot be read.
        (
            {"EHLO": "250-fake\r\n250 STARTTLS", "STARTTLS": "454 4.7.0 TLS not available due to local problem"},
            454,
            "4.7.0 TLS not available due to local problem",
        ),
        ({"EHLO": "250-fake\r\n250 STARTTLS", "STARTTLS": "220 go\r\n250 no TLS"}, 0, "the TLS handshake failed"),
    ],
)
def test_a_starttls_that_cannot_be_had_fails_and_nothing_is_asked_without_it(
    monkeypatch: pytest.MonkeyPatch, answers: dict[str, Answer], code: int, reason: str
) -> None:
    asked = Probes(ASKED.accepted, ASKED.refused, starttls=True)
    replies, sessions = ask(monkeypatch, asked, **answers)
    found = next(reply for reply in replies if reply.kind == "starttls")
    assert found.code == code
    assert found.text.startswith(reason)
    assert verdict_of(replies, asked) == "fail"
    assert sum(map(recipients, sessions)) == 0


def test_a_connection_that_is_closed_in_the_tls_handshake_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = Probes(ASKED.accepted, ASKED.refused, starttls=True)
    replies, _ = ask(monkeypatch, asked, EHLO="250-fake\r\n250 STARTTLS", STARTTLS=CLOSE)
    assert verdict_of(replies, asked) == "fail"


def test_starttls_is_not_used_where_it_is_not_declared(monkeypatch: pytest.MonkeyPatch) -> None:
    _, sessions = ask(monkeypatch, ASKED, EHLO="250-fake\r\n250 STARTTLS")
    assert not any("STARTTLS" in line for session in sessions for line in session)


DRAINED = "421 4.3.2 <unknown[192.0.2.1]>: Client host rejected: Try again later"


@pytest.mark.parametrize(
    ("greeting", "expected"),
    [("220 fake ESMTP", True), ("421 4.3.2 busy", False), (DRAINED, True), (CLOSE, False), (SILENCE, False)],
)
def test_a_host_is_reachable_when_it_greets(monkeypatch: pytest.MonkeyPatch, greeting: str, expected: bool) -> None:
    with fake(monkeypatch, greeting=greeting):
        assert smtp.is_reachable(LOCALHOST) is expected

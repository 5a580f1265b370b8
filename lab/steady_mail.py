"""Steady mail from the internet to the hosts of a lab: several senders, distinct messages, every answer kept."""

from __future__ import annotations

import itertools
import random
import smtplib
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from types import TracebackType

from lab.account import ID_DOMAIN, ID_HEADER, Attempt, Reply
from lab.fleet import Fleet
from lab.hosts import Host
from lab.rollouts import CUSTOMERS, STEADY

RATE = 15.0  # messages a second, of all senders together
TIMEOUT = 20  # seconds
# Senders differ: one message a session, or a session kept open over as many. The longest outlives what Postfix keeps
# of the tables before a rollout (trivial-rewrite looks for new ones every 10 s).
SESSIONS = (1, 20, 1, 80)
# How often a session asks again for a recipient that it was granted before, as those that stay open do.
AGAIN = 0.5
RECIPIENTS = ("info", "sales", "office")
# A session ends before smtpd loses its patience (smtpd_hard_error_limit).
MOST_REFUSALS = 15


class SteadyMail:
    """Sends while it is entered; attempts holds what became of each message so far.

    What is asked for anew is, in thirds, for the domains in changing, for all that may change, for the steady ones.
    """

    def __init__(self, lab: Fleet, senders: int, seed: int):
        self.lab, self.seed = lab, seed
        self.interval = senders / RATE
        self.attempts: list[Attempt] = []
        self.changing: Sequence[str] = ()
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._send, args=(number,), daemon=True) for number in range(senders)]

    def __enter__(self) -> SteadyMail:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _send(self, number: int) -> None:
        """Be one sender: a session with each host in turn."""
        chooser = random.Random(f"{self.seed}/{number}")
        ids = (f"{number}-{count}" for count in itertools.count(1))
        pace = self._pace(number)
        hosts = self.lab.hosts[number % len(self.lab.hosts) :] + self.lab.hosts[: number % len(self.lab.hosts)]
        with self.lab.network():
            for host in itertools.cycle(hosts):
                if self._stop.is_set():
                    return
                self._session(host, SESSIONS[number % len(SESSIONS)], ids, pace, chooser)

    def _pace(self, number: int) -> Iterator[None]:
        """Yield whenever the next message is due; late ones are not caught up with. Ends with the soak."""
        due = time.monotonic() + self.interval * number / len(self._threads)
        while not self._stop.wait(max(0.0, due - time.monotonic())):
            yield
            due = max(due + self.interval, time.monotonic())

    def _session(
        self, host: Host, messages: int, ids: Iterator[str], pace: Iterator[None], chooser: random.Random
    ) -> None:
        client = smtplib.SMTP(local_hostname="outside.example", timeout=TIMEOUT)
        started, granted, refused = 0.0, list[str](), 0
        try:
            for id, _ in zip(itertools.islice(ids, messages), pace, strict=False):
                recipient = self._recipient(chooser, granted)
                began = time.time()
                replies = tuple(_dialogue(client, host, not started, id, recipient))
                started = started or began
                domain = recipient.partition("@")[2]
                attempt = Attempt(id, host.name, domain, started, began, time.time(), replies)
                self.attempts.append(attempt)
                if attempt.is_unanswered or replies[-1].code == 421:
                    return
                if attempt.is_accepted:
                    granted.append(recipient)
                    continue
                refused += 1
                _answer("rset", client.rset)
                if refused == MOST_REFUSALS:
                    break
            _answer("quit", client.quit)
        finally:
            client.close()

    def _recipient(self, chooser: random.Random, granted: Sequence[str]) -> str:
        if granted and chooser.random() < AGAIN:
            return chooser.choice(granted)
        domain = chooser.choice(chooser.choice((self.changing or CUSTOMERS, CUSTOMERS, STEADY)))
        return f"{chooser.choice(RECIPIENTS)}@{domain}"


def _dialogue(client: smtplib.SMTP, host: Host, greeting: bool, id: str, recipient: str) -> Iterator[Reply]:
    """Offer a message, in a new session or in one that is open, up to the first answer that is no good one."""
    sender = f"sender@{STEADY[0]}"
    text = (
        f"From: {sender}\r\nTo: {recipient}\r\nSubject: soak {id}\r\n"
        f"Message-ID: <{id}@{ID_DOMAIN}>\r\n{ID_HEADER}: {id}\r\n\r\nhello\r\n"
    )
    steps: list[tuple[str, Callable[[], tuple[int, bytes]]]] = [
        ("mail", lambda: client.mail(sender)),
        ("rcpt", lambda: client.rcpt(recipient)),
        ("data", lambda: client.data(text)),
    ]
    if greeting:
        steps = [("connect", lambda: client.connect(host.address, 25)), ("ehlo", client.ehlo), *steps]
    for step, ask in steps:
        reply = _answer(step, ask)
        yield reply
        if reply.code // 100 != 2:
            return


def _answer(step: str, ask: Callable[[], tuple[int, bytes]]) -> Reply:
    try:
        code, text = ask()
    except smtplib.SMTPResponseException as refusal:
        answer = refusal.smtp_error
        code, text = refusal.smtp_code, answer if isinstance(answer, bytes) else answer.encode()
    except OSError as error:
        return Reply(step, 0, str(error))
    return Reply(step, code, text.decode(errors="replace"))

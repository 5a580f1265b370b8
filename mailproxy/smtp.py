"""The SMTP dialogue that asks a host what mailproxy.judging judges. No message is ever sent: never a DATA."""

import contextlib
import smtplib
import socket
import ssl
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from mailproxy.certificates import certificate_of
from mailproxy.drained import is_of_drained
from mailproxy.judging import Kind, Reply
from mailproxy.probe import MADE_UP, RECIPIENT, Probes

PORT = 25
TIMEOUT = 20  # seconds for a connection, and for each answer
# Postfix ends a session at 20 refusals, and slows down at 10 (smtpd_hard_error_limit, smtpd_soft_error_limit).
_REFUSALS_A_SESSION = 8
# Well below smtpd_recipient_limit, 1000 by default.
_RECIPIENTS_A_MESSAGE = 100
# Each message begins with a RSET, and behind 100 of them (smtpd_junk_command_limit) each counts as a refusal.
_RECIPIENTS_A_SESSION = 1000
_CLOSING = 421
_TOO_MANY_RECIPIENTS = 452


def is_reachable(address: str) -> bool:
    """Whether something greets at the SMTP port of an address, be it to say that it is drained."""
    try:
        with smtplib.SMTP(address, PORT, local_hostname="[127.0.0.1]", timeout=TIMEOUT):
            return True
    except smtplib.SMTPResponseException as error:
        return is_of_drained(error.smtp_code, _text(error.smtp_error))
    except (OSError, smtplib.SMTPException):
        return False


def dialogue(address: str, asked: Probes) -> tuple[list[Reply], str]:
    """Ask a host for all that is asked; returns its replies and the address of this machine in that connection.

    Each reply stands for one step, those behind a step that ends a session are missing. Where enough are refused
    nothing more of that kind is asked: it is known then.
    """
    replies: list[Reply] = []
    client = ""
    taken = [Question("accepted", asked.known.get(domain, RECIPIENT), domain) for domain in asked.accepted]
    unknown = [Question("unknown", MADE_UP, domain) for domain in asked.unknown]
    refused = [*unknown, *(Question("refused", RECIPIENT, domain) for domain in asked.refused)]
    for questions, size in ((taken, _RECIPIENTS_A_SESSION), (refused, _REFUSALS_A_SESSION)):
        for start in range(0, len(questions), size):
            session = _Session(address, asked)
            replies += session.run(questions[start : start + size])
            client = client or session.client
            if not session.is_alive:
                return replies, client
            if not session.is_complete:
                break
    return replies, client


@dataclass(frozen=True)
class Question:
    """A recipient that a host is asked for, and as what its answer is to be judged."""

    kind: Kind
    local: str
    domain: str


class _Session:
    """One connection; is_alive tells whether it was kept to a proper end, is_complete whether all was asked in it."""

    def __init__(self, address: str, asked: Probes):
        self.address = address
        self.asked = asked
        self.client = ""
        self.is_alive = False
        self.is_complete = False

    def run(self, questions: Sequence[Question]) -> list[Reply]:
        """Hold the dialogue; what ends it early is the last reply."""
        replies: list[Reply] = []
        stage: Kind = "greeting"
        try:
            with smtplib.SMTP(self.address, PORT, local_hostname="localhost", timeout=TIMEOUT) as smtp:
                for reply in self._steps(smtp, questions):
                    replies.append(reply)
                    stage = reply.kind
                    self.is_complete = reply.domain == questions[-1].domain
                    if reply.code == _CLOSING or _refusals(replies) == _REFUSALS_A_SESSION:
                        break
            self.is_alive = True
        except smtplib.SMTPServerDisconnected as error:
            # smtplib says so of a silent host, too.
            cause = error.__context__
            closed = "the connection was closed in the middle of the dialogue"
            reason = _reason(cause) if isinstance(cause, TimeoutError) else closed
            replies.append(Reply("end" if replies else self._before_greeting(cause), 0, reason))
        except smtplib.SMTPResponseException as error:
            replies.append(Reply(stage, error.smtp_code, _text(error.smtp_error)))
        except (OSError, smtplib.SMTPException) as error:
            replies.append(Reply("end" if replies else self._before_greeting(error), 0, _reason(error)))
        return replies

    def _before_greeting(self, error: BaseException | None) -> Kind:
        """Tell a host that is silent from one that cannot be reached: smtplib does not."""
        if isinstance(error, TimeoutError):
            with contextlib.suppress(OSError), socket.create_connection((self.address, PORT), timeout=TIMEOUT):
                return "silence"
        return "greeting"

    def _steps(self, smtp: smtplib.SMTP, questions: Sequence[Question]) -> Iterator[Reply]:
        assert smtp.sock is not None
        self.client = smtp.sock.getsockname()[0]
        smtp.local_hostname = f"[IPv6:{self.client}]" if ":" in self.client else f"[{self.client}]"
        code, said = smtp.ehlo()
        yield Reply("greeting", code, _text(said))
        if code != 250:
            return
        if self.asked.starttls:
            reply = _starttls(smtp, with_certificate=self.asked.certificate is not None)
            yield reply
            if reply.code != 220:
                return
        for start in range(0, len(questions), _RECIPIENTS_A_MESSAGE):
            yield from _recipients(smtp, questions[start : start + _RECIPIENTS_A_MESSAGE])


def _recipients(smtp: smtplib.SMTP, questions: Sequence[Question]) -> Iterator[Reply]:
    def begin() -> Reply:
        smtp.rset()
        return _reply("sender", lambda: smtp.docmd("MAIL FROM:<>"))

    started = begin()
    yield started
    if started.code != 250:
        return
    for question in questions:
        reply = _recipient(smtp, question)
        if reply.code == _TOO_MANY_RECIPIENTS and begin().code == 250:
            reply = _recipient(smtp, question)
        yield reply


def _refusals(replies: Sequence[Reply]) -> int:
    return sum(reply.code >= 400 for reply in replies)


def _recipient(smtp: smtplib.SMTP, question: Question) -> Reply:
    reply = _reply(question.kind, lambda: smtp.docmd(f"RCPT TO:<{question.local}@{question.domain}>"), question.domain)
    return replace(reply, local=question.local)


def _starttls(smtp: smtplib.SMTP, with_certificate: bool) -> Reply:
    """Go on under TLS. Whom the certificate is by is not looked at: a sender without a policy of its own does not."""
    if not smtp.has_extn("starttls"):
        return Reply("starttls", 0, "EHLO does not list it")
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    reply = _reply("starttls", lambda: smtp.starttls(context=context))
    if reply.code == 220:
        smtp.ehlo()
    if reply.code == 220 and with_certificate and isinstance(smtp.sock, ssl.SSLSocket):
        with contextlib.suppress(ValueError):
            reply = replace(reply, certificate=certificate_of(smtp.sock.getpeercert(binary_form=True) or b""))
    return reply


def _reply(kind: Kind, step: Callable[[], tuple[int, bytes | str]], domain: str = "") -> Reply:
    try:
        code, said = step()
    except ssl.SSLError as error:
        return Reply(kind, 0, f"the TLS handshake failed: {_reason(error)}", domain)
    except smtplib.SMTPResponseException as error:
        code, said = error.smtp_code, error.smtp_error
    return Reply(kind, code, _text(said), domain)


def _text(said: bytes | str) -> str:
    return " ".join((said.decode("utf-8", "replace") if isinstance(said, bytes) else said).split())


def _reason(error: Exception) -> str:
    if isinstance(error, TimeoutError | socket.timeout):
        return f"no answer within {TIMEOUT} s"
    return getattr(error, "strerror", None) or str(error) or type(error).__name__

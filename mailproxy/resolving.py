"""The DNS, as this machine's resolver tells it: each name is asked for once, many at a time, and not for ever."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

import gevent.pool
from gevent.event import AsyncResult

if TYPE_CHECKING:
    from dns.rdata import Rdata
    from dns.resolver import Resolver

T = TypeVar("T")

_AT_ONCE = 50
# A packet may be lost: how long each of a name server's answers is waited for, before it is asked again.
_TRY_SECONDS = 2.0
# Where so many questions went unanswered before the first answer came, nobody is there.
_SILENCE = 50
# In which any byte of a text has a form.
TEXT_ENCODING = "latin-1"


@dataclass(frozen=True)
class Answer:
    """What the DNS says of a name: its records as text, names in small letters and without a full stop at their end.

    records is None where nobody could tell, and why says what came instead: nothing follows from that. is_name says
    whether there is such a name at all, with records of another type perhaps.
    """

    records: tuple[str, ...] | None = ()
    is_name: bool = True
    why: str = ""


class Lookups:
    """The questions of one run: lifetime is how long one may take, limit how long all of them may, in seconds.

    Without a resolver the machine's own is asked; where it has none, nothing is known.
    """

    def __init__(self, resolver: Resolver | None = None, *, lifetime: float, limit: float):
        self._resolver = resolver
        self._lifetime = lifetime
        self._ends = time.monotonic() + limit
        self._asked: dict[tuple[str, str], AsyncResult[Answer]] = {}
        self._unanswered = 0
        self._is_answered = False

    def ask(self, name: str, kind: str) -> Answer:
        """Return what the DNS says of a name; kind is a type of records, such as MX."""
        key = (name.removesuffix(".").lower(), kind)
        found = self._asked.get(key)
        if found is None:
            found = self._asked[key] = AsyncResult()
            try:
                found.set(self._answer(*key))
            except BaseException as error:
                # Nobody is to wait for it for ever.
                found.set_exception(error)
                raise
        answer: Answer = found.get()
        return answer

    def each(self, function: Callable[[T], object], things: Iterable[T]) -> None:
        """Call a function with each thing, many at a time; their questions wait for each other's answers."""
        pool = gevent.pool.Pool(_AT_ONCE)
        for _ in pool.imap_unordered(function, things):
            pass

    def _answer(self, name: str, kind: str) -> Answer:
        # Imported where it is needed: that takes longer than all else, and most runs ask for nothing.
        from dns.exception import DNSException, Timeout
        from dns.resolver import NXDOMAIN, NoAnswer, NoNameservers, Resolver

        left = self._ends - time.monotonic()
        if left <= 0:
            return Answer(None, why="there was no time left to ask")
        if not self._is_answered and self._unanswered >= _SILENCE:
            return Answer(None, why="no name server answers this machine")
        try:
            if self._resolver is None:
                self._resolver = Resolver()
                self._resolver.timeout = _TRY_SECONDS
            # A full stop at its end keeps a resolver from trying search domains.
            answer = self._resolver.resolve(f"{name}.", kind, lifetime=min(self._lifetime, left))
            found = Answer(tuple(_text(record, kind) for record in answer))
        except NXDOMAIN:
            found = Answer(is_name=False)
        except NoAnswer:
            found = Answer()
        except Timeout:
            self._unanswered += 1
            return Answer(None, why="no answer in time")
        except NoNameservers:
            found = Answer(None, why="the name servers fail, or refuse to answer")
        except (DNSException, OSError, ValueError):
            return Answer(None, why="it cannot be asked for")
        self._is_answered = True
        return found


def _text(record: Rdata, kind: str) -> str:
    if kind == "TXT":
        # How it is cut into strings has no meaning (RFC 7208 3.3).
        return b"".join(record.strings).decode(TEXT_ENCODING)  # type: ignore[attr-defined]
    text = record.to_text().lower()
    # The root, as a null MX has it, is a name of its own.
    return text if text.endswith(" .") else text.removesuffix(".")

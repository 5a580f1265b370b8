"""A small name server, on loopback or for the hosts of a lab, for what must not ask the machine's own resolver."""

import contextlib
import socket
import threading
from collections.abc import Collection, Iterator, Mapping

import dns.message
import dns.rcode
import dns.rdatatype
import dns.resolver
import dns.rrset


@contextlib.contextmanager
def name_server(
    zone: Mapping[tuple[str, str], list[str]],
    silent: bool = False,
    at: tuple[str, int] = ("127.0.0.1", 0),
    unanswered: Collection[str] = (),
) -> Iterator[tuple[dns.resolver.Resolver, list[tuple[str, str]]]]:
    """Inside, a server answers from a zone, (name, type) -> records; yields its resolver, and what it was asked.

    A silent one listens and never answers; for names that are unanswered every one is. It listens on loopback, or at an
    address and port.
    """
    asked: list[tuple[str, str]] = []
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(at)
        server.settimeout(0.1)
        done = threading.Event()

        def serve() -> None:
            while not done.is_set():
                with contextlib.suppress(TimeoutError):
                    wire, client = server.recvfrom(4096)
                    query = dns.message.from_wire(wire)
                    name, kind = query.question[0].name, dns.rdatatype.to_text(query.question[0].rdtype)
                    asked.append((name.to_text(omit_final_dot=True), kind))
                    if not silent and asked[-1][0] not in unanswered:
                        server.sendto(_answer(query, zone).to_wire(), client)

        thread = threading.Thread(target=serve)
        thread.start()
        resolver = dns.resolver.Resolver(configure=False)
        resolver.nameservers, resolver.port = [at[0]], server.getsockname()[1]
        try:
            yield resolver, asked
        finally:
            done.set()
            thread.join()


def _answer(query: dns.message.Message, zone: Mapping[tuple[str, str], list[str]]) -> dns.message.Message:
    answer = dns.message.make_response(query)
    question = query.question[0]
    name = question.name.to_text(omit_final_dot=True)
    records = zone.get((name, dns.rdatatype.to_text(question.rdtype)))
    if records:
        answer.answer.append(dns.rrset.from_text(question.name, 60, "IN", question.rdtype, *records))
    elif not any(known == name or known.endswith(f".{name}") for known, _ in zone):
        answer.set_rcode(dns.rcode.NXDOMAIN)
    return answer

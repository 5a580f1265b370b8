"""A small name server, on loopback or for the hosts of a lab, for what must not ask the machine's own resolver."""

import contextlib
import socket
import threading
from collections.abc import Iterator, Mapping

import dns.message
import dns.rcode
import dns.rdatatype
import dns.resolver
import dns.rrset


@contextlib.contextmanager
def name_server(
    zone: Mapping[tuple[str, str], list[str]], silent: bool = False, at: tuple[str, int] = ("127.0.0.1", 0)
) -> Iterator[tuple[dns.resolver.Resolver, list[tuple[str, str]]]]:
    """Inside, a server answers from a zone, (name, type) -> records; yields its resolver, and what it was asked.

    A silent one listens and never answers. It listens on loopback, or at an address and port.
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
                    if not silent:
                        server.sendto(_answer(query, zone.get(asked[-1])).to_wire(), client)

        thread = threading.Thread(target=serve)
        thread.start()
        resolver = dns.resolver.Resolver(configure=False)
        resolver.nameservers, resolver.port = [at[0]], server.getsockname()[1]
        try:
            yield resolver, asked
        finally:
            done.set()
            thread.join()


def _answer(query: dns.message.Message, records: list[str] | None) -> dns.message.Message:
    answer = dns.message.make_response(query)
    if records is None:
        answer.set_rcode(dns.rcode.NXDOMAIN)
    else:
        question = query.question[0]
        answer.answer.append(dns.rrset.from_text(question.name, 60, "IN", question.rdtype, *records))
    return answer

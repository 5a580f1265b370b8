"""A mail server that wants credentials, in the place of a provider's: it notes who gave which, and what came."""

import contextlib
import socket
import ssl
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field

from lab.fleet import Fleet
from lab.machine import network_of


@dataclass
class Smarthost:
    """What it was told: commands with their arguments, in order, those by TLS behind "TLS "; and recipients of mail.

    It offers AUTH PLAIN in any case, STARTTLS where it is to, and takes mail only of who gave credentials.
    """

    tls: ssl.SSLContext
    offers_tls: bool = True
    commands: list[str] = field(default_factory=list)
    recipients: list[str] = field(default_factory=list)

    def serve(self, connection: socket.socket) -> None:
        """Talk to one client until it ends."""
        with contextlib.suppress(OSError), connection:
            connection.settimeout(20)
            self._talk(connection, is_encrypted=False)

    def _talk(self, connection: socket.socket, *, is_encrypted: bool) -> None:
        lines = connection.makefile("rb")
        is_known, recipients = False, list[str]()
        answer = "" if is_encrypted else "220 smarthost.example.net ESMTP"
        while True:
            if answer:
                connection.sendall(f"{answer}\r\n".encode())
            line = lines.readline().decode().strip()
            self.commands.append("TLS " * is_encrypted + line)
            answer = "250 2.0.0 Ok"
            match line.partition(" ")[0].upper():
                case "EHLO":
                    starttls = "250-STARTTLS\r\n" if self.offers_tls and not is_encrypted else ""
                    answer = f"250-smarthost.example.net\r\n{starttls}250 AUTH PLAIN"
                case "LHLO":
                    is_known, answer = True, "250 smarthost.example.net"
                case "STARTTLS":
                    connection.sendall(b"220 2.0.0 Ready\r\n")
                    with self.tls.wrap_socket(connection, server_side=True) as encrypted:
                        return self._talk(encrypted, is_encrypted=True)
                case "AUTH":
                    is_known, answer = True, "235 2.7.0 Ok"
                case "RCPT" if is_known:
                    recipients.append(line.partition("<")[2].partition(">")[0])
                case "MAIL" | "RCPT" if not is_known:
                    answer = "530 5.7.0 Authentication required"
                case "DATA":
                    connection.sendall(b"354 Go on\r\n")
                    while lines.readline() != b".\r\n":
                        pass
                    self.recipients += recipients
                case "QUIT" | "":
                    connection.sendall(b"221 2.0.0 Bye\r\n")
                    return None


@contextlib.contextmanager
def smarthost(fleet: Fleet, *ports: int) -> Iterator[Smarthost]:
    """Inside, one answers at these ports of the internal mail server's address."""
    certificates = fleet.mail_server.root / "etc/ssl"
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(
        certificates / "certs/ssl-cert-snakeoil.pem", certificates / "private/ssl-cert-snakeoil.key"
    )
    server = Smarthost(context)
    with contextlib.ExitStack() as stack:
        for port in ports:
            with network_of(fleet.mail_server.pid):
                listening = stack.enter_context(socket.create_server((fleet.mail_server.address, port)))
            # What waits in accept() ends by that, and not by a close.
            stack.callback(listening.shutdown, socket.SHUT_RDWR)
            threading.Thread(target=_accept, args=(listening, server), daemon=True).start()
        yield server


def _accept(listening: socket.socket, server: Smarthost) -> None:
    with contextlib.suppress(OSError):
        while True:
            connection, _ = listening.accept()
            threading.Thread(target=server.serve, args=(connection,), daemon=True).start()

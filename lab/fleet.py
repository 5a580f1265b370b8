"""The lab's fleet: bring it up, take it down, work with it."""

from __future__ import annotations

import concurrent.futures
import contextlib
import email
import email.policy
import json
import os
import re
import shutil
import subprocess
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from email.message import EmailMessage
from pathlib import Path

from lab import hosts
from lab.hosts import Host
from lab.machine import LabError, kill_bearing, locked, network_of, uninterrupted
from lab.root import DEBIAN12, KNOWN, LAB, Kind, cached_roots

DOMAIN = "lab.test"
MAIL_SERVER_NAME = "mail.internal.test"
INBOX = "srv/mail/inbox"
NOBODY = 65534
CHROOT_HOSTS = "var/spool/postfix/etc/hosts"
RUN = LAB / "run"

# Any message from inside, to whomever, ends as a file: virtual(8) keeps the
# recipient in X-Original-To.
MAIL_SERVER_MAIN_CF = f"""\
compatibility_level = 3.6
myhostname = {MAIL_SERVER_NAME}
mydestination =
local_recipient_maps =
mynetworks = 127.0.0.0/8 10.1.0.0/16
smtpd_relay_restrictions = permit_mynetworks, reject
virtual_mailbox_domains = static:any
virtual_mailbox_base = /srv/mail
virtual_mailbox_maps = static:inbox/
virtual_uid_maps = static:{NOBODY}
virtual_gid_maps = static:{NOBODY}
virtual_mailbox_limit = 0
message_size_limit = 0
"""

# A second way to the same server, for domains that move, and one that takes no large messages.
MAIL_SERVER_SERVICES = """\
2525 inet n - y - - smtpd
2526 inet n - y - - smtpd -o message_size_limit=100000
"""


@dataclass(frozen=True)
class Fleet:
    """The hosts of one lab that is up; directory is lab/run/NAME."""

    directory: Path
    hosts: tuple[Host, ...]
    mail_server: Host

    @classmethod
    def load(cls, name: str | None = None) -> Fleet:
        """The lab of that name, by default that of $LAB; LabError when it is not up."""
        directory = directory_of(name)
        try:
            state = json.loads((directory / "fleet.json").read_text())
        except FileNotFoundError:
            raise LabError(f"lab {directory.name} is not up: lab/lab up") from None
        mail = state["mail_server"]
        return cls(
            directory=directory,
            hosts=tuple(
                Host(host["name"], host["address"], host["internal_address"], directory, KNOWN[host["kind"]])
                for host in state["hosts"]
            ),
            mail_server=Host(mail["name"], mail["address"], mail["address"], directory),
        )

    @property
    def ssh_key(self) -> Path:
        """The client key that root and deploy accept on every host."""
        return self.directory / "key"

    @property
    def known_hosts(self) -> Path:
        """Every host's own key, by address."""
        return self.directory / "known_hosts"

    @property
    def ssh_config(self) -> Path:
        """What ssh -F needs to reach the hosts by name, from the controller."""
        return self.directory / "ssh_config"

    def host(self, name: str) -> Host:
        """The host of that full or short name."""
        for host in (*self.hosts, self.mail_server):
            if name in (host.name, host.short_name):
                return host
        known = f"{self.hosts[0].short_name} to {self.hosts[-1].short_name}, {self.mail_server.short_name}"
        raise LabError(f"no host {name!r} in lab {self.directory.name}; there are {known}")

    def controller_command(self, argv: Sequence[str]) -> list[str]:
        """The command line that runs argv in the controller's network, everything else as it is here."""
        return ["nsenter", f"--net=/proc/{hosts.controller_pid(self.directory)}/ns/net", "--", *argv]

    def network(self) -> contextlib.AbstractContextManager[None]:
        """Inside, this thread's new sockets and processes are the controller's."""
        return network_of(hosts.controller_pid(self.directory))

    @property
    def inbox(self) -> Path:
        """Where the internal mail server files what arrives, each message by itself; not there before the first."""
        return self.mail_server.root / INBOX / "new"

    def messages(self) -> list[EmailMessage]:
        """What arrived at the internal mail server, oldest first; the recipient is in X-Original-To."""
        files = sorted(self.inbox.glob("*"), key=lambda file: file.stat().st_mtime_ns)
        return [email.message_from_bytes(file.read_bytes(), policy=email.policy.default) for file in files]

    def power_off(self, host: Host) -> None:
        """As Host.power_off, and fleet.json follows."""
        host.power_off()
        with locked(lock_of(self.directory)):
            self.save()

    def boot(self, host: Host) -> None:
        """As Host.boot, and fleet.json follows."""
        host.boot()
        with locked(lock_of(self.directory)):
            self.save()

    def save(self) -> None:
        """Write fleet.json, in one step."""
        state = {
            "controller": {
                "pid": hosts.controller_pid(self.directory),
                "address": hosts.CONTROLLER_ADDRESS,
            },
            "mail_server": {
                "name": self.mail_server.name,
                "address": self.mail_server.address,
                "pid": self.mail_server.pid if self.mail_server.is_up else None,
            },
            "hosts": [
                {
                    "name": host.name,
                    "kind": host.kind.name,
                    "privilege": host.kind.privilege,
                    "address": host.address,
                    "internal_address": host.internal_address,
                    "pid": host.pid if host.is_up else None,
                }
                for host in self.hosts
            ],
            "ssh_key": str(self.ssh_key),
            "known_hosts": str(self.known_hosts),
            "ssh_config": str(self.ssh_config),
        }
        new = self.directory / "fleet.json.new"
        new.write_text(json.dumps(state, indent=1) + "\n")
        new.rename(self.directory / "fleet.json")


def directory_of(name: str | None = None) -> Path:
    """Where the state of a lab is, by default that of $LAB, whether it is up or not."""
    name = name or os.environ.get("LAB") or "default"
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]{0,31}", name):
        raise LabError(f"LAB={name!r} is no name for a lab: up to 32 letters, digits, '-' and '_'")
    return RUN / name


def lock_of(directory: Path) -> Path:
    """One command at a time changes a lab: the lock lies beside its directory, which comes and goes."""
    return directory.with_name(f"{directory.name}.lock")


def up(wanted: int | Sequence[Kind], name: str | None = None) -> Fleet:
    """Bring up a fleet of fresh hosts, one of each of these kinds or so many of Debian 12, taking down the one that was
    there; all of it, or LabError and nothing."""
    directory = directory_of(name)
    kinds = [DEBIAN12] * wanted if isinstance(wanted, int) else wanted
    cached_roots((DEBIAN12, *kinds))
    with locked(lock_of(directory)):
        _tear_down(directory)
        try:
            return _start(directory, kinds)
        except BaseException:
            _tear_down(directory)
            lock_of(directory).unlink()
            raise


def down(name: str | None = None) -> None:
    """Remove a lab: its processes, also those of one that crashed, and its directory."""
    directory = directory_of(name)
    with locked(lock_of(directory)):
        _tear_down(directory)
        lock_of(directory).unlink()


def _tear_down(directory: Path) -> None:
    with uninterrupted():
        kill_bearing(hosts.mark_of(directory))
        if directory.exists():
            shutil.rmtree(directory)


def _start(directory: Path, kinds: Sequence[Kind]) -> Fleet:
    directory.mkdir(mode=0o700)
    fleet = Fleet(
        directory=directory,
        hosts=tuple(
            Host(f"mx{number}.{DOMAIN}", *hosts.addresses_of(number), directory, kind)
            for number, kind in enumerate(kinds, start=1)
        ),
        mail_server=Host(MAIL_SERVER_NAME, hosts.MAIL_SERVER_ADDRESS, hosts.MAIL_SERVER_ADDRESS, directory),
    )
    subprocess.run(
        ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", f"lab-{directory.name}", "-f", fleet.ssh_key], check=True
    )
    hosts.start_controller(directory)
    _install(fleet)
    _boot_all((fleet.mail_server, *fleet.hosts))
    _write_ssh_files(fleet)
    fleet.save()
    return fleet


def _install(fleet: Fleet) -> None:
    """Make every host's directory; only names, keys and the mail server's configuration differ from the root."""
    client_key = fleet.ssh_key.with_name("key.pub").read_text()
    for host in (fleet.mail_server, *fleet.hosts):
        configuration = host.kind.config_directory.lstrip("/")
        names = "127.0.0.1 localhost\n" + "".join(
            f"{known.address} {known.name} {known.short_name}\n" for known in dict.fromkeys((host, fleet.mail_server))
        )
        files = {
            "etc/hostname": f"{host.name}\n",
            "etc/hosts": names,
            "etc/ssh/authorized_keys": client_key,
        }
        main_cf = host.kind.root / configuration / "main.cf"
        if main_cf.exists():
            # The package writes the name of the host it is installed on; here that was the machine's.
            files[f"{configuration}/main.cf"] = re.sub(
                r"(?m)^myhostname = .*$", f"myhostname = {host.name}", main_cf.read_text()
            )
        # From Debian 13 on every start of Postfix copies it into the chroot.
        if (host.kind.root / CHROOT_HOSTS).parent.is_dir():
            files[CHROOT_HOSTS] = names
        if host is fleet.mail_server:
            services = (host.kind.root / configuration / "master.cf").read_text()
            files[f"{configuration}/main.cf"] = MAIL_SERVER_MAIN_CF
            files[f"{configuration}/master.cf"] = services + MAIL_SERVER_SERVICES
        hosts.install(host, files)
    inbox = fleet.mail_server.directory / "upper/srv/mail"
    inbox.mkdir(parents=True)
    inbox.parent.chmod(0o755)
    os.chown(inbox, NOBODY, NOBODY)


def _boot_all(all_hosts: Sequence[Host]) -> None:
    """Boot the hosts, a few at a time: each start is CPU-bound for a moment, and more at once only wait longer."""
    give_up = threading.Event()
    with concurrent.futures.ThreadPoolExecutor(max_workers=2 * (os.cpu_count() or 1)) as pool:
        try:
            booting = [pool.submit(host.boot, give_up=give_up) for host in all_hosts]
            for boot in concurrent.futures.as_completed(booting):
                boot.result()
        except BaseException:
            give_up.set()
            with uninterrupted():
                pool.shutdown(cancel_futures=True)
            raise


def _write_ssh_files(fleet: Fleet) -> None:
    known, config = [], []
    for host in (fleet.mail_server, *fleet.hosts):
        key = (host.directory / "upper/etc/ssh/ssh_host_ed25519_key.pub").read_text()
        known.append(f"{host.address} {key.strip()}\n")
        config.append(f"Host {host.short_name} {host.name}\n\tHostName {host.address}\n")
    fleet.known_hosts.write_text("".join(known))
    quoted = {path: '"' + str(path).replace("%", "%%") + '"' for path in (fleet.ssh_key, fleet.known_hosts)}
    fleet.ssh_config.write_text(
        "".join(config) + "Host *\n"
        "\tUser root\n"
        f"\tIdentityFile {quoted[fleet.ssh_key]}\n"
        "\tIdentitiesOnly yes\n"
        f"\tUserKnownHostsFile {quoted[fleet.known_hosts]}\n"
        "\tGlobalKnownHostsFile /dev/null\n"
        "\tStrictHostKeyChecking yes\n"
        "\tUpdateHostKeys no\n"
        "\tPasswordAuthentication no\n"
        "\tKbdInteractiveAuthentication no\n"
    )

"""One host of the lab: its addresses, its processes, its power switch."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lab.machine import LabError, arguments_of, kill, network_of
from lab.root import DEBIAN12, FILES, Kind

CONTROLLER_ADDRESS = "198.18.0.1"
MAIL_SERVER_ADDRESS = "10.1.0.2"
OUTSIDE_LENGTH = 15
INSIDE_LENGTH = 16
MAX_HOSTS = 1000
BOOT_TIMEOUT = 60
# The lab's own tools first, the same on every kind of host; then the host's.
PATH = "/usr/libexec/lab:/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin"
GREETINGS = {25: b"220 ", 22: b"SSH-2.0-"}


def mark_of(lab: Path) -> str:
    """The argument by which the processes of a lab, and no others, are known."""
    return f"mailproxy-lab:{lab}"


def addresses_of(number: int) -> tuple[str, str]:
    """The outside and the inside address of host number 1 to 1000: 1 is 198.18.1.1 and 10.1.1.1, 251 is ….2.1."""
    high, low = divmod(number - 1, 250)
    return f"198.18.{high + 1}.{low + 1}", f"10.1.{high + 1}.{low + 1}"


def mac_of(address: str) -> str:
    """The locally administered link address that goes with an IPv4 address."""
    return "02:00:" + ":".join(f"{int(octet):02x}" for octet in address.split("."))


@dataclass(frozen=True)
class Host:
    """A host of the lab whose run directory is lab; it may be on or off."""

    name: str
    address: str
    internal_address: str
    lab: Path
    kind: Kind = DEBIAN12

    @property
    def short_name(self) -> str:
        """The first label of its name, which is also its port's name on the bridge."""
        return self.name.partition(".")[0]

    @property
    def directory(self) -> Path:
        """Where its own file system (upper), console and pid are kept, on or off."""
        return self.lab / "hosts" / self.short_name

    @property
    def is_up(self) -> bool:
        """Whether its PID 1 lives."""
        try:
            pid = int((self.directory / "pid").read_text())
        except (OSError, ValueError):
            return False
        return {mark_of(self.lab), self.name} <= set(arguments_of(pid))

    @property
    def pid(self) -> int:
        """Its PID 1, as seen from the machine; LabError when it is off."""
        if not self.is_up:
            raise LabError(f"{self.name} is off")
        return int((self.directory / "pid").read_text())

    @property
    def root(self) -> Path:
        """Its root directory, as seen from the machine; absolute symbolic links in there lead out of it."""
        return Path(f"/proc/{self.pid}/root")

    @property
    def proc(self) -> Path:
        """Where it shows its processes, as seen from the machine."""
        return self.root / self.kind.proc.lstrip("/")

    @property
    def configuration(self) -> Path:
        """Its Postfix's configuration directory, as seen from the machine."""
        return self.root / self.kind.config_directory.lstrip("/")

    def run(
        self, argv: Sequence[str], *, input: str | None = None, check: bool = True, timeout: float | None = 60
    ) -> subprocess.CompletedProcess[str]:
        """Run a command as root inside the host, without ssh; stdout and stderr are captured as text."""
        namespaces = ["--mount", "--uts", "--ipc", "--net", "--pid", "--root", "--wd"]
        return subprocess.run(
            ["nsenter", f"--target={self.pid}", *namespaces, "--", *argv],
            input=input or "",
            capture_output=True,
            text=True,
            errors="surrogateescape",
            env={"PATH": PATH, "HOME": "/root", "LC_ALL": "C"},
            check=check,
            timeout=timeout,
        )

    def power_off(self) -> None:
        """End the host at once, as a power failure would; its file system is kept as it stands."""
        kill(self.pid, mark_of(self.lab))

    def boot(self, *, give_up: threading.Event | None = None) -> None:
        """Start the host on its file system; returns when its sshd and its Postfix answer."""
        if self.is_up:
            raise LabError(f"{self.name} is up already")
        controller = controller_pid(self.lab)
        if (self.directory / "pid").exists():
            (self.directory / "pid").unlink()
            # The kernel removes the port of a dead host in its own time; the name is needed now.
            unplug = ["nsenter", f"--net=/proc/{controller}/ns/net", "ip", "link", "delete", self.short_name]
            subprocess.run(unplug, stderr=subprocess.DEVNULL, check=False)
        (self.directory / "console").unlink(missing_ok=True)
        with (self.directory / "console").open("wb") as console:
            command = ["setsid", "--fork", "unshare", "--fork", "--mount", "--net", "--pid", "--uts", "--ipc"]
            command += [str(FILES / "host-init"), mark_of(self.lab), self.name, str(controller)]
            subprocess.run(
                command, cwd=self.directory, stdin=subprocess.DEVNULL, stdout=console, stderr=console, check=True
            )
        self._wait_until_ready(give_up or threading.Event())

    def answers(self, port: int) -> bool:
        """Whether the service at port 22 or 25 sends its greeting to the controller.

        The mail server has no address the controller could reach: it is asked from its own network.
        """
        if not self.is_up:
            return False
        asker = controller_pid(self.lab) if self.address != self.internal_address else self.pid
        with network_of(asker):
            client = socket.socket()
        with client:
            client.settimeout(5)
            try:
                client.connect((self.address, port))
                greeting = client.recv(512)
                if port == 25:
                    client.sendall(b"QUIT\r\n")
                    client.recv(512)
            except OSError:
                return False
        return greeting.startswith(GREETINGS[port])

    def _wait_until_ready(self, give_up: threading.Event) -> None:
        """Return when both services answer; LabError with the end of the logs if the host dies or takes too long."""
        deadline = time.monotonic() + BOOT_TIMEOUT
        pid_file = self.directory / "pid"
        while not (pid_file.exists() and pid_file.read_text()):
            self._pause(deadline, give_up, "did not start")
        # Postfix is the last to start: sshd need not be asked before.
        for port in (25, 22) if self._has_mail_service() else (22,):
            while not self.answers(port):
                if not self.is_up:
                    raise LabError(f"{self.name} died while it started\n{self._log_tail()}")
                if (self.root / "run/boot-failed").exists():
                    raise LabError(f"{self.name} is up, but a service did not start\n{self._log_tail()}")
                self._pause(deadline, give_up, f"does not answer at port {port}")

    def _has_mail_service(self) -> bool:
        """Whether it starts Postfix when it boots: a bare one only when that was enabled.

        Its root is not asked, which is the machine's own until PID 1 has turned to that of the host.
        """
        return not self.kind.is_bare or any((self.directory / "upper/etc/rc2.d").glob("S*postfix"))

    def _pause(self, deadline: float, give_up: threading.Event, complaint: str) -> None:
        if give_up.wait(0.03):
            raise LabError(f"{self.name}: start abandoned")
        if time.monotonic() > deadline:
            raise LabError(f"{self.name} {complaint} within {BOOT_TIMEOUT} s\n{self._log_tail()}")

    def _log_tail(self) -> str:
        lines: list[str] = []
        for log in (self.directory / "console", self.directory / "upper/var/log/mail.log"):
            if log.exists():
                lines += [f"  {log.name}: {line}" for line in log.read_text(errors="replace").splitlines()[-10:]]
        return "\n".join(lines) or "  (its logs are empty)"


def controller_pid(lab: Path) -> int:
    """The process that holds the controller's network; LabError when the lab is not up."""
    try:
        pid = int((lab / "controller/pid").read_text())
    except (OSError, ValueError):
        pid = 0
    if mark_of(lab) not in arguments_of(pid):
        raise LabError(f"lab {lab.name} is not up: lab/lab up")
    return pid


def start_controller(lab: Path) -> None:
    """Make the controller's network: the bridge with the controller's address on it."""
    directory = lab / "controller"
    directory.mkdir()
    (directory / "network").write_text(
        "link set lo up\n"
        f"link add name internet address {mac_of(CONTROLLER_ADDRESS)} type bridge forward_delay 0 mcast_snooping 0\n"
        "link set internet addrgenmode none\n"
        f"address add {CONTROLLER_ADDRESS}/{OUTSIDE_LENGTH} dev internet\n"
        "link set internet up\n"
    )
    with (directory / "console").open("wb") as console:
        command = ["setsid", "--fork", "unshare", "--net", str(FILES / "controller-init"), mark_of(lab)]
        subprocess.run(command, cwd=directory, stdin=subprocess.DEVNULL, stdout=console, stderr=console, check=True)
    deadline = time.monotonic() + 10
    while not ((directory / "pid").exists() and (directory / "pid").read_text()):
        if time.monotonic() > deadline:
            raise LabError(f"the controller's network does not start\n{(directory / 'console').read_text()}")
        time.sleep(0.005)


def install(host: Host, files: dict[str, str]) -> None:
    """Make the host's directory: its file system over its kind's root, with files (path to text) in it, its network."""
    root = host.kind.root
    host.directory.mkdir(parents=True)
    (host.directory / "lower").symlink_to(root)
    for directory in ("upper", "work", "root"):
        (host.directory / directory).mkdir()
    upper = host.directory / "upper"
    upper.chmod(0o755)
    for path, text in files.items():
        for parent in reversed(Path(path).parents[:-1]):
            if not (upper / parent).exists():
                (upper / parent).mkdir()
                shutil.copymode(root / parent, upper / parent)
        (upper / path).write_text(text)
        (upper / path).chmod(0o644)
        # Postfix does not read a main.cf until it is two seconds old, for fear of one half-written.
        os.utime(upper / path, times=(root.stat().st_mtime,) * 2)
    outside = host.address != host.internal_address
    (host.directory / "network").write_text(_network(host, outside))
    (host.directory / "port").write_text(_port(host, outside))


def _network(host: Host, outside: bool) -> str:
    """ip(8) commands for the host's own network; neighbours are fixed, since the kernel's table of others is small
    (1024) and shared by all namespaces."""
    controller = controller_pid(host.lab)
    mac = mac_of(host.address)
    peer = f"{host.short_name} netns /proc/{controller}/ns/net"
    commands = [
        "link set lo up",
        f"link add name eth0 address {mac} type veth peer name {peer}",
        "link set eth0 addrgenmode none",
        f"address add {host.internal_address}/{INSIDE_LENGTH} dev eth0",
        "link set eth0 up",
    ]
    if outside:
        commands += [
            f"address add {host.address}/{OUTSIDE_LENGTH} dev eth0",
            f"neighbour add {CONTROLLER_ADDRESS} lladdr {mac_of(CONTROLLER_ADDRESS)} dev eth0 nud permanent",
            f"neighbour add {MAIL_SERVER_ADDRESS} lladdr {mac_of(MAIL_SERVER_ADDRESS)} dev eth0 nud permanent",
        ]
    return "".join(f"{command}\n" for command in commands)


def _port(host: Host, outside: bool) -> str:
    """ip(8) commands for the controller's end of the host's cable."""
    commands = [f"link set {host.short_name} master internet addrgenmode none up"]
    if outside:
        commands.append(f"neighbour replace {host.address} lladdr {mac_of(host.address)} dev internet nud permanent")
    return "".join(f"{command}\n" for command in commands)

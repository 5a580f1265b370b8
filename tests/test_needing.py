"""A host tells whether what its mail needs is there, under every shell."""

import socket
import subprocess
from pathlib import Path

import pytest

from mailproxy.program import PROGRAMS

TOOLS = {
    "getent": """case $2 in
        2.0.0.127.bl.example.) echo "127.0.0.2 $2" ;;
        2.0.0.127.public.example.) echo "127.255.255.254 $2" ;;
        *) exit 2 ;;
    esac""",
    "posttls-finger": """for place; do :; done
    case $place in
        "[127.0.0.1]:8891") echo "posttls-finger: timeout while reading server greeting" ;;
        "[milter.example]:8891") echo "posttls-finger: Destination address lookup failed: Host not found"; exit 1 ;;
        *) echo "posttls-finger: Failed to establish session to $place via ::1: connect to ::1[::1]:8891: refused" ;;
    esac""",
}
EXPECTED = {
    "dnsbl:bl.example": "answers",
    "dnsbl:public.example": "silent it says 127.255.255.254: it does not serve the resolver of this host",
    "dnsbl:gone.example": "silent it does not list 127.0.0.2, as every zone does that is served (RFC 5782)",
    "inet:127.0.0.1:8891": "answers",
    "inet:milter.example:8891": "silent Destination address lookup failed: Host not found",
    "inet:[::1]:8891": "silent connect to ::1[::1]:8891: refused",
    "unix:milter.sock": "answers",
    "unix:/milter.sock": "answers",
}


@pytest.mark.parametrize("shell", ["dash", "bash --posix", "mksh", "busybox sh"])
def test_what_is_needed_answers_or_is_silent_for_a_reason(shell: str, tmp_path: Path) -> None:
    (tmp_path / "master.cf").write_text("#smtp inet n - n - - smtpd\nsmtp inet n - y - - smtpd\n")
    for name, text in TOOLS.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{text}\n")
        (tmp_path / name).chmod(0o755)
    common, needing = ((PROGRAMS / f"{name}.sh").read_text() for name in ("common", "needing"))
    asked = "\n".join([*EXPECTED, "unix:/run/milter.sock"])
    program = tmp_path / "program.sh"
    begin = f"PATH={tmp_path}:$PATH queue={tmp_path}\ncd {tmp_path}\n"
    program.write_text(f"{common}\n{needing}\n{begin}ask_needed <<END\n{asked}\nEND\n")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "milter.sock"))
        found = subprocess.run([*shell.split(), str(program)], capture_output=True, text=True, check=False)
    wanted = {**EXPECTED, "unix:/run/milter.sock": f"silent there is no socket {tmp_path}/run/milter.sock"}
    assert sorted(found.stdout.splitlines()) == sorted(f"needed {name} {state}" for name, state in wanted.items())
    assert found.stderr == ""

"""Programs come on standard input and are run as they are; what shows a password, or trusts too much, is refused."""

import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
from pyinfra.api import Config, Host, Inventory, State
from pyinfra.connectors.ssh import SSHConnector

from mailproxy.known_hosts import problems_of_known_hosts
from mailproxy.privilege import left_to_us, refuse_what_is_seen, sudo_password
from mailproxy.program import LOADER, PROGRAMS, command, parts, sent
from mailproxy.ssh import reached, refuse_unsafe_connections
from mailproxy.stop import StopError
from tests.recipes import DOAS, SUDOERS, SUDOERS_WITH_PASSWORD

SAFE = {"ssh_strict_host_key_checking": "yes", "ssh_known_hosts_file": "inventories/known_hosts"}
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="anybody else would be led to sudo")


def state(data: dict[str, Any], config: Config | None = None, overridden: dict[str, str] | None = None) -> State:
    """Return the state of a run with two hosts that have this data; some is overridden by --data."""
    hosts = ["mx1.example.com", "mx2.example.com"]
    return State(Inventory((hosts, data), override_data=overridden or {}), config or Config())


def run(shell: list[str], stdin: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*shell, "-c", LOADER],
        input=stdin,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )


@as_root
@pytest.mark.parametrize("password", [None, "mail\\proxy %s"])
def test_a_program_gets_its_arguments_and_its_input_as_they_are(shell: list[str], password: str | None) -> None:
    arguments = ['it\'s "so"', "%d café\n$(x) \\", ""]
    first_line, _, _ = command("settle", *arguments).whole.partition("\nset -eu")
    text = first_line + '\nfor argument; do printf "<%s>\\n" "$argument"; done\necho "${password-none}"\ncat\nexit 7\n'
    result = run(shell, sent(text, " 1 \\n\n\n2", password), LC_ALL="C.UTF-8", password="inherited")
    assert result.stdout == "".join(f"<{argument}>\n" for argument in arguments) + "none\n 1 \\n\n\n2"
    assert (result.returncode, result.stderr) == (7, "")


@as_root
def test_a_program_that_fails_on_the_way_ends_there_and_one_that_is_cut_off_does_not_begin(shell: list[str]) -> None:
    stopped = run(shell, sent("set -eu\nfalse\necho not reached\n"))
    assert (stopped.returncode, stopped.stdout) == (1, "")
    cut = run(shell, sent("echo first\necho second\n").removesuffix("second\n"))
    assert (cut.returncode, cut.stdout) == (64, "")
    assert run(shell, "what is no program\n").returncode == 0


def test_what_is_sent_is_ascii_as_it_is_counted_in_bytes() -> None:
    assert all(command(program, "café").whole.isascii() for program in parts())


def test_the_documented_lines_permit_what_is_run_and_nothing_else() -> None:
    escaped = LOADER.replace("\\", "\\\\").replace("=", "\\=")
    assert not set(LOADER) & set("*?[]!,:#\\\n'"), "these mean something else in sudoers, or to a login shell"
    assert f"deploy ALL=(root) NOPASSWD: /bin/sh -c {escaped}\n" == SUDOERS
    assert f"deploy ALL=(root) /bin/sh -c {escaped}\n" == SUDOERS_WITH_PASSWORD
    quoted = LOADER.replace('"', '\\"')
    assert f'permit nopass deploy as root cmd /bin/sh args -c "{quoted}"\n' == DOAS


def test_pyinfra_gets_no_password_to_pass_on() -> None:
    found = state({"_sudo": True, "_sudo_password": 1234})
    (host, _) = found.inventory
    assert sudo_password(host) == "1234"
    assert left_to_us() == {"_sudo": False, "_sudo_password": "", "_doas": False}
    typed = Config()
    typed.SUDO_PASSWORD = "typed"
    (host, _) = state({}, typed).inventory
    assert sudo_password(host) == "typed"
    (host, _) = state({}).inventory
    assert sudo_password(host) is None


@pytest.mark.parametrize(
    ("data", "overridden", "expected"),
    [
        ({}, {"_sudo_password": "HUNTER2"}, "everybody on this machine sees it in the list of processes"),
        ({"_su_password": "HUNTER2"}, {}, "_su_password for mx1.example.com: pyinfra would put it into a file in /tmp"),
        ({"_sudo_password": "HUNTER2\nX"}, {}, "_sudo_password for mx1.example.com: found several lines, expected one"),
    ],
)
def test_a_password_that_others_would_see_is_refused(
    data: dict[str, str], overridden: dict[str, str], expected: str
) -> None:
    with pytest.raises(StopError) as raised:
        refuse_what_is_seen(state(data, overridden=overridden))
    assert expected in raised.value.message
    assert "nothing was touched" in raised.value.message
    assert "HUNTER" not in raised.value.message


def hosts(run: State) -> tuple[Host, ...]:
    return tuple(run.inventory)


def refusal(**data: Any) -> str:
    with pytest.raises(StopError) as raised:
        refuse_unsafe_connections(hosts(state(data)))
    return " ".join(raised.value.message.split())


def test_an_inventory_that_says_nothing_of_host_keys_is_refused_with_what_to_say() -> None:
    said = refusal(ssh_config_file="/nonexistent")
    assert 'ssh_strict_host_key_checking is not set, so unknown keys are accepted; expected "yes"' in said
    assert "ssh_known_hosts_file is not set, so your own known_hosts counts" in said
    assert said.count("[mx1.example.com, mx2.example.com]") == 2
    refuse_unsafe_connections(hosts(state({**SAFE, "ssh_config_file": "/nonexistent"})))


def test_agent_forwarding_is_refused_on_hosts_and_on_the_way_to_them(tmp_path: Path) -> None:
    assert "ssh_forward_agent is set, which lends your keys to the host" in refusal(**SAFE, ssh_forward_agent=True)
    config = tmp_path / "ssh_config"
    # Of the host itself: pyinfra's ssh_forward_agent, which is off, wins over it.
    config.write_text("Host mx?.example.com\n ForwardAgent yes\n")
    run_of_two = state({**SAFE, "ssh_config_file": str(config)})
    refuse_unsafe_connections(hosts(run_of_two))
    for host in run_of_two.inventory:
        assert isinstance(host.connector, SSHConnector)
        assert host.connector.make_paramiko_kwargs()["_pyinfra_ssh_forward_agent"] is False
    config = tmp_path / "with_jump"
    config.write_text("Host *\n ForwardAgent yes\nHost mx?.example.com\n ProxyJump me@gate:2222\n")
    said = refusal(**SAFE, ssh_config_file=str(config))
    assert f"jump host gate in {config}: ForwardAgent lends your keys to it; expected no" in said
    assert f"jump host gate in {config}: expected StrictHostKeyChecking yes" in said
    assert f"jump host gate in {config}: your own known_hosts counts" in said


def test_a_jump_host_with_its_own_keys_known_is_fine(tmp_path: Path) -> None:
    config = tmp_path / "ssh_config"
    config.write_text(
        "Host gate\n StrictHostKeyChecking yes\n UserKnownHostsFile inventories/known_hosts\n IdentityFile ~/.ssh/%l\n"
        "Host mx?.example.com\n ProxyJump gate\n"
    )
    refuse_unsafe_connections(hosts(state({**SAFE, "ssh_config_file": str(config)})))


def test_host_keys_that_are_not_read_to_their_end_stop_a_run_with_all_else_that_is_unsafe(tmp_path: Path) -> None:
    keys = tmp_path / "known_hosts"
    keys.write_text("@cert-authority * ssh-rsa AAAA\n")
    said = refusal(ssh_known_hosts_file=str(keys))
    assert f"{keys}:1: ssh_known_hosts_file = '@cert-authority * ssh-rsa AAAA'" in said
    assert "ssh_strict_host_key_checking is not set" in said
    assert "nothing was touched" in said


def test_ssh_config_says_where_a_host_is_and_all_files_that_it_may_be_known_by(tmp_path: Path) -> None:
    config = tmp_path / "ssh_config"
    config.write_text(
        "Host mx?.example.com\n HostName %h.internal\n Port 2222\n"
        f" UserKnownHostsFile {tmp_path}/first {tmp_path}/second\n"
    )
    key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGm7bXvTnHHBHvIQ0gBvOHp8v1Jrbj0m9sW1v3rUqk2F"
    (tmp_path / "first").write_text(f"192.0.2.1 {key}\n")
    (tmp_path / "second").write_text(f"[mx1.example.com.internal]:2222 {key}\n")
    fleet = hosts(state({"ssh_strict_host_key_checking": "yes", "ssh_config_file": str(config)}))
    refuse_unsafe_connections(fleet)
    ((said, known_not),) = [(str(one.problem), one.hosts) for one in problems_of_known_hosts(reached(fleet))]
    assert "has no line for [mx2.example.com.internal]:2222, at which mx2.example.com is reached" in said
    assert known_not == ("mx2.example.com",)


def test_a_password_is_printed_by_the_shell_itself_and_so_in_no_arguments(shell: list[str]) -> None:
    function = re.search(r"(?ms)^say\(\) \{.*?^\}", (PROGRAMS / "enter.sh").read_text())
    assert function is not None
    # Where no program is found, none can have printed it.
    script = f'PATH=/nonexistent\n{function[0]}\nsay "$1"'
    said = subprocess.run([*shell, "-c", script, "sh", "-n %s\\n"], capture_output=True, text=True, check=True)
    assert said.stdout == "-n %s\\n\n"

"""Ansible for lab/bench: installed beside the lab's roots, and told about a lab as its users would tell it."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from lab.fleet import Fleet
from lab.machine import LabError, locked
from lab.root import CACHE, LAB
from lab.trial import declaration

PLAYBOOK = LAB / "ansible"
VENV = CACHE / "ansible-venv"
INVENTORY = "hosts.ini"
PLUGINS = "ansible_mitogen/plugins/strategy"


def installed() -> None:
    """Install what lab/ansible/requirements.txt names in a virtual environment of its own, when that is not there."""
    wanted = f"{sys.version}\n{(PLAYBOOK / 'requirements.txt').read_text()}"
    made_for = VENV / "made-for"
    with locked(CACHE / "ansible.lock"):
        if made_for.exists() and made_for.read_text() == wanted:
            return
        print(f"bench: installing Ansible and Mitogen in {VENV}", file=sys.stderr, flush=True)
        try:
            _run([sys.executable, "-m", "venv", "--clear", str(VENV)])
            pip = [str(VENV / "bin/pip"), "install", "--quiet", "--disable-pip-version-check"]
            _run([*pip, "--requirement", str(PLAYBOOK / "requirements.txt")])
        except BaseException:
            shutil.rmtree(VENV, ignore_errors=True)
            raise
        made_for.write_text(wanted)


def _run(command: Sequence[str]) -> None:
    done = subprocess.run(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
    if done.returncode != 0:
        raise LabError(f"{' '.join(command)} ended with status {done.returncode}:\n{done.stdout.rstrip()}")


def versions() -> str:
    """Return which Ansible and which Mitogen are installed."""
    packages = {"ansible-core": "ansible_core", "Mitogen": "mitogen"}
    found = {
        name: next(VENV.glob(f"lib/python3*/site-packages/{package}-*.dist-info")) for name, package in packages.items()
    }
    return ", ".join(f"{name} {folder.stem.partition('-')[2]}" for name, folder in found.items())


def write_inventory(directory: Path, lab: Fleet, relay_domains: Mapping[str, str]) -> None:
    """Write the hosts, how they are reached, and what is declared.

    The lab's ssh_config has their addresses, the key, and the only file of known hosts.
    """
    hosts = "".join(f"{host.name}\n" for host in lab.hosts)
    reached = f"[proxies:vars]\nansible_user=root\nansible_ssh_common_args=-F {shlex.quote(str(lab.ssh_config))}\n"
    (directory / INVENTORY).write_text(f"[proxies]\n{hosts}\n{reached}")
    (directory / "group_vars").mkdir(exist_ok=True)
    (directory / "group_vars/proxies.yml").write_text(as_yaml(declaration(relay_domains)))


def as_yaml(declared: Mapping[str, object]) -> str:
    """Return keys of group_data as YAML in block style, as people write it, one level deep."""
    lines = []
    for key, value in declared.items():
        match value:
            case dict() if value:
                lines += [f"{key}:", *(f"  {json.dumps(name)}: {json.dumps(each)}" for name, each in value.items())]
            case list() if value:
                lines += [f"{key}:", *(f"  - {json.dumps(each)}" for each in value)]
            case _:
                lines.append(f"{key}: {json.dumps(value)}")
    return "".join(f"{line}\n" for line in lines)


def environment(home: Path, forks: int, mitogen: bool) -> dict[str, str]:
    """Return the environment of ansible-playbook; what it keeps goes to home, and nothing of this user's counts."""
    own = {name: value for name, value in os.environ.items() if not name.startswith(("ANSIBLE_", "MITOGEN_"))}
    own |= {
        "ANSIBLE_CONFIG": str(PLAYBOOK / "ansible.cfg"),
        "ANSIBLE_HOME": str(home),
        # Where ssh's masters listen does not follow from that.
        "ANSIBLE_SSH_CONTROL_PATH_DIR": str(home / "cp"),
        "ANSIBLE_FORKS": str(forks),
        # It refuses to run where the locale's encoding is another one.
        "LC_ALL": "C.UTF-8",
    }
    if mitogen:
        (plugins,) = VENV.glob(f"lib/python3*/site-packages/{PLUGINS}")
        own |= {"ANSIBLE_STRATEGY_PLUGINS": str(plugins), "ANSIBLE_STRATEGY": "mitogen_linear"}
    return own

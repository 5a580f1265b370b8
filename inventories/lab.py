"""The disposable fleet that lab/lab up starts on this machine; see lab/."""

import json as _json
import os as _os
from pathlib import Path as _Path

from pyinfra.api.exceptions import InventoryError as _InventoryError

from mailproxy.condensed import condense as _condense
from mailproxy.known_hosts import read_to_its_end as _read_to_its_end
from mailproxy.shard import shard as _shard

_condense()
_directory = _Path(__file__).resolve().parent.parent / "lab" / "run" / _os.environ.get("LAB", "default")
try:
    _fleet = _json.loads((_directory / "fleet.json").read_text())
except FileNotFoundError:
    raise _InventoryError(f"the lab {_directory.name} is not up: lab/lab up") from None

# Of hosts of one kind root is logged in to; where kinds are mixed, on all but one a user who finds the way to be root.
_ROOTS = {"debian11"}
_is_mixed = len({_host["kind"] for _host in _fleet["hosts"]}) > 1


def _user(kind: str) -> str:
    return "deploy" if _is_mixed and kind not in _ROOTS else "root"


proxies = [
    (_host["name"], {"ssh_hostname": _host["address"], "ssh_user": _user(_host["kind"])}) for _host in _fleet["hosts"]
]
# A group for each kind, for what is declared for one system alone.
for _kind in {_host["kind"] for _host in _fleet["hosts"]}:
    globals()[_kind] = [_host["name"] for _host in _fleet["hosts"] if _host["kind"] == _kind]

canary = [_host["name"] for _host in _fleet["hosts"][:1]]
shard = _shard(_host["name"] for _host in _fleet["hosts"])

all = (
    [_host["name"] for _host in _fleet["hosts"]],
    {
        "ssh_key": _fleet["ssh_key"],
        "ssh_known_hosts_file": _read_to_its_end(_Path(_fleet["known_hosts"])),
    },
)

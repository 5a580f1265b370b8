"""The perimeter: copy this file to production.py and name your own hosts.

Every list is a group; group_data/GROUP.py holds what is declared for it. A host's name is the name it gives itself
(myhostname) unless group_data says otherwise; ssh_hostname is for hosts that are reached under another one.
"""

from pathlib import Path as _Path

from mailproxy.condensed import condense as _condense
from mailproxy.known_hosts import read_to_its_end as _read_to_its_end
from mailproxy.shard import shard as _shard

# Of a large fleet pyinfra logs a line for what many hosts say alike, not one a host.
_condense()

proxies = [
    ("mx1.example.com", {"ssh_hostname": "192.0.2.11"}),
    ("mx2.example.com", {"ssh_hostname": "192.0.2.12"}),
    ("mx3.example.com", {"ssh_hostname": "192.0.2.13"}),
]

# Activated first, on its own: the rest follows only when it succeeded.
canary = ["mx1.example.com"]

# Where several controllers share the work, this one's part, for --limit shard (docs/shards.md); without them, all.
shard = _shard(name for name, _ in proxies)

# How they are reached: by a user who has the one line in sudoers or doas.conf that docs/ssh.md gives. Collect the keys
# once, check them against the consoles, and commit the file.
all = (
    [name for name, _ in proxies],
    {
        "ssh_user": "deploy",
        "ssh_known_hosts_file": _read_to_its_end(_Path(__file__).resolve().parent / "known_hosts"),
        "ssh_strict_host_key_checking": "yes",
    },
)

"""The same five files by the book, for lab/bench to compare with: stock operations, and did_change decides.

pyinfra inventories/lab.py lab/textbook/deploy.py

It reads the plain forms of our keys in group_data: relay_domains as a dict, aliases with one target each, no
relay_subdomains and no main_cf; on Debian, where tables are of type hash.
"""

from pathlib import Path

from pyinfra.operations import files, server
from pyinfra.operations.util import any_changed

TEMPLATES = Path(__file__).resolve().parent / "templates"

main_cf = files.template(
    name="Deploy main.cf",
    src=str(TEMPLATES / "main.cf.j2"),
    dest="/etc/postfix/main.cf",
    user="root",
    group="root",
    mode="644",
)
mynetworks = files.template(
    name="Deploy mynetworks",
    src=str(TEMPLATES / "mynetworks.j2"),
    dest="/etc/postfix/mynetworks",
    user="root",
    group="root",
    mode="644",
)
aliases = files.template(
    name="Deploy aliases",
    src=str(TEMPLATES / "aliases.j2"),
    dest="/etc/postfix/aliases",
    user="root",
    group="root",
    mode="644",
)
transport = files.template(
    name="Deploy transport",
    src=str(TEMPLATES / "transport.j2"),
    dest="/etc/postfix/transport",
    user="root",
    group="root",
    mode="644",
)
relaydomains = files.template(
    name="Deploy relaydomains",
    src=str(TEMPLATES / "relaydomains.j2"),
    dest="/etc/postfix/relaydomains",
    user="root",
    group="root",
    mode="644",
)

server.shell(
    name="Index aliases",
    commands=["postalias hash:/etc/postfix/aliases"],
    _if=aliases.did_change,
)
server.shell(
    name="Index transport",
    commands=["postmap hash:/etc/postfix/transport"],
    _if=transport.did_change,
)
server.shell(
    name="Reload Postfix",
    commands=["postfix reload"],
    _if=any_changed(main_cf, mynetworks, relaydomains),
)

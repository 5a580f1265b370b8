"""The files of a configuration directory that are managed, each with what it is."""

from dataclasses import dataclass


@dataclass(frozen=True)
class ManagedFile:
    """A file by its name: the source of an indexed table or text that Postfix reads as it is; a secret is never shown.

    A feature's is there only where group_data asks for it; entry is what a review calls one of its lines, or all
    addresses of a domain together. is_bare tells that what its entries say besides their keys is always the same, and
    is_list that they are tried in their order: a key, a tab, what it finds. Of a shared one only marked lines are ours:
    it is never removed, and what stands beside them is nobody's mistake (master_cf.py).
    """

    name: str
    is_table: bool = False
    is_secret: bool = False
    is_shared: bool = False
    entry: str = ""
    is_by_domain: bool = False
    is_bare: bool = False
    is_list: bool = False


# Of the guide's proxy: they are on every host. relaydomains is indexed only from INDEXED_FROM domains on (render.py).
BASIC = (
    ManagedFile("main.cf"),
    ManagedFile("mynetworks"),
    ManagedFile("aliases", is_table=True),
    ManagedFile("relaydomains", is_table=True),
    ManagedFile("transport", is_table=True),
)
# Of the further keys of group_data.
OF_FEATURES = (
    ManagedFile("relayrecipients", is_table=True, entry="recipients of", is_by_domain=True),
    ManagedFile("tls.pem", is_secret=True, entry="certificate"),
    ManagedFile("tlspolicy", is_table=True, entry="TLS to"),
    ManagedFile("verifydomains", is_table=True, entry="verify recipients of", is_bare=True),
    ManagedFile("clientaccess", entry="client access", is_list=True),
    ManagedFile("heloaccess", is_table=True, entry="HELO access"),
    ManagedFile("senderaccess", is_table=True, entry="sender access"),
    ManagedFile("recipientaccess", is_table=True, entry="recipient access"),
    ManagedFile("headerchecks", entry="header check", is_list=True),
    ManagedFile("mimechecks", entry="MIME check", is_list=True),
    ManagedFile("bodychecks", entry="body check", is_list=True),
    ManagedFile("passwords", is_table=True, is_secret=True, entry="credentials"),
    ManagedFile("postscreenaccess", entry="client"),
    ManagedFile("master.cf", is_shared=True, entry="service"),
)
MANAGED = {file.name: file for file in (*BASIC, *OF_FEATURES)}

FILES = tuple(MANAGED)
BASIC_FILES = tuple(file.name for file in BASIC)
FEATURE_FILES = tuple(file.name for file in OF_FEATURES)
TABLES = tuple(name for name, file in MANAGED.items() if file.is_table)
FEATURE_TABLES = tuple(name for name in FEATURE_FILES if name in TABLES)
SECRETS = tuple(name for name, file in MANAGED.items() if file.is_secret)
SHARED = tuple(name for name, file in MANAGED.items() if file.is_shared)
# Files that a process of Postfix reads once in its life, so that only a reload makes them known (DATABASE_README).
# relaydomains also where it is an indexed table, which processes notice by themselves, but not at once: each
# trivial-rewrite looks every 10 s (trivial-rewrite.c, check_table_stats). Until all have, the queue manager might ask
# one for the route of a domain that another one had smtpd accept, and the mail would bounce.
READ_ONCE = (*(name for name in FILES if name not in TABLES), "relaydomains")

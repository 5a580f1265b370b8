"""Declarations at random: what somebody means or mistypes, and what somebody with bad intent would write."""

import random
from collections.abc import Callable
from typing import Any

from mailproxy.parameters import parameters
from mailproxy.render import OWN_PARAMETERS

# Pieces of text that mean something to one of the programs a value comes by: Postfix, sh, Jinja2, a terminal.
SPECIAL = (
    *(
        "$",
        "$$",
        "$x",
        "${x}",
        "$(id)",
        "`id`",
        "$myhostname",
        "${stress?{a}:{b}}",
        "%s",
        "%n",
        "{{ 7*7 }}",
        "{% raw %}",
    ),
    *(
        "#",
        " # x",
        '"',
        '""',
        "'",
        "\\",
        "\\n",
        "\\\\",
        "|",
        "|id",
        ";",
        "; id",
        "&",
        "&& id",
        ">",
        "<x>",
        "*",
        "?",
        "~",
    ),
    *(
        "=",
        " = ",
        ":",
        ",",
        ", ",
        "!",
        "@",
        "(",
        ")",
        "[",
        "]",
        "{",
        "}",
        "/etc/passwd",
        "../x",
        "-rf",
        "--",
        " ",
        "  ",
    ),
    *("é", "é", "ü", "日本", "ß", "İ", "K", "😀", "٣", "\uff11", "\u017f", "ﬁ", "。"),
    *("root", "0", "1", "a b", "a,b", "yes", "no", "permit", "reject", "hash:/etc/x", "smtp:[10.1.0.2]"),
)
# What may be in no value.
FORBIDDEN = (
    *("\n", "\r", "\r\n", "\0", "\t", "\v", "\f", "\x1b[2J", "\x7f", "\x85", "\x9b", "\u2028", "\u2029"),
    *("\ufeff", "\u200b", "\u202e", "\u00ad", "\u00a0", "\u3000", "\ud800", "\udc80", "\U000e0001", "\uffff"),
    *("\nrelay_domains = evil.example", "\n  more", "\n# x", "\r\nevil.example smtp:[10.6.6.6]", "\n|id", "\nend"),
)
# What is no value of any key.
_OF_NO_TYPE: tuple[Any, ...] = (
    *(None, True, False, 0, -1, 2**63, 10**5000, 1.5, float("nan"), b"x", "", "x", (), [], {}, set(), object),
    *([[]], [None], {"": ""}, {1: 2}, {None: None}, [{"a": "b"}], {"a": {"b": "c"}}, {"a": [1]}, {"a": None}),
)
_KEYS = (
    *("relay_domains", "mynetworks", "aliases", "alias_programs", "myhostname", "mydomain", "message_size_limit"),
    *("main_cf", "database_type", "relay_subdomains", "rollout"),
)
_HOPS = (
    *("smtp:[10.1.0.2]", "smtp:[mail.internal.example]:2525", "smtp:[ipv6:2001:db8::1]", "relay:mail.internal.example"),
    *(":[10.1.0.2]", "lmtp:unix:/var/run/lmtp", "lmtp:inet:[10.1.0.3]:24"),
)
_NETWORKS = ("127.0.0.0/8", "10.{}.0.0/16", "192.168.{}.0/24", "!10.{}.0.9", "2001:db8:{}::/48", "[fd00:{}::]/32")
_VALUES = {
    "integer": ("0", "100", 7, "007", "12", 1, "9", 2, "-1"),
    "signed": ("0", "-5", 3, 0, "007", "x"),
    "size": (0, 2**40, "99999999999", "20M"),
    "boolean": ("yes", "no", "YES", "No", True, False, True, False, "maybe"),
    "time": ("0", "5d", "100", "3600s", 30, "1w", 0, "007h", "1h30m"),
}
_LISTS = (
    "permit_mynetworks",
    "reject_unauth_destination",
    "reject",
    "permit",
    "check_client_access hash:/etc/x",
    "defer",
)


def declaration(chance: random.Random) -> dict[str, Any]:
    """Return the literals of group_data of one host: about half of them are right."""
    declared: dict[str, Any] = {
        "relay_domains": {_domain(chance): _hop(chance) for _ in range(chance.randrange(4))},
        "myhostname": f"mx{chance.randrange(9)}.example.com",
        "mydomain": "example.com",
    }
    optional: dict[str, Callable[[], Any]] = {
        "mynetworks": lambda: [chance.choice(_NETWORKS).format(chance.randrange(200)) for _ in range(2)],
        "aliases": lambda: {_local(chance): _targets(chance) for _ in range(chance.randrange(1, 4))},
        "message_size_limit": lambda: chance.choice((0, 1, 10240000, 2**40)),
        "main_cf": lambda: dict(_parameter(chance) for _ in range(chance.randrange(5))),
        "database_type": lambda: chance.choice(("hash", "btree", "lmdb", "cdb", "dbm", "sdbm")),
        "relay_subdomains": lambda: chance.random() < 0.5,
        "rollout": lambda: {"waves": [chance.choice(("canary", "10%", 1))], "bake_seconds": chance.randrange(400)},
    }
    for key, make in optional.items():
        if chance.random() < 0.5:
            declared[key] = make()
    if isinstance(declared.get("aliases"), dict) and chance.random() < 0.8:
        declared["alias_programs"] = list(declared["aliases"])
    for _ in range(chance.choice((0, 0, 0, 1, 2))):
        _spoil(declared, chance)
    return declared


def _spoil(declared: dict[str, Any], chance: random.Random) -> None:
    """Put something somewhere that may not belong there."""
    key = chance.choice(_KEYS)
    if chance.random() < 0.15:
        declared[key] = chance.choice(_OF_NO_TYPE)
        return
    value = declared.get(key)
    if isinstance(value, dict) and value:
        name = chance.choice(list(value))
        if chance.random() < 0.3:
            value[_injected(name, chance)] = value[name]
        elif chance.random() < 0.1:
            value[name] = chance.choice(_OF_NO_TYPE)
        else:
            value[name] = _injected(value[name], chance)
    elif isinstance(value, list) and value:
        place = chance.randrange(len(value))
        value[place] = _injected(value[place], chance)
    else:
        declared[key] = _injected(value, chance)


def _injected(value: Any, chance: random.Random) -> Any:
    if isinstance(value, list) and value:
        return [_injected(item, chance) if chance.random() < 0.5 else item for item in value]
    if not isinstance(value, str):
        return chance.choice(SPECIAL + FORBIDDEN)
    piece = chance.choice(SPECIAL if chance.random() < 0.6 else FORBIDDEN)
    place = chance.randrange(len(value) + 1)
    return value[:place] + piece + value[place:]


def _text(chance: random.Random) -> str:
    """Return a line of what can be printed, as free text may be."""
    pieces = (chance.choice(SPECIAL) for _ in range(chance.randrange(4)))
    return "".join(f"{piece}{chance.choice(('', ' ', 'x', 'Mail '))}" for piece in pieces)


def _domain(chance: random.Random) -> str:
    name = f"{chance.choice(('a', 'b', 'mail', 'Sub.Example', 'x_y', 'münchen', '1'))}{chance.randrange(99)}.example"
    return name + chance.choice(("", "", "", "."))


def _hop(chance: random.Random) -> str:
    return chance.choice((*_HOPS, f"error:5.1.1 {_text(chance)}", f"local:{_text(chance)}"))


def _local(chance: random.Random) -> str:
    return chance.choice(
        ("postmaster", "root", "Abuse", "a+b", "a=b", "a/b", "x.y-z", f"n{chance.randrange(99)}", "-x", "/x")
    )


def _targets(chance: random.Random) -> Any:
    one = chance.choice(
        (
            "root",
            "alice",
            "a@example.org",
            '"|/bin/cat -n, x"',
            "/var/mail/all",
            ":include:/etc/list",
            '"a b"@b.example',
        )
    )
    two = chance.choice(("bob", "bob@example.org", f'"{chance.choice(SPECIAL)}"@b.example', chance.choice(SPECIAL), ""))
    return chance.choice((one, f"{one},{two}", f" {one} ,  {two}", [one, two], [one], [f"{two} "]))


def _parameter(chance: random.Random) -> tuple[str, Any]:
    if chance.random() < 0.1:
        words = [chance.choice(_LISTS) for _ in range(3)]
        name = chance.choice(("smtpd_client_restrictions", "smtpd_relay_restrictions", "smtpd_recipient_restrictions"))
        return name, chance.choice((words, ", ".join(words), "  ".join(words)))
    if chance.random() < 0.1:
        return f"slow{chance.randrange(9)}_destination_rate_delay", chance.choice(_VALUES["time"])
    name = chance.choice([name for name in parameters() if name not in OWN_PARAMETERS])
    known = parameters()[name]
    if known.choices:
        return name, chance.choice(known.choices)
    return name, chance.choice(_VALUES[known.type]) if known.type in _VALUES else _text(chance)

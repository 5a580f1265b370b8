"""Values that nobody may see."""

import re

# Parameters that hold secrets, by their names (password, passwd, secret, ...).
_WORD = re.compile(r"pass|secret|key_material|_pw", re.IGNORECASE)
# Keys of group_data below which credentials stand, or would if they were spelled right.
_ROUTES = re.compile("rout", re.IGNORECASE)
_OPEN = re.compile(r"routes\['(?:exceptions|default|fallback)'\]")
_NO_DESTINATION = re.compile(r"routes\['credentials'\]\[(?!'\[).*", re.DOTALL)
# Keys whose entries are domains and addresses, which may have any name.
_OF_MAIL = re.compile(r"(?:relay_domains|relay_recipients|access)\[")
# A value that only names tables is none: what is secret stands in them.
_TABLES = re.compile(r"((proxy:)?[a-z]+:/[^\s,]+([\s,]+|$))*")
# A parameter of main.cf, or one that was commented out, with its continuation lines (postconf(5)).
_LINE = re.compile(
    r"^([ \t]*#?[ \t]*[\w.-]{1,200})([ \t]*=[ \t]*)(.*(?:(?:\n[ \t]*(?:#.*)?)*\n[ \t]+[^\s#].*)*)$", re.MULTILINE
)


def names_secret(name: str) -> bool:
    """Whether what goes by that name may be shown to nobody, whatever it looks like."""
    return bool(_WORD.search(name))


def shown_key(key: str) -> str:
    """Return a key of group_data as it may be shown: credentials may stand where their destination should."""
    return _NO_DESTINATION.sub("routes['credentials'][(not shown)]", key)


def holds_secret(key: str, found: str = "") -> bool:
    """Whether what was found under a key of group_data, such as "routes['default']", may hold a secret.

    Below routes that is all that is not named as one of its open keys, and what looks like an account in these.
    """
    if names_secret(key) and not _OF_MAIL.match(key):
        return True
    return bool(_ROUTES.match(key)) and (not _OPEN.match(key) or "@" in found)


def is_secret(name: str, value: str) -> bool:
    """Whether the value of a parameter is to be shown to nobody."""
    return names_secret(name) and not _TABLES.fullmatch(value)


def without_secrets(text: str) -> str:
    """Return a main.cf with the values of its secrets replaced."""
    return _LINE.sub(_shown, text)


def _shown(found: re.Match[str]) -> str:
    name, equals, value = found.groups()
    return f"{name}{equals}(not shown)" if is_secret(name, value) else found[0]

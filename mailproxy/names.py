"""Names as Postfix and the DNS read them: text of group_data -> one spelling, or why not."""

import difflib
import re
import unicodedata
from collections.abc import Iterable
from functools import cache, lru_cache

import idna
from publicsuffixlist import PublicSuffixList

from mailproxy.problem import refuse_unless

_LABEL = r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?"
_DOMAIN = re.compile(rf"(?=.{{1,253}}$){_LABEL}(\.{_LABEL})*")
LONGEST_LABEL = 63
LONGEST_NAME = 253


def single_line(value: str) -> str:
    """Return value without blanks around it, or refuse what is no single line of text that reads as it is stored.

    Besides control characters, C1 included, these are line separators of Unicode, marks that cannot be seen, blanks
    that Postfix does not take for blanks, and halves of surrogate pairs, which have no form in UTF-8.
    """
    if not value.isprintable():
        found = next(character for character in value if not character.isprintable())
        name = "control character" if unicodedata.category(found) == "Cc" else "character"
        known_as = unicodedata.name(found, "")
        shown = f"{found!r} ({known_as})" if known_as else repr(found)
        raise ValueError(f"holds the {name} {shown}; expected one line of text, its blanks plain ones")
    return value.strip(" ")


def folded(value: str) -> str:
    """Return a name in lower case, without a trailing dot and in ASCII (IDNA 2008, UTS 46), however wrong it is."""
    name = value.strip().lower()
    if not name.isascii():
        # UTS 46 says which characters are full stops, too.
        name = idna.encode(name, uts46=True).decode() if _is_encodable(name) else name
    return name.removesuffix(".")


def domain_name(value: str) -> str:
    """Return a DNS name in lower case, without a trailing dot and in ASCII, or refuse it."""
    name = folded(single_line(value))
    if not _DOMAIN.fullmatch(name):
        raise ValueError(_why_no_domain(name))
    return name


def qualified_name(value: str) -> str:
    """Return a DNS name of at least two labels, or refuse it."""
    name = domain_name(value)
    if "." not in name or name.replace(".", "").isdigit():
        raise ValueError("expected a fully qualified name such as mx1.example.com")
    return name


def relay_domain(value: str) -> str:
    """Return the name of a domain that is relayed, or refuse it."""
    text = single_line(value)
    for wildcard in ("*.", "."):
        domain = text.removeprefix(wildcard)
        if domain != text and _DOMAIN.fullmatch(folded(domain)):
            raise ValueError(f"expected {folded(domain)}: subdomains are relayed by relay_subdomains = True")
    name = domain_name(text)
    refuse_unless(not name.replace(".", "").isdigit(), "is an address; expected a domain name such as example.com")
    return name


def named_twice(names: Iterable[str]) -> dict[str, str]:
    """Return the names that are another one in another spelling, with that one: which of their values should hold?"""
    first: dict[str, str] = {}
    return {name: same for name in names if (same := first.setdefault(folded(name), name)) != name}


def nearest_name(name: str, known: Iterable[str]) -> str:
    """Return the name that a misspelled one was meant to be, '' where none is near."""
    return next(iter(difflib.get_close_matches(name, list(known), n=1, cutoff=0.85)), "")


def is_public_suffix(name: str) -> bool:
    """Whether everybody registers domains below a name: the bundled publicsuffix.org list, section ICANN.

    A name of one label that the list does not have, such as "lan", is none.
    """
    return bool(_suffixes().publicsuffix(name, accept_unknown=False) == name)


def parents(name: str) -> list[str]:
    """Return the domains a name lies below, the nearest first."""
    labels = name.split(".")
    return [".".join(labels[start:]) for start in range(1, len(labels))]


@cache
def _suffixes() -> PublicSuffixList:
    return PublicSuffixList(only_icann=True)


@lru_cache(maxsize=4096)
def _is_encodable(name: str) -> bool:
    try:
        idna.encode(name, uts46=True)
    except (idna.IDNAError, UnicodeError):
        return False
    return True


def _why_no_domain(name: str) -> str:
    expected = "expected a domain name such as example.com"
    if not name.isascii():
        try:
            idna.encode(name, uts46=True)
        except (idna.IDNAError, UnicodeError) as error:
            return f"{expected}; it has no form in ASCII (IDNA 2008): {error}"
    if len(name) > LONGEST_NAME:
        return f"{expected}, of {LONGEST_NAME} characters at most, found {len(name)}"
    long = next((label for label in name.split(".") if len(label) > LONGEST_LABEL), None)
    if long:
        return f"{expected}, each label of {LONGEST_LABEL} characters at most, found {len(long)} in {long}"
    return expected

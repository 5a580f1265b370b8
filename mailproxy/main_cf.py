"""What is wrong with the parameters that main_cf declares, as the Postfix that reads them would see it."""

import re
from collections.abc import Iterator, Mapping

from mailproxy.by_version import parameters_on
from mailproxy.host_postfix import HostPostfix
from mailproxy.model import DesiredState
from mailproxy.parameters import Parameter, nearest, newest, parameter
from mailproxy.problem import Problem, shown
from mailproxy.references import broken_reference, references
from mailproxy.render import OWN_PARAMETERS
from mailproxy.restrictions import (
    classes,
    problems_of_lists,
    relay_problem,
    uncertain_relay_rules,
    unknown_restrictions,
)
from mailproxy.syntax import expanded

# Tables whose own settings stand in main.cf, each behind the name of the table (ldap_table(5), LEGACY).
_NAMED_TABLE = re.compile(r"\b(?:ldap|mysql|pgsql|sqlite|memcache):([A-Za-z_][\w-]*)")
# What a value has to look like (mail_conf_int.c, mail_conf_bool.c, conv_time.c), and in words.
_INTEGER = re.compile(r"[0-9]+")
_TYPES: Mapping[str, tuple[re.Pattern[str], str]] = {
    "boolean": (re.compile(r"yes|no", re.IGNORECASE), "yes or no"),
    "integer": (_INTEGER, "a number"),
    "signed": (re.compile(r"-?[0-9]+"), "a number"),
    "size": (_INTEGER, "a number of bytes"),
    "time": (re.compile(r"[0-9]+[smhdw]?"), "a time such as 5d: a number and s, m, h, d or w"),
}
# What an integer can hold (limits.h), and a size where a long has 64 bits.
_LARGEST = {"integer": 2**31 - 1, "signed": 2**31 - 1, "size": 2**63 - 1}
# Space that smtpd wants free for each message it takes, as a multiple of the largest (smtpd_check.c).
_SPACE = 1.5


def problems_of_parameters(desired: DesiredState) -> Iterator[Problem]:
    """Yield what stops a rollout: names that are none, values that Postfix cannot read, an open relay."""
    referred = _referred(desired.main_cf)
    for name, value in desired.main_cf.items():
        reason = _why_not_named(name, referred) or _why_not_read(name, value, desired)
        if reason:
            yield _problem(desired, name, reason)
    lists = [*problems_of_lists(desired.main_cf), relay_problem(desired.main_cf)]
    for found in lists:
        if found is not None:
            yield _problem(desired, *found)
    yield from _sizes(desired)


def warnings_of_parameters(desired: DesiredState) -> Iterator[Problem]:
    """Yield what may not be meant."""
    for name, reason in uncertain_relay_rules(desired.main_cf):
        yield _problem(desired, name, reason)
    minimum = _number(desired.main_cf.get("queue_minfree", "0"))
    if 0 < minimum < _SPACE * desired.message_size_limit:
        least = f"{_SPACE} times message_size_limit, {int(_SPACE * desired.message_size_limit)} bytes"
        yield _problem(desired, "queue_minfree", f"changes nothing: smtpd wants {least}, free in any case")


def refusal(desired: DesiredState, postfix: HostPostfix) -> str | None:
    """Return why a host's Postfix cannot take what is declared, None where it can."""
    version = ".".join(map(str, postfix.version))
    main_cf = parameters_on(postfix, desired.main_cf)
    reasons = []
    for name in main_cf:
        known = parameter(name)
        if known is not None and known.asked and set(known.asked) <= postfix.lacking:
            reasons.append(f"main_cf[{name!r}]: its Postfix {version} does not know it, {_came_with(known.since)}")
    for name, word, since in unknown_restrictions(main_cf, postfix.version):
        reasons.append(f"main_cf[{name!r}]: its Postfix {version} does not know {word}, {_came_with(since)}")
    found = ((key, feature.refusal(desired, postfix)) for key, feature in desired.features.items())
    reasons += [f"{key}: {reason} (its Postfix is {version})" for key, reason in found if reason]
    editing = [key for key, feature in desired.features.items() if feature.edits_master_cf]
    if editing and not postfix.master_cf:
        reasons.append(f"{', '.join(editing)}: it has no master.cf that services could be added to")
    return "; ".join(reasons) or None


def _problem(desired: DesiredState, name: str, reason: str) -> Problem:
    return Problem(f"main_cf[{name!r}]", shown(desired.main_cf.get(name, "")), reason)


def _came_with(since: str) -> str:
    return (
        f"it came with {', '.join(since.split())}" if since else "and its manual does not say since when there is one"
    )


def _referred(main_cf: Mapping[str, str]) -> frozenset[str]:
    """Return the names that may be anything, as other values refer to them: Postfix reads these, too."""
    named = (one for value in main_cf.values() for one in references(value))
    tables = [table for value in main_cf.values() for table in _NAMED_TABLE.findall(value)]
    settings = (name for name in main_cf if tables and name.startswith(tuple(f"{table}_" for table in tables)))
    return frozenset([*named, *classes(main_cf), *settings])


def _why_not_named(name: str, referred: frozenset[str]) -> str:
    """Return why nothing in Postfix reads a parameter of that name, '' where something does."""
    if name in OWN_PARAMETERS:
        return f"is set by mailproxy; declare {OWN_PARAMETERS[name]} instead"
    if parameter(name) is not None or name in referred:
        return ""
    meant = nearest(name)
    if meant in OWN_PARAMETERS:
        return f"is no parameter of Postfix; declare {OWN_PARAMETERS[meant]} instead"
    if meant:
        return f"is no parameter of Postfix; did you mean {meant}?"
    return f"is no parameter of Postfix up to {newest()}, and nothing refers to it: Postfix would ignore it"


def _why_not_read(name: str, value: str, desired: DesiredState) -> str:
    """Return why Postfix cannot read a value, '' where it can or where that depends on the host."""
    known = parameter(name) or Parameter((), "", "text")
    if known.type != "expanded":
        broken = broken_reference(value)
        if broken:
            return f"holds {broken!r}, which is no reference to a parameter; a dollar alone is written $$"
        for reference in references(value):
            if parameter(reference) is None and reference not in desired.main_cf:
                meant = nearest(reference)
                hint = f"; did you mean ${meant}?" if meant else ""
                return f"refers to ${reference}, which is no parameter and reads as nothing{hint}"
    plain = expanded(value, {**_own_values(desired), **desired.main_cf})
    if "$" in plain:
        return ""
    if known.choices and plain and plain.lower() not in known.choices:
        return f"expected {', '.join(known.choices[:-1])} or {known.choices[-1]}"
    if known.type not in _TYPES:
        return ""
    shape, expected = _TYPES[known.type]
    if not shape.fullmatch(plain):
        return f"expected {expected}"
    largest = _LARGEST.get(known.type)
    if largest and _is_larger(plain.lstrip("-"), largest):
        return f"expected {expected} of {largest} at most"
    return ""


def _is_larger(number: str, than: int) -> bool:
    # Python does not take numbers of any length (sys.set_int_max_str_digits).
    return len(number.lstrip("0")) > len(str(than)) or int(number) > than


def _number(value: str) -> int:
    """Return what a value is as a number of bytes, 0 where it is none."""
    return int(value) if _INTEGER.fullmatch(value) and not _is_larger(value, _LARGEST["size"]) else 0


def _own_values(desired: DesiredState) -> Mapping[str, str]:
    return {
        "myhostname": desired.myhostname,
        "mydomain": desired.mydomain,
        "message_size_limit": str(desired.message_size_limit),
    }


def _sizes(desired: DesiredState) -> Iterator[Problem]:
    """Yield limits of mailboxes below that of messages: local(8) and virtual(8) end with an error for each message."""
    largest = desired.message_size_limit
    is_virtual = any(desired.main_cf.get(name) for name in ("virtual_mailbox_domains", "virtual_mailbox_maps"))
    for name in ("mailbox_size_limit", *["virtual_mailbox_limit"] * is_virtual):
        plain = expanded(desired.main_cf.get(name, "0"), {**_own_values(desired), **desired.main_cf})
        if _number(plain) and (_number(plain) < largest or not largest):
            found = f"message_size_limit = {largest}" if largest else "message_size_limit = 0, which is no limit"
            reason = f"is below {found}, so nothing can be delivered; expected 0 or at least that"
            yield _problem(desired, name, reason)

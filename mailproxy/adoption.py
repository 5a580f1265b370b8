"""What to declare so that a host stays as somebody made it by hand: observed state -> declaration and remarks."""

import ast
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from mailproxy.aliases import is_program, split_targets
from mailproxy.changes import Change, difference, hidden
from mailproxy.check import validated
from mailproxy.handmade import HandMade, Place
from mailproxy.host_postfix import HOST_PARAMETERS
from mailproxy.meaning import ROUTED, by_own_name, is_accepted, meaning, spelled, spelled_network
from mailproxy.model import DesiredState, Entries
from mailproxy.observed import ObservedState
from mailproxy.problem import Problem
from mailproxy.render import OWN_PARAMETERS, TEMPLATE_PARAMETERS, rendered
from mailproxy.secret import is_secret
from mailproxy.syntax import main_cf_parameters
from mailproxy.unexpressed import Remark, networks, remarks

# The input of observe.sh: everything comes back, and what the template sets by itself with its default.
EXPECTATION = "".join(f"ask {name}\n" for name in TEMPLATE_PARAMETERS)

# Parameters in which Postfix does not expand $myhostname, but names of their own (postconf(5)).
_UNEXPANDED = (
    "default_rbl_reply",
    "execution_directory",
    "forward_path",
    "luser_relay",
    "mailbox_command",
    "postscreen_reject_footer",
    "smtpd_reject_footer",
)
_ENTRY = re.compile(r"(\w+)\[(.+)\]")
_REMEDIES = {
    "relay_domains": "declare it with a next hop that holds, or mail for it is refused from then on",
    "mynetworks": "declare the networks that are meant, or it is trusted no more",
    "aliases": "declare it in a form that holds, or the alias goes",
    "main_cf": "declare it in a form that holds, or Postfix's default comes",
}


@dataclass(frozen=True)
class Adopted:
    """What to declare for a host: all keys but rollout and database_type; what that leaves unsaid; what it changes.

    changes are what the review of the first rollout shows; None where the declaration is refused even so.
    """

    declared: Mapping[str, Any]
    unexpressed: tuple[Remark, ...] = ()
    changes: tuple[Change, ...] | None = field(default=(), repr=False)


def adopted(name: str, observed: ObservedState) -> Adopted:
    """Return what to declare for a host, named as in the inventory, so that a rollout changes as little as can be."""
    live = meaning(observed.texts, observed.postfix.config_directory, observed.foreign)
    files = HandMade(observed.texts, observed.postfix.config_directory, observed.foreign)
    declared: dict[str, Any] = {
        "relay_domains": {domain: hop for domain, hop in live.domains.items() if is_accepted(hop)},
        "mynetworks": networks([item.key for item in files.items("mynetworks")]),
        "aliases": dict(live.aliases),
        "alias_programs": [name for name, value in live.aliases.items() if any(map(is_program, split_targets(value)))],
        "message_size_limit": _message_size_limit(files),
        "main_cf": dict(_main_cf(files, observed)),
        "relay_subdomains": live.subdomains == ROUTED,
        "myhostname": _told(files.holding("myhostname")) or name,
    }
    declared["mydomain"] = _told(files.holding("mydomain")) or implied(name, declared)["mydomain"]
    desired, refused = _without_refused(name, declared, files)
    found = difference(rendered(desired, observed.postfix), observed).changes if desired else None
    return Adopted(
        declared=declared,
        unexpressed=(*remarks(live, files, observed), *refused),
        changes=None if found is None else tuple(hidden(change) for changes in found for change in changes),
    )


def implied(name: str, declared: Mapping[str, Any]) -> dict[str, Any]:
    """Return the keys that need not be declared for a host of that name, each with what it is then."""
    myhostname = declared["myhostname"]
    return {
        "relay_subdomains": False,
        "alias_programs": [],
        "myhostname": name,
        "mydomain": myhostname.partition(".")[2] or myhostname,
    }


def _told(name: str | None) -> str:
    """Return a name in lower case, "" where Postfix did not say what the references in it come to."""
    return "" if name is None or "$" in name else name.lower()


def _message_size_limit(files: HandMade) -> int:
    value = files.counting["message_size_limit"].value if "message_size_limit" in files.counting else ""
    default = files.builtin("message_size_limit") or ""
    return int(next((text for text in (value, default) if text.isdecimal()), "10240000"))


def _main_cf(files: HandMade, observed: ObservedState) -> Iterator[tuple[str, str]]:
    """Yield what main.cf sets, and what holds by default where the template would set something else."""
    nothing = DesiredState(relay_domains=Entries({}), myhostname="host.invalid", mydomain="invalid")
    template = main_cf_parameters(rendered(nothing, observed.postfix)["main.cf"].text)
    own = {*OWN_PARAMETERS, *HOST_PARAMETERS, *files.unused}
    if files.lacks_relay_rule:
        own |= {"smtpd_relay_restrictions"}
    name = files.holding("myhostname") or ""
    for key in sorted({*TEMPLATE_PARAMETERS, *files.counting} - own):
        value = files.counting[key].value if key in files.counting else files.holding(key)
        if value is None or (key not in files.counting and key not in template):
            continue
        is_as_rendered = key in TEMPLATE_PARAMETERS and template.get(key) == spelled(key, value, "")
        if not is_as_rendered and not is_secret(key, value):
            yield key, value if key in _UNEXPANDED else by_own_name(value, name)


def _without_refused(name: str, declared: dict[str, Any], files: HandMade) -> tuple[DesiredState | None, list[Remark]]:
    """Take out of declared what is refused, until the rest is not; returns what that makes, and what was taken out."""
    refused: dict[tuple[str, Any], Remark] = {}
    while True:
        desired, problems = validated(declared)
        if desired is not None:
            return desired, list(refused.values())
        before = dict(declared)
        place_of = _places(declared, files)
        for problem in problems:
            key, entry = _key_and_entry(problem)
            place = place_of(key, entry)
            refused.setdefault((key, place), Remark(place, problem.reason, _REMEDIES.get(key, f"declare {key}")))
        _take_out({_key_and_entry(problem) for problem in problems}, name, declared)
        if declared == before:
            return None, list(refused.values())


def _take_out(refused: set[tuple[str, Any]], name: str, declared: dict[str, Any]) -> None:
    """Take entries out of dicts and lists of declared, and give single values back what they are undeclared."""
    for key in {key for key, _ in refused}:
        value = declared[key]
        if isinstance(value, dict):
            declared[key] = {entry: value[entry] for entry in value if (key, entry) not in refused}
        elif isinstance(value, list):
            declared[key] = [item for index, item in enumerate(value) if (key, index) not in refused]
        else:
            declared[key] = implied(name, declared).get(key, value)


def _key_and_entry(problem: Problem) -> tuple[str, Any]:
    """Return the key of a problem and the name or number of its entry there, None where it is with the whole."""
    found = _ENTRY.fullmatch(problem.key)
    return (found[1], ast.literal_eval(found[2])) if found else (problem.key, None)


def _places(declared: Mapping[str, Any], files: HandMade) -> Callable[[str, Any], Place]:
    """Return what finds the line on the host that an entry of declared comes from."""
    known: dict[tuple[str, Any], Place] = {}
    for item in files.items("relay_domains"):
        known.setdefault(("relay_domains", item.key.lower().removesuffix(".")), item.place)
    for key, parameter in (("relay_domains", "transport_maps"), ("aliases", "alias_maps")):
        known.update(((key, one.key), one.place) for one in files.entries(parameter) if one.value and not one.winner)
    by_network = {spelled_network(item.key): item.place for item in files.items("mynetworks")}
    known.update((("mynetworks", index), by_network[item]) for index, item in enumerate(declared["mynetworks"]))
    known.update((("main_cf", one.key), one.place) for one in files.counting.values())
    return lambda key, entry: known.get((key, entry)) or files.place_of(key)

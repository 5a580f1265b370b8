"""What a plan changes in the language of domains, and whose doing each change is."""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Literal

from mailproxy.certificates import certificate_in
from mailproxy.managed import FEATURE_FILES, FILES, MANAGED, SECRETS, TABLES
from mailproxy.meaning import (
    SUBJECTS,
    UNROUTED,
    Meaning,
    Subject,
    is_accepted,
    lacks_relay_rule,
    meaning,
    spelled,
)
from mailproxy.model import Entries, differing
from mailproxy.observed import Foreign, ObservedState
from mailproxy.problem import some
from mailproxy.render import Content
from mailproxy.restrictions import RELAY_RULES
from mailproxy.secret import is_secret

# asked for; put back after somebody edited the host; taken over from a host that was not managed until now; or on the
# way back to an earlier generation.
Cause = Literal["declared", "by hand", "adopting", "returning"]

# The key of what becomes of subdomains, which several files say together.
SUBDOMAINS = "relay_subdomains"
# The same of the order in which the entries of a table are tried.
ORDER = "order, the first that differs"
_UNKNOWN = "by hand, or declared: what was loaded is not known"
# Stands for a value that nobody may see.
SECRET = "<secret>"
# The files that a subject is said in.
_FILES_OF: Mapping[Subject, tuple[str, ...]] = {
    "domain": ("main.cf", "relaydomains", "transport", "relayrecipients"),
    "network": ("main.cf", "mynetworks"),
    "alias": ("main.cf", "aliases"),
    "parameter": ("main.cf",),
}


@dataclass(frozen=True)
class Change:
    """One thing that is otherwise afterwards: before is None where it comes, after is None where it goes.

    note says whose hand it was where somebody edited the host since the last rollout. file is that of a feature where
    the subject is an entry of it.
    """

    subject: Subject
    key: str
    before: str | None
    after: str | None
    cause: Cause = "declared"
    note: str = ""
    file: str = ""

    @property
    def sign(self) -> str:
        """How a review marks it: + comes, - goes, ~ changes."""
        return "+" if self.before is None else "-" if self.after is None else "~"

    @property
    def word(self) -> str:
        """What comes, goes or changes."""
        return MANAGED[self.file].entry if self.file else self.subject

    def __str__(self) -> str:
        if SECRET in (self.before, self.after):
            by = " (by hand)" if self.cause == "by hand" else ""
            return f"{self.sign} {self.word if self.file else self.key}: changed, not shown{by}"
        arrow = {"domain": " -> ", "network": "", "alias": ": ", "parameter": " = ", "entry": ": "}[self.subject]
        name = self.key if self.subject in ("domain", "parameter") else f"{self.word} {self.key}".rstrip()
        if self.sign == "~":
            text = f"~ {name}: {self.before or '(empty)'} -> {self.after or '(empty)'}"
        elif self.sign == "+":
            text = f"+ {name}" + (f"{arrow}{self.after}".rstrip() if self.after else "")
        else:
            shows_value = self.subject in ("alias", "parameter", "entry") or not is_accepted(self.before or "")
            text = f"- {name}" + (f"{arrow}{self.before}".rstrip() if self.before and shows_value else "")
        return f"{text} ({self.note})" if self.note else text


def files_of(change: Change) -> tuple[str, ...]:
    """Return the managed files that a change is said in."""
    if change.file:
        return (change.file,)
    return ("main.cf", "transport") if change.key == SUBDOMAINS else _FILES_OF[change.subject]


def hidden(change: Change) -> Change:
    """Return a change without its values where they are secret."""
    values = [value for value in (change.before, change.after) if value is not None]
    if change.subject != "parameter" or not any(is_secret(change.key, value) for value in values):
        return change
    return replace(change, before=change.before and SECRET, after=change.after and SECRET, note="")


@dataclass(frozen=True)
class Difference:
    """What an observed host means, what it is to mean, and the changes between them by subject.

    Hosts with the same change of a subject share one tuple, so that a fleet costs no more than what differs in it.
    """

    live: Meaning
    wanted: Meaning
    changes: tuple[tuple[Change, ...], ...]


def difference(
    contents: Mapping[str, Content], observed: ObservedState, wanted_foreign: Foreign | None = None
) -> Difference:
    """Return what brings a host to some files, each change with its cause.

    wanted_foreign says what their main.cf leads to where that was made by hand.
    """
    directory = observed.postfix.config_directory
    wanted_texts = {name: content.text for name, content in contents.items()}
    live_texts = dict(_live_texts(wanted_texts, observed))
    live = meaning(live_texts, directory, observed.foreign)
    elsewhere = {path: text for path, text in observed.texts.items() if path.startswith("/")}
    wanted = meaning({**elsewhere, **wanted_texts} if wanted_foreign else wanted_texts, directory, wanted_foreign)
    cause: Cause = "declared" if observed.is_managed else "adopting"
    found = [*_differences(live, wanted, cause, observed.foreign), *_changes_of_secrets(contents, observed, cause)]
    drifted = _drifted(observed)
    if observed.is_managed and observed.manifest is None:
        found = [tuple(replace(change, note=_UNKNOWN) for change in changes) for changes in found]
    if drifted:
        loaded_texts = dict(_loaded_texts(drifted, live_texts, observed))
        loaded = meaning(loaded_texts, directory)
        unknown = drifted - set(loaded_texts)
        found = [tuple(_with_cause(change, drifted, unknown, loaded) for change in changes) for changes in found]
    return Difference(live, wanted, tuple(changes for changes in found if changes))


def _drifted(observed: ObservedState) -> set[str]:
    """Return the managed files that are not what was loaded last; none where an interrupted change may be why."""
    digests = observed.manifest.digests if observed.manifest and observed.journal is None else {}
    return {name for name in FILES if name in digests and digests[name] != observed.digest(name)}


def _live_texts(wanted: Mapping[str, str], observed: ObservedState) -> Iterator[tuple[str, str]]:
    yield from observed.texts.items()
    for name in FILES:
        # What is not sent back is as it is wanted.
        if name in observed.live and name not in observed.texts and name in wanted:
            yield name, wanted[name]
    for name in _served(observed):
        yield name, observed.loaded_texts[name]


def _served(observed: ObservedState) -> Iterator[str]:
    """Yield the tables that serve what was loaded, whatever was done to their sources since."""
    digests = observed.manifest.digests if observed.manifest else {}
    for name in TABLES:
        indexes = [index for index in digests if index.startswith(f"{name}.")]
        is_untouched = bool(indexes) and all(digests[index] == observed.digest(index) for index in indexes)
        if is_untouched and _is_as_loaded(name, observed):
            yield name


def _is_as_loaded(name: str, observed: ObservedState) -> bool:
    """Whether the copy of a file is there and is what the manifest says was loaded."""
    digests = observed.manifest.digests if observed.manifest else {}
    text = observed.loaded_texts.get(name)
    return text is not None and Content(name, text).digest == digests.get(name)


def _loaded_texts(drifted: set[str], live: Mapping[str, str], observed: ObservedState) -> Iterator[tuple[str, str]]:
    """Yield the managed files as the last activation left them, less those whose copy is not what was loaded."""
    for name in FILES:
        if name not in drifted and name in live:
            yield name, live[name]
        elif _is_as_loaded(name, observed):
            yield name, observed.loaded_texts[name]


def _differences(live: Meaning, wanted: Meaning, cause: Cause, foreign: Foreign | None) -> list[tuple[Change, ...]]:
    *found, parameters = (_changes(subject, live.of(subject), wanted.of(subject), cause) for subject in SUBJECTS)
    for name in FEATURE_FILES:
        if name in live.entries or name in wanted.entries:
            found.append(_changes("entry", live.of("entry", name), wanted.of("entry", name), cause, name))
            found.append(_change_of_order(live.orders.get(name, ()), wanted.orders.get(name, ()), cause, name))
    if foreign:
        parameters = tuple(change for change in parameters if not _is_as_by_default(change, foreign))
    found.append(parameters)
    if live.subdomains != wanted.subdomains and UNROUTED not in (live.subdomains, wanted.subdomains):
        found.append((Change("parameter", SUBDOMAINS, live.subdomains, wanted.subdomains, cause),))
    return found


@lru_cache(maxsize=1024)
def _changes(subject: Subject, before: Entries, after: Entries, cause: Cause, file: str = "") -> tuple[Change, ...]:
    if file and MANAGED[file].is_by_domain:
        return tuple(_changes_by_domain(before, after, cause, file))
    keys = differing(before, after)
    return tuple(Change(subject, key, before.get(key), after.get(key), cause, file=file) for key in keys)


@lru_cache(maxsize=1024)
def _change_of_order(before: tuple[str, ...], after: tuple[str, ...], cause: Cause, file: str) -> tuple[Change, ...]:
    """Return that entries which stay are tried in another order, with the first of them there."""
    both = set(before).intersection(after)
    pairs = zip((key for key in before if key in both), (key for key in after if key in both), strict=True)
    return tuple(Change("entry", ORDER, *pair, cause, file=file) for pair in pairs if pair[0] != pair[1])[:1]


def _changes_by_domain(before: Entries, after: Entries, cause: Cause, file: str) -> Iterator[Change]:
    """Yield the changes of a table of addresses, one a domain; what it says of a whole domain is no address of it."""
    differs: dict[str, list[str]] = {}
    for key in differing(before, after):
        local, _, domain = key.rpartition("@")
        if local:
            differs.setdefault(domain, []).append(local)
    counts = _addresses_by_domain(before), _addresses_by_domain(after)
    for domain, locals_ in differs.items():
        old, new = (count.get(domain) for count in counts)
        added = [local for local in locals_ if f"{local}@{domain}" in after]
        removed = [local for local in locals_ if f"{local}@{domain}" not in after]
        which = "; ".join(f"{sign} {some(names)}" for sign, names in (("+", added), ("-", removed)) if names)
        is_whole = None in (old, new)
        yield Change("entry", domain, old, new if is_whole else f"{new} ({which})", cause, file=file)


@lru_cache(maxsize=64)
def _addresses_by_domain(entries: Entries) -> Mapping[str, str]:
    """Return how many addresses of each domain a table has, in words."""
    parts = (key.rpartition("@") for key in entries)
    counts = Counter(domain for local, _, domain in parts if local)
    return {domain: f"{count} address{'' if count == 1 else 'es'}" for domain, count in counts.items()}


def _changes_of_secrets(
    wanted: Mapping[str, Content], observed: ObservedState, cause: Cause
) -> Iterator[tuple[Change, ...]]:
    """Yield that secrets come, change or go, and whose certificate is in them; nothing else is known of them."""
    made = observed.manifest.digests if observed.manifest else {}
    for name in SECRETS:
        after = _public(wanted[name].text) if name in wanted else None
        before = _public(observed.certificates.get(name)) if name in observed.live and (after or name in made) else None
        if before == after:
            before = after = after and SECRET
        digest = wanted[name].digest if name in wanted else None
        if (before or after) and observed.digest(name) != digest:
            yield (Change("entry", "", before, after, cause, file=name),)


def _public(text: str | None) -> str:
    """Return what may be shown of a secret: the certificate in it."""
    try:
        return str(certificate_in(text or ""))
    except ValueError:
        return SECRET


def _is_as_by_default(change: Change, foreign: Foreign) -> bool:
    """Whether a parameter comes or goes that has the same value without being set, or that nothing reads.

    Nor is it one where the rule comes without which smtpd does not start: nothing was served that changes.
    """
    key = change.key
    if change.before is None and key in RELAY_RULES and lacks_relay_rule(foreign.effective):
        return True
    if change.before is None:
        so_far = foreign.effective.get(key, foreign.builtin.get(key))
        return so_far is not None and spelled(key, so_far, foreign.effective.get("myhostname", "")) == change.after
    return change.after is None and (key in foreign.unused or foreign.builtin.get(key) == change.before)


def _with_cause(change: Change, drifted: set[str], unknown: set[str], loaded: Meaning) -> Change:
    """Tell a hand on the host from what is declared, by what was loaded last."""
    if drifted.isdisjoint(files_of(change)):
        return change
    if not unknown.isdisjoint(files_of(change)):
        return replace(change, cause="by hand", note=_UNKNOWN)
    if change.key == ORDER:
        return replace(change, cause="by hand", note="by hand, or declared")
    said: Mapping[str, str] = loaded.of(change.subject, change.file)
    if change.file and MANAGED[change.file].is_by_domain:
        said = _addresses_by_domain(loaded.of(change.subject, change.file))
    base = loaded.subdomains if change.key == SUBDOMAINS else said.get(change.key)
    if base == change.before:
        return change
    if base is None:
        note = "added by hand"
    elif change.before is None:
        note = "removed by hand"
    else:
        note = f"by hand, from {base}"
    return replace(change, cause="by hand", note=note if base == change.after else f"{note}; declared otherwise too")

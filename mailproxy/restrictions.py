"""The restriction lists of smtpd that main_cf declares: their words, what is wrong with them, whom they let relay."""

import itertools
import re
from collections.abc import Iterator, Mapping
from functools import lru_cache

from mailproxy.parameters import nearest_restriction, restrictions
from mailproxy.syntax import expanded

# The parameters of which one has to refuse strangers, and the restrictions that do (SMTPD_ACCESS_README).
RELAY, RECIPIENT = RELAY_RULES = ("smtpd_relay_restrictions", "smtpd_recipient_restrictions")
REFUSING = {"reject_unauth_destination", "defer_unauth_destination", "reject", "defer", "defer_if_permit"}
_LIST = re.compile(r"smtpd_\w+_restrictions")
# Between commas and blanks, where braces hold together (smtpd_check.c, smtpd_check_parse).
_WORD = re.compile(r"\{(?:[^{}]|\{[^{}]*\})*\}|[^\s,{}]+")
# Restrictions before the relay rule that let strangers relay: all of them, or those that somebody else lists.
_OPENING = {"permit", "permit_dnswl_client", "permit_rhswl_client"}
# Look-ups that may answer OK (access(5)): those by the addresses of names, or by what a client says of itself, may not.
_LOOKUP = re.compile(r"check_(client|helo|sender|recipient|ccert|sasl)_access|check_policy_service")
_RULES = ", ".join(sorted(REFUSING, key=lambda rule: (not rule.startswith("reject_"), rule)))


def problems_of_lists(main_cf: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Yield the name of each restriction list or class and what is wrong with it."""
    for name in _lists(main_cf):
        for problem in _problems_of_words(words_of(main_cf[name], main_cf), frozenset(classes(main_cf))):
            yield name, problem
    for name in classes(main_cf):
        if name not in main_cf:
            yield "smtpd_restriction_classes", f"names {name}, which main_cf does not declare: smtpd does not start"


def relay_problem(main_cf: Mapping[str, str]) -> tuple[str, str] | None:
    """Return the restriction list that makes an open relay, and why, None where strangers are refused.

    What is not declared is mailproxy's own rule; Postfix before 2.10 is given it in any case (relaying.py).
    """
    if RELAY not in main_cf:
        return None
    found = {name: _opened_by(main_cf[name], main_cf) for name in RELAY_RULES if name in main_cf}
    if None in found.values():
        return None
    openings = [f"{word} in {name}" for name, word in found.items() if word]
    if openings:
        reason = f"is an open relay: {' and '.join(openings)} comes before the rule that refuses strangers"
    else:
        reason = f"has no rule that refuses strangers, nor in {RECIPIENT}, so smtpd does not start"
    return RELAY, f"{reason}; expected one of {_RULES}, as in permit_mynetworks, reject_unauth_destination"


def refuses_strangers(value: str, main_cf: Mapping[str, str]) -> bool:
    """Whether a restriction list refuses strangers before it lets them pass."""
    return _opened_by(value, main_cf) is None


def uncertain_relay_rules(main_cf: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Yield the list that refuses strangers with a look-up before that rule: an OK there lets somebody relay."""
    if RELAY not in main_cf:
        return
    closed = (name for name in RELAY_RULES if name in main_cf and _opened_by(main_cf[name], main_cf) is None)
    for name in itertools.islice(closed, 1):
        for word, following in _steps(main_cf[name], main_cf):
            if word.lower() in REFUSING:
                return
            if _LOOKUP.fullmatch(word.lower()):
                reason = "comes before the rule that refuses strangers: whoever it answers OK may relay to anywhere"
                yield name, f"{word} {following} {reason}"


def unknown_restrictions(main_cf: Mapping[str, str], version: tuple[int, int]) -> Iterator[tuple[str, str, str]]:
    """Yield list, restriction and the versions that brought it in, of those that a version does not know."""
    for name in _lists(main_cf):
        for word in words_of(main_cf[name], main_cf):
            known = restrictions().get(word.lower())
            first = known.since.split()[0] if known and known.since else "0.0"
            if version < tuple(int(part) for part in first.split(".")[:2]):
                yield name, word, known.since if known else ""


def classes(main_cf: Mapping[str, str]) -> list[str]:
    """Return the names of the restriction classes that are declared."""
    return words_of(main_cf.get("smtpd_restriction_classes", ""), main_cf)


def words_of(value: str, main_cf: Mapping[str, str]) -> list[str]:
    """Return the words of a restriction list, references to other parameters followed."""
    return _WORD.findall(expanded(value, main_cf))


def _lists(main_cf: Mapping[str, str]) -> list[str]:
    return [*(name for name in main_cf if _LIST.fullmatch(name)), *(n for n in classes(main_cf) if n in main_cf)]


def _problems_of_words(words: list[str], own: frozenset[str]) -> Iterator[str]:
    following = iter([*words, ""])
    word = next(following)
    while word:
        after = next(following, "")
        known = restrictions().get(word.lower())
        if known and known.argument:
            problem = _problem_of_argument(word, known.argument, after)
            if problem:
                yield problem
            if not problem or after.lower() not in restrictions():
                after = next(following, "")
        elif not known and word not in own and not re.search(r"[:${]", word):
            meant = nearest_restriction(word.lower())
            hint = f"; did you mean {meant}?" if meant else ""
            yield f"{word} is no restriction of Postfix, which answers 451 to all where it comes to it{hint}"
        word = after


def _problem_of_argument(word: str, expected: str, found: str) -> str:
    is_table = expected in ("type:table", "servername")
    is_there = bool(found) and (":" in found or "$" in found if is_table else found.lower() not in restrictions())
    if is_there:
        return ""
    return f"{word} needs {expected} behind it, found {found or 'nothing'}"


@lru_cache(maxsize=4096)
def _cached_words(value: str) -> tuple[str, ...]:
    return tuple(_WORD.findall(value))


def _steps(value: str, main_cf: Mapping[str, str], within: frozenset[str] = frozenset()) -> Iterator[tuple[str, str]]:
    """Yield the restrictions in the order smtpd comes to them, each with the word behind it, classes followed.

    One behind warn_if_reject refuses nobody and is left out (smtpd_check.c, has_required).
    """
    own = frozenset(classes(main_cf)) - within
    words = _cached_words(expanded(value, main_cf))
    is_warning = False
    for word, following in itertools.pairwise([*words, ""]):
        if is_warning:
            is_warning = False
        elif word.lower() == "warn_if_reject":
            is_warning = True
        elif word in own and word in main_cf:
            yield from _steps(main_cf[word], main_cf, within | {word})
        else:
            yield word, following


def _opened_by(value: str, main_cf: Mapping[str, str]) -> str | None:
    """Return what lets strangers pass a list, '' where nothing in it refuses them, None where they are refused."""
    opening = ""
    for word, _ in _steps(value, main_cf):
        if word.lower() in REFUSING:
            return opening or None
        if word.lower() in _OPENING:
            opening = opening or word
    return opening

"""A host that is taken out of service: what its main.cf says then, and how that is told.

That is said by its main.cf, behind a mark, and nowhere else: it goes live with the rest of a change, and comes and goes
with a generation. So it outlasts reloads, restarts and rollouts, and a hand on it is put back.
"""

from collections.abc import Mapping

from mailproxy.model import Entries
from mailproxy.moment import time_text

_MARK = "# Drained by mailproxy: "
# Every client, trusted or not, is answered so in place of a greeting, and the session is closed: a sender goes on to
# another mail server, or comes back. All of it is in Postfix 2.7 and later (postconf(5); a number as the result of a
# look-up would be an OK, access(5)).
PARAMETERS: Mapping[str, str] = {
    "smtpd_client_restrictions": "defer",
    "defer_code": "421",
    "smtpd_delay_reject": "no",
}
CODE = 421
# What is said behind that code (smtpd_check.c, DEFER_ALL).
_SAID = ("4.3.2 ", ": Client host rejected: Try again later")
# What a host keeps of it with the record of an activation: since when, and by whom.
RECORD = "drained"
NO_REASON = "maintenance"


def reason_in(main_cf: str) -> str:
    """Return why a host with this main.cf is drained, '' where it is in service."""
    marked = (line for line in main_cf.splitlines() if line.startswith(_MARK))
    return next(marked, "").removeprefix(_MARK)


def lines_of(reason: str) -> str:
    """Return what main.cf of a drained host says, '' where it is in service."""
    if not reason:
        return ""
    return "".join(f"{line}\n" for line in (f"{_MARK}{reason}", *map(" = ".join, PARAMETERS.items())))


def parameters_told(main_cf: str, parameters: Entries) -> Entries:
    """Return the parameters of a main.cf as they are told: what drains a host as one, and why."""
    reason = reason_in(main_cf)
    if not reason:
        return parameters
    others = {name: value for name, value in parameters.items() if PARAMETERS.get(name) != value}
    return Entries({**others, RECORD: reason})


def is_of_drained(code: int, text: str) -> bool:
    """Whether a greeting is that of a drained host."""
    # Behind the first line of postscreen where that greets before smtpd does.
    return code == CODE and _SAID[0] in text and text.endswith(_SAID[1])


def told(reason: str, record: Mapping[str, str]) -> str:
    """Return that a host is drained, since when, by whom and why; record is that of its last activation."""
    since, _, by = record.get(RECORD, "").partition(" ")
    known = f" since {time_text(since)} by {by.partition(' process ')[0]}" if by else ""
    return f"drained{known}: {reason}"

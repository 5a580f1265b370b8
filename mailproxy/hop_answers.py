"""What a host says of its next hops (files/probing.sh, ask_hop), and what that proves."""

import re
from collections.abc import Iterable, Iterator

from mailproxy.judging import Outcome


def hop_outcomes(lines: Iterable[str], fails: bool, largest: int | None) -> Iterator[Outcome]:
    """Yield what the "hop ..." lines of a host prove, those left out that answer and take what the host takes.

    largest is Probes.largest. Where a next hop does not fail its host it is a warning: a pass with something to say.
    """
    for line in lines:
        _, hop, state, *rest = line.split(" ", 3)
        reason = f": {rest[0]}" if rest else ""
        if state == "silent":
            yield Outcome("fail" if fails else "pass", f"next hop {hop} does not answer the host{reason}")
        elif state != "answers":
            yield Outcome("pass", f"next hop {hop} was not asked{reason}")
        elif rest and _takes_less(rest[0], largest):
            yield Outcome("fail" if fails else "pass", _too_small(hop, rest[0], largest))


def _takes_less(size: str, largest: int | None) -> bool:
    """Whether a SIZE is below what the host takes; 0 is no limit on either side (RFC 1870, 4: up to 20 digits)."""
    if largest is None or not re.fullmatch("[0-9]{1,20}", size) or int(size) == 0:
        return False
    return largest == 0 or int(size) < largest


def _too_small(hop: str, size: str, largest: int | None) -> str:
    here = f"up to {largest}" if largest else "of any size"
    sizes = f"next hop {hop} takes messages of up to {size} bytes (SIZE), the host {here}"
    return f"{sizes}: larger ones would bounce there; expected message_size_limit = {size} or less, or more behind it"

"""Moments and lengths of time as people read and write them."""

import re
from datetime import datetime, timezone

_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}


def time_text(seconds: str) -> str:
    """Return seconds since 1970 as a date in UTC, "-" where they are none."""
    try:
        return f"{datetime.fromtimestamp(int(seconds), timezone.utc):%Y-%m-%d %H:%M}"
    except (ValueError, OverflowError, OSError):
        return "-"


def seconds_of(text: str) -> int:
    """Return the seconds that a time such as 30m comes to; raises ValueError for what is none."""
    parts = re.fullmatch(r"([0-9]{1,6})([smhdw])", text)
    if not parts:
        raise ValueError("expected a time such as 30m, 12h or 5d")
    return int(parts[1]) * _SECONDS[parts[2]]

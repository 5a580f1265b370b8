"""Markdown tables that are aligned in a terminal too."""

from __future__ import annotations

from collections.abc import Sequence


def table(head: Sequence[str], rows: Sequence[Sequence[str]], names: int) -> str:
    """Return a Markdown table; the first columns, as many as names says, hold names, the others numbers."""
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    rule = [("-" * width if index < names else "-" * (width - 1) + ":") for index, width in enumerate(widths)]
    return "\n".join(_line(cells, widths, names) for cells in (head, rule, *rows))


def _line(cells: Sequence[str], widths: Sequence[int], names: int) -> str:
    aligned = [
        cell.ljust(width) if index < names else cell.rjust(width)
        for index, (cell, width) in enumerate(zip(cells, widths, strict=True))
    ]
    return f"| {' | '.join(aligned)} |"

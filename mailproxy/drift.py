"""In which way a host is not as declared, as its plan tells: for all that reports on hosts without changing them."""

from mailproxy.indexed import Index
from mailproxy.plan import EDITED, FileChange, Plan


def edited(plan: Plan) -> tuple[FileChange, ...]:
    """Return the files that somebody edited on the host since the last rollout."""
    return tuple(change for change in plan.files if change.reason == EDITED)


def behind(plan: Plan) -> tuple[FileChange, ...]:
    """Return the other files whose content is not what is declared."""
    return tuple(change for change in plan.files if change.reason != EDITED and change.observed != change.desired)


def unlike(plan: Plan) -> tuple[FileChange, ...]:
    """Return the files whose content is right and whose mode or owner is not."""
    return tuple(change for change in plan.files if change.reason != EDITED and change.observed == change.desired)


def stale(plan: Plan) -> tuple[Index, ...]:
    """Return the tables that are not what their source says, where the source stays as it is."""
    changed = {change.desired.name for change in plan.files}
    return tuple(index for index in plan.indexes if index.table not in changed)


def is_pending(plan: Plan) -> bool:
    """Whether nothing is missing but that Postfix reads what is on the disk."""
    return plan.service.action in ("reload", "restart") and not plan.files and not plan.indexes

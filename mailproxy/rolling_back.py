"""Back to an earlier generation: pyinfra INVENTORY mailproxy.rollback [generation=N]."""

from collections.abc import Sequence

from pyinfra.api import Host, Inventory

from mailproxy.carrying_out import carry_out
from mailproxy.goal import Earlier
from mailproxy.stop import StopError


def rollback(generation: object = None, **unknown: object) -> None:
    """Make a generation live again, by default what was live before the last change; pyinfra calls this for each host.

    It is reviewed, staged, activated in waves, asked and confirmed like any change, and --dry only reviews.
    """
    if unknown:
        raise StopError(f"{', '.join(unknown)}: no such argument; expected generation=3; nothing was read")
    is_number = isinstance(generation, int) and not isinstance(generation, bool) and generation >= 0
    if generation is not None and not is_number:
        raise StopError(f"generation={generation}: expected the number of a generation, such as 3; nothing was read")
    number = generation if isinstance(generation, int) else None

    def goal(inventory: Inventory, hosts: Sequence[Host]) -> Earlier:
        return Earlier(inventory, hosts, number)

    carry_out(goal)

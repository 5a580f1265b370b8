"""Give up what is staged and waits: pyinfra INVENTORY mailproxy.release [reviewed=DIGEST]."""

from collections.abc import Generator

from pyinfra import context, host
from pyinfra.api import operation
from pyinfra.api.command import PyinfraCommand

from mailproxy.digest import is_digest
from mailproxy.observed import ObservedState, Unread
from mailproxy.once import Once
from mailproxy.program import Command, command
from mailproxy.reading import Reading
from mailproxy.remote import Remote, Step
from mailproxy.stop import StopError

_readings: Once[Reading] = Once()


def release(reviewed: object = "", **unknown: object) -> None:
    """Remove what the phase stage left on hosts, and its lock; pyinfra calls this for each host. What is live stays.

    reviewed is the review that it has to be of. What belongs to a run that is going on is left alone.
    """
    if unknown:
        raise StopError(f"{', '.join(unknown)}: no such argument; expected reviewed=DIGEST; nothing was touched")
    review = str(reviewed).strip()
    if review and not is_digest(review):
        raise StopError(f"reviewed={review}: expected a digest as a review ends with; nothing was touched")
    reading = _readings.get(context.state, lambda: Reading(context.state))
    give_up(name="Give up what is staged", found=reading.read(context.host, ""), review=review)


@operation()
def give_up(found: ObservedState | Unread, review: str) -> Generator[PyinfraCommand, None, None]:
    """Give up what is staged on a host for a review, '' for any."""
    if isinstance(found, Unread):
        reason = f"nothing was touched: {found.reason}"
        yield Step(lambda remote: remote.complain(reason))
        return
    lock = found.lock
    if lock is None or lock.held is None or review not in ("", lock.held.review):
        host.noop("nothing of that is staged")
        return
    release = command("release", found.postfix.config_directory, lock.token)
    yield Step(lambda remote: _released(remote, release))


def _released(remote: Remote, release: Command) -> bool:
    ended = remote.run(release)
    return remote.complain(ended.reason) if ended.reason else True

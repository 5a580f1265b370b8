"""What waits in the queues: pyinfra INVENTORY mailproxy.queue [domain=...] [do=flush|hold|release|requeue|delete]."""

import json
from collections.abc import Generator, Mapping
from dataclasses import asdict
from typing import Any

import click
from pyinfra import context, host
from pyinfra.api import Host, State, operation
from pyinfra.api.command import PyinfraCommand

from mailproxy.as_text import visible
from mailproxy.declaration import config_directory
from mailproxy.ledger import columns
from mailproxy.observed import Unread
from mailproxy.once import Once
from mailproxy.options import Options
from mailproxy.program import command
from mailproxy.reading import Reading
from mailproxy.remote import Remote, Step
from mailproxy.run import has_flag, options_of, refuse_unless_answerable
from mailproxy.selection import ACTIONS, NAMES, Selection, misspelled, selection
from mailproxy.stop import StopError
from mailproxy.waiting import Queue, Waiting, loss, merged, summary, words_of

# How many rows a host sends at the most; its largest.
MOST_ROWS = 200
# A large queue takes long, and longer where every message is moved.
_ACT_SECONDS = 3600
_HEADINGS = ["messages", "oldest", "queue", "domain", "next hop", "hosts", "reason"]


class _Queues:
    """The queues of one run, as far as hosts were read."""

    def __init__(self, state: State, given: Mapping[str, object]):
        self.state = state
        self.options, self.selection = options_of(state), _selection(state, given)
        self.reading = Reading(state)
        self.found: dict[str, Queue | Unread] = {
            name: one for name, one in self.reading.observed.items() if isinstance(one, Unread)
        }

    def read(self, host: Host) -> None:
        """Read a host's queue. The one that comes last shows all of them, and stops the run unless it is to go on."""
        found = self.reading.queue(host, self.selection.records(rows=MOST_ROWS))
        self.found[host.name] = found
        if isinstance(found, Unread):
            self.state.failed_hosts.add(host)
        if len(self.found) == len(self.reading.hosts):
            self._conclude({host.name: self.found[host.name] for host in self.reading.hosts})

    def _conclude(self, found: dict[str, Queue | Unread]) -> None:
        action = self.selection.action
        is_json = has_flag("--json")
        if is_json and not action:
            click.echo(json.dumps(as_json(found), indent=1))
        else:
            # With --json pyinfra keeps standard output for its own document.
            click.echo("\n" + report(found, self.selection, self.options), err=is_json)
        if not action:
            raise StopError("", int(any(isinstance(one, Unread) for one in found.values())))
        if has_flag("--dry"):
            return
        if action == "delete" and "delete" not in self.options.approved and _is_any(found):
            raise StopError("nothing was touched: approval is needed for delete; to go on: --data approve=delete")
        if _is_any(found):
            refuse_unless_answerable(self.state)


def _is_any(found: Mapping[str, Queue | Unread]) -> bool:
    return any(isinstance(one, Queue) and one.messages for one in found.values())


def _selection(state: State, given: Mapping[str, object]) -> Selection:
    data: Mapping[str, Any] = state.inventory.get_override_data()
    wrong = [f"--data {problem}" for problem in misspelled(data)]
    try:
        chosen = selection({**{name: data[name] for name in NAMES if name in data}, **given})
    except ValueError as error:
        wrong += str(error).splitlines()
    if wrong:
        listed = "".join(f"\n    {problem}" for problem in wrong)
        raise StopError(f"this cannot be what is meant; nothing was read:{listed}")
    return chosen


def report(found: Mapping[str, Queue | Unread], chosen: Selection, options: Options) -> str:
    """Return the queues of all hosts as text."""
    rows = merged(found)
    doing = ACTIONS[chosen.action].imperative if chosen.action else ""
    lines = [visible(line) for line in summary(found, doing)]
    if chosen.action == "delete":
        word = "approved" if "delete" in options.approved else "needs approval"
        lost = {name: loss(one) for name, one in found.items() if isinstance(one, Queue) and one.messages}
        lines += [f"{word} (delete): {visible(text)}  [{name}]" for name, text in lost.items()]
    shown = f"\n{columns([_HEADINGS, *(words_of(row, len(found)) for row in rows)])}" if rows else ""
    return "".join(f"{line}\n" for line in lines) + shown


def as_json(found: Mapping[str, Queue | Unread]) -> dict[str, object]:
    """Return the same for programs: ages in seconds, of each host what it has in all, or why it was not read."""
    rows: list[Waiting] = merged(found)
    hosts = {
        name: {"messages": one.messages, "oldest": one.oldest} if isinstance(one, Queue) else {"not_read": one.reason}
        for name, one in found.items()
    }
    return {"rows": [asdict(row) for row in rows], "hosts": hosts}


_queues: Once[_Queues] = Once()


def queue(**given: object) -> None:
    """Print what waits on all hosts, where, and why, and do with it what do= says; pyinfra calls this for each host.

    The filters domain=, next_hop=, sender=, older_than=, reason= and queue= choose messages; all of them have to be
    met. Without do= the last host ends the run: with 1 where a host could not be read, else 0. --json prints an object.
    """
    queues = _queues.get(context.state, lambda: _Queues(context.state, given))
    queues.read(context.host)
    act(name="Act on what is chosen", _timeout=_ACT_SECONDS)


@operation()
def act() -> Generator[PyinfraCommand, None, None]:
    """Do with the chosen messages of a host what was asked for; what came since they were listed is left alone."""
    queues = _queues[context.state]
    found = queues.found[host.name]
    if isinstance(found, Unread):
        reason = f"nothing was touched: {found.reason}"
        yield Step(lambda remote: remote.complain(reason))
    elif not found.messages:
        host.noop("no message is chosen")
    else:
        until = found.now
        yield Step(lambda remote: _act(queues.selection, until, remote))


def _act(chosen: Selection, until: int, remote: Remote) -> bool:
    program = command("queue", config_directory(remote.host), chosen.action)
    ended = remote.run(program, chosen.records(until=until), is_kept=False)
    if ended.reason:
        return remote.complain(ended.reason)
    _, acted, total = ended.lines[-1].split()
    left = int(total) - int(acted)
    past = ACTIONS[chosen.action].past
    remote.say(f"{acted} {past}" + (f"; {left} had left the queue meanwhile" if left > 0 else ""))
    return True

"""Is what is declared right? python -m mailproxy check INVENTORY... [--group-data DIRECTORY]...

Nothing is connected to and nothing is looked up. A line for each mistake, as compilers write them:

    group_data/all.py:4: error: relay_domains['example.com'] = 'smtp:10.1.0.2': expected brackets ...
    group_data/all.py:9: warning: mynetworks[1] = '8.8.8.0/24': is a public range: ...

Exit status: 0 nothing is wrong, warnings aside; 1 something is; 2 the command itself is wrong.
"""

import argparse
import logging
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from pyinfra.api import Config, State
from pyinfra.api.exceptions import PyinfraError
from pyinfra.api.output import set_echo, set_formatter
from pyinfra.context import ctx_config, ctx_state
from pyinfra_cli.exceptions import CliError, UnexpectedExternalError
from pyinfra_cli.inventory import make_inventory

from mailproxy.declaration import Mistake, examined
from mailproxy.known_hosts import problems_of_known_hosts
from mailproxy.places import places_of
from mailproxy.ssh import reached


def main(arguments: Sequence[str]) -> int:
    """Check what is declared for inventories; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m mailproxy", description="Check what is declared, without a host.")
    check = parser.add_subparsers(dest="command", required=True).add_parser(
        "check", help="check inventories and their group_data, connecting to nothing"
    )
    check.add_argument("inventory", nargs="+", help="such as inventories/production.py")
    check.add_argument("--group-data", action="append", default=[], metavar="DIRECTORY", help="as pyinfra has it")
    given = check.parse_args(arguments[1:]) if arguments[:1] == ["check"] else parser.parse_args(arguments)
    missing = [name for name in given.inventory if not Path(name).is_file()]
    missing += [name for name in given.group_data if not Path(name).is_dir()]
    if missing:
        parser.error(f"{missing[0]}: there is no such {'file' if missing[0] in given.inventory else 'directory'}")
    lines = dict.fromkeys(line for name in given.inventory for line in _checked(name, given.group_data))
    for line, _ in lines:
        print(line)
    return int(any(is_error for _, is_error in lines))


def _checked(name: str, group_data: Sequence[str]) -> Iterator[tuple[str, bool]]:
    """Yield a line for each mistake of an inventory, and whether it is an error."""
    places = places_of(Path(name), group_data)
    state, config = State(), Config()
    state.cwd = str(Path.cwd())
    try:
        with ctx_state.use(state), ctx_config.use(config):
            inventory = make_inventory(name, cwd=state.cwd, override_data={}, group_data_directories=list(group_data))
            found = examined(inventory, list(inventory), places)
    except UnexpectedExternalError as error:
        # What an inventory or a file of group_data raises: its own line counts.
        yield f"{_place(error)}: error: cannot be read: {error.exception!r}", True
        return
    except SyntaxError as error:
        yield f"{_relative(error.filename or name)}:{error.lineno or 1}: error: cannot be read: {error.msg}", True
        return
    except (PyinfraError, CliError, OSError, TypeError, ValueError, AttributeError) as error:
        yield f"{name}: error: cannot be read: {getattr(error, 'message', error)}", True
        return
    if not inventory.hosts:
        yield f"{name}: error: holds no host", True
    for mistake in found.mistakes:
        yield _line(mistake, len(inventory.hosts)), not mistake.is_warning
    for one in problems_of_known_hosts(reached(inventory)):
        place = one.place or places.of(inventory.hosts[one.hosts[0]], one.problem.key)
        yield _line(Mistake(place, one.problem, one.hosts, one.is_warning), len(inventory.hosts)), not one.is_warning


def _line(mistake: Mistake, total: int) -> str:
    kind = "warning" if mistake.is_warning else "error"
    more = f" and {len(mistake.hosts) - 1} more" if len(mistake.hosts) > 1 else ""
    hosts = f" [{mistake.hosts[0]}{more}]" if 0 < len(mistake.hosts) < total else ""
    return f"{mistake.place}: {kind}: {mistake.problem}{hosts}"


def _place(error: UnexpectedExternalError) -> str:
    """Return file and line of what was raised, in the file that pyinfra ran."""
    found, trace = error.filename, error.exception.__traceback__
    line = 0
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == error.filename:
            line = trace.tb_lineno
        trace = trace.tb_next
    if isinstance(error.exception, SyntaxError):
        line = error.exception.lineno or line
    return f"{_relative(found)}:{line}" if line else _relative(found)


def _relative(file: str) -> str:
    path = Path(file)
    return str(path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path)


if __name__ == "__main__":
    logging.getLogger("pyinfra").addHandler(logging.NullHandler())
    set_echo(lambda *_, **__: None)
    set_formatter(lambda text, *_, **__: text)
    sys.path.insert(0, ".")
    sys.exit(main(sys.argv[1:]))

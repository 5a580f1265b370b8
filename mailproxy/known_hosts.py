"""The files of host keys that hosts are known by: what in them makes pyinfra know fewer than they hold.

pyinfra loads a file with paramiko, which ends at the first line that it cannot decode, and says so in a warning alone:
from there on no host is known. Where unknown hosts are accepted, one whose pinned key differs is then accepted, too.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from paramiko import SSHException
from paramiko.hostkeys import HostKeyEntry

from mailproxy.fleet_check import Found
from mailproxy.host_keys import NamedHostKeys, find_host_keys_by_name
from mailproxy.problem import Problem, shown
from mailproxy.stop import StopError

_KEY = "ssh_known_hosts_file"
_STRICT = "ssh_strict_host_key_checking"
_PORT = 22
_EXPECTED = "expected a name, a kind of key and the key, with single blanks between them, as ssh-keyscan prints"


@dataclass(frozen=True)
class Reached:
    """How a host is reached by SSH: the files of keys, whether these are declared, and whether only known hosts are."""

    address: str
    port: int
    files: tuple[str, ...]
    is_own: bool
    is_strict: bool

    @property
    def name(self) -> str:
        """The name that the host stands under in the file."""
        return self.address if self.port == _PORT else f"[{self.address}]:{self.port}"


def read_to_its_end(file: Path) -> str:
    """Return the path of a file of host keys, for an inventory, which is executed before pyinfra connects.

    However long it is, a host is found in it at once. Raises StopError where a line in it would keep those below it
    from being read.
    """
    find_host_keys_by_name()
    _, problems = _read(str(file))
    if problems:
        listed = "".join(f"\n      {file}:{number}: {problem}" for number, problem in problems)
        raise StopError(f"host keys would not be read, and hosts not known by them; nothing was touched:{listed}")
    return str(file)


def problems_of_known_hosts(hosts: Mapping[str, Reached]) -> Iterator[Found]:
    """Yield what keeps keys from being read, by file and line, and as warnings what else keeps hosts unknown."""
    by_file: dict[str, list[str]] = {}
    for name, reached in hosts.items():
        for file in reached.files:
            by_file.setdefault(file, []).append(name)
    for file, names in by_file.items():
        keys, problems = _read(file)
        for number, problem in problems:
            yield Found(problem, tuple(names), place=f"{file}:{number}")
        if keys is None and not problems and any(hosts[name].is_own for name in names):
            reason = "there is no such file, or it cannot be read, so no host is known"
            yield Found(Problem(_KEY, repr(file), reason), tuple(names), is_warning=True)
    for name, reached in hosts.items():
        known = [keys for file in reached.files if (keys := _read(file)[0])]
        if known and all(keys.lookup(reached.name) is None for keys in known):
            found = repr(" ".join(reached.files))
            yield Found(Problem(_KEY, found, _no_line(reached, name)), (name,), is_warning=True)
    lax = tuple(name for name, reached in hosts.items() if not reached.is_strict)
    if lax:
        reason = 'lets hosts in that nobody knows; expected "yes", and the keys of the hosts in a file of your own'
        yield Found(Problem(_STRICT, "not 'yes'", reason), lax, is_warning=True)


def _no_line(reached: Reached, name: str) -> str:
    port = f"-p {reached.port} " * (reached.port != _PORT)
    where = reached.name if name == reached.name else f"{reached.name}, at which {name} is reached"
    return f"has no line for {where}; ssh-keyscan {port}{reached.address} prints its keys, to be checked"


@cache
def _read(file: str) -> tuple[NamedHostKeys | None, tuple[tuple[int, Problem], ...]]:
    """Return the keys of a file, and what is wrong with it by line; None where there are no keys at all."""
    try:
        lines = Path(file).read_text(encoding="utf-8").split("\n")
    except OSError:
        return None, ()
    except ValueError as error:
        return None, ((1, Problem(_KEY, repr(file), f"is not read to its end: {error}")),)
    problems = tuple(
        (number, Problem(_KEY, shown(line), why))
        for number, line in enumerate(map(str.strip, lines), start=1)
        if line and not line.startswith("#") and (why := _why_lost(line))
    )
    return (None if problems else NamedHostKeys(file)), problems


def _why_lost(line: str) -> str:
    """Return why a line, or what stands below it, would not count, '' where it does."""
    if line.startswith("@"):
        return f"{line.split()[0]} is not understood, and no line below it would count; expected no such line"
    try:
        entry = HostKeyEntry.from_line(line)
    except SSHException as error:
        return f"does not count: {error}; {_EXPECTED}"
    except Exception:
        # Whatever it is: HostKeys.load, too, would end here.
        return f"cannot be read, and no line below it would count; {_EXPECTED}"
    # A kind of key that paramiko does not know is passed over by itself.
    return _EXPECTED if entry is None and len(line.split()) < len(("name", "kind", "key")) else ""

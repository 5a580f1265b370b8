"""The programs under files/, and how they come to a host: whole, or by name where the host keeps them."""

import hashlib
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

PROGRAMS = Path(__file__).parent.parent / "files"
# What runs on hosts, and what stands before each.
_PARTS: Mapping[str, tuple[str, ...]] = {
    "enter": (),
    "observe": ("common", "foreign"),
    "stage": ("common", "checking", "saving"),
    "activate": ("common", "service", "transaction", "probing", "needing", "lingering"),
    "settle": ("common", "service", "transaction", "probing"),
    "install": ("common", "service"),
    "release": ("common",),
    "probe": ("common", "probing", "needing"),
    "queue": ("common",),
}
# What is run before there is a private directory, before we are root, or seldom.
NEVER_KEPT = ("enter", "install", "queue")


# Every command line on a host is "sh -c" and this, whoever runs it and whatever for: the program comes on standard
# input. So sudoers and doas.conf can name it, logs stay short, and every login shell can read it, as it is one line.
# What comes before the mark is nobody's: a password that sudo did not ask for. By its beginning processes are
# recognised as ours (common.sh, is_at_work).
_MARK = "mailproxy-begins"
LOADER = f'PRIVATE=.mailproxy; while read -r line; do case $line in {_MARK}) read -r line; eval "$line"; esac; done'
# What the loader reads first: it takes so many bytes of a program and none of what follows. A program is ASCII, so that
# every shell counts it alike.
_READER = (
    "left={size} text=; "
    'while [ "$left" != 0 ]; do part=$(dd bs="$left" count=1 2>/dev/null; echo .) part=${{part%.}}; '
    '[ -n "$part" ] || exit 64; text=$text$part left=$((left-${{#part}})); done; eval "$text"; exit'
)
# What it reads where a host keeps programs (files/stage.sh puts them there). Where the configuration directory is not
# known yet it is looked for in the usual places, as postconf takes longer than all the rest.
_USUAL_DIRECTORIES = ("/etc/postfix", "/usr/local/etc/postfix", "/usr/pkg/etc/postfix")
_SEARCH = (
    "PATH=$PATH:/usr/sbin:/usr/local/sbin:/usr/pkg/sbin; "
    'for at in {directories}; do at=$at/.mailproxy/{kept}; [ ! -r "$at/sums" ] || break; done; '
    '[ -r "$at/sums" ] || at=$({elsewhere})/.mailproxy/{kept}; [ -r "$at/sums" ] || {{ echo {lacking}; exit 0; }}; '
    'set -- {arguments}; for part in {parts}; do . "$at/$part.sh"; done; exit'
)
# All that a host says where it does not keep the programs of this version.
LACKING = "lacking"
# What only reads a host says how it ended in a last line: of a program that fails pyinfra shows its error alone.
_READING = ("observe", "probe")
_TELLING = "trap 'echo \"left $?\"; exit 0' EXIT; "


def output_of(lines: list[str]) -> list[str]:
    """Return what a program that reads a host has printed: nothing where it was run by its name, and failed."""
    if lines and lines[-1].startswith("left "):
        return lines[:-1] if lines[-1] == "left 0" else []
    return lines


@dataclass(frozen=True)
class Command:
    """A program of files/ and its arguments, the first of which is a configuration directory, '' if not known yet."""

    program: str
    arguments: tuple[str, ...]

    @property
    def whole(self) -> str:
        """The text that runs it, leaving standard input to it."""
        return f"set -- {self._words}\n{_text(self.program)}"

    @property
    def by_name(self) -> str:
        """The line that runs it on a host that keeps it; LACKING is all that any other host prints."""
        directory = self.arguments[0]
        return (_TELLING if self.program in _READING else "") + _SEARCH.format(
            directories=shlex.quote(directory) if directory else " ".join(_USUAL_DIRECTORIES),
            elsewhere=":" if directory else "postconf -d -h config_directory",
            kept=kept_name(),
            lacking=LACKING,
            arguments=self._words,
            parts=" ".join((*_PARTS[self.program], self.program)),
        )

    @property
    def _words(self) -> str:
        return " ".join(map(_word, self.arguments))


def command(program: str, *arguments: str) -> Command:
    """Return files/PROGRAM.sh with arguments; sent() sends it."""
    return Command(program, arguments)


def _word(argument: str) -> str:
    """Return an argument for a shell, in ASCII and on one line."""
    if argument.isascii() and "\n" not in argument:
        return shlex.quote(argument)
    octal = "".join(f"\\0{byte:03o}" for byte in argument.encode())
    return f"\"$(printf %b '{octal}')\""


def sent(text: str, stdin: str = "", password: str | None = None, *, as_record: bool = False) -> str:
    """Return the input of LOADER that runs a text (Command.whole, Command.by_name) as root with an input of its own.

    password is what sudo may ask for; as_record says that observe.sh is sent, whose reader expects records.
    """
    enter = command("enter", LOADER, "no" if password is None else "yes", "record" if as_record else "error")
    whole = enter.whole + text
    secret = "" if password is None else f"{password}\n"
    return f"{_MARK}\n{_READER.format(size=len(whole))}\n{whole}{secret}{stdin}"


def sent_to_root(line: str, stdin: str = "") -> str:
    """Return the input of LOADER that runs a line (Command.by_name) where the connection is root's already."""
    return f"{_MARK}\n{line}\n{stdin}"


def parts() -> dict[str, tuple[Path, ...]]:
    """Return the files that each program is put together from, in their order; tests/run has them checked so."""
    return {
        program: tuple(PROGRAMS / f"{part}.sh" for part in (*before, program)) for program, before in _PARTS.items()
    }


@cache
def kept_files() -> Mapping[str, str]:
    """Return the files that a host keeps of the programs, by name; "sums" has the digests of the others, in order."""
    names = {path for program, files in parts().items() if program not in NEVER_KEPT for path in files}
    texts = {path.name: _without_comments(path) for path in sorted(names)}
    sums = " ".join(f"{hashlib.sha256(text.encode()).hexdigest()} {name}" for name, text in texts.items())
    return {**texts, "sums": f"{sums}\n"}


@cache
def kept_name() -> str:
    """Return the name of the directory, below the private one, in which a host keeps the programs of this version."""
    return f"programs.{hashlib.sha256(kept_files()['sums'].encode()).hexdigest()[:16]}"


@cache
def _text(program: str) -> str:
    """Return a program behind what they all begin with."""
    return "".join(map(_without_comments, parts()[program]))


@cache
def _without_comments(path: Path) -> str:
    """Return what a file has besides comments, which no host needs."""
    lines = path.read_text().splitlines()
    return "".join(f"{line}\n" for line in lines if line.strip() and not line.lstrip().startswith("#"))


@cache
def programs_digest() -> str:
    """Return the SHA-256 over what runs on the hosts."""
    texts = [path.read_bytes() for path in sorted(PROGRAMS.glob("*.sh"))]
    return hashlib.sha256(b"\0".join(texts)).hexdigest()

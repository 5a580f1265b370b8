"""What the real tools of Postfix make of rendered files: those of a lab root, run on a scratch directory."""

import subprocess
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

TABLES = {"aliases": "postalias", "transport": "postmap"}
_SCRIPT = """
set -eu
mount --bind "$1" "$2/mnt"
exec chroot "$2" sh -c '
    cd /mnt
    postconf -d >defaults
    for directory in */; do
        directory=${directory%/}
        [ -f "$directory/main.cf" ] || continue
        postconf -c "/mnt/$directory" -n >"$directory/parameters" 2>"$directory/said" </dev/null ||
            echo "status $?" >>"$directory/said"
        for table in aliases transport; do
            [ -f "$directory/$table" ] || continue
            tool=postmap
            [ "$table" != aliases ] || tool=postalias
            "$tool" -c "/mnt/$directory" "hash:/mnt/$directory/$table" >>"$directory/$table.said" 2>&1 </dev/null || :
            postmap -c "/mnt/$directory" -s "hash:/mnt/$directory/$table" >"$directory/$table.listing" \
                2>>"$directory/$table.said" </dev/null || :
        done
    done
'
"""


@dataclass(frozen=True)
class Read:
    """What Postfix read of a directory: parameters and the entries of tables, and what it said of them."""

    parameters: Mapping[str, str]
    aliases: Mapping[str, str]
    transport: Mapping[str, str]
    said: str


def read_back(root: Path, scratch: Path) -> dict[str, Read]:
    """Return what the Postfix of a root reads in each directory of a scratch directory, and its defaults.

    Needs to be root, for chroot and a mount in a namespace of its own.
    """
    command = ["unshare", "--mount", "sh", "-c", _SCRIPT, "sh", str(scratch), str(root)]
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL)
    defaults = Read(dict(_parameters(_text(scratch / "defaults"))), {}, {}, "")
    directories = [path for path in sorted(scratch.iterdir()) if path.is_dir()]
    return {"defaults": defaults, **{directory.name: _read(directory) for directory in directories}}


def _read(directory: Path) -> Read:
    said = "".join(_text(directory / name) for name in ("said", *(f"{table}.said" for table in TABLES)))
    listings = {table: dict(_entries(_text(directory / f"{table}.listing"))) for table in TABLES}
    return Read(dict(_parameters(_text(directory / "parameters"))), listings["aliases"], listings["transport"], said)


def _text(path: Path) -> str:
    return path.read_bytes().decode("utf-8", errors="surrogateescape") if path.exists() else ""


def _parameters(text: str) -> Iterator[tuple[str, str]]:
    for line in _lines(text):
        name, _, value = line.partition("=")
        if name != "config_directory ":  # which it was told
            yield name.strip(" "), value.removeprefix(" ")


def _entries(text: str) -> Iterator[tuple[str, str]]:
    for line in _lines(text):
        key, _, value = line.partition("\t")
        # What postalias adds by itself, for sendmail and NIS.
        if key not in ("@", "YP_LAST_MODIFIED", "YP_MASTER_NAME"):
            yield key, value


def _lines(text: str) -> Iterable[str]:
    return text.removesuffix("\n").split("\n") if text else ()

"""What Postfix says of its own parameters and restrictions: postconf -d and postconf(5) -> mailproxy/postconf.tsv.

    mmdebstrap --variant=minbase --include=postfix sid ROOT
    .venv/bin/python -m lab.parameters ROOT >mailproxy/postconf.tsv

ROOT is a root with the newest Postfix there is; needs root, for chroot.
"""

import gzip
import itertools
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

from lab.read_back import read_back

_SINCE = re.compile(
    r"(?:feature|parameter)(?: with settings \w+ and \w+)? (?:is|was) (?:available|introduced) (?:in|with|as of) "
    r"Postfix (?:version )?(?:>= )?(?P<first>[0-9]+\.[0-9.]*[0-9])(?P<more>(?:,? (?:and )?[0-9]+\.[0-9]+\.[0-9]+)*)"
)
_RESTRICTION = re.compile(
    r'^\.IP "\\fB(?P<name>[a-z_]+) ?(?:\\fI(?P<argument>[^\\]+)\\fR)?\\fR(?: \(with.*: (?P<earlier>[a-z_]+)\))?"$'
)
_CHOICE = re.compile(r'^\.IP "(?:\\fB)? ?([a-z0-9_-]+) ?(?:\\fR)?(?: \(.*)?"$')
_CONDITIONAL = re.compile(r"\{([^{}$]*)\}(?=[^{}]*(?:[:}]|$))")
# Where a number is more than a number: a name of a service, a share, a number of digits, a level with a name.
_NO_NUMBER = re.compile(r".*(_port|_feedback|_loglevel)|compatibility_level|milter_protocol|maillog_file_permissions")


def main(root: str) -> None:
    """Print the table for the Postfix in a root."""
    text = subprocess.run(["chroot", root, "postconf", "-d"], capture_output=True, text=True, check=True).stdout
    pairs = (line.partition("=") for line in text.splitlines())
    defaults = {name.strip(): value.strip() for name, _, value in pairs}
    (manual,) = Path(root, "usr/share/man/man5").glob("postconf.5*.gz")
    sections = dict(_sections(gzip.decompress(manual.read_bytes()).decode()))
    print(f"# Postfix {defaults['mail_version']} of its own parameters and restrictions: made from its postconf -d and")
    print("# postconf(5) by lab/parameters.py, which says how to make it anew; not to be edited.")
    print(
        "# parameter NAME SINCE TYPE CHOICES (of an obsolete one: what reads it now); transport SUFFIX SINCE TYPE BASE"
    )
    print("# (of the parameters of each transport, whose default is BASE); restriction NAME SINCE ARGUMENT.")
    print("# SINCE is empty where the manual names no version.")
    names = sorted({*defaults, *sections})
    parameters = {name: _parameter(name, defaults, sections) for name in names if name in defaults or name in sections}
    raw = _raw(Path(root), [name for name in defaults if parameters[name][1] == "text"])
    for name in names:
        if name.startswith("transport_") and name not in defaults:
            base = sections[name].default.removeprefix("$")
            kind = _type(defaults[base], defaults, name)
            print("transport", name.removeprefix("transport"), _since(sections[name].text), kind, base, sep="\t")
        else:
            since, kind, choices = parameters[name]
            print("parameter", name, since, "expanded" if name in raw else kind, choices, sep="\t")
    for name, since, argument in sorted(set(_restrictions(sections))):
        print("restriction", name, since, argument, sep="\t")


def _raw(root: Path, names: list[str]) -> set[str]:
    """Return the parameters whose references Postfix leaves to the daemon that reads them: to it any $ is right."""
    with tempfile.TemporaryDirectory() as scratch:
        for name in names:
            directory = Path(scratch, name)
            directory.mkdir()
            (directory / "main.cf").write_text(f"{name} = $,\n")
            (directory / "master.cf").write_text("")
            os.utime(directory / "main.cf", (time.time() - 10,) * 2)
        read = read_back(root, Path(scratch))
    return {name for name in names if "macro" not in read[name].said}


class _Section:
    """What the manual says of a parameter: its default in the manual's words, and the text."""

    def __init__(self, default: str, lines: list[str]):
        self.default = default
        self.lines = [line.replace("\\-", "-") for line in lines]
        self.text = re.sub(r"\\f[BIR]", "", " ".join(line for line in self.lines if line != ".PP"))


def _sections(manual: str) -> Iterator[tuple[str, _Section]]:
    for part in manual.split("\n.SH ")[1:]:
        head, *lines = part.split("\n")
        found = re.match(r"(\w+) \((?:default: (.*)|read.*)\)$", head.replace("\\-", "-"))
        if found:
            yield found[1], _Section(found[2] or "", lines)


def _parameter(name: str, defaults: Mapping[str, str], sections: Mapping[str, _Section]) -> tuple[str, str, str]:
    section = sections.get(name)
    text = section.text if section else ""
    if section and name.endswith("_restrictions"):
        # What its items say of versions is theirs: its own statement, if any, ends the section.
        text = _Section("", section.lines[-4:]).text
    if name not in defaults:
        return _since(text), "obsolete", _successor(name, defaults)
    specific = re.search(r"The (?:LMTP|postscreen)-specific version of the (\w+) |See (\w+) for", text)
    general = sections.get(specific[1] or specific[2]) if specific else None
    kind = _type(defaults[name], defaults, name)
    if kind in ("integer", "text") and "Specify a negative value" in text:
        kind = "signed"
    elif kind == "integer" and re.search(r"in bytes|LONG_MAX", text):
        kind = "size"
    choices = _choices((general or section).lines) if kind == "text" and section else []
    if not section:
        # What a transport of master.cf has by itself.
        suffixes = [known for known in sections if name.endswith(known.removeprefix("transport"))]
        text = sections[max(suffixes, key=len)].text if suffixes else ""
    return _since(text), kind, ",".join(choices)


def _successor(name: str, defaults: Mapping[str, str]) -> str:
    """Return the parameter whose default is what an obsolete one says, '' where nothing reads that any more."""
    return next((newer for newer, default in defaults.items() if re.search(rf"\$\{{?{name}\b", default)), "")


def _type(default: str, defaults: Mapping[str, str], name: str) -> str:
    """Return how Postfix reads a parameter with that default; one that refers to another is read like it."""
    reference = re.fullmatch(r"\$\{?(\w+)\}?", default)
    if reference and reference[1] in defaults:
        return _type(defaults[reference[1]], defaults, name)
    unit = re.fullmatch(r"(\$\{.*\})([smhdw])", default)
    if unit:
        return "time"
    values = {default}
    if default.startswith("${"):
        values = set(_CONDITIONAL.findall(default))
    if values and values <= {"yes", "no"}:
        return "boolean"
    if _NO_NUMBER.fullmatch(name):
        return "text"
    if values and all(re.fullmatch(r"[0-9]+", value) for value in values):
        return "integer"
    if values and all(re.fullmatch(r"[0-9]+[smhdw]", value) for value in values):
        return "time"
    return "text"


def _since(text: str) -> str:
    """Return the versions that brought something in, as the manual lists them; the fullest statement, or the last."""
    found = [f"{one['first']}{one['more']}".replace(" and ", " ").replace(",", "") for one in _SINCE.finditer(text)]
    return max(reversed(found), key=lambda versions: versions.count(" "), default="")


def _choices(lines: list[str]) -> list[str]:
    """Return the words of which the manual says that one of them is to be specified."""
    places = [
        number
        for number, line in enumerate(lines)
        if re.search(r"[Ss]pecify one of the following(?: security levels| values.*)?:$", line)
    ]
    if not places:
        return []
    items = [line for line in lines[places[0] :] if line.startswith(".IP") and "\\(bu" not in line]
    found = [_CHOICE.match(item) for item in items]
    return [one[1] for one in found if one] if all(found) else []


def _restrictions(sections: Mapping[str, _Section]) -> Iterator[tuple[str, str, str]]:
    for name, section in sections.items():
        if not re.fullmatch(r"smtpd_\w+_restrictions", name):
            continue
        starts = [number for number, line in enumerate(section.lines) if line.startswith(".IP")]
        for start, end in itertools.pairwise([*starts, len(section.lines)]):
            found = _RESTRICTION.match(section.lines[start])
            if found:
                since = _since(_Section("", section.lines[start + 1 : end]).text)
                yield found["name"], since, found["argument"] or ""
                if found["earlier"]:
                    yield found["earlier"], "", found["argument"] or ""


if __name__ == "__main__":
    main(*sys.argv[1:])

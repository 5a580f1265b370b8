"""The programs on a host work on texts of any length, under every shell: a Korn shell has no printf of its own."""

import subprocess
from pathlib import Path

import pytest

from mailproxy.program import PROGRAMS

# More than a program takes as one argument (128 KiB on Linux).
QUERIES = "".join(f"hash transport d{number}.example hit smtp:[10.1.0.2]\n" for number in range(5000))


@pytest.mark.parametrize("shell", ["dash", "bash --posix", "mksh", "busybox sh"])
def test_a_wrong_answer_among_thousands_is_found(shell: str, tmp_path: Path) -> None:
    (tmp_path / "asked").write_text(QUERIES)
    postmap = tmp_path / "postmap"
    postmap.write_text("#!/bin/sh\nsed -e '/^d4321.example$/d' -e 's/$/\tsmtp:[10.1.0.2]/'\n")
    postmap.chmod(0o755)
    common, probing = ((PROGRAMS / f"{name}.sh").read_text() for name in ("common", "probing"))
    script = f"{common}\n{probing}\nPATH={tmp_path}:$PATH\nwrong_answers all <{tmp_path}/asked\n"
    program = tmp_path / "program.sh"
    program.write_text(script)
    found = subprocess.run([*shell.split(), str(program)], capture_output=True, text=True, check=False)
    assert found.stdout == "transport: d4321.example finds nothing, expected smtp:[10.1.0.2]\n", found.stderr

"""The lines for sudoers and doas.conf as docs/ssh.md gives them: what the tests use is what is documented."""

import re
from pathlib import Path

_TEXT = (Path(__file__).parent.parent / "docs" / "ssh.md").read_text()


def _block(beginning: str) -> str:
    (found,) = re.findall(rf"(?m)^    ({beginning}.*)$", _TEXT)
    return f"{found}\n"


SUDOERS = _block(r"deploy ALL=\(root\) NOPASSWD:")
SUDOERS_WITH_PASSWORD = _block(r"deploy ALL=\(root\) /bin/sh")
DOAS = _block("permit nopass deploy")

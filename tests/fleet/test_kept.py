"""Hosts keep the programs of their last change; what is damaged there, or of another version, is not run."""

import pytest

from mailproxy.program import kept_name
from tests.fleet.conftest import GUIDE
from tests.fleet.controller import AT_REST, Controller, private_names

KEPT = f"/etc/postfix/.mailproxy/{kept_name()}"
ADDED = {**GUIDE, "added.example": "smtp:[10.1.0.2]"}


@pytest.mark.parametrize(
    "damage",
    [
        # Says that nothing is there, and would have the fleet think so.
        f"sed -i '1i echo end; exit' {KEPT}/observe.sh",
        f"sed -i '1i exit' {KEPT}/common.sh",
        f": >{KEPT}/stage.sh",
        f"rm {KEPT}/settle.sh",
        f": >{KEPT}/sums",
        f"rm -r {KEPT}",
        f"mv {KEPT} /etc/postfix/.mailproxy/programs.0123456789abcdef",
    ],
)
def test_programs_that_are_not_as_they_were_sent_are_not_run(controller: Controller, damage: str) -> None:
    host = controller.fleet.hosts[1]
    host.run(["sh", "-c", damage])
    assert "0 to change" in controller.run("--dry").review
    controller.declare(relay_domains=ADDED)
    controller.roll_out()
    controller.assert_converged()
    assert private_names(host) == AT_REST
    host.run(
        [
            "sh",
            "-c",
            f"cd {KEPT} && sha256sum -c",
        ],
        input=_sums(host.run(["cat", f"{KEPT}/sums"]).stdout),
    )


def _sums(line: str) -> str:
    words = line.split()
    return "".join(f"{digest}  {name}\n" for digest, name in zip(words[::2], words[1::2], strict=True))

"""What a bootstrap says it would do, and what it does not do without being told to."""

import pytest

from mailproxy.bare import Survey, refused, report, surveyed, to_replace
from mailproxy.model import DesiredState
from mailproxy.observed import Unread

EXIM = Survey("Debian GNU/Linux 12", "apt-get", "bare", "3.7.11", removes=("exim4-base", "exim4-daemon-light"))
PLAIN = Survey("Alpine Linux v3.20", "apk", "bare", "3.9.1")
DESIRED = DesiredState(
    relay_domains={"example.com": "smtp:[10.1.0.2]"},
    myhostname="mx.example.org",
    mydomain="example.org",
    aliases={"postmaster": "root"},
)


def test_records_come_back_as_they_were_found() -> None:
    lines = ["system Debian GNU/Linux 12", "manager apt-get", "state bare"]
    removes = ["removes exim4-base", "removes exim4-daemon-light"]
    assert surveyed([*lines, *removes, "candidate 3.7.11", "end"]) == EXIM
    unknown = surveyed([*lines, "candidate none", "refused port 25 is held by nc", "end"])
    assert unknown is not None
    assert (unknown.candidate, unknown.refusals) == ("", ("port 25 is held by nc",))
    present = surveyed(["system Debian GNU/Linux 12", "manager apt-get", "state present", "end"])
    assert present is not None
    assert not present.is_bare


@pytest.mark.parametrize(
    "lines",
    [
        [],
        ["system X", "manager apk", "state bare"],
        ["system X", "manager apk", "end"],
        ["system X", "manager apk", "state odd", "end"],
        ["system X", "system Y", "manager apk", "state bare", "end"],
    ],
)
def test_an_answer_that_is_not_whole_is_no_survey(lines: list[str]) -> None:
    assert surveyed(lines) is None


def test_nothing_is_removed_that_was_not_named() -> None:
    found: dict[str, Survey | Unread] = {"mx1": EXIM, "mx2": PLAIN, "mx3": Unread("it could not be connected to")}
    assert to_replace(found, []) == ["exim4-base", "exim4-daemon-light"]
    assert to_replace(found, ["exim4-base"]) == ["exim4-base", "exim4-daemon-light"]
    assert to_replace(found, ["exim4-base", "exim4-daemon-light"]) == []


def test_each_host_stands_once_with_what_is_to_happen_there() -> None:
    held = Survey("Debian GNU/Linux 12", "apt-get", "bare", "3.7.11", refusals=("port 25 is held by nc",))
    found: dict[str, Survey | Unread] = {
        "mx1": EXIM,
        "mx2": PLAIN,
        "mx3": Unread("it could not be connected to"),
        "mx4": Survey("Debian GNU/Linux 12", "apt-get", "present"),
        "mx5": Survey("Debian GNU/Linux 12", "apt-get", "begun"),
        "mx6": held,
    }
    lines = list(report(found, dict.fromkeys(found, DESIRED), ["exim4-base"]))
    assert lines == [
        "mailproxy: 6 hosts: 4 to bootstrap, 1 with Postfix already, 1 could not be read",
        "",
        "install Postfix  [mx1, mx2, mx6]",
        "    Debian GNU/Linux 12, apt-get: postfix 3.7.11  [mx1, mx6]",
        "    removes or turns off, and needs approval for, exim4-base, exim4-daemon-light; "
        "mail in its queue stays there, undelivered  [mx1]",
        "    declared: 1 domain, 1 network, 1 alias",
        "    first started with that, asked by SMTP, and enabled at boot when it is confirmed",
        "    Alpine Linux v3.20, apk: postfix 3.9.1  [mx2]",
        "    REFUSED: port 25 is held by nc  [mx6]",
        "",
        "not read: it could not be connected to  [mx3]",
        "",
        "has Postfix already, and is left alone: pyinfra INVENTORY deploy.py  [mx4]",
        "",
        "go on with an installation of Postfix that was stopped  [mx5]",
        "    Debian GNU/Linux 12, apt-get: postfix of a version that is not known before its lists are fetched, "
        "with the installation",
        "    declared: 1 domain, 1 network, 1 alias",
        "    first started with that, asked by SMTP, and enabled at boot when it is confirmed",
    ]
    assert refused(found) == ["mx6: port 25 is held by nc"]

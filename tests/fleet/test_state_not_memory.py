"""Interrupted, failed and meddled-with: the next run finishes the work, because it looks at the host and not back."""

import os
import signal
import time
from pathlib import Path

import pytest

from lab.hosts import Host
from lab.root import ALPINE, DEBIAN11, OPENBSD
from tests.fleet.conftest import GUIDE
from tests.fleet.controller import (
    ANOTHER_MAIN_CF,
    AT_REST,
    Controller,
    Result,
    assert_mail_flows,
    assert_tables_match,
    index_of,
    live,
    private_names,
    program_at_work,
    replaced,
    reply_to,
    tree,
    wait_for,
    wait_until_idle,
)

# The first one is the canary, which most is done to; the second is meddled with.
KINDS = (OPENBSD, ALPINE, DEBIAN11)
ADDED = {**GUIDE, "added.example": "smtp:[10.1.0.2]"}
SWAPPED = {"example.com": "smtp:[10.1.0.2]", "added.example": "smtp:[10.1.0.2]"}
# Says that it was reached, and goes on when it may; once, so that the next run is not held up.
HOLD = '[ -e /run/reached ] || { touch /run/reached; while [ ! -e /run/go ]; do sleep 0.05; done; }; exec $real "$@"'
# Where mv is called for something else than a live file of Postfix, it only does its work.
UNLESS_LIVE = 'for to; do :; done; case $to in .mailproxy/*) exec $real "$@" ;; esac; '


@pytest.fixture(autouse=True)
def _marks(controller: Controller) -> None:
    """Remove what tests hold a host up with."""
    for host in controller.fleet.hosts:
        host.run(["rm", "-f", "/run/reached", "/run/go", "/run/count"])


def in_configuration(host: Host, script: str) -> None:
    """Run a shell script in the configuration directory of a host."""
    host.run(["sh", "-c", f"cd {host.kind.config_directory} && {script}"])


def assert_finishes(controller: Controller, *hosts: Host) -> Result:
    """Insist that one more run brings the fleet to what is declared, and the one after finds nothing to do."""
    result = controller.roll_out()
    controller.assert_converged()
    for host in hosts or controller.fleet.hosts:
        assert_tables_match(host)
        assert private_names(host) == AT_REST
        assert_mail_flows(controller.fleet, host, "example.com")
    return result


def kill_controller_at(controller: Controller, host: Host, program: str, script: str = HOLD) -> None:
    """Start a rollout, kill the controller with SIGKILL while program runs on a host, and let the host go on."""
    with replaced(host, program, script):
        process = controller.start("-y")
        wait_for(host, "/run/reached")
        process.send_signal(signal.SIGKILL)
        process.communicate()
        (host.root / "run/go").touch()
        wait_until_idle(host)


def test_a_postmap_that_fails_once_is_made_good_by_the_next_run(controller: Controller) -> None:
    host = controller.fleet.hosts[0]
    before = live(host)
    controller.declare(relay_domains=ADDED)
    with replaced(host, "/usr/sbin/postmap", "exit 1"):
        assert controller.run("-y").status == 1
    assert live(host) == before
    assert_mail_flows(controller.fleet, host, "example.com")
    result = assert_finishes(controller)
    alpine = controller.fleet.hosts[1].name
    assert f"index transport as hash (4 entries): transport changes [2 of 3 hosts: all but {alpine}]" in result.said
    assert_mail_flows(controller.fleet, host, "added.example")


def test_the_controller_killed_while_staging_leaves_the_old_configuration(controller: Controller) -> None:
    host = controller.fleet.hosts[0]
    before = [live(each) for each in controller.fleet.hosts]
    controller.declare(relay_domains=ADDED)
    kill_controller_at(controller, host, "/usr/sbin/postmap")
    assert [live(each) for each in controller.fleet.hosts] == before
    assert_mail_flows(controller.fleet, host, "example.com")
    result = assert_finishes(controller)
    assert "took over the abandoned lock of" in result.log
    assert_mail_flows(controller.fleet, host, "added.example")


def test_the_controller_killed_between_stage_and_activate_leaves_the_old_configuration(controller: Controller) -> None:
    *staged, held = controller.fleet.hosts
    before = [live(each) for each in controller.fleet.hosts]
    controller.declare(relay_domains=ADDED)
    with replaced(held, "/usr/sbin/postmap", HOLD):
        process = controller.start("-y")
        wait_for(held, "/run/reached")
        for host in staged:
            wait_for(host, ".mailproxy/stage.*/checked")
        process.send_signal(signal.SIGKILL)
        process.communicate()
        (held.root / "run/go").touch()
        wait_until_idle(held)
    assert all(any(name.startswith("stage.") for name in private_names(host)) for host in staged)
    assert [live(each) for each in controller.fleet.hosts] == before
    result = assert_finishes(controller)
    assert result.log.count("took over the abandoned lock of") == 3


def test_the_controller_killed_while_activating_leaves_the_new_configuration(controller: Controller) -> None:
    canary = controller.fleet.hosts[0]
    controller.declare(relay_domains=ADDED)
    # The first rename of an activation: from here on the host needs nobody to come to an end.
    kill_controller_at(controller, canary, "/usr/bin/mv", UNLESS_LIVE + HOLD)
    assert "added.example" in live(canary)["transport entries"]
    assert_tables_match(canary)
    assert_mail_flows(controller.fleet, canary, "added.example")
    result = assert_finishes(controller)
    assert "repair: proves a change that is live and was never proven (what was live before it is" in result.said


def kill_in_rename(number: int) -> str:
    """Return a stand-in for mv that kills the program it is called by at the given rename of a live file."""
    return (
        f"{UNLESS_LIVE}echo >>/run/count\n"
        f'if [ "$(wc -l </run/count)" -eq {number} ]; then\n'
        "    kill -9 $(sed -n 's/^pid //p' .mailproxy/lock) $PPID\n"
        "    exit 1\n"
        "fi\n"
        'exec $real "$@"'
    )


# Adding: transport.db, transport, relaydomains. Adding and removing at once: the table of both sides, relaydomains,
# and after the reload transport.db and transport.
@pytest.mark.parametrize(
    ("domains", "number"), [(ADDED, 1), (ADDED, 2), (ADDED, 3), (SWAPPED, 1), (SWAPPED, 2), (SWAPPED, 3), (SWAPPED, 4)]
)
def test_the_hosts_shell_killed_in_the_middle_of_the_renames(
    controller: Controller, domains: dict[str, str], number: int
) -> None:
    canary = controller.fleet.hosts[0]
    controller.declare(relay_domains=domains)
    with replaced(canary, "/usr/bin/mv", kill_in_rename(number)):
        assert controller.run("-y").status == 1
    assert "journal" in private_names(canary)
    # Half-way is safe too: what is accepted has a route, and the domain that stays is served.
    assert_mail_flows(controller.fleet, canary, "example.com")
    if reply_to(controller.fleet, canary, "user@added.example")[0] == 250:
        assert "added.example" in live(canary)["transport entries"]
    result = assert_finishes(controller)
    assert "repair: finishes an interrupted change" in result.said
    assert_mail_flows(controller.fleet, canary, "added.example")
    assert [live(host)["transport"] for host in controller.fleet.hosts] == [live(canary)["transport"]] * 3


def test_the_hosts_shell_killed_before_the_reload_is_reloaded_by_the_next_run(controller: Controller) -> None:
    canary = controller.fleet.hosts[0]
    controller.declare(relay_domains=ADDED, **ANOTHER_MAIN_CF)
    kill = "case $* in *reload) kill -9 $(sed -n 's/^pid //p' .mailproxy/lock) $PPID; exit 1 ;; esac; "
    with replaced(canary, "/usr/sbin/postfix", kill + 'exec $real "$@"'):
        assert controller.run("-y").status == 1
    result = assert_finishes(controller)
    assert "reload Postfix: an interrupted change may not have been loaded" in result.said
    assert_mail_flows(controller.fleet, canary, "added.example")


def test_an_interrupted_change_that_is_no_longer_wanted_goes_back_to_the_declared_one(controller: Controller) -> None:
    canary = controller.fleet.hosts[0]
    before = live(canary)
    controller.declare(relay_domains=ADDED)
    with replaced(canary, "/usr/bin/mv", kill_in_rename(3)):
        assert controller.run("-y").status == 1
    controller.declare(relay_domains=GUIDE)
    assert_finishes(controller)
    assert live(canary) == before


@pytest.mark.parametrize(
    ("meddling", "reason"),
    [
        ("rm TRANSPORT", "TRANSPORT is missing"),
        (": >TRANSPORT", "TRANSPORT is not the table that was indexed from transport"),
        ("rm ALIASES", "ALIASES is missing"),
        (
            "printf 'evil.example smtp:[10.1.0.9]\\n' >/run/t && postmap /run/t && cp /run/t.* TRANSPORT",
            "TRANSPORT is not the table that was indexed from transport",
        ),
        ("chmod 600 TRANSPORT", "TRANSPORT has mode -rw------- and owner 0:0"),
    ],
)
def test_a_table_deleted_truncated_or_replaced_by_hand_is_indexed_anew(
    controller: Controller, meddling: str, reason: str
) -> None:
    host = controller.fleet.hosts[1]
    for table in ("transport", "aliases"):
        meddling, reason = (text.replace(table.upper(), index_of(host, table)) for text in (meddling, reason))
    in_configuration(host, meddling)
    review = controller.run("--dry").said
    assert reason in review
    # Who found it damaged would look again only after a while.
    is_damaged = not meddling.startswith("chmod")
    assert ("reload Postfix: the table of " if is_damaged else "leave Postfix alone") in review
    assert "2 as declared" in assert_finishes(controller, host).said


def test_a_file_edited_by_hand_is_shown_and_put_back(controller: Controller) -> None:
    host = controller.fleet.hosts[1]
    in_configuration(host, "echo mine.example >>relaydomains; postconf -e smtpd_banner=mine")
    result = assert_finishes(controller, host)
    assert f"edited on the host since the last rollout, and put back [{host.name}]" in result.said
    assert "- mine.example (added by hand)" in result.said
    assert "- smtpd_banner = mine (added by hand)" in result.said
    assert host.run(["postconf", "-n", "smtpd_banner"]).stdout == ""
    assert reply_to(controller.fleet, host, "user@mine.example")[0] == 554


def test_a_source_edited_by_hand_and_indexed_by_hand_is_put_back_with_its_table(controller: Controller) -> None:
    host = controller.fleet.hosts[1]
    in_configuration(host, "echo mine.example smtp:[10.1.0.9] >>transport && postmap transport")
    assert_finishes(controller, host)
    assert "mine.example" not in live(host)["transport entries"]


def test_a_file_that_is_no_text_is_shown_and_put_back(controller: Controller) -> None:
    host = controller.fleet.hosts[1]
    in_configuration(host, "printf '# caf\\351\\000 no newline' >>mynetworks")
    result = assert_finishes(controller, host)
    assert "-# caf\\xe9" in result.said


def test_files_changed_back_by_hand_behind_a_running_postfix_are_reloaded(controller: Controller) -> None:
    # The disk says what is declared, the manifest says that something else was loaded.
    host = controller.fleet.hosts[1]
    old = (host.configuration / "relaydomains").read_text()
    controller.declare(relay_domains=ADDED)
    controller.roll_out()
    new = (host.configuration / "relaydomains").read_text()
    controller.declare(relay_domains=GUIDE)
    controller.roll_out()
    assert old != new
    (host.configuration / "relaydomains").write_text(new)
    controller.declare(relay_domains=ADDED)
    result = assert_finishes(controller, host)
    assert f"reload Postfix: Postfix has not loaded the relaydomains on the disk [{host.name}]" in result.said
    assert_mail_flows(controller.fleet, host, "added.example")


def test_a_stopped_postfix_is_started(controller: Controller) -> None:
    host = controller.fleet.hosts[1]
    host.run(["postfix", "stop"])
    result = assert_finishes(controller, host)
    assert f"start Postfix: Postfix is not running [{host.name}]" in result.said


def test_a_stopped_postfix_is_started_with_a_change_too(controller: Controller) -> None:
    host = controller.fleet.hosts[1]
    host.run(["postfix", "stop"])
    controller.declare(relay_domains=ADDED)
    assert_finishes(controller)
    assert_mail_flows(controller.fleet, host, "added.example")


def put_lock(host: Host, *, holder: str, since: int, pid: int = 999999) -> None:
    directory = host.configuration / ".mailproxy"
    (directory / "lock").write_text(f"token theirs\nholder {holder}\nsince {since}\npid {pid}\n")


def test_somebody_elses_lock_stops_the_whole_fleet_and_is_named(controller: Controller) -> None:
    host = controller.fleet.hosts[1]
    before = [tree(each) for each in controller.fleet.hosts if each is not host]
    put_lock(host, holder="alice@elsewhere process 7 of other", since=int(time.time()) - 60)
    controller.declare(relay_domains=ADDED)
    assert "warning: locked by alice@elsewhere" in controller.run("--dry").said
    result = controller.run("-y")
    assert result.status == 1
    assert "locked: held by alice@elsewhere process 7 of other" in result.log
    assert [tree(each) for each in controller.fleet.hosts if each is not host] == before
    assert "token theirs" in (host.configuration / ".mailproxy/lock").read_text()
    (host.configuration / ".mailproxy/lock").unlink()
    assert_finishes(controller)


def test_a_lock_nobody_was_heard_of_for_an_hour_is_taken_over(controller: Controller) -> None:
    host = controller.fleet.hosts[1]
    put_lock(host, holder="alice@elsewhere process 7 of other", since=int(time.time()) - 4000)
    controller.declare(relay_domains=ADDED)
    result = assert_finishes(controller)
    assert "took over the abandoned lock of alice@elsewhere process 7 of other" in result.log


def test_a_lock_of_a_program_that_runs_on_the_host_is_never_taken_over(controller: Controller) -> None:
    host = controller.fleet.hosts[1]
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()[:8]
    dead = f"root@{os.uname().nodename} process 4194304 of {boot}-{Path('/proc/self/ns/pid').stat().st_ino}"
    controller.declare(relay_domains=ADDED)
    with program_at_work(host) as pid:
        put_lock(host, holder=dead, since=int(time.time()), pid=pid)
        result = controller.run("-y")
    assert result.status == 1
    assert f"a change by {dead}" in result.log
    assert "is running on this host; nothing was touched" in result.log
    put_lock(host, holder=dead, since=int(time.time()))
    assert "took over the abandoned lock of" in assert_finishes(controller).log


def test_two_rollouts_at_once_never_mix(controller: Controller) -> None:
    host = controller.fleet.hosts[0]
    controller.declare(relay_domains=ADDED)
    with replaced(host, "/usr/sbin/postmap", HOLD):
        first = controller.start("-y")
        wait_for(host, "/run/reached")
        second = controller.run("-y")
        (host.root / "run/go").touch()
        _, log = first.communicate(timeout=120)
    assert first.returncode == 0, log
    assert second.status == 1
    assert "is running on this host" in second.log
    controller.assert_converged()


def test_a_file_edited_between_stage_and_activation_stops_that_host_and_the_next_wave(controller: Controller) -> None:
    canary, second, held = controller.fleet.hosts
    before = [live(host) for host in (second, held)]
    controller.declare(relay_domains=ADDED)
    with replaced(held, "/usr/sbin/postmap", HOLD):
        process = controller.start("-y")
        wait_for(canary, ".mailproxy/stage.*/checked")
        in_configuration(canary, "echo '# mine' >>main.cf")
        (held.root / "run/reached").touch()
        (held.root / "run/go").touch()
        _, log = process.communicate(timeout=120)
    assert process.returncode == 1
    assert "changed on the host since it was staged: main.cf" in log
    assert "added.example" not in live(canary)["transport"]
    assert live(canary)["main.cf"].endswith("# mine\n")
    assert [live(host) for host in (second, held)] == before
    assert all(private_names(host) == AT_REST for host in controller.fleet.hosts)
    assert_finishes(controller)


def test_a_link_in_the_place_of_a_file_is_refused_and_left(controller: Controller) -> None:
    host = controller.fleet.hosts[1]
    in_configuration(host, "mv transport elsewhere && ln -s elsewhere transport")
    result = controller.run("-y")
    assert result.status == 1
    assert "leaving behind: transport is lrwxrwxrwx; expected regular files" in result.said
    assert (host.configuration / "transport").is_symlink()
    in_configuration(host, "rm transport && mv elsewhere transport")
    controller.assert_converged()


def test_a_host_without_postfix_is_named_with_the_reason(controller: Controller) -> None:
    host = controller.fleet.hosts[2]
    controller.declare(relay_domains=ADDED)
    host.run(["mv", "/usr/sbin/postconf", "/usr/sbin/postconf.away"])
    try:
        result = controller.run("--dry")
    finally:
        host.run(["mv", "/usr/sbin/postconf.away", "/usr/sbin/postconf"])
    assert result.status == 1
    assert "leaving behind: found no postconf in /usr/sbin" in result.said
    assert f"is Postfix installed? (pyinfra INVENTORY mailproxy.bootstrap installs it) [{host.name}]" in result.said


def test_a_postfix_that_was_started_with_other_interfaces_is_restarted(controller: Controller) -> None:
    host = controller.fleet.hosts[1]
    host.run(["sh", "-c", "postconf -e inet_interfaces=loopback-only && postfix stop && postfix start"])
    result = assert_finishes(controller, host)
    assert "restart Postfix: inet_interfaces changes from loopback-only to all" in result.said


def test_a_main_cf_that_was_deleted_comes_back_with_what_the_host_says_of_itself(newcomer: Controller) -> None:
    host = newcomer.fleet.hosts[1]
    host.run(["sh", "-c", "mkdir /var/lib/elsewhere && chown $(postconf -h mail_owner) /var/lib/elsewhere"])
    host.run(["postconf", "-e", "data_directory=/var/lib/elsewhere"])
    newcomer.roll_out()
    in_configuration(host, "rm main.cf")
    assert_finishes(newcomer, host)
    assert host.run(["postconf", "-h", "data_directory"]).stdout == "/var/lib/elsewhere\n"


def test_an_abandoned_lock_is_cleared_up_also_where_nothing_else_is_to_do(controller: Controller) -> None:
    host = controller.fleet.hosts[1]
    put_lock(host, holder="alice@elsewhere process 7 of other", since=int(time.time()) - 4000)
    assert "locked by alice@elsewhere process 7 of other" in controller.run("--dry").said
    controller.roll_out()
    assert private_names(host) == AT_REST


def test_a_lock_is_not_cleared_up_under_a_program_that_its_dead_controller_left_running(controller: Controller) -> None:
    host = controller.fleet.hosts[1]
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()[:8]
    dead = f"root@{os.uname().nodename} process 4194304 of {boot}-{Path('/proc/self/ns/pid').stat().st_ino}"
    with program_at_work(host) as pid:
        put_lock(host, holder=dead, since=int(time.time()), pid=pid)
        controller.run("-y")
        assert "lock" in private_names(host)
    put_lock(host, holder=dead, since=int(time.time()))
    controller.roll_out()
    assert private_names(host) == AT_REST


def test_a_manifest_that_was_cut_off_is_not_believed(controller: Controller) -> None:
    host = controller.fleet.hosts[1]
    in_configuration(host, "sed -i '$d' .mailproxy/manifest")
    result = assert_finishes(controller, host)
    assert "reload Postfix: nothing says that Postfix has loaded these files" in result.said

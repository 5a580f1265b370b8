"""The main job on hosts of several kinds: the guide's proxy, domains added, moved and removed, no more."""

import re
import smtplib

import pytest

from lab.fleet import Fleet
from lab.hosts import Host
from lab.root import ALPINE, DEBIAN13, OPENBSD
from mailproxy.model import Entries
from mailproxy.render import transport_table
from tests.fleet.conftest import GUIDE
from tests.fleet.controller import (
    ANOTHER_MAIN_CF,
    AT_REST,
    Controller,
    arrived,
    assert_mail_flows,
    assert_tables_match,
    bytes_sent_by,
    index_of,
    live,
    private_names,
    replaced,
    reply_to,
    send,
    table_of,
    tree,
)

# The first one is the canary; the second runs the longest programs under a Korn shell.
KINDS = (ALPINE, OPENBSD, DEBIAN13)


def test_the_first_run_makes_the_guides_proxy_of_a_fresh_host(newcomer: Controller) -> None:
    fleet = newcomer.fleet
    newcomer.roll_out()
    for host in fleet.hosts:
        assert_mail_flows(fleet, host, "example.org")
        assert reply_to(fleet, host, "user@foreign.example")[0] == 554
        found = host.run(
            ["postconf", "-h", "mynetworks", "relay_domains", "transport_maps", "alias_maps", "myhostname"]
        )
        assert found.stdout.split("\n")[:5] == [
            f"{host.kind.config_directory}/mynetworks",
            f"{host.kind.config_directory}/relaydomains",
            table_of(host, "transport"),
            table_of(host, "aliases"),
            host.name,
        ]
        assert_tables_match(host)
    newcomer.assert_converged()


def test_a_dry_run_on_a_fresh_fleet_shows_everything_once_and_touches_nothing(newcomer: Controller) -> None:
    before = [tree(host) for host in newcomer.fleet.hosts]
    result = newcomer.run("--dry")
    assert result.status == 0, result.everything
    for line in ("+ example.org -> smtp:[10.1.0.2]", "+ network 10.1.0.2", "+ message_size_limit = 20480000"):
        assert result.review.count(f"{line}\n") == 1
    alpine = newcomer.fleet.hosts[0].name
    assert f"index transport as hash (3 entries): transport changes [2 of 3 hosts: all but {alpine}]" in result.said
    assert f"index transport as lmdb (3 entries): transport changes [{alpine}]" in result.said
    assert "reload Postfix: main.cf, mynetworks, relaydomains change [all 3 hosts]" in result.said
    assert [tree(host) for host in newcomer.fleet.hosts] == before
    assert all(not private_names(host) for host in newcomer.fleet.hosts)


def test_a_second_run_changes_nothing(controller: Controller) -> None:
    before = [tree(host) for host in controller.fleet.hosts]
    result = controller.roll_out()
    assert "3 hosts: 0 to change, 3 as declared" in result.said
    assert "Success" not in result.log.partition("Results")[0]
    assert [tree(host) for host in controller.fleet.hosts] == before


def test_a_domain_is_added_moved_and_removed_on_every_host(controller: Controller) -> None:
    fleet = controller.fleet
    controller.declare(relay_domains={**GUIDE, "added.example": "smtp:[10.1.0.2]"})
    controller.roll_out()
    for host in fleet.hosts:
        assert_mail_flows(fleet, host, "added.example")
    controller.declare(relay_domains={**GUIDE, "added.example": "smtp:[10.1.0.2]:2525"})
    moved = controller.roll_out()
    assert "leave Postfix alone: Postfix notices changed tables by itself" in moved.said
    for host in fleet.hosts:
        answer = host.run(["postmap", "-q", "added.example", table_of(host, "transport")]).stdout
        assert answer == "smtp:[10.1.0.2]:2525\n"
    controller.declare(relay_domains=GUIDE)
    controller.roll_out()
    for host in fleet.hosts:
        assert reply_to(fleet, host, "user@added.example")[0] == 554
        assert_mail_flows(fleet, host, "example.com")
        assert_tables_match(host)


def test_adding_and_removing_at_once_ends_with_exactly_the_declared_routes(controller: Controller) -> None:
    controller.declare(relay_domains={"example.com": "smtp:[10.1.0.2]", "other.example": "smtp:[10.1.0.2]"})
    controller.roll_out()
    for host in controller.fleet.hosts:
        entries = live(host)["transport entries"]
        assert entries == "example.com\tsmtp:[10.1.0.2]\nother.example\tsmtp:[10.1.0.2]"
        assert reply_to(controller.fleet, host, "user@example.org")[0] == 554
        assert_mail_flows(controller.fleet, host, "other.example")
    controller.assert_converged()


def test_subdomains_are_refused_unless_declared_and_then_routed(controller: Controller) -> None:
    fleet, host = controller.fleet, controller.fleet.hosts[0]
    assert reply_to(fleet, host, "user@sub.example.com")[0] == 554
    controller.declare(relay_subdomains=True)
    controller.roll_out()
    assert_mail_flows(fleet, host, "sub.example.com")
    assert_mail_flows(fleet, host, "example.com")
    controller.declare(relay_subdomains=False)
    controller.roll_out()
    assert reply_to(fleet, host, "user@sub.example.com")[0] == 554


def test_the_internal_server_may_send_out_and_a_stranger_may_not(controller: Controller) -> None:
    host = controller.fleet.hosts[0]
    dialogue = "EHLO mail.internal.test\\r\\nMAIL FROM:<a@example.com>\\r\\nRCPT TO:<b@foreign.example>\\r\\nQUIT\\r\\n"
    inside = controller.fleet.mail_server.run(
        ["sh", "-c", f"(printf '{dialogue}'; sleep 2) | busybox nc {host.internal_address} 25"]
    )
    assert "250 2.1.5 Ok" in inside.stdout
    assert reply_to(controller.fleet, host, "b@foreign.example")[0] == 554


def test_aliases_and_size_limit_reach_the_host(controller: Controller) -> None:
    controller.declare(aliases={"postmaster": "root", "root": ["admin@example.com", "ops@example.com"]})
    controller.declare(message_size_limit=1000000)
    controller.roll_out()
    for host in controller.fleet.hosts:
        answer = host.run(["postmap", "-q", "root", table_of(host, "aliases")]).stdout
        assert answer == "admin@example.com, ops@example.com\n"
        assert host.run(["postconf", "-h", "message_size_limit"]).stdout == "1000000\n"
    fleet, host = controller.fleet, controller.fleet.hosts[0]
    host.run(["sendmail", "root"], input="Subject: for root\n\nhello\n")
    assert arrived(fleet, "for root", "ops@example.com")


def test_an_alias_that_leads_nowhere_is_reported(controller: Controller) -> None:
    controller.declare(aliases={"root": "postmaster"})
    result = controller.run("--dry")
    expected = "warning: alias root: postmaster is neither an account on the host nor an alias, so its mail bounces"
    assert result.said.count(expected) == 1


def test_a_restart_is_made_for_the_parameters_that_need_one_and_only_then(controller: Controller) -> None:
    host = controller.fleet.hosts[0]
    master = host.run(["cat", "/var/spool/postfix/pid/master.pid"]).stdout
    controller.declare(main_cf={"smtpd_banner": "$myhostname ESMTP"})
    assert "reload Postfix: main.cf changes" in controller.roll_out().said
    assert host.run(["cat", "/var/spool/postfix/pid/master.pid"]).stdout == master
    controller.declare(main_cf={"inet_protocols": "ipv4"})
    assert "restart Postfix: inet_protocols changes from all to ipv4" in controller.roll_out().said
    assert host.run(["cat", "/var/spool/postfix/pid/master.pid"]).stdout != master
    assert_mail_flows(controller.fleet, host, "example.com")
    controller.assert_converged()


def test_mistakes_in_main_cf_are_told_all_at_once_and_nothing_is_touched(controller: Controller) -> None:
    before = [tree(host) for host in controller.fleet.hosts]
    restrictions = {"smtpd_relay_restrictions": "permit", "smtpd_client_restrictions": "reject_unauth_destinatoin"}
    types = {"maximal_queue_lifetime": "2x", "default_process_limit": "many", "disable_vrfy_command": "maybe"}
    controller.declare(main_cf={"smtpd_baner": "hello", **types, **restrictions})
    result = controller.run("-y")
    assert result.status == 1
    assert "the desired state has 6 problems; nothing was touched on any host" in result.log
    assert "main_cf['smtpd_baner'] = 'hello': is no parameter of Postfix; did you mean smtpd_banner?" in result.log
    assert [tree(host) for host in controller.fleet.hosts] == before


@pytest.mark.parametrize(
    ("main_cf", "expected"),
    [
        ({"smtp_tlsrpt_enable": True}, "its Postfix 3.7 does not know it, it came with 3.10"),
        ({"default_verp_delimiters": "["}, "Postfix does not accept main.cf: postmap: fatal: bad string length 1 < 2"),
        ({"queue_minfree": 10**15}, "bytes free, needed are 1000000000000000 (1.5 times message_size_limit, or queue_"),
        ({"unknown_address_tempfail_action": "colour"}, "smtpd does not start with this main.cf"),
    ],
)
def test_what_only_the_hosts_own_postfix_can_tell_is_refused_by_it(
    controller: Controller, main_cf: dict[str, object], expected: str
) -> None:
    before = [live(host) for host in controller.fleet.hosts]
    controller.declare(main_cf=main_cf)
    result = controller.run("-y")
    assert result.status == 1
    assert expected in result.everything
    assert [live(host) for host in controller.fleet.hosts] == before


def test_values_of_every_type_are_taken_by_postfix(controller: Controller) -> None:
    controller.declare(
        main_cf={
            "maximal_queue_lifetime": "2d",
            "minimal_backoff_time": "${queue_run_delay}",
            "smtpd_client_connection_rate_limit": 30,
            "smtp_destination_concurrency_positive_feedback": "1/concurrency",
            "smtpd_tls_loglevel": "summary",
            "disable_vrfy_command": "YES",
        }
    )
    controller.roll_out()
    controller.assert_converged()


def test_a_route_by_a_transport_that_master_cf_does_not_have_is_refused(controller: Controller) -> None:
    controller.declare(relay_domains={**GUIDE, "added.example": "stmp:[10.1.0.2]"})
    result = controller.run("-y")
    assert result.status == 1
    assert "transport names what is no service in master.cf: stmp; nothing was touched" in result.log


def test_mail_that_is_queued_for_a_removed_domain_keeps_its_route(controller: Controller) -> None:
    fleet, host = controller.fleet, controller.fleet.hosts[0]
    controller.declare(relay_domains={**GUIDE, "removed.example": "smtp:[10.1.0.77]"})
    controller.roll_out()
    send(fleet, host, "user@removed.example", "waiting")
    controller.declare(relay_domains={**GUIDE, "added.example": "smtp:[10.1.0.2]"})
    result = controller.roll_out()
    assert f"[{host.name}] routes of removed domains stay for 1 queued recipients" in result.log
    assert reply_to(fleet, host, "user@removed.example")[0] == 554
    route = host.run(["postmap", "-q", "removed.example", table_of(host, "transport")]).stdout
    assert route == "smtp:[10.1.0.77]\n"
    assert_mail_flows(fleet, host, "added.example")
    assert "added.example smtp:[10.1.0.2]\n" in live(host)["transport"]
    again = controller.run("--dry")
    assert "1 to change, 2 as declared" in again.said
    signed = [line.strip() for line in again.review.splitlines() if line.strip().startswith(("+", "-", "~"))]
    assert signed == ["- removed.example -> not accepted, routed to smtp:[10.1.0.77]"]
    host.run(["postsuper", "-d", "ALL"])
    controller.approves = ()
    controller.roll_out()
    assert "removed.example" not in live(host)["transport entries"]
    controller.assert_converged()


def test_a_session_from_before_the_rollout_that_still_writes_to_a_removed_domain_keeps_its_route(
    controller: Controller,
) -> None:
    fleet, host = controller.fleet, controller.fleet.hosts[0]
    with fleet.network(), smtplib.SMTP(host.address, 25, local_hostname="outside.example", timeout=60) as client:
        # What a session asked for once it need not ask for again: smtpd keeps the answers of its tables.
        client.sendmail("someone@outside.example", ["user@example.org"], "Subject: before\r\n\r\nhello\r\n")
        controller.declare(relay_domains={name: hop for name, hop in GUIDE.items() if name != "example.org"})
        result = controller.roll_out("--limit", host.name)
        expected = f"[{host.name}] routes of removed domains stay for 1 SMTP sessions from before: run again"
        assert expected in result.log
        client.sendmail("someone@outside.example", ["user@example.org"], "Subject: after\r\n\r\nhello\r\n")
    assert arrived(fleet, "after", "user@example.org")
    assert reply_to(fleet, host, "user@example.org")[0] == 554
    review = controller.roll_out("--limit", host.name).said
    assert "reload Postfix: routes go, and no session from before may need them" in review
    assert "example.org" not in live(host)["transport"]


def test_going_on_after_errors_gets_no_host_past_its_stage(controller: Controller) -> None:
    before = [live(host) for host in controller.fleet.hosts]
    controller.declare(relay_domains={**GUIDE, "added.example": "smtp:[10.1.0.2]"}, _continue_on_error=True)
    with replaced(controller.fleet.hosts[1], "/usr/sbin/postmap", "exit 1"):
        assert controller.run("-y").status == 1
    assert [live(host) for host in controller.fleet.hosts] == before


def test_without_anybody_to_confirm_the_run_stops_and_says_what_to_add(controller: Controller) -> None:
    before = [live(host) for host in controller.fleet.hosts]
    controller.declare(relay_domains={**GUIDE, "added.example": "smtp:[10.1.0.2]"})
    result = controller.run()
    assert result.status == 1
    assert "nobody can confirm: add -y to roll out, or --dry to review" in result.log
    assert "Traceback" not in result.everything
    assert "internal exception" not in result.everything
    assert [live(host) for host in controller.fleet.hosts] == before


def test_a_file_of_domains_is_read_and_its_mistakes_are_named_by_line(controller: Controller) -> None:
    domains = controller.group_data / "domains.txt"
    domains.write_text("# ours\nexample.com smtp:[10.1.0.2]\nfile.example smtp:[10.1.0.2]\n")
    controller.declare(relay_domains=str(domains))
    controller.roll_out()
    assert_mail_flows(controller.fleet, controller.fleet.hosts[0], "file.example")
    domains.write_text("example.com smtp:[10.1.0.2]\nfile.example\nexample.com smtp:[10.1.0.3]\n")
    result = controller.run("-y")
    assert result.status == 1
    assert "domains.txt:2: relay_domains = 'file.example': expected \"domain next-hop\"" in result.log
    assert "domains.txt:3: relay_domains = 'example.com smtp:[10.1.0.3]': names example.com a second time" in result.log


def test_a_table_type_that_the_host_lacks_is_refused_with_those_it_has(controller: Controller) -> None:
    controller.declare(database_type="dbm")
    result = controller.run("-y")
    assert result.status == 1
    assert "database_type dbm is not one that its Postfix can index; it has btree, cdb, hash, lmdb" in result.said


def test_what_the_host_says_of_its_own_installation_is_kept(newcomer: Controller) -> None:
    host = newcomer.fleet.hosts[0]
    host.run(["sh", "-c", "mkdir /var/lib/elsewhere && chown $(postconf -h mail_owner) /var/lib/elsewhere"])
    host.run(["postconf", "-e", "data_directory=/var/lib/elsewhere"])
    newcomer.roll_out()
    assert host.run(["postconf", "-h", "data_directory"]).stdout == "/var/lib/elsewhere\n"
    newcomer.assert_converged()


def test_a_host_takes_one_message_each_to_observe_to_stage_to_activate_and_to_confirm(controller: Controller) -> None:
    host = controller.fleet.hosts[1]
    counting = "#!/bin/sh\nprintf 'command\\n' >>/home/deploy/commands\nexec /bin/sh \"$@\"\n"
    (host.root / "usr/local/bin/counting-sh").write_text(counting)
    host.run(["chmod", "755", "/usr/local/bin/counting-sh"])
    host.run(["usermod", "-s", "/usr/local/bin/counting-sh", "deploy"])
    try:
        controller.roll_out()
        assert host.run(["cat", "/home/deploy/commands"]).stdout.count("command") == 1
        controller.declare(relay_domains={**GUIDE, "counted.example": "smtp:[10.1.0.2]"})
        controller.roll_out()
        assert host.run(["cat", "/home/deploy/commands"]).stdout.count("command") == 1 + 4
    finally:
        host.run(["usermod", "-s", "/bin/sh", "deploy"])
    assert "subsystem request" not in host.run(["cat", "/var/log/mail.log"]).stdout
    assert host.run(["ls", "-A", "/tmp"]).stdout == ""


def test_unchanged_tables_are_not_sent_back_and_changed_ones_not_twice(controller: Controller) -> None:
    many = {f"d{number}.example": "smtp:[10.1.0.2]" for number in range(2000)}
    controller.declare(relay_domains=many)
    controller.roll_out()
    host = controller.fleet.hosts[0]
    before = bytes_sent_by(host)
    controller.roll_out()
    assert bytes_sent_by(host) - before < 20_000


def digests(host: Host) -> dict[str, str]:
    """Return the SHA-256 of the two files that domains are in."""
    names = ("transport", "relaydomains")
    return {name: host.run(["sha256sum", f"{host.kind.config_directory}/{name}"]).stdout.split()[0] for name in names}


def test_a_reader_never_sees_half_a_file_or_another_mode(controller: Controller) -> None:
    host = controller.fleet.hosts[0]
    many = {f"d{number}.example": "smtp:[10.1.0.2]" for number in range(3000)}
    old = digests(host)
    watch = (
        f"cd {host.kind.config_directory}; while [ ! -e /run/stop ]; do sha256sum transport relaydomains; "
        f"stat -c 'mode %A %u:%g' transport {index_of(host, 'transport')} relaydomains main.cf; done >/run/seen"
    )
    host.run(["sh", "-c", f"rm -f /run/stop; ({watch}) >/dev/null 2>&1 &"])
    controller.declare(relay_domains=many)
    controller.roll_out()
    host.run(["touch", "/run/stop"])
    new = digests(host)
    seen = host.run(["cat", "/run/seen"]).stdout.splitlines()
    assert {line for line in seen if line.startswith("mode")} == {"mode -rw-r--r-- 0:0"}
    # Between the two the routes of both sides stand there, as domains come and go at once.
    both = transport_table(Entries({**GUIDE, **many})).digest
    found = {name: {line.split()[0] for line in seen if line.endswith(name)} for name in old}
    assert found["relaydomains"] == {old["relaydomains"], new["relaydomains"]}
    assert {old["transport"], new["transport"]} <= found["transport"] <= {old["transport"], both, new["transport"]}


def test_one_host_whose_stage_fails_keeps_the_whole_fleet_as_it_was(controller: Controller) -> None:
    first, second, third = controller.fleet.hosts
    before = [live(host) for host in controller.fleet.hosts]
    controller.declare(relay_domains={**GUIDE, "added.example": "smtp:[10.1.0.2]"})
    with replaced(second, "/usr/sbin/postmap", 'echo "postmap: fatal: no space" >&2; exit 1'):
        result = controller.run("-y")
    assert result.status == 1
    assert "postmap could not index transport: postmap: fatal: no space" in result.log
    assert result.log.count(f"nothing was activated: {second.name} could not be staged") == 2
    assert [live(host) for host in controller.fleet.hosts] == before
    assert all(private_names(host) <= AT_REST for host in (first, second, third))


def test_a_warning_of_postmap_is_a_failure(controller: Controller) -> None:
    host = controller.fleet.hosts[0]
    controller.declare(relay_domains={**GUIDE, "added.example": "smtp:[10.1.0.2]"})
    with replaced(host, "/usr/sbin/postmap", 'echo "postmap: warning: odd" >&2; exec $real "$@"'):
        result = controller.run("-y")
    assert result.status == 1
    assert "postmap could not index transport: postmap: warning: odd" in result.log


def test_a_table_that_lacks_an_entry_is_found_before_it_goes_live(controller: Controller) -> None:
    host = controller.fleet.hosts[0]
    before = live(host)
    controller.declare(relay_domains={**GUIDE, "added.example": "smtp:[10.1.0.2]"})
    # Index a source that lost its last line, as a full disk or a broken tool might.
    lossy = (
        'for t; do :; done; f=${t#*:}; case $* in *-s*|*-q*) ;; *) sed "\\$d" "$f" >$f.less; mv $f.less $f ;; esac; '
        'exec $real "$@"'
    )
    with replaced(host, "/usr/sbin/postmap", lossy):
        result = controller.run("-y")
    assert result.status == 1
    assert "transport indexed as lmdb lists 3 entries, and not exactly the 4 that were meant" in result.log
    assert live(host) == before


def test_a_host_that_cannot_be_connected_to_keeps_the_fleet_as_it_was(controller: Controller) -> None:
    fleet = controller.fleet
    gone = fleet.hosts[2]
    controller.declare(relay_domains={**GUIDE, "added.example": "smtp:[10.1.0.2]"}, ssh_connect_retries=0)
    before = [live(host) for host in fleet.hosts[:2]]
    fleet.power_off(gone)
    try:
        result = controller.run("-y")
    finally:
        fleet.boot(gone)
    assert result.status == 1
    assert f"needs approval (unreachable): leaving behind: it could not be connected to [{gone.name}]" in result.said
    assert "nothing was touched: approval is needed for unreachable" in result.log
    assert [live(host) for host in fleet.hosts[:2]] == before
    controller.roll_out()
    controller.assert_converged()


@pytest.mark.parametrize("pinned", ["another host's", "no"])
def test_a_host_whose_key_is_not_the_known_one_is_not_talked_to(controller: Controller, pinned: str) -> None:
    impostor, other = controller.fleet.hosts[1:]
    known = controller.fleet.known_hosts.read_text().splitlines()
    key_of = {line.partition(" ")[0]: line.partition(" ")[2] for line in known}
    key_of[impostor.address] = key_of[other.address]
    if pinned == "no":
        del key_of[impostor.address]
    file = controller.group_data / "known_hosts"
    file.write_text("".join(f"{address} {key}\n" for address, key in key_of.items()))
    before = [live(host) for host in controller.fleet.hosts]
    controller.declare(ssh_known_hosts_file=str(file), relay_domains={**GUIDE, "added.example": "smtp:[10.1.0.2]"})
    result = controller.run("-y")
    assert result.status == 1
    assert (
        f"needs approval (unreachable): leaving behind: it could not be connected to [{impostor.name}]" in result.said
    )
    assert [live(host) for host in controller.fleet.hosts] == before


def test_an_exclusion_is_a_choice_and_does_not_stop_the_others(controller: Controller) -> None:
    left_out = controller.fleet.hosts[2]
    before = live(left_out)
    controller.declare(relay_domains={**GUIDE, "added.example": "smtp:[10.1.0.2]"})
    controller.roll_out("--exclude", left_out.name)
    assert live(left_out) == before
    assert "added.example" in live(controller.fleet.hosts[0])["transport"]


def test_host_by_host_nothing_goes_live_as_the_others_are_not_checked_yet(controller: Controller) -> None:
    before = [live(host) for host in controller.fleet.hosts]
    controller.declare(relay_domains={**GUIDE, "added.example": "smtp:[10.1.0.2]"})
    result = controller.run("-y", "--serial")
    assert result.status == 1
    assert "has not staged its change yet; run without --serial and --no-wait" in result.log
    assert [live(host) for host in controller.fleet.hosts] == before


def test_no_host_overtakes_the_canary(controller: Controller) -> None:
    canary, *others = controller.fleet.hosts
    before = [live(host) for host in controller.fleet.hosts]
    controller.declare(relay_domains={**GUIDE, "added.example": "smtp:[10.1.0.2]"}, **ANOTHER_MAIN_CF)
    slow = 'case $* in *reload) sleep 3 ;; esac; exec $real "$@"'
    with replaced(canary, "/usr/sbin/postfix", slow):
        result = controller.run("-y", "--no-wait")
    assert result.status == 1
    assert re.search("has not staged its change yet|of an earlier wave is not activated yet", result.log)
    assert [live(host) for host in others] == before[1:]


def test_a_failed_canary_goes_back_and_stops_the_others(controller: Controller) -> None:
    fleet: Fleet = controller.fleet
    canary = fleet.hosts[0]
    before = [live(host) for host in fleet.hosts]
    controller.declare(relay_domains={**GUIDE, "added.example": "smtp:[10.1.0.2]"}, **ANOTHER_MAIN_CF)
    broken = 'case $* in *reload) [ -e /run/once ] || { touch /run/once; echo "cannot reload" >&2; exit 1; };; esac; '
    with replaced(canary, "/usr/sbin/postfix", broken + 'exec $real "$@"'):
        result = controller.run("-y")
    canary.run(["rm", "-f", "/run/once"])
    assert result.status == 1
    assert re.search(r"activation failed at: service reload .*cannot reload.*; generation \d+ was put back", result.log)
    assert result.log.count(f"nothing was activated: {canary.name} failed in an earlier wave") == 2
    assert [live(host) for host in fleet.hosts] == before
    for host in fleet.hosts:
        assert_mail_flows(fleet, host, "example.com")
        assert reply_to(fleet, host, "user@added.example")[0] == 554
    controller.roll_out()
    controller.assert_converged()


def test_a_host_that_moved_between_review_and_stage_is_refused(controller: Controller) -> None:
    host = controller.fleet.hosts[0]
    controller.declare(relay_domains={**GUIDE, "added.example": "smtp:[10.1.0.2]"})
    meddle = "echo '# mine' >>main.cf"
    with replaced(host, "/usr/bin/mkdir", f'{meddle}; exec $real "$@"'):
        result = controller.run("-y")
    assert result.status == 1
    assert "changed on the host since it was read: main.cf; nothing was touched" in result.log
    assert live(host)["main.cf"].count("# mine") >= 1
    controller.roll_out()
    controller.assert_converged()

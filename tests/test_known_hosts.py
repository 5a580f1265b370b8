"""A file of host keys is read to its end, or refused with the line."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from paramiko import ECDSAKey
from paramiko.hostkeys import HostKeyEntry, HostKeys, InvalidHostKey
from pyinfra.connectors.sshuserclient import client

from mailproxy.host_keys import NamedHostKeys
from mailproxy.known_hosts import Reached, problems_of_known_hosts, read_to_its_end

KEY = "AAAAC3NzaC1lZDI1NTE5AAAAIGm7bXvTnHHBHvIQ0gBvOHp8v1Jrbj0m9sW1v3rUqk2F"
LINE = f"192.0.2.1 ssh-ed25519 {KEY}"


def told(file: Path, *reached: Reached) -> list[tuple[str, str, bool]]:
    """Return place, text and whether it is a warning of what is found for hosts, by default one at 192.0.2.1."""
    hosts = reached or (Reached("192.0.2.1", 22, (str(file),), True, True),)
    found = problems_of_known_hosts({f"mx{number}.example.com": one for number, one in enumerate(hosts, start=1)})
    return [(one.place, str(one.problem), one.is_warning) for one in found]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (f"@cert-authority *.example.com ssh-ed25519 {KEY}", "@cert-authority is not understood, and no line below it"),
        (f"@revoked * ssh-ed25519 {KEY}", "@revoked is not understood, and no line below it would count"),
        ("192.0.2.1 ssh-ed25519 AAAAB", "cannot be read, and no line below it would count"),
        (f"192.0.2.1  ssh-ed25519 {KEY}", "cannot be read, and no line below it would count"),
        ("192.0.2.1 ssh-ed25519 AAAA", "does not count"),
        ("192.0.2.1 ssh-ed25519", "expected a name, a kind of key and the key, with single blanks between them"),
        ("-----BEGIN OPENSSH PRIVATE KEY-----", "cannot be read, and no line below it would count"),
    ],
)
def test_a_line_that_keeps_keys_from_being_read_is_refused_with_its_number(
    tmp_path: Path, line: str, reason: str
) -> None:
    file = tmp_path / "known_hosts"
    file.write_text(f"# the keys\n\n{line}\n{LINE}\n")
    ((place, text, is_warning),) = told(file)
    assert place == f"{file}:3"
    assert reason in text
    assert not is_warning


@pytest.mark.parametrize("line", [f"@revoked * ssh-ed25519 {KEY}", f"192.0.2.9  ssh-ed25519 {KEY}"])
def test_what_is_refused_would_have_dropped_the_rest(tmp_path: Path, line: str) -> None:
    file = tmp_path / "known_hosts"
    file.write_text(f"{line}\n{LINE}\n")
    keys = HostKeys()
    with pytest.raises(InvalidHostKey):
        keys.load(str(file))
    assert keys.lookup("192.0.2.1") is None


def test_a_good_file_is_taken_in_every_form_that_counts(tmp_path: Path) -> None:
    file = tmp_path / "known_hosts"
    hashed = HostKeys.hash_host("192.0.2.2")
    file.write_text(f"# keys\n{LINE} a comment\n{hashed} ssh-ed25519 {KEY}\n[192.0.2.3]:2222 ssh-ed25519 {KEY}\n")
    reached = [Reached(f"192.0.2.{number}", 22, (str(file),), True, True) for number in (1, 2)]
    assert told(file, *reached, Reached("192.0.2.3", 2222, (str(file),), True, True)) == []


def test_a_host_without_a_line_is_told_with_what_prints_its_keys(tmp_path: Path) -> None:
    file = tmp_path / "known_hosts"
    file.write_text(f"{LINE}\n")
    ((_, text, is_warning),) = told(file, Reached("192.0.2.1", 2222, (str(file),), True, True))
    assert "has no line for [192.0.2.1]:2222, at which mx1.example.com is reached" in text
    assert "ssh-keyscan -p 2222 192.0.2.1 prints its keys" in text
    assert is_warning


def test_a_file_that_is_not_there_is_told_once_for_all_hosts(tmp_path: Path) -> None:
    reached = Reached("192.0.2.1", 22, (str(tmp_path / "none"),), True, True)
    ((_, text, is_warning),) = told(tmp_path, reached, reached)
    assert "there is no such file, or it cannot be read, so no host is known" in text
    assert is_warning


def test_letting_in_whoever_answers_is_warned_of(tmp_path: Path) -> None:
    file = tmp_path / "known_hosts"
    file.write_text(f"{LINE}\n")
    ((_, text, is_warning),) = told(file, Reached("192.0.2.1", 22, (str(file),), True, False))
    assert "ssh_strict_host_key_checking = not 'yes': lets hosts in that nobody knows" in text
    assert is_warning


NAMES = ["mx1.example.com", "mx2.example.com", "192.0.2.1", "[192.0.2.1]:2222", "2001:db8::1"]
LINES_OF = st.lists(
    st.tuples(st.lists(st.sampled_from(NAMES), min_size=1, max_size=3), st.booleans(), st.integers(0, 3)), max_size=6
)
SOME_KEYS = [ECDSAKey.generate() for _ in range(3)]


def test_a_host_is_found_by_name_where_paramiko_finds_it_by_looking_at_every_line(tmp_path: Path) -> None:
    file = tmp_path / "known_hosts"
    keys = [LINE.split(" ", 1)[1], *(f"{key.get_name()} {key.get_base64()}" for key in SOME_KEYS)]

    @settings(deadline=None)
    @given(LINES_OF)
    def finds(lines: list[tuple[list[str], bool, int]]) -> None:
        spelled = [
            (",".join(HostKeys.hash_host(name) if is_hashed else name for name in names), keys[number])
            for names, is_hashed, number in lines
        ]
        file.write_text("".join(f"{names} {key}\n" for names, key in spelled))
        ours, theirs = NamedHostKeys(str(file)), HostKeys(str(file))
        for name in [*NAMES, "elsewhere.example.com"]:
            found, expected = ours.lookup(name), theirs.lookup(name)
            assert (found and dict(found)) == (expected and dict(expected))

    finds()


def test_pyinfra_compares_a_host_with_no_line_of_another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "known_hosts"
    file.write_text("".join(f"mx{number}.example.com ssh-ed25519 {KEY}\n" for number in range(1000)))
    compared: list[str] = []

    def matches(_: HostKeys, name: str, entry: HostKeyEntry) -> bool:
        compared.append(name)
        return name in (entry.hostnames or ())

    monkeypatch.setattr(HostKeys, "_hostname_matches", matches)
    assert client.get_host_keys((read_to_its_end(file),)).lookup("mx999.example.com")
    assert compared == ["mx999.example.com"]

"""What a host says of files for TLS (files/foreign.sh), under each shell it may have: never a private key."""

import hashlib
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest

from mailproxy.certificates import certificate_in, public_key_of
from mailproxy.program import PROGRAMS
from tests.pairs import pair

GOOD = pair("mx1.example.com")
LOCKED = pair("mx1.example.com", password=b"secret")
OPENSSL = "case $1 in version) echo 'OpenSSL 0.9.8zh 3 Dec 2015' ;; *) exit 1 ;; esac"


def answer(shell: list[str], directory: Path, found: Mapping[str, str], openssl: str = "") -> str:
    """Return what a host prints about the files cert and key, with these texts; openssl stands in for its own."""
    for name, text in found.items():
        (directory / name).write_text(text)
    (directory / "bin").mkdir()
    if openssl:
        (directory / "bin/openssl").write_text(f"#!/bin/sh\n{openssl}\n")
        (directory / "bin/openssl").chmod(0o755)
    common, foreign = ((PROGRAMS / f"{name}.sh").read_text() for name in ("common", "foreign"))
    script = f"{common}\nPATH={directory}/bin:$PATH\n{foreign}\ncd {directory}\npair cert key\n"
    return subprocess.run([*shell, "-c", script], capture_output=True, text=True, check=True).stdout


def certificate_told(said: str) -> str:
    return "".join(f"{line[1:]}\n" for line in said.splitlines() if line.startswith("|"))


@pytest.mark.parametrize(
    "text",
    [
        GOOD.certificate + pair("authority.example").certificate,
        GOOD.key + GOOD.certificate,
        GOOD.certificate.replace("\n", "\r\n"),
        f"Bag attributes: caf\u00e9\n{GOOD.certificate}-----BEGIN CERTIFICATE-----\nMIIB\n{GOOD.key}",
    ],
)
def test_certificates_are_told_and_no_key_that_stands_beside_them(shell: list[str], tmp_path: Path, text: str) -> None:
    said = answer(shell, tmp_path, {"cert": text, "key": GOOD.key})
    assert certificate_in(certificate_told(said)) == certificate_in(GOOD.certificate)
    assert f"key key {public_key_of(GOOD.key)}\n" in said
    assert "PRIVATE" not in said
    assert not any(line in said for line in GOOD.key.splitlines()[1:-1])


@pytest.mark.parametrize(
    ("found", "openssl", "expected"),
    [
        ({"cert": GOOD.certificate}, "", "absent"),
        ({"cert": GOOD.certificate, "key": GOOD.certificate}, "", "damaged"),
        ({"cert": GOOD.certificate, "key": LOCKED.key}, "", "damaged"),
        ({"cert": GOOD.certificate, "key": GOOD.key}, OPENSSL, "unknown"),
        ({"cert": GOOD.certificate, "key": GOOD.key}, "exit 127", "unknown"),
    ],
)
def test_a_host_says_what_it_cannot_tell_of_a_key(
    shell: list[str], tmp_path: Path, found: dict[str, str], openssl: str, expected: str
) -> None:
    assert f"key key {expected}\n" in answer(shell, tmp_path, found, openssl)


def test_a_certificate_that_is_not_there_is_told(shell: list[str], tmp_path: Path) -> None:
    assert answer(shell, tmp_path, {}) == "nocertificate cert\nkey key absent\n"


@pytest.mark.parametrize("algorithm", ["rsa:2048", "ed25519", "ec"])
def test_openssl_and_the_controller_name_a_public_key_alike(tmp_path: Path, algorithm: str) -> None:
    key = tmp_path / "key"
    make = {
        "rsa:2048": ["genrsa", "-traditional", "2048"],
        "ed25519": ["genpkey", "-algorithm", "ed25519"],
        "ec": ["ecparam", "-name", "prime256v1", "-genkey"],
    }[algorithm]
    key.write_text(subprocess.run(["openssl", *make], capture_output=True, text=True, check=True).stdout)
    public = subprocess.run(["openssl", "pkey", "-in", key, "-pubout"], capture_output=True, check=True).stdout
    assert public_key_of(key.read_text()) == hashlib.sha256(public).hexdigest()

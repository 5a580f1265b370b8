"""Text of group_data comes out as itself or is refused: read back by the real Postfix, and by what is sent to hosts."""

import subprocess
import tempfile
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lab.fuzzing import Postfix, fuzzed, postfix_of, write_directory
from lab.hostile import FORBIDDEN
from lab.read_back import read_back
from lab.root import DEBIAN12, cached_root
from mailproxy.check import validated
from mailproxy.names import single_line
from mailproxy.program import command
from mailproxy.render import rendered
from tests.states import GUIDE

NAMES = {"relay_domains": GUIDE, "myhostname": "mx1.example.com", "mydomain": "example.com"}
# Values in which text is free.
FREE: Mapping[str, Any] = {
    "main_cf": lambda text: {"main_cf": {"smtpd_banner": f"a{text}b"}},
    "parameters": lambda text: {"main_cf": {f"smtpd{text}banner": "x"}},
    "targets": lambda text: {"aliases": {"postmaster": f'"a{text}b"@example.org'}},
    "aliases": lambda text: {"aliases": {f"a{text}b": "root"}},
    "next hops": lambda text: {"relay_domains": {"example.com": f"error:5.1.1 a{text}b"}},
    "domains": lambda text: {"relay_domains": {f"a{text}b.example": "smtp:[10.1.0.2]"}},
    "names": lambda text: {"myhostname": f"mx{text}1.example.com"},
    "own domain": lambda text: {"mydomain": f"exam{text}ple.com"},
    "networks": lambda text: {"mynetworks": [f"10.1{text}.0.0/16"]},
    "types": lambda text: {"database_type": f"ha{text}sh"},
    "waves": lambda text: {"rollout": {f"wa{text}ves": ["canary"]}},
}
ANY_TEXT = st.text(max_size=20)
# Somewhat as often as letters: what Postfix, a shell or a terminal takes for more than itself.
TEXT = st.text(st.one_of(st.characters(), st.sampled_from("$#\"'\\|;&={}()[]<>:,! \n\r\0\x85\u2028")), max_size=12)


@cache
def postfix_of_lab() -> Postfix:
    return postfix_of(cached_root(DEBIAN12))


@pytest.mark.parametrize("key", FREE)
@pytest.mark.parametrize("text", FORBIDDEN)
def test_what_is_no_line_of_text_is_refused_wherever_it_stands(key: str, text: str) -> None:
    desired, problems = validated({**NAMES, **FREE[key](text)})
    assert desired is None
    assert problems
    for problem in problems:
        assert str(problem).isprintable()


@given(ANY_TEXT)
def test_a_line_is_kept_as_it_is_or_refused(text: str) -> None:
    if text.isprintable():
        assert single_line(text) == text.strip(" ")
        assert len(f"a\n{text}\nb".splitlines()) == 3
        assert text.encode().decode() == text
    else:
        with pytest.raises(ValueError, match="expected one line of text") as raised:
            single_line(text)
        assert str(raised.value).isprintable()


@settings(deadline=None)
@given(st.lists(ANY_TEXT.map(lambda text: text.replace("\0", "").replace("\n", "")), min_size=1, max_size=4))
def test_an_argument_of_a_program_is_one_word_of_its_shell(words: list[str]) -> None:
    first, _ = command("release", *words).whole.split("\nset -eu\n")
    said = subprocess.run(["sh", "-c", f"{first}\nprintf '%s\\0' \"$@\""], capture_output=True, check=True)
    assert said.stdout.decode().split("\0") == [*words, ""]


@settings(max_examples=15, deadline=None)
@given(values=st.lists(TEXT, min_size=12, max_size=12))
def test_what_is_declared_is_what_postfix_reads(values: list[str]) -> None:
    postfix = postfix_of_lab()
    names = ["smtpd_banner", "mail_name", "syslog_name", "smtpd_sasl_path"]
    parameters = {name: f"x{value}" for name, value in zip(names, values, strict=False)}
    targets = {f"n{number}": f'"{value}"@example.org' for number, value in enumerate(values[4:8])}
    hops = {f"d{number}.example": f"error:5.1.1 {value}" for number, value in enumerate(values[8:])}
    parts = {"main_cf": parameters, "aliases": targets, "relay_domains": hops}
    # What would be refused is left out, so that the rest is read.
    meant = {
        key: {name: text for name, text in part.items() if validated({**NAMES, key: {name: text}})[0]}
        for key, part in parts.items()
    }
    desired, problems = validated({**NAMES, **meant})
    assert desired is not None, problems
    with tempfile.TemporaryDirectory() as directory:
        place = Path(directory, "host")
        texts = {name: content.text for name, content in rendered(desired, postfix.host).items()}
        write_directory(place, texts, postfix)
        read = read_back(postfix.root, Path(directory))["host"]
    assert not read.said
    assert read.aliases == meant["aliases"]
    assert read.transport == {name: text.strip(" ") for name, text in meant["relay_domains"].items()}
    shown = {name: " ".join(text.split(" ")).strip() for name, text in meant["main_cf"].items()}
    assert {name: read.parameters[name].split() for name in shown} == {
        name: text.split() for name, text in shown.items()
    }
    assert set(read.parameters) - set(shown) < {
        *("compatibility_level", "mydomain", "myhostname", "mynetworks", "alias_maps", "alias_database"),
        *("relay_domains", "transport_maps", "message_size_limit", "mailbox_size_limit"),
        *("parent_domain_matches_subdomains", "smtpd_relay_restrictions", "nothing"),
    }


def test_states_at_random_are_refused_with_a_reason_or_read_back_as_they_were_meant() -> None:
    found = fuzzed(1, range(600), postfix_of_lab())
    assert not found.wrong
    assert found.count["rendered"] > 150
    assert found.count["refused"] > 150
    assert found.count["alone"] > 3

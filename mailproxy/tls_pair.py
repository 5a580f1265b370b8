"""A certificate and its key, as files of the controller or of a host: why they cannot be served together."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from mailproxy.certificates import certificate_in, problem_of, public_key_of
from mailproxy.local_file import LocalFile
from mailproxy.problem import Problem, shown

if TYPE_CHECKING:
    from mailproxy.observed import ObservedState

NO_FILE = "there is no such file on the host"


def path_of(file: object) -> str:
    """Return the path of a file as group_data has it."""
    return shown(file.path if isinstance(file, LocalFile) else file)


def problems_of_files(certificate: LocalFile, key: LocalFile) -> Iterator[Problem]:
    """Yield why two files of the controller cannot be served."""
    unread = {"certificate": certificate.error, "key": key.error}
    public_key, found = "", None
    try:
        public_key = public_key_of(key.text)
    except ValueError as error:
        unread["key"] = unread["key"] or str(error)
    try:
        found = certificate_in(certificate.text)
    except ValueError as error:
        unread["certificate"] = unread["certificate"] or str(error)
    for name, reason in unread.items():
        if reason:
            yield Problem(f"tls[{name!r}]", path_of(certificate if name == "certificate" else key), reason)
    reason = problem_of(found, public_key, certificate.at) if found else ""
    if reason:
        yield Problem("tls['certificate']", path_of(certificate), reason)


def problem_on_host(certificate: str, key: str, observed: ObservedState) -> str:
    """Return why two files of a host cannot be served, '' where they can, or where that is not known."""
    if certificate not in observed.certificates:
        return ""
    text, public_key = observed.certificates[certificate], observed.keys.get(key, "unknown")
    of_key = {"absent": NO_FILE, "damaged": "openssl finds no private key in it that it can read without a password"}
    if public_key in of_key:
        return str(Problem("tls['key']", path_of(key), of_key[public_key]))
    try:
        reason = problem_of(certificate_in(text or ""), "" if public_key == "unknown" else public_key, observed.at)
    except ValueError as error:
        reason = NO_FILE if text is None else str(error)
    return str(Problem("tls['certificate']", path_of(certificate), reason)) if reason else ""

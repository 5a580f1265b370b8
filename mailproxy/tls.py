"""The key tls of group_data: what senders are offered, and what TLS next hops have to have."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import AfterValidator, PlainValidator

from mailproxy.certificates import Certificate, certificate_in, together, warnings_of
from mailproxy.entries import Entries
from mailproxy.feature import Feature, Place
from mailproxy.host_postfix import HostPostfix
from mailproxy.local_file import LocalFile
from mailproxy.mappings import mapping
from mailproxy.problem import Problem, refuse_unless, shown
from mailproxy.tls_pair import NO_FILE, path_of, problem_on_host, problems_of_files
from mailproxy.tls_policy import (
    BY_AUTHORITY,
    BY_DNS,
    MODERN,
    MODERN_BY_NAME,
    level_of,
    policy,
    policy_key,
    problem_of_address,
    problem_of_key,
    smtp_hops,
)

if TYPE_CHECKING:
    from mailproxy.model import DesiredState
    from mailproxy.observed import ObservedState

# The file that a key and certificates sent by the controller stand in, and the table of policies.
PEM = "tls.pem"
POLICY = "tlspolicy"
# A path on a host, as it can be a word of main.cf and of files/observe.sh.
_PATH = re.compile(r"/[A-Za-z0-9._@+=/-]+")
_CHAIN = "smtpd_tls_chain_files"
_PAIR = ("smtpd_tls_cert_file", "smtpd_tls_key_file")
# Certificates of other kinds, which a client may be shown instead.
_OTHER_PAIRS = tuple(f"smtpd_tls_{kind}{part}_file" for kind in ("ec", "d") for part in ("cert", "key"))
_DNS = "smtp_dns_support_level"
_AUTHORITIES = "smtp_tls_CAfile"
# Where main_cf may say instead whom to believe.
_OTHER_AUTHORITIES = (_AUTHORITIES, "smtp_tls_CApath", "tls_append_default_CA")
# The fields that are paths.
_FILES = ("certificate", "key", "authorities")
_INBOUND = ("smtpd_tls_protocols", "smtpd_tls_mandatory_protocols")
_OUTBOUND = ("smtp_tls_protocols", "smtp_tls_mandatory_protocols")


def _file(value: object) -> str | LocalFile:
    refuse_unless(isinstance(value, str | LocalFile), "expected the path of a file")
    return value if isinstance(value, LocalFile) else str(value)


File = Annotated[str | LocalFile, PlainValidator(_file)]
Policies = Annotated[
    Entries, mapping(Annotated[str, AfterValidator(policy_key)], Annotated[str, AfterValidator(policy)])
]


class Tls(Feature):
    """What senders are offered, and what next hops have to have; docs/tls.md describes it.

    certificate and key are paths on the host, or files of the controller, which are sent together as PEM.
    """

    comment: ClassVar[str] = "TLS, of a version that is not deprecated (RFC 8996)."

    certificate: File | None = None
    key: File | None = None
    level: Literal["none", "may", "encrypt"] | None = None
    policy: Policies = Entries({})
    default: Literal["none", "may", "encrypt", "dane", "dane-only", "verify", "secure"] | None = None
    authorities: str | None = None

    def problems(self, desired: DesiredState) -> Iterator[Problem]:
        """Yield a certificate that cannot be served, and policies that no mail could meet or that hold for none."""
        given = {name: value for name in _FILES if (value := getattr(self, name)) is not None}
        wrong = [name for name, value in given.items() if isinstance(value, str) and not _PATH.fullmatch(value)]
        for name in wrong:
            reason = "expected the absolute path of a file on the host, of letters, digits and ._@+=-"
            yield Problem(f"tls[{name!r}]", shown(given[name]), reason)
        if not wrong:
            yield from self._problems_of_pair()
        others = frozenset({*desired.routes.destinations(desired), desired.main_cf.get("relayhost", "")}) - {""}
        yield from _problems_of_policy(self.policy, self.default, desired.relay_domains, others)
        needing = self._levels.intersection(BY_AUTHORITY)
        if needing and not self.authorities and desired.main_cf.keys().isdisjoint(_OTHER_AUTHORITIES):
            example = "such as /etc/ssl/certs/ca-certificates.crt"
            verb = "needs" if len(needing) == 1 else "need"
            reason = f"{' and '.join(sorted(needing))} {verb} a file on the host of whom to believe, {example}"
            yield Problem("tls['authorities']", "nothing", reason)

    def warnings(self, desired: DesiredState) -> Iterator[Problem]:
        """Yield what keeps mail out, what depends on the host's resolver, and a certificate that ends soon."""
        if self.level == "encrypt":
            reason = "keeps out who sends without TLS; a server of the internet must not ask for it (RFC 3207, 4)"
            yield Problem("tls['level']", "'encrypt'", reason)
        for level in sorted(self._levels.intersection(BY_DNS)):
            where = "default" if level == self._default else "policy"
            reason = "holds only where a resolver of the host's own validates DNSSEC, which is not looked at"
            yield Problem(f"tls[{where!r}]", repr(level), reason)
        certificate = self._sent
        if certificate and isinstance(self.certificate, LocalFile):
            for reason in warnings_of(certificate, desired.myhostname, self.certificate.at):
                yield Problem("tls['certificate']", repr(self.certificate.path), reason)

    def refusal(self, desired: DesiredState, postfix: HostPostfix) -> str:
        """Return that a Postfix knows no DANE."""
        if self._levels.isdisjoint(BY_DNS) or _DNS not in postfix.lacking:
            return ""
        return "dane came with Postfix 2.11"

    def own_parameters(self) -> Sequence[str]:
        """Return what is set; but the protocols, which main_cf may have otherwise."""
        inbound = ("smtpd_tls_security_level",) if self._level else ()
        pair = (_CHAIN, *_PAIR, *_OTHER_PAIRS) if self.certificate else ()
        return (*inbound, *pair, *self._outbound(None))

    def asks(self, desired: DesiredState) -> Sequence[str]:
        """Return what a host is asked for: what it has of the files that are to be there already."""
        if isinstance(self.certificate, str) and isinstance(self.key, str):
            pair = [f"certificate {self.certificate} {self.key}"]
        else:
            pair = [f"want {name} {_digest(text)}" for name, text in self._texts.items()]
        return (*pair, *([f"path {self.authorities}"] if self.authorities else []))

    def problem_on(self, desired: DesiredState, observed: ObservedState) -> str:
        """Return what is wrong with the files that are to be on the host."""
        on_host = isinstance(self.certificate, str) and isinstance(self.key, str)
        found = [problem_on_host(str(self.certificate), str(self.key), observed) if on_host else ""]
        if self.authorities in observed.missing_paths:
            found.append(str(Problem("tls['authorities']", path_of(self.authorities), NO_FILE)))
        return "; ".join(filter(None, found))

    def warnings_on(self, desired: DesiredState, observed: ObservedState) -> Iterator[str]:
        """Yield what may not be meant about the files on the host, and what could not be looked at."""
        if not isinstance(self.certificate, str):
            return
        found = self.certificate_on(observed)
        for reason in warnings_of(found, desired.myhostname, observed.at) if found else ():
            yield f"the certificate {self.certificate} {reason}"
        if observed.keys.get(str(self.key)) == "unknown":
            yield f"the host has no openssl: whether {self.key} is the key of {self.certificate} is not known"

    def certificate_on(self, observed: ObservedState) -> Certificate | None:
        """Return the certificate that a host has for senders as it was observed, None where none can be read."""
        if self._sent and observed.digest(PEM) == _digest(self._texts[PEM]):
            return self._sent
        path = self.certificate if isinstance(self.certificate, str) else PEM
        try:
            return certificate_in(observed.certificates.get(path) or "")
        except ValueError:
            return None

    def certificate_to_come(self, observed: ObservedState) -> Certificate | None:
        """Return the certificate that a host is to show to senders, None where that is not known or there is none."""
        return None if self._level in (None, "none") else self._sent or self.certificate_on(observed)

    def parameters(self, desired: DesiredState, place: Place) -> Mapping[str, str]:
        """Return the levels, where the certificate and the policies are, and the protocols."""
        protocols = _protocols(place.postfix)
        set_here = {**self._inbound(place), **self._outbound(place)}
        names = (*(_INBOUND if self._level else ()), *_OUTBOUND)
        return {**set_here, **{name: protocols for name in names if name not in desired.main_cf}}

    def tables(self, desired: DesiredState) -> Mapping[str, Entries]:
        """Return the policies."""
        return {POLICY: self.policy} if self.policy else {}

    def texts(self, desired: DesiredState, place: Place) -> Mapping[str, str]:
        """Return the key and its certificates, where they are sent."""
        return self._texts

    @property
    def _default(self) -> str:
        return self.default or "may"

    @property
    def _level(self) -> str | None:
        return self.level or ("may" if self.certificate else None)

    @property
    def _levels(self) -> set[str]:
        return {self._default, *map(level_of, self.policy.values())}

    @property
    def _texts(self) -> Mapping[str, str]:
        if not isinstance(self.certificate, LocalFile) or not isinstance(self.key, LocalFile):
            return {}
        return {PEM: together(self.certificate.text, self.key.text)}

    @property
    def _sent(self) -> Certificate | None:
        """The certificate that is sent."""
        if not self._texts:
            return None
        try:
            return certificate_in(self._texts[PEM])
        except ValueError:
            return None

    def _inbound(self, place: Place) -> dict[str, str]:
        level = {"smtpd_tls_security_level": self._level} if self._level else {}
        if isinstance(self.certificate, str):
            return {**level, **dict(zip(_PAIR, (self.certificate, str(self.key)), strict=True))}
        if self.certificate is None:
            return level
        # Read at once, so that no process has the key of one and the certificate of another.
        names = _PAIR if _CHAIN in place.postfix.lacking else (_CHAIN,)
        return {**level, **dict.fromkeys(names, place.file(PEM))}

    def _outbound(self, place: Place | None) -> dict[str, str]:
        """Return what is set for next hops; without a place only the names count."""
        found: dict[str, str] = {"smtp_tls_security_level": self._default}
        if self.policy:
            found["smtp_tls_policy_maps"] = place.table(POLICY) if place else ""
        if self.authorities:
            found[_AUTHORITIES] = self.authorities
        if "fingerprint" in self._levels:
            found["smtp_tls_fingerprint_digest"] = "sha256"
        if not self._levels.isdisjoint(BY_DNS):
            found[_DNS] = "dnssec"
        return found

    def _problems_of_pair(self) -> Iterator[Problem]:
        given = {name: value for name in ("certificate", "key") if (value := getattr(self, name)) is not None}
        if len(given) == 1:
            ((name, value),) = given.items()
            missing = "key" if name == "certificate" else "certificate"
            yield Problem(f"tls[{name!r}]", path_of(value), f"needs the {missing} that belongs to it")
        elif self.level in ("may", "encrypt") and not given:
            yield Problem("tls['level']", repr(self.level), "needs a certificate and its key")
        elif len({type(value) for value in given.values()}) > 1:
            reason = "expected both on the host (absolute paths), or both here (relative ones)"
            yield Problem("tls['key']", path_of(self.key), reason)
        elif isinstance(self.certificate, LocalFile) and isinstance(self.key, LocalFile):
            yield from problems_of_files(self.certificate, self.key)


@lru_cache(maxsize=64)
def _problems_of_policy(
    policies: Entries, default: str | None, relay_domains: Entries, others: frozenset[str]
) -> tuple[Problem, ...]:
    """Return policies for nobody, and such as cannot be met; others are destinations besides those of relay domains."""
    hops = smtp_hops(relay_domains)
    known = {*hops, *others}
    found = []
    for key, value in policies.items():
        if reason := problem_of_key(key, known, relay_domains) or problem_of_address(key, value):
            found.append(Problem(f"tls['policy'][{key!r}]", repr(value), reason))
    for hop in hops if default in {*BY_AUTHORITY, *BY_DNS} - {"dane"} else ():
        if hop not in policies and (reason := problem_of_address(hop, str(default))):
            found.append(Problem("tls['default']", repr(default), f"{reason}; for {hop} in policy"))
            break
    return tuple(found)


def _protocols(postfix: HostPostfix) -> str:
    """Return the protocols from TLS 1.2 on as a Postfix writes them.

    Before 2.10 none can be sure to know TLSv1.1 by its name, and a name that is not known turns TLS off (postconf(5),
    smtpd_tls_mandatory_protocols): the most that can be had there is no SSL.
    """
    if postfix.version >= (3, 6):
        return MODERN
    return MODERN_BY_NAME if postfix.version >= (2, 10) else "!SSLv2, !SSLv3"


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()

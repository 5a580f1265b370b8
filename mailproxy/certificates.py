"""Certificates and keys in PEM: texts -> whose they are, how long they hold, whether they belong together.

What cannot be read is told without showing it: a text may hold a private key.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cryptography import x509

SOON = timedelta(days=30)
_BLOCK = re.compile(r"^-----BEGIN ([A-Z0-9 ]+)-----$.*?^-----END \1-----$", re.MULTILINE | re.DOTALL)
_SHOWN = 16  # hexadecimal digits of a fingerprint


@dataclass(frozen=True)
class Certificate:
    """A certificate: the names it is for, from when until when it is valid, its SHA-256 and that of its public key.

    That is in hexadecimal, as of "openssl x509 -outform DER" and "openssl pkey -pubout".
    """

    names: tuple[str, ...]
    since: datetime
    until: datetime
    sha256: str
    public_key: str = field(repr=False)

    def __str__(self) -> str:
        more = f" and {len(self.names) - 1} more" if len(self.names) > 1 else ""
        whose = f"{self.names[0]}{more}" if self.names else "nobody"
        return f"{whose}, until {self.until:%Y-%m-%d} (SHA-256 {self.sha256[:_SHOWN].upper()})"

    def is_for(self, name: str) -> bool:
        """Whether it is for a host name, by itself or by a wildcard, which stands for one label (RFC 6125, 6.4.3)."""
        return not {name.lower(), f"*.{name.lower().partition('.')[2]}"}.isdisjoint(self.names)


def problem_of(certificate: Certificate, public_key: str, now: datetime | None) -> str:
    """Return why a certificate cannot be served with the key of that public one, '' where it can.

    Where public_key is '', or now is None, that is not known.
    """
    if public_key and public_key != certificate.public_key:
        return "the key is not that of the first certificate in it"
    if now and now < certificate.since:
        return f"is not valid before {certificate.since:%Y-%m-%d %H:%M} UTC"
    if now and now >= certificate.until:
        return f"expired on {certificate.until:%Y-%m-%d %H:%M} UTC"
    return ""


def warnings_of(certificate: Certificate, name: str, now: datetime | None) -> Iterator[str]:
    """Yield what may not be meant about the certificate of a host of that name."""
    if now and certificate.until - now < SOON:
        yield ending(certificate, now)
    if not certificate.is_for(name):
        yield f"is for {', '.join(certificate.names) or 'nobody'}, and not for {name}"


def ending(certificate: Certificate, now: datetime) -> str:
    """Return how long a certificate still holds, in words."""
    days = (certificate.until - now).days
    return "has expired" if days < 0 else f"expires in {days} days, on {certificate.until:%Y-%m-%d}"


@lru_cache(maxsize=1024)
def certificate_in(text: str) -> Certificate:
    """Return the first certificate of a text in PEM, or raise ValueError."""
    blocks = _blocks(text, "CERTIFICATE")
    if not blocks:
        raise ValueError('holds no certificate in PEM ("-----BEGIN CERTIFICATE-----")')
    from cryptography.x509 import load_pem_x509_certificates

    return _read(lambda: _told(load_pem_x509_certificates(blocks.encode())[0]))


def certificate_of(der: bytes) -> Certificate:
    """Return a certificate in DER, or raise ValueError."""
    from cryptography.x509 import load_der_x509_certificate

    return _read(lambda: _told(load_der_x509_certificate(der)))


def _read(told: Callable[[], Certificate]) -> Certificate:
    """Return a certificate, or raise ValueError for one of a kind that is not known here, too."""
    from cryptography import x509
    from cryptography.exceptions import UnsupportedAlgorithm

    odd = (UnsupportedAlgorithm, x509.InvalidVersion, x509.UnsupportedGeneralNameType, x509.DuplicateExtension)
    try:
        return told()
    except (ValueError, TypeError, *odd):
        raise ValueError("holds a certificate that cannot be read") from None


@lru_cache(maxsize=1024)
def public_key_of(text: str) -> str:
    """Return the SHA-256 of the public key that belongs to the private one of a text in PEM, or raise ValueError."""
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

    block = _blocks(text, "PRIVATE KEY")
    if not block:
        raise ValueError('holds no private key in PEM ("-----BEGIN PRIVATE KEY-----")')
    if block.count("-----BEGIN") > 1:
        raise ValueError("holds more than one private key; expected one")
    try:
        key = load_pem_private_key(block.encode(), None).public_key()
    except TypeError:
        raise ValueError("is locked by a password, which Postfix cannot give; expected the key without one") from None
    except (ValueError, UnsupportedAlgorithm):
        raise ValueError("holds a private key that cannot be read") from None
    return _digest(key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))


def together(certificate: str, key: str) -> str:
    """Return a key and the certificates of a chain as one text: the key first (postconf(5), smtpd_tls_chain_files)."""
    return _blocks(key, "PRIVATE KEY") + _blocks(certificate, "CERTIFICATE")


def _blocks(text: str, kind: str) -> str:
    """Return the blocks of a text in PEM whose kind ends so."""
    found = _BLOCK.finditer(text.replace("\r\n", "\n"))
    return "".join(f"{block[0]}\n" for block in found if block[1].endswith(kind))


def _told(found: x509.Certificate) -> Certificate:
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    return Certificate(
        names=_names(found),
        since=found.not_valid_before_utc,
        until=found.not_valid_after_utc,
        sha256=_digest(found.public_bytes(Encoding.DER)),
        public_key=_digest(found.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)),
    )


def _names(found: x509.Certificate) -> tuple[str, ...]:
    """Return the names that clients look at: the subject's only where there are no others (RFC 6125, 6.4.4)."""
    from cryptography.x509 import DNSName, ExtensionNotFound, SubjectAlternativeName
    from cryptography.x509.oid import NameOID

    try:
        named = found.extensions.get_extension_for_class(SubjectAlternativeName).value
        names = named.get_values_for_type(DNSName)
    except ExtensionNotFound:
        names = []
    subject = [str(one.value) for one in found.subject.get_attributes_for_oid(NameOID.COMMON_NAME)]
    return tuple(name.lower() for name in names or subject)


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()

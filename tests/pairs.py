"""Certificates for tests, each with its key, as a controller has them in files and as a host answers about them."""

from dataclasses import dataclass
from datetime import datetime, timedelta, timezone

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
)

from mailproxy.local_file import LocalFile

NOW = datetime(2026, 11, 25, tzinfo=timezone.utc)


@dataclass(frozen=True)
class Pair:
    """A certificate and its key, in PEM."""

    certificate: str
    key: str

    def declared(self, at: datetime = NOW) -> dict[str, LocalFile]:
        """Return it as tls has it that was read at some time."""
        return {
            "certificate": LocalFile("tls/mx.pem", self.certificate, at),
            "key": LocalFile("tls/mx.key", self.key, at),
        }


def pair(*names: str, days: float = 90, since: datetime = NOW, password: bytes | None = None) -> Pair:
    """Return a certificate by itself for some names, for so many days from a time on."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "of a test")])
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(since)
        .not_valid_after(since + timedelta(days=days))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name) for name in names]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    encryption = BestAvailableEncryption(password) if password else NoEncryption()
    text = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption)
    return Pair(made.public_bytes(Encoding.PEM).decode(), text.decode())

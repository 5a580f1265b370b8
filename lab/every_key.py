"""A declaration with every key of group_data on, under which mail of the lab flows all the same."""

from collections.abc import Iterable
from typing import Any

# What Debian makes for each host that has the package ssl-cert.
_CERTIFICATE = "/etc/ssl/certs/ssl-cert-snakeoil.pem"
_KEY = "/etc/ssl/private/ssl-cert-snakeoil.key"
# Domains for documentation (RFC 2606) and networks (RFC 5737): nobody is kept out who sends here.
_NOBODY = "203.0.113.0/24"


def every_key(domains: Iterable[str], recipients: Iterable[str], verified: Iterable[str] = ()) -> dict[str, Any]:
    """Return the keys besides those of the guide's proxy, for relay domains that have these recipients; of those
    verified the next hop decides.

    No credentials, as the hosts have no SASL, and no content filter, as none runs there; the milter is one that is
    away.
    """
    names = list(domains)
    known = ["postmaster", *recipients]
    return {
        "relay_recipients": {**dict.fromkeys(names, known), **dict.fromkeys(verified, "verify")},
        "routes": {
            "exceptions": {f"{known[-1]}@{names[0]}": "smtp:[10.1.0.2]:2525"},
            "default": "[10.1.0.2]",
            "fallback": ["[10.1.0.2]:2525"],
        },
        "tls": {
            "certificate": _CERTIFICATE,
            "key": _KEY,
            "policy": {"[10.1.0.2]": "may", "partner.example": "encrypt"},
        },
        "limits": {
            "connections": 50,
            "connection_rate": 10_000,
            "message_rate": 100_000,
            "recipient_rate": 100_000,
            "recipients": 1000,
            "destination_concurrency": 20,
            "queue_lifetime": "5d",
            "bounce_lifetime": "2d",
        },
        "access": {
            "clients": {_NOBODY: "reject not from there"},
            "helo": {"localhost.localdomain": "reject not by that name"},
            "senders": {"spam.example": "reject not for them"},
            "recipients": {f"nobody@{names[0]}": "reject not there any more"},
        },
        "checks": {
            "header": [
                {
                    "pattern": "/^Subject: buy now/",
                    "action": "REJECT not today",
                    "match": ["Subject: buy now!"],
                    "no_match": ["Subject: hello"],
                }
            ],
            "body": [{"pattern": "/EICAR-STANDARD/", "action": "HOLD", "match": ["x EICAR-STANDARD x"]}],
        },
        "postscreen": {"greet_wait": "1s", "deny": [_NOBODY], "trusted_port": 2626},
        "filters": {"milters": [{"address": "inet:127.0.0.1:8891", "when_away": "accept"}]},
    }

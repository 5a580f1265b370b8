"""The desired state of one host: what group_data declares, validated and frozen."""

import hashlib
import re
from functools import cached_property
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    WrapValidator,
)

from mailproxy.access import Access
from mailproxy.aliases import alias_name, alias_targets, joined
from mailproxy.checks import Checks
from mailproxy.entries import Entries as Entries
from mailproxy.entries import differing as differing
from mailproxy.feature import Feature
from mailproxy.filters import Filters
from mailproxy.limits import Limits
from mailproxy.mappings import mapping, once_per_content
from mailproxy.names import domain_name, qualified_name, relay_domain, single_line
from mailproxy.networks import network
from mailproxy.next_hops import next_hop
from mailproxy.postscreen import DeclaredPostscreen, Postscreen
from mailproxy.relay_recipients import RelayRecipients
from mailproxy.rollout import Rollout
from mailproxy.routes import Routes
from mailproxy.tls import Tls

DatabaseType = Literal["hash", "btree", "lmdb", "cdb", "dbm"]

_PARAMETER = re.compile(r"[A-Za-z0-9_]+([.-][A-Za-z0-9_]+)*")


def parameter_name(value: str) -> str:
    """Return the name of a main.cf parameter, or refuse what Postfix would not read as one."""
    name = single_line(value)
    if not _PARAMETER.fullmatch(name):
        raise ValueError("expected the name of a main.cf parameter, such as smtpd_banner")
    return name


def _parameter_text(value: Any) -> Any:
    """Spell a literal of group_data as main.cf does: yes and no, numbers, lists with commas."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, (list, tuple)) and all(isinstance(item, str) for item in value):
        return ", ".join(item.strip(" ") for item in value)
    return value


Domain = Annotated[str, AfterValidator(domain_name)]
RelayDomain = Annotated[str, AfterValidator(relay_domain)]
FullName = Annotated[str, AfterValidator(qualified_name)]
Network = Annotated[str, AfterValidator(network)]


# One that is large: it is worth the memory of what was seen.
RelayDomains = Annotated[
    Entries, mapping(RelayDomain, Annotated[str, AfterValidator(next_hop)], WrapValidator(once_per_content()))
]
Aliases = Annotated[
    Entries,
    mapping(
        Annotated[str, AfterValidator(alias_name)],
        Annotated[str, BeforeValidator(joined), AfterValidator(alias_targets)],
    ),
]
Parameters = Annotated[
    Entries,
    mapping(
        Annotated[str, AfterValidator(parameter_name)],
        Annotated[str, BeforeValidator(_parameter_text), AfterValidator(single_line)],
    ),
]


class DesiredState(BaseModel):
    """What one host is to be. The fields are the keys of group_data; docs/group_data.md describes them."""

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True)

    relay_domains: RelayDomains
    mynetworks: tuple[Network, ...] = ("127.0.0.0/8",)
    aliases: Aliases = Entries({"postmaster": "root"})
    alias_programs: tuple[Annotated[str, AfterValidator(alias_name)], ...] = ()
    myhostname: FullName
    mydomain: Domain
    message_size_limit: Annotated[int, Field(ge=0, le=2**63 - 1, strict=True)] = 20480000
    main_cf: Parameters = Entries({})
    database_type: DatabaseType | None = None
    relay_subdomains: Annotated[bool, Field(strict=True)] = False
    rollout: Rollout | None = None
    relay_recipients: RelayRecipients = RelayRecipients()
    limits: Limits = Limits()
    access: Access = Access()
    checks: Checks = Checks()
    routes: Routes = Routes()
    tls: Tls = Tls()
    postscreen: DeclaredPostscreen = Postscreen()
    filters: Filters = Filters()

    @cached_property
    def features(self) -> dict[str, Feature]:
        """The further keys that are declared, in the order of the fields."""
        return {name: value for name, value in self._features().items() if value != type(value)()}

    def _features(self) -> dict[str, Feature]:
        values = ((name, getattr(self, name)) for name in type(self).model_fields)
        return {name: value for name, value in values if isinstance(value, Feature)}

    @cached_property
    def digest(self) -> str:
        """The SHA-256 over what is declared, in hexadecimal: the same for the same declaration on any machine."""
        # What is allowed in a declaration changes nothing on a host, nor does a feature that is not declared.
        left_out = {"alias_programs", *self._features()} - self.features.keys()
        names = (name for name in type(self).model_fields if name not in left_out)
        fields = ((name, getattr(self, name)) for name in names)
        parts = [f"{name}={value.digest if isinstance(value, Entries) else repr(value)}" for name, value in fields]
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()

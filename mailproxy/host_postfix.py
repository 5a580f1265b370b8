"""What of a host's Postfix a rendering depends on."""

from dataclasses import dataclass

from mailproxy.entries import Entries
from mailproxy.master_cf import Service, services_of

# Where Postfix lives on a host and which database type its system prefers: facts about the host and not about
# the fleet, so a main.cf that sets them keeps them (postconf(5); a lost queue_directory would lose queued mail).
HOST_PARAMETERS = (
    "command_directory",
    "daemon_directory",
    "data_directory",
    "default_database_type",
    "html_directory",
    "mail_owner",
    "mailq_path",
    "manpage_directory",
    "meta_directory",
    "multi_instance_directories",
    "multi_instance_enable",
    "multi_instance_group",
    "multi_instance_name",
    "multi_instance_wrapper",
    "newaliases_path",
    "queue_directory",
    "readme_directory",
    "sample_directory",
    "sendmail_path",
    "setgid_group",
    "shlib_directory",
)


@dataclass(frozen=True)
class HostPostfix:
    """What of a host's Postfix the rendering depends on: defaults as postconf -d prints them, kept as main.cf sets.

    lacking are parameters that it was asked for and does not know; master_cf is its text where a feature needs that.
    drained is why the host is out of service, '' where it is not.
    """

    version: tuple[int, int]
    config_directory: str
    default_database_type: str
    defaults: Entries
    kept: Entries
    lacking: frozenset[str] = frozenset()
    master_cf: str = ""
    drained: str = ""

    def knows(self, parameter: str) -> bool:
        """Whether a parameter of WHERE_KNOWN has a default there."""
        return parameter in self.defaults

    @property
    def services(self) -> tuple[Service, ...]:
        """The services of its master.cf, as they would be without us."""
        return services_of(self.master_cf)

    @property
    def is_secondary(self) -> bool:
        """Whether it is another instance than the one whose configuration directory is compiled in."""
        return self.config_directory != self.defaults.get("config_directory", self.config_directory)

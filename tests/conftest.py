"""What all tests begin with."""

from unittest import mock

from gevent import monkey

# It makes greenlets of all threads, which pyinfra's own process wants, and the fleet tests start that. In the tests'
# process pytest -n waits in one thread for what another one hears.
with mock.patch.object(monkey, "patch_all"):
    import pyinfra_cli  # noqa: F401

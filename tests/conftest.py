"""What all tests begin with."""

# It patches the standard library, which has to come before anything imports ssl, as selenium does.
import pyinfra_cli  # noqa: F401

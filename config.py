"""What pyinfra runs first, before it loads the inventory."""

from mailproxy.condensed import condense

# Of a large fleet: a line for what many hosts say alike, not one a host.
condense()

"""pyinfra reads this before it loads the inventory: what is wrong with host keys stops a run before it connects."""

from mailproxy.connecting import check_before_connecting

check_before_connecting()

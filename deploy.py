"""Bring every mail proxy of an inventory to its declared state.

pyinfra inventories/production.py deploy.py --dry     review: what would change, where
pyinfra inventories/production.py deploy.py           review, confirm, roll out
"""

from pyinfra import host, state

from mailproxy.operations import activate, confirm, hold, stage
from mailproxy.run import run_of

# Every host's declaration, checked: whatever is wrong stops the run here, all of it at once.
run = run_of(state)

# One round trip. The host that comes last prints the review of the whole fleet.
plan = run.plan(host)

# Beside the live files: nothing that Postfix reads is touched yet.
stage(name="Stage, index and check", plan=plan)

# With phase=stage it ends here: what is staged waits on the hosts for phase=activate, or is given up on all of them.
if run.holds(host):
    hold(name="Hold what is staged", plan=plan)

# Only when every host has staged: wave by wave, each host swaps, reloads and is asked by SMTP, or goes back. What is
# not confirmed goes back by itself.
for wave in host.loop(run.waves):
    if run.has_change(host):
        activate(name=f"Activate wave {wave.number}: {wave.label}", plan=plan, wave=wave)
        confirm(name=f"Confirm wave {wave.number}", plan=plan, wave=wave)

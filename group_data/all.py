# What every mail proxy is to be. docs/group_data.md describes the keys.

# The example of the guide: put your own in its place. mailproxy.adopt does, as long as it is as it came.
relay_domains = {
    "example.com": "smtp:[10.1.0.2]",
    "example.net": "smtp:[10.1.0.2]",
    "example.org": "smtp:[10.1.0.2]",
}

# Who may relay to anywhere: the host itself and the internal mail server.
mynetworks = [
    "127.0.0.0/8",
    "10.1.0.2/32",
]

aliases = {
    "postmaster": "root",
}

message_size_limit = 20480000  # bytes
# End of the example.

# How hosts are reached: only ones whose key is known, and no stalled one holds up the fleet (docs/ssh.md).
ssh_strict_host_key_checking = "yes"
ssh_connect_retries = 2
# Limits in seconds. What is sent is mostly programs, of which compression leaves a third.
ssh_paramiko_connect_kwargs = {"auth_timeout": 30, "channel_timeout": 30, "compress": True}
_timeout = 300  # seconds a command on a host may take

"""What a host's name or address says about who can reach it."""

import ipaddress


def is_loopback(host: str) -> bool:
    """Whether a host, given by address or name, is this machine itself and reachable from nowhere else."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"

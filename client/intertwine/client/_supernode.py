"""`flower-supernode` with shorter heartbeats: a node that was killed is let back in after 30 s, not after 60.

The SuperLink refuses a node that it believes to be connected, which is for two intervals after the last sign
of life. flwr 1.41 has no option for the interval.
"""

import sys

from flwr.supernode import fleet_http_connection
from flwr.supernode.cli import flower_supernode

HEARTBEAT_S = 15
"""Half as long as Flower's own; not less, or a busy machine looks like one that is away."""


def main() -> None:
    """Run `flower-supernode` with this process's arguments."""
    fleet_http_connection.HEARTBEAT_DEFAULT_INTERVAL = HEARTBEAT_S  # type: ignore[attr-defined]
    sys.argv[0] = "flower-supernode"
    flower_supernode()


if __name__ == "__main__":
    main()

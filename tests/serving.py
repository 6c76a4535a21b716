"""The real control plane on a free port of this machine, over TLS."""

import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager

import httpx

from intertwine.server.admin_api import ForgetDriver
from intertwine.server.control import control_plane
from intertwine.server.enrolment import RegisterNode
from intertwine.server.home import Home
from intertwine.server.limits import Limits
from intertwine.server.store import Store
from intertwine.server.up import https_server, serving


@contextmanager
def served(
    home: Home,
    store: Store,
    register_node: RegisterNode,
    limits: Limits | None = None,
    forget_driver: ForgetDriver = lambda _: None,
) -> Iterator[httpx.Client]:
    """The control plane on a free port, and a client that trusts its CA alone."""
    server = https_server(home, control_plane(home, store, register_node, forget_driver, limits))
    with socket.create_server(("127.0.0.1", 0)) as listener, serving(server, listener):
        port = listener.getsockname()[1]
        context = ssl.create_default_context(cafile=str(home.authority))
        with httpx.Client(base_url=f"https://127.0.0.1:{port}", verify=context, trust_env=False) as client:
            yield client

"""The real control plane on a free port of this machine, over TLS."""

import socket
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import httpx

from intertwine.server.control import control_plane
from intertwine.server.enrolment import RegisterNode
from intertwine.server.home import Home
from intertwine.server.store import Store
from intertwine.server.up import https_server


@contextmanager
def served(home: Home, store: Store, register_node: RegisterNode) -> Iterator[httpx.Client]:
    """The control plane on a free port, and a client that trusts its CA alone."""
    listener = socket.create_server(("127.0.0.1", 0))
    server = https_server(home, control_plane(home, store, register_node))
    thread = threading.Thread(target=server.run, args=([listener],))
    thread.start()
    try:
        while not server.started and thread.is_alive():
            time.sleep(0.01)
        port = listener.getsockname()[1]
        context = ssl.create_default_context(cafile=str(home.authority))
        with httpx.Client(base_url=f"https://127.0.0.1:{port}", verify=context, trust_env=False) as client:
            yield client
    finally:
        server.should_exit = True
        thread.join()

"""The coordinator's servers: Flower's SuperLink, the Fleet proxy before it, and the control plane.

They are started and ended together. The SuperLink listens on loopback; the two others on the public address.
"""

import fcntl
import os
import resource
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial

import uvicorn
from starlette.applications import Starlette
from uvicorn.protocols.http.h11_impl import H11Protocol

from intertwine.protocols.errors import InputError
from intertwine.protocols.files import lock, read_bounded
from intertwine.protocols.patience import Impatience
from intertwine.server.control import control_plane
from intertwine.server.cosigning import Cosigning, coordinator_policy
from intertwine.server.fleet_proxy import enrolled_node, fleet_proxy
from intertwine.server.home import LOOPBACK_ADDRESS, Home
from intertwine.server.relay import Relay
from intertwine.server.store import Store
from intertwine.server.superlink import ControlClient, SuperLink
from intertwine.server.supervisor import Supervisor, forget_driver

MAX_CONNECTIONS = 1000
"""More at once are answered with status 503."""


def up(home: Home, on_ready: Callable[[], None]) -> None:
    """Serve until Ctrl-C or SIGTERM.

    InputError if it runs already or a port is taken, and then nothing stays started.
    """
    # The web server hands a signal on once it has ended; this way everything else ends in order too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    _admit_many_connections()
    settings, policy = home.settings, coordinator_policy(home)
    with ExitStack() as stack:
        stack.enter_context(_process_file(home))
        control = stack.enter_context(listen(settings.bind, settings.control_port, "control_port"))
        fleet = stack.enter_context(listen(settings.bind, settings.fleet_port, "fleet_port"))
        superlink = superlink_of(home)
        stack.callback(superlink.stop)
        superlink.start()
        store = Store(home, home.signing_key)
        if policy:
            stack.enter_context(Cosigning(store, policy))
        stack.enter_context(Relay(home.runs_log))
        stack.enter_context(Supervisor(home, store, superlink))
        is_node = partial(enrolled_node, store)
        proxy = fleet_proxy(f"https://{superlink.address}", home.authority, is_node)
        stack.enter_context(serving(https_server(home, proxy), fleet))
        on_ready()
        app = control_plane(home, store, superlink.register, partial(forget_driver, superlink))
        https_server(home, app).run(sockets=[control])


def _admit_many_connections() -> None:
    """Each is an open file, and a process may have 1024 of those unless it asks for more."""
    now, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 4 * MAX_CONNECTIONS if most == resource.RLIM_INFINITY else min(4 * MAX_CONNECTIONS, most)
    if now not in (resource.RLIM_INFINITY, most) and now < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, most))


def superlink_of(home: Home) -> SuperLink:
    """The SuperLink of a coordinator, not started yet."""
    return SuperLink(
        home.flower,
        host=LOOPBACK_ADDRESS,
        port=home.settings.superlink_port,
        ca=home.authority,
        certificate=home.certificate,
        key=home.certificate_key,
    )


@contextmanager
def _process_file(home: Home) -> Iterator[None]:
    """For whoever wants this process to end. It is locked: a file that is left behind names nobody."""
    try:
        descriptor = lock(home.process_file)
    except BlockingIOError as error:
        raise InputError(
            f"The coordinator of {home.path} is running already.",
            f"Stop it first: intertwine coordinator stop --home {home.path}",
        ) from error
    try:
        os.ftruncate(descriptor, 0)
        os.write(descriptor, str(os.getpid()).encode())
        yield
    finally:
        home.process_file.unlink(missing_ok=True)
        os.close(descriptor)


def running(home: Home) -> int | None:
    """The process of the home's `up`; None if none runs. InputError if it has only just begun."""
    if not home.process_file.exists():
        return None
    try:
        os.close(lock(home.process_file, fcntl.LOCK_SH))
    except BlockingIOError:
        process = read_bounded(home.process_file, 20)
        if not process:
            raise InputError("The coordinator is just starting.", "Try again in a moment.") from None
        return int(process)
    return None


def down(home: Home) -> None:
    """Ask a running `up` to end; InputError if none runs."""
    process = running(home)
    if process is None:
        home.process_file.unlink(missing_ok=True)
        raise InputError("The coordinator is not running.", "Nothing needs to be stopped.")
    os.kill(process, signal.SIGTERM)


def control_client(home: Home) -> ControlClient:
    """The SuperLink's Control API, for commands that run beside `up`."""
    return ControlClient(home.settings.superlink_address, home.authority)


class _Protocol(Impatience, H11Protocol):
    """HTTP/1.1 as both public servers speak it."""


def https_server(home: Home, app: Starlette) -> uvicorn.Server:
    """The web server of `app` with the deployment's certificate; it speaks HTTP/1.1 and nothing else."""
    return uvicorn.Server(
        uvicorn.Config(
            app,
            ssl_certfile=str(home.certificate),
            ssl_keyfile=str(home.certificate_key),
            http=_Protocol,
            ws="none",
            log_config=None,
            log_level="warning",
            access_log=False,
            proxy_headers=False,
            server_header=False,
            limit_concurrency=MAX_CONNECTIONS,
            timeout_graceful_shutdown=5,
        )
    )


@contextmanager
def serving(server: uvicorn.Server, listener: socket.socket) -> Iterator[None]:
    """Run a web server in a thread of its own."""
    thread = threading.Thread(target=server.run, args=([listener],), daemon=True)
    thread.start()
    try:
        while not server.started and thread.is_alive():
            time.sleep(0.01)
        yield
    finally:
        server.should_exit = True
        thread.join()


def listen(address: str, port: int, setting: str) -> socket.socket:
    """A socket that listens on a local address; InputError, which names the setting, if the port is taken."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    try:
        return socket.create_server((address, port), family=family)
    except OSError as error:
        raise InputError(
            f"Port {port} on {address} cannot be used: {error.strerror}.",
            f"Stop the program that uses it, or change {setting} in settings.toml.",
        ) from error

"""The coordinator's two servers: Flower's SuperLink and the control plane, started and ended together."""

import os
import signal
import socket
import sys
from collections.abc import Callable
from contextlib import nullcontext

import uvicorn
from fastapi import FastAPI

from intertwine.protocols.errors import InputError
from intertwine.protocols.files import read_bounded, write_atomic
from intertwine.server.control import control_plane
from intertwine.server.cosigning import Cosigning, coordinator_policy
from intertwine.server.home import Home
from intertwine.server.store import Store
from intertwine.server.superlink import ControlClient, SuperLink


def up(home: Home, on_ready: Callable[[], None]) -> None:
    """Serve until Ctrl-C or SIGTERM; InputError if a port is taken, and then nothing stays started."""
    # The web server hands a signal on once it has ended; this way everything else ends in order too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    settings, policy = home.settings, coordinator_policy(home)
    listener = _listen(settings.host, settings.control_port)
    superlink = SuperLink(
        home.flower,
        host=settings.host,
        port=settings.fleet_port,
        ca=home.authority,
        certificate=home.certificate,
        key=home.certificate_key,
    )
    try:
        superlink.start()
        write_atomic(home.process_file, str(os.getpid()).encode())
        on_ready()
        store = Store(home, home.signing_key)
        app = control_plane(home, store, superlink.register)
        with Cosigning(store, policy) if policy else nullcontext():
            https_server(home, app).run(sockets=[listener])
    finally:
        home.process_file.unlink(missing_ok=True)
        superlink.stop()
        listener.close()


def down(home: Home) -> None:
    """Ask a running `up` to end; InputError if none runs."""
    remedy = "Nothing needs to be stopped."
    if not home.process_file.is_file():
        raise InputError("The coordinator is not running.", remedy)
    process = int(read_bounded(home.process_file, 20))
    try:
        os.kill(process, signal.SIGTERM)
    except ProcessLookupError as error:
        home.process_file.unlink(missing_ok=True)
        raise InputError("The coordinator is not running.", remedy) from error


def control_client(home: Home) -> ControlClient:
    """The SuperLink's Control API, for commands that run beside `up`."""
    return ControlClient(home.settings.fleet_address, home.authority)


def https_server(home: Home, app: FastAPI) -> uvicorn.Server:
    """The web server of `app` with the deployment's certificate; it speaks HTTP/1.1 and nothing else."""
    return uvicorn.Server(
        uvicorn.Config(
            app,
            ssl_certfile=str(home.certificate),
            ssl_keyfile=str(home.certificate_key),
            ws="none",
            log_level="warning",
            server_header=False,
            timeout_graceful_shutdown=5,
        )
    )


def _listen(host: str, port: int) -> socket.socket:
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        raise InputError(
            f"Port {port} on {host} cannot be used: {error.strerror}.",
            "Stop the program that uses it, or change control_port in settings.toml.",
        ) from error
    return listener

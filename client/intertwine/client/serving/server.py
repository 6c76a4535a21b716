"""The process that serves: its address, its certificate, and its orderly end."""

import signal
import socket
import ssl
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol

from intertwine.client.home import Home
from intertwine.client.serving.api_keys import ApiKeys
from intertwine.client.serving.app import open_slots, web_service
from intertwine.client.serving.metrics import Metrics
from intertwine.client.serving.predictors import refreshing
from intertwine.protocols.addresses import is_loopback
from intertwine.protocols.errors import InputError
from intertwine.protocols.patience import Impatience

MAX_CONNECTIONS = 512
_GRACE_S = 10


@dataclass(frozen=True)
class Address:
    """Where to listen. Beyond this machine, either with a certificate or behind a proxy that has one."""

    host: str
    port: int
    certificate: Path | None = None
    key: Path | None = None
    behind_proxy: bool = False

    def check(self) -> None:
        """InputError if keys and predictions would cross a network in clear, or the files do not fit."""
        if (self.certificate is None) != (self.key is None):
            raise InputError("A certificate and its key belong together.", "Give --certificate and --key.")
        if self.certificate is None and not (self.behind_proxy or is_loopback(self.host)):
            raise InputError(
                f"{self.host} is not this machine alone, and there is no certificate.",
                "Give --certificate and --key, or --behind-proxy if a proxy in front speaks TLS.",
            )
        if self.certificate is not None:
            try:
                ssl.create_default_context(ssl.Purpose.CLIENT_AUTH).load_cert_chain(
                    self.certificate, self.key
                )
            except (OSError, ssl.SSLError) as error:
                raise InputError(
                    f"{self.certificate} and {self.key} cannot be used: {error}.",
                    "Give a PEM certificate chain and its unencrypted private key.",
                ) from error


def serve(home: Home, address: Address, interval_s: float, on_ready: Callable[[str], None]) -> None:
    """Answer until Ctrl-C or SIGTERM; requests that are being answered are finished.

    InputError, before anything listens, if settings, data files, keys or certificate cannot be used.
    on_ready: called with the URL.
    """
    # The web server hands a signal on once it has ended; the process then ends in order.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: sys.exit(0))
    torch.set_num_threads(1)
    address.check()
    metrics, keys = Metrics(home.ledger), ApiKeys(home.api_keys)
    keys.all()
    slots = open_slots(home, metrics)
    with _listen(address) as listener, refreshing(slots, interval_s):
        scheme = "https" if address.certificate else "http"
        host = f"[{address.host}]" if ":" in address.host else address.host
        on_ready(f"{scheme}://{host}:{listener.getsockname()[1]}")
        web_server(web_service(slots, keys, metrics), address).run(sockets=[listener])


class _Protocol(Impatience, H11Protocol):
    """HTTP/1.1 as the agent speaks it."""


def web_server(app: ASGIApp, address: Address) -> uvicorn.Server:
    """The web server; it speaks HTTP/1.1 and nothing else."""
    return uvicorn.Server(
        uvicorn.Config(
            app,
            ssl_certfile=address.certificate,
            ssl_keyfile=address.key,
            http=_Protocol,
            ws="none",
            log_config=None,
            log_level="warning",
            access_log=False,
            server_header=False,
            proxy_headers=False,
            limit_concurrency=MAX_CONNECTIONS,
            timeout_graceful_shutdown=_GRACE_S,
        )
    )


def _listen(address: Address) -> socket.socket:
    try:
        family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
        return socket.create_server((address.host, address.port), family=family)
    except OSError as error:
        raise InputError(
            f"Port {address.port} on {address.host} cannot be used: {error.strerror}.",
            "Stop the program that uses it, or choose another with --port.",
        ) from error

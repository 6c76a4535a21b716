"""What stands between an agent and its coordinator: the network, certificates, clocks, and who we are there.

`agent doctor` shows all of it; `agent run` names the first that fails when its SuperNode is not connected.
"""

import socket
import ssl
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import partial
from urllib.parse import urlsplit

import httpx

from intertwine.client.control import pinned
from intertwine.client.home import Home
from intertwine.client.keys import ask_coordinator
from intertwine.protocols import doctor
from intertwine.protocols.doctor import Finding
from intertwine.protocols.errors import FederationError, InputError

_TIMEOUT_S = 5.0
ASK = "Ask the coordinator; its runbook says how its certificates are renewed."
_NO_DATES = ssl.VerifyFlags(0x200000)
"""OpenSSL's X509_V_FLAG_NO_CHECK_TIME."""


def clock(home: Home) -> Iterator[Finding]:
    """This machine's clock against the Date that the control plane answers with."""
    context = pinned(home.authority)
    context.verify_flags |= _NO_DATES  # a wrong clock is what we look for
    try:
        answer = httpx.get(
            f"{home.settings.control_url}/healthz", verify=context, timeout=_TIMEOUT_S, trust_env=False
        )
        there = parsedate_to_datetime(answer.headers["date"]).timestamp()
    except (httpx.HTTPError, KeyError, ValueError) as error:
        yield Finding("clock", "warn", f"It cannot be compared: {error}.", "See to the control plane first.")
        return
    yield from doctor.clock(time.time() - there, "the coordinator's")


def control_plane(home: Home) -> Iterator[Finding]:
    """Whether a TLS server of the pinned CA is there, and until when its certificate is good."""
    parts = urlsplit(home.settings.control_url)
    yield from _handshake("control plane", home, f"{parts.hostname}:{parts.port or 443}")


def fleet_port(home: Home) -> Iterator[Finding]:
    """The same for the port that the SuperNode connects to."""
    yield from _handshake("Fleet port", home, home.settings.fleet_address)


def membership(home: Home) -> Iterator[Finding]:
    """Whether the coordinator knows us, and has our signing key in force."""
    try:
        status = ask_coordinator(home)(None)
    except FederationError as error:
        yield Finding(
            "membership", "warn", f"It cannot be asked for: {error.problem}", "See to the others first."
        )
        return
    except InputError as error:
        problem = f"The coordinator refuses our access token: {error.problem}"
        remedy = "Ask the coordinator whether this participant was revoked; if not, restore access.token."
        yield Finding("membership", "fail", problem, remedy)
        return
    # An interrupted change of key is finished before the key is used.
    ours = home.next_signing_key_file.exists() or status.signing_key == home.signing_key.public
    if (status.participant, ours) == (home.settings.participant, True):
        yield Finding("membership", "ok", f"{status.participant} takes part, under the key in signing.key.")
    else:
        problem = f"The coordinator has another signing key in force for {status.participant}."
        remedy = "Restore the newest copy of this home, or have the participant revoked."
        yield Finding("membership", "fail", problem, remedy)


def obstacle(home: Home) -> Finding | None:
    """The first thing that keeps the SuperNode from connecting, if it can be found."""
    looks = {"clock": clock, "Fleet port": fleet_port, "membership": membership}
    findings = doctor.examine([(name, partial(look, home)) for name, look in looks.items()])
    return next((finding for finding in findings if finding.level == "fail"), None)


def _handshake(name: str, home: Home, address: str) -> Iterator[Finding]:
    host, _, port = address.rpartition(":")
    host = host.strip("[]")
    try:
        with (
            socket.create_connection((host, int(port)), _TIMEOUT_S) as bare,
            pinned(home.authority).wrap_socket(bare, server_hostname=host) as connection,
        ):
            found = connection.getpeercert() or {}
    except ssl.SSLCertVerificationError as error:
        problem = f"The certificate of {address} is refused: {error.verify_message}."
        yield Finding(name, "fail", problem, f"{ASK} Do not go on if it should be good.")
        return
    except OSError as error:
        problem = f"{address} does not answer: {error}."
        yield Finding(name, "fail", problem, "Check the network, and whether `coordinator up` runs there.")
        return
    end = datetime.fromtimestamp(ssl.cert_time_to_seconds(str(found["notAfter"])), UTC)
    renew = end - datetime.now(UTC) < doctor.RENEWAL
    text = f"{address} answers; its certificate is valid until {end:%Y-%m-%d}"
    yield Finding(name, "warn" if renew else "ok", text, ASK if renew else "")

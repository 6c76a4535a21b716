"""Requests to the coordinator's control plane, over TLS with its pinned CA and nothing else."""

import ssl
from pathlib import Path

import httpx

from intertwine.protocols.errors import FederationError, InputError

TIMEOUT_S = 30.0
MAX_ANSWER_BYTES = 64 << 20


def pinned(authority: Path) -> ssl.SSLContext:
    """A TLS context that trusts this CA alone; InputError if the file is gone or damaged."""
    try:
        return ssl.create_default_context(cafile=str(authority))
    except OSError as error:
        reason = error.strerror or str(error)
        raise InputError(f"{authority} cannot be used: {reason}.", "Restore it from a backup.") from error


def unauthenticated() -> ssl.SSLContext:
    """A TLS context that trusts anyone; only to fetch the CA whose fingerprint is then compared."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def request(
    method: str,
    url: str,
    context: ssl.SSLContext,
    *,
    body: bytes | None = None,
    token: str = "",
    limit: int = MAX_ANSWER_BYTES,
    timeout_s: float = TIMEOUT_S,
) -> bytes:
    """Send one request and return the answer's body, at most `limit` bytes.

    InputError with the coordinator's own words if it refuses (4xx); FederationError if it cannot be
    reached, is not who it should be, or fails.
    """
    headers = {"authorization": f"Bearer {token}"} if token else {}
    try:
        with (
            httpx.Client(verify=context, timeout=timeout_s) as client,
            client.stream(method, url, content=body, headers=headers) as answer,
        ):
            data = _bounded(answer, limit)
    except httpx.InvalidURL as error:
        raise InputError(f"{url} is not a URL.", "Give the address as https://host:port.") from error
    except httpx.HTTPError as error:
        raise FederationError(
            f"The coordinator at {url} cannot be reached: {error}.",
            "Check its address, and that `intertwine coordinator up` runs there.",
        ) from error
    if answer.is_success:
        return data
    raise _refusal(answer, data)


def _bounded(answer: httpx.Response, limit: int) -> bytes:
    data = bytearray()
    for chunk in answer.iter_bytes():
        data += chunk
        if len(data) > limit:
            raise FederationError(f"The coordinator's answer is larger than {limit} bytes.")
    return bytes(data)


def _refusal(answer: httpx.Response, data: bytes) -> InputError | FederationError:
    try:
        content = httpx.Response(answer.status_code, content=data).json()
        problem, remedy = str(content["error"])[:500], str(content["remedy"])[:500]
    except (ValueError, KeyError, TypeError):
        problem, remedy = f"The coordinator answered with status {answer.status_code}.", ""
    kind = InputError if answer.is_client_error else FederationError
    return kind(problem, remedy)

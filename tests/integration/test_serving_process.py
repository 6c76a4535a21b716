"""`intertwine agent serve` as a process: what it refuses to start with, and how it ends."""

import contextlib
import json
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from starlette.responses import PlainTextResponse

from intertwine.client.serving import server
from intertwine.client.serving.server import Address
from intertwine.protocols import patience
from intertwine.protocols.cli import main
from intertwine.protocols.errors import InputError
from intertwine.server.up import serving
from tests.predictions import Publisher, publisher

COMMAND = str(Path(sys.executable).parent / "intertwine")


@pytest.fixture(scope="module")
def agent(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Publisher]:
    with publisher(tmp_path_factory.mktemp("serving")) as found:
        yield found


def command(*arguments: object) -> int:
    """The exit code of an `intertwine agent` command in this process."""
    with pytest.MonkeyPatch.context() as patch, pytest.raises(SystemExit) as end:
        patch.setattr(sys, "argv", ["intertwine", "agent", *map(str, arguments)])
        main()
    return int(end.value.code or 0)


def interrupted(body: bytes, process: subprocess.Popen[str], port: int) -> Iterator[bytes]:
    """A body during which the process is told to end: the second half follows once it listens no more."""
    yield body[:10]
    process.send_signal(signal.SIGTERM)
    with contextlib.suppress(ConnectionRefusedError):
        while True:
            socket.create_connection(("127.0.0.1", port), timeout=60.0).close()
            time.sleep(0.05)
    yield body[10:]


def test_a_process_serves_over_https_and_ends_in_good_order(agent: Publisher) -> None:
    """It begins without any model: they come by themselves. At its end it answers what was asked before."""
    home = agent.federation.home
    certificate = ("--certificate", home.certificate, "--key", home.certificate_key)
    arguments = (
        "--home",
        agent.home.path,
        "--port",
        0,
        "--interval",
        1,
        "--log-format",
        "json",
        *certificate,
    )
    process = subprocess.Popen(
        [COMMAND, "agent", "serve", *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout
    assert process.stderr
    log = process.stderr
    lines: list[str] = []
    reader = threading.Thread(target=lambda: lines.extend(log))
    reader.start()
    try:
        line = process.stdout.readline()
        assert line.startswith("Serving predictions at https://127.0.0.1:")
        context = ssl.create_default_context(cafile=str(home.authority))
        address = line.split()[-1]
        with httpx.Client(base_url=address, verify=context, timeout=60.0, trust_env=False) as client:
            while client.get("/readyz").status_code != 200:
                assert process.poll() is None
                threading.Event().wait(0.1)
            body = {"vulnerabilities": [{"published": "2024-01-01"}]}
            assert client.post("/v1/risk-scores", json=body).status_code == 401
            answer = client.post("/v1/risk-scores", json=body, headers=agent.headers)
            assert answer.json()["model"]["onnx_sha256"] == agent.published["risk"].onnx
            last = json.dumps(body).encode()
            headers = {**agent.headers, "content-type": "application/json", "content-length": str(len(last))}
            content = interrupted(last, process, client.base_url.port or 0)
            answer = client.post("/v1/risk-scores", content=content, headers=headers)
            assert answer.status_code == 200
    finally:
        process.terminate()
        code = process.wait(timeout=60)
        reader.join()
        process.stdout.close()
        process.stderr.close()
    assert code == 0
    text = "".join(lines)
    assert "Traceback" not in text
    assert agent.key not in text
    swaps = [line for line in lines if "predicts from now on" in line]
    assert len(swaps) == 3
    assert '"task": "risk"' in "".join(swaps)


def test_connections_on_which_nothing_arrives_do_not_shut_others_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "MAX_CONNECTIONS", 6)
    monkeypatch.setattr(patience, "LOOK_S", 0.5)
    web = server.web_server(PlainTextResponse("fine"), Address("127.0.0.1", 0))
    listener = socket.create_server(("127.0.0.1", 0))
    url = f"http://127.0.0.1:{listener.getsockname()[1]}/healthz"
    with serving(web, listener), contextlib.ExitStack() as held:
        for _ in range(8):
            idle = held.enter_context(socket.create_connection(listener.getsockname(), timeout=10.0))
            idle.sendall(b"GET /healthz HTTP/1.1\r\nHost: ")
        crowded = httpx.get(url, timeout=10.0, trust_env=False)
        assert crowded.status_code == 503
        assert set(crowded.json()) == {"error", "remedy"}
        assert idle.recv(1) == b""
        assert httpx.get(url, timeout=10.0, trust_env=False).text == "fine"
        with socket.create_connection(listener.getsockname(), timeout=10.0) as strange:
            strange.sendall(b"\x16\x03\x01\r\n\r\n")
            head, _, body = b"".join(iter(lambda: strange.recv(4096), b"")).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 400 ")
    assert set(json.loads(body)) == {"error", "remedy"}


BAD_ADDRESSES: dict[str, tuple[Address, str]] = {
    "in_clear_beyond_this_machine": (Address("0.0.0.0", 0), "no certificate"),  # noqa: S104
    "a_name_that_is_not_local": (Address("agent.example", 0), "no certificate"),
    "certificate_without_key": (Address("127.0.0.1", 0, Path("a.crt")), "belong together"),
    "no_such_certificate": (Address("::1", 0, Path("no.crt"), Path("no.key")), "cannot be used"),
}


@pytest.mark.parametrize("defect", BAD_ADDRESSES)
def test_an_address_that_would_show_keys_is_refused(defect: str) -> None:
    address, message = BAD_ADDRESSES[defect]
    with pytest.raises(InputError, match=message) as caught:
        address.check()
    assert caught.value.remedy


@pytest.mark.parametrize(
    "address",
    [
        Address("127.0.0.1", 0),
        Address("::1", 0),
        Address("localhost", 0),
        Address("0.0.0.0", 0, behind_proxy=True),  # noqa: S104
    ],
    ids=["ipv4", "ipv6", "localhost", "behind_proxy"],
)
def test_what_stays_on_this_machine_or_behind_a_proxy_may_be_plain(address: Address) -> None:
    address.check()


def test_bad_options_end_with_a_sentence(agent: Publisher, capsys: pytest.CaptureFixture[str]) -> None:
    home = ("--home", agent.home.path)
    assert command("serve", *home, "--host", "0.0.0.0") == 2  # noqa: S104
    assert command("serve", *home, "--port", "70000") == 2
    assert command("serve", *home, "--interval", "0") == 2
    assert command("serve", "--home", agent.home.path / "nowhere") == 2
    assert "Traceback" not in capsys.readouterr().err


def test_keys_by_command(agent: Publisher, capsys: pytest.CaptureFixture[str]) -> None:
    """A key is shown when it is made, and never again."""
    home = ("--home", agent.home.path)
    assert command("api-key", "add", "shop", *home) == 0
    key = capsys.readouterr().out.strip()
    assert key.startswith("itwk_")
    assert command("api-key", "list", *home) == 0
    listed = capsys.readouterr().out
    assert "shop" in listed
    assert key not in listed
    assert command("api-key", "remove", "shop", *home) == 0
    assert command("api-key", "remove", "shop", *home) == 2
    assert command("api-key", "add", "A Shop", *home) == 2
    assert "Traceback" not in capsys.readouterr().err

"""Servers of a watched log that fail or misbehave."""

import time

import pytest

from intertwine.protocols.errors import InputError
from intertwine.zk.audit.alert import AlertKind
from intertwine.zk.audit.http_client import HttpClient, Patience
from intertwine.zk.audit.log_client import LogClient
from tests import watching
from tests.log_server import LogServer
from tests.recording import Recording
from tests.watching import HASTE, Start, long_log, only


def drip(handler: object) -> None:
    """Send a byte now and then, so that no single read takes long."""
    for _ in range(100):
        handler.wfile.write(b"H")
        time.sleep(0.05)


def flood(handler: object) -> None:
    handler.wfile.write(b"HTTP/1.1 200 OK\r\n\r\n")
    for _ in range(100):
        handler.wfile.write(bytes(1 << 16))


def cut_off(handler: object) -> None:
    handler.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nhalf")


def elsewhere(handler: object) -> None:
    handler.send_response(302)
    handler.send_header("Location", "http://127.0.0.1:9/checkpoint")
    handler.end_headers()


MISBEHAVIOURS = {
    "too slow": drip,
    "more than": flood,
    "cut off": cut_off,
    "302": elsewhere,
    "503": lambda handler: handler.send_error(503),
    "not HTTP": lambda handler: handler.wfile.write(b"\x16\x03\x01 garbage\r\n\r\n"),
    "no checkpoint": lambda handler: handler.wfile.write(
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n\xff\xfe"
    ),
}


@pytest.mark.parametrize("words", MISBEHAVIOURS)
def test_server_that_misbehaves(
    server: LogServer, honest: Recording, start: Start, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is an alert, never a traceback, and all is well as soon as the server is."""
    monkeypatch.setattr(watching, "HASTE", Patience(read_s=0.5, answer_s=0.5, pauses_s=()))
    server.show(honest)
    server.broken["checkpoint"] = MISBEHAVIOURS[words]
    watch = start()
    alert = only(watch.step(), AlertKind.UNREACHABLE, None, "the log has not answered")
    assert ("takes too long" if words == "too slow" else words) in alert.remedy
    server.broken.clear()
    assert watch.step() == []
    assert watch.watcher.progress.size == len(honest.entries)


def test_server_gone(server: LogServer, honest: Recording, start: Start) -> None:
    server.show(honest)
    watch = start()
    assert watch.step() == []
    watch.watcher._client = LogClient(HttpClient("http://127.0.0.1:9", patience=HASTE))
    only(watch.step(), AlertKind.UNREACHABLE, None)
    watch.now += 100
    assert watch.step() == []  # it is the same outage


@pytest.mark.parametrize("part", ["entries/0/", "blobs"])
def test_interrupted_download_goes_on(server: LogServer, honest: Recording, start: Start, part: str) -> None:
    """What was not fetched is fetched at the next step; nothing is judged twice or left out."""
    server.show(honest)
    server.broken[part] = lambda handler: handler.send_error(500)
    watch = start()
    only(watch.step(), AlertKind.UNREACHABLE, None)
    server.broken.clear()
    assert watch.step() == []
    assert watch.watcher.progress.proofs == 2
    assert watch.watcher.progress.judged == len(honest.entries)


def test_entries_that_were_not_confirmed_are_not_judged(
    server: LogServer, honest: Recording, start: Start
) -> None:
    """Half of a download proves nothing yet."""
    long_log(honest, 300)
    server.show(honest)
    server.broken["entries/1"] = lambda handler: handler.send_error(500)
    watch = start()
    only(watch.step(), AlertKind.UNREACHABLE, None)
    assert watch.watcher.progress.judged == len(watch.state.tree) == 0
    server.broken.clear()
    assert watch.step() == []
    assert watch.watcher.progress.judged == 300


def test_server_with_fewer_entries_than_it_signed(server: LogServer, honest: Recording, start: Start) -> None:
    server.show(honest)
    del server.entries[-1]
    assert "serves no entries" in only(start().step(), AlertKind.UNREACHABLE, None).remedy


@pytest.mark.parametrize(
    "url", ["http://coordinator.example", "ftp://127.0.0.1", "https://", "https://a:b@c.example"]
)
def test_urls_that_are_refused(url: str) -> None:
    with pytest.raises(InputError):
        HttpClient(url)

"""Nothing that a Daemon started outlives it, not even when its own process is killed."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from intertwine.protocols.flower import Daemon, exempt_loopback

# Leaves the session and ignores SIGTERM, as badly as a grandchild can behave, and holds a port.
STUBBORN = """
import os, signal, socket, sys, time
if os.fork() == 0:
    os.setsid()
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    held = socket.create_server(("127.0.0.1", int(sys.argv[1])))
    open("ready", "w").close()
    time.sleep(600)
time.sleep(600)
"""
PARENT = """
import sys, time
from pathlib import Path
from intertwine.protocols.flower import Daemon
Daemon("stubborn", ["python", "-c", sys.argv[1], sys.argv[2]], Path(sys.argv[3])).start()
time.sleep(600)
"""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def held(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def wait_for(condition: Callable[[], bool], timeout_s: float) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "nothing happened in time"
        time.sleep(0.05)


def test_children_end_when_the_parent_is_killed(tmp_path: Path) -> None:
    port = free_port()
    parent = subprocess.Popen([sys.executable, "-c", PARENT, STUBBORN, str(port), str(tmp_path)])
    wait_for((tmp_path / "ready").exists, 10)
    assert held(port)
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    wait_for(lambda: not held(port), 10)


def test_stop_returns_when_the_program_is_gone(tmp_path: Path) -> None:
    port = free_port()
    command = ["python", "-m", "http.server", "--bind", "127.0.0.1", str(port)]
    daemon = Daemon("web", command, tmp_path)
    assert not daemon.alive
    daemon.start()
    wait_for(lambda: held(port), 10)
    assert daemon.alive
    daemon.stop()
    assert not daemon.alive
    assert not held(port)
    assert (tmp_path / "web.log").stat().st_mode & 0o777 == 0o600


def test_program_that_fails_is_reported_dead(tmp_path: Path) -> None:
    daemon = Daemon("broken", ["python", "-c", "raise SystemExit('no such setting')"], tmp_path)
    daemon.start()
    wait_for(lambda: not daemon.alive, 10)
    assert daemon.log_tail() == "no such setting"
    daemon.stop()


def test_a_log_is_read_from_where_this_life_began_and_without_decoration(tmp_path: Path) -> None:
    (tmp_path / "talker.log").write_text("ERROR: of an earlier life\n")
    lines = [
        "\x1b[92mINFO \x1b[0m: begun",
        "\x1b[93mWARNING\x1b[0m: EXPERIMENTAL: so",
        "\x1b[93mWARNING\x1b[0m: Connection attempt failed, retrying in 0.63 seconds",
        "\x1b[91mERROR\x1b[0m: no",
    ]
    daemon = Daemon("talker", ["python", "-c", f"print({chr(10).join(lines)!r})"], tmp_path)
    daemon.start()
    wait_for(lambda: not daemon.alive, 10)
    said = daemon.new_lines()
    assert (said[0], said[1], said[-1]) == ("INFO : begun", "WARNING: EXPERIMENTAL: so", "ERROR: no")
    assert daemon.new_lines() == []
    assert daemon.log_tail() == "ERROR: no"
    daemon.stop()


def test_proxies_are_not_asked_for_loopback() -> None:
    environment = {"HTTPS_PROXY": "http://proxy:1", "no_proxy": "example.org"}
    exempt_loopback(environment)
    assert environment["no_proxy"] == environment["NO_PROXY"] == "example.org,127.0.0.1,localhost,::1"
    exempt_loopback(environment)
    assert environment["no_proxy"] == "example.org,127.0.0.1,localhost,::1"
    assert os.environ is not environment

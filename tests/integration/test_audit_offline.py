"""The auditor's commands in the base install alone, on a machine without a network.

The install is a folder of links to the files of the packages that pyproject.toml names without an extra, and
of those that they require; an isolated interpreter sees nothing else but its standard library.
"""

import os
import socket
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from intertwine.protocols.mechanism import ReleaseMechanism
from tests.recording import Federation, Recording

ROOT = Path(__file__).parents[2]
PARTS = ("protocols", "zk", "models", "client", "server")
EXTRAS = (
    "torch",
    "opacus",
    "onnx",
    "onnxruntime",
    "flwr",
    "httpx",
    "fastapi",
    "uvicorn",
    "sqlalchemy",
    "pytest",
)
VECTORS = ROOT / "tests" / "conformance" / "vectors"

CUT_OFF = ("unshare", "--user", "--map-root-user", "--net")
RUN = "import sys; sys.path.insert(0, sys.argv.pop(1)); "
COMMAND = RUN + "from intertwine.protocols.cli import main; sys.argv[0] = 'intertwine'; main()"


def offline() -> bool:
    """Whether the kernel lets a user make a namespace without a network."""
    try:
        return subprocess.run([*CUT_OFF, "true"], capture_output=True, check=False).returncode == 0
    except OSError:
        return False


pytestmark = pytest.mark.skipif(not offline(), reason="the kernel refuses a network namespace to this user")


def base_requirements() -> Iterator[metadata.Distribution]:
    """Every distribution that comes with a plain `pip install intertwine`, intertwine itself left out."""
    pending = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    seen: set[str] = set()
    for text in pending:  # grows while it is read
        requirement = Requirement(text)
        name = canonicalize_name(requirement.name)
        wanted = requirement.marker is None or requirement.marker.evaluate({"extra": ""})
        if not wanted or name in seen:
            continue
        seen.add(name)
        distribution = metadata.distribution(requirement.name)
        pending += distribution.requires or []
        yield distribution


@pytest.fixture(scope="module")
def install(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The base install."""
    folder = tmp_path_factory.mktemp("base")
    for distribution in [*base_requirements(), metadata.distribution("intertwine")]:
        for name in {file.parts[0] for file in distribution.files or ()} - {"..", "__pycache__"}:
            if not name.endswith(".pth"):
                (folder / name).symlink_to(distribution.locate_file(name))
    (folder / "intertwine").mkdir()
    for part in PARTS:
        (folder / "intertwine" / part).symlink_to(ROOT / part / "intertwine" / part)
    return folder


class OneProof(Federation):
    """One round: ana is honest, ben silent."""

    def play(self) -> Recording:
        self._enrol()
        script = ({"ana": "honest", "ben": "silent", "cyd": "absent"},)
        release = ReleaseMechanism(update_bound=10)
        self._run(script, run="spring", mechanism=release, record_bound=4, sigma=50)
        return self.record


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return OneProof().play().write(tmp_path_factory.mktemp("bundle"))


def run(install: Path, code: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    """Run code in the base install, without a network."""
    command = [*CUT_OFF, sys.executable, "-I", "-S", "-c", code, install, *map(str, arguments)]
    environment = os.environ | {"XDG_CACHE_HOME": str(install / "cache"), "COLUMNS": "160"}
    return subprocess.run(
        command, capture_output=True, text=True, check=False, timeout=120, env=environment, cwd=install
    )


def audit(install: Path, *arguments: object) -> tuple[int, str]:
    """Exit code and output of `intertwine audit`."""
    result = run(install, COMMAND, "audit", *arguments)
    assert "Traceback" not in result.stderr
    return result.returncode, " ".join((result.stdout + result.stderr).split())


def test_nothing_of_the_extras_can_be_imported(install: Path) -> None:
    code = RUN + (
        "import importlib.util\n"
        "print(*(name for name in sys.argv[1:] if importlib.util.find_spec(name) is not None))"
    )
    assert run(install, code, *EXTRAS).stdout == "\n"
    assert run(install, code, "numpy", "py_ecc", "flint").stdout == "numpy py_ecc flint\n"


def test_there_is_no_network(install: Path) -> None:
    """Not even the way to this machine's own ports, which are open here."""
    code = RUN + (
        "import socket\n"
        "print(*(name for _, name in socket.if_nameindex()))\n"
        "try: socket.create_connection(('127.0.0.1', int(sys.argv[1])), 2)\n"
        "except OSError as error: print(error.strerror)"
    )
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        socket.create_connection(("127.0.0.1", port), 2).close()
        assert run(install, code, port).stdout == "lo\nNetwork is unreachable\n"


def test_good_bundle(install: Path, bundle: Path, tmp_path: Path) -> None:
    code, text = audit(install, "verify", bundle, "--json", tmp_path / "verdict.json", "--independent")
    assert code == 0, text
    assert "PASS" in text
    assert "proofs verified: 1" in text
    assert (tmp_path / "verdict.json").exists()


def test_bad_bundle(install: Path, bundle: Path, tmp_path: Path) -> None:
    data = bundle.read_bytes()
    tampered = tmp_path / "tampered.bundle"
    tampered.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    code, text = audit(install, "verify", tampered)
    assert code == 1, text
    assert "FAIL" in text


def test_garbage(install: Path, tmp_path: Path) -> None:
    garbage = tmp_path / "garbage"
    garbage.write_bytes(os.urandom(1000))
    for command in ("verify", "verify-proof"):
        code, text = audit(install, command, garbage)
        assert code == 2, text
        assert "Error: " in text


@pytest.mark.parametrize(
    ("vector", "expected"), [("release-honest.json", 0), ("release-chunk_swapped.json", 1)]
)
def test_proof(install: Path, vector: str, expected: int) -> None:
    code, text = audit(install, "verify-proof", VECTORS / vector)
    assert code == expected, text
    assert ("PASS" if expected == 0 else "FAIL") in text

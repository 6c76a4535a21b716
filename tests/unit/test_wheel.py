"""The wheel is whole when it is built from what the containers' builder is given."""

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PARTS = ("client", "models", "protocols", "server", "zk")


def builders_context(folder: Path) -> Path:
    """A copy of what `.dockerignore` lets through."""
    rules = (ROOT / ".dockerignore").read_text().splitlines()
    ignore = shutil.ignore_patterns("__pycache__")
    for kept in (rule.removeprefix("!") for rule in rules if rule.startswith("!")):
        source, target = ROOT / kept, folder / kept
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, target, ignore=ignore)
        else:
            shutil.copy(source, target)
    return folder


@pytest.fixture(scope="module")
def names(tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    context = builders_context(tmp_path_factory.mktemp("context"))
    output = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(output)]
    subprocess.run(command, cwd=context, check=True, capture_output=True, timeout=60)
    (wheel,) = output.glob("intertwine-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        return set(archive.namelist())


def test_the_wheel_holds_every_file_of_every_part(names: set[str]) -> None:
    expected = set()
    for part in PARTS:
        for folder, _, files in os.walk(ROOT / part / "intertwine"):
            relative = Path(folder).relative_to(ROOT / part)
            if "__pycache__" not in relative.parts:
                expected |= {str(relative / name) for name in files}
    assert {name for name in names if ".dist-info/" not in name} == expected


def test_the_wheel_holds_what_is_read_at_run_time(names: set[str]) -> None:
    assert {f"intertwine/{part}/py.typed" for part in PARTS} <= names
    assert {
        "intertwine/zk/reference_string.bin",
        "intertwine/zk/audit/report_page.css",
        "intertwine/models/catalogue.csv",
        "intertwine/models/simulated_whitening.csv",
        "intertwine/server/migrations/env.py",
    } <= names
    assert any(name.startswith("intertwine/server/migrations/versions/") for name in names)
    assert any(name.endswith("/entry_points.txt") for name in names)
    assert any(name.endswith("/licenses/LICENSE") for name in names)


def test_the_wheel_is_one_part_of_a_namespace(names: set[str]) -> None:
    assert "intertwine/__init__.py" not in names

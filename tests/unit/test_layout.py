"""The layout that the namespace depends on."""

from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PARTS = ("server", "client", "protocols", "zk", "models")


@pytest.mark.parametrize("part", PARTS)
def test_each_part_is_a_typed_portion_of_the_namespace(part: str) -> None:
    namespace = ROOT / part / "intertwine"
    assert not (namespace / "__init__.py").exists(), "an __init__.py here would hide the other parts"
    assert (namespace / part / "py.typed").is_file()
    assert [path.name for path in namespace.iterdir() if path.is_dir() and path.name != "__pycache__"] == [
        part
    ]

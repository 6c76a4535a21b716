"""What every test may rely on: its SIGINT to a process arrives, and there is a database server if it asks."""

import signal
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.postgres import Cluster


def pytest_configure() -> None:
    """A shell that runs the tests in the background has SIGINT ignored, and children inherit that."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def postgresql() -> "Iterator[Cluster]":
    """A running PostgreSQL server; each test makes its own databases on it."""
    from tests.postgres import binaries, cluster

    programs = binaries()
    if programs is None:
        pytest.skip("PostgreSQL's server is not installed on this machine")
    with cluster(programs) as running:
        yield running

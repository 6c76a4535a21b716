"""What every test may rely on: a SIGINT that it sends to a process arrives."""

import signal


def pytest_configure() -> None:
    """A shell that runs the tests in the background has SIGINT ignored, and children inherit that."""
    signal.signal(signal.SIGINT, signal.default_int_handler)

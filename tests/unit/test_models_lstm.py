"""The LSTM: its size and where it starts."""

import hashlib

from intertwine.models import lstm
from intertwine.models.lstm import LSTM


def test_the_dimension_is_that_of_one_bias_per_gate() -> None:
    assert lstm.DIMENSION == 1361 == sum(value.numel() for value in LSTM().parameters())


def test_initial_parameters_are_pinned() -> None:
    """Other bits here mean other models everywhere: raise the task's version then."""
    parameters = lstm.initial_parameters()
    digest = hashlib.sha256(parameters.astype("<f8").tobytes()).hexdigest()
    assert digest == "1cdb5dcb4a3a32654dc26db578fb1518b4c4c57b532fc276d08f631dc8cc9d55"
    assert not parameters[-17:].any()

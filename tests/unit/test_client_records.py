"""How many records a participant must have: refused, warned, and in order."""

import logging
from pathlib import Path

import pytest

from intertwine.client.records import read_records
from intertwine.models.recipes import RECIPES
from intertwine.models.registry import TASKS, task
from intertwine.protocols.errors import InputError


def weekly(tmp_path: Path, series: int) -> Path:
    """A file of so many series, 25 weeks each."""
    days = [f"2023-{month:02}-{day:02}" for month, day in MONDAYS]
    rows = [f"S{sku},{day},{sku + week % 3}" for sku in range(series) for week, day in enumerate(days)]
    path = tmp_path / "units.csv"
    path.write_text("\n".join(["sku,week,units", *rows]))
    return path


MONDAYS = [
    *((1, day) for day in range(2, 31, 7)),
    *((2, day) for day in range(6, 28, 7)),
    *((3, day) for day in range(6, 28, 7)),
    *((4, day) for day in range(3, 25, 7)),
    *((5, day) for day in range(1, 30, 7)),
    *((6, day) for day in range(5, 20, 7)),
]


def test_five_series_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"has 5 records for task 'forecast', fewer than the 6") as caught:
        read_records(task("forecast"), weekly(tmp_path, 5))
    assert "take part without this task" in caught.value.remedy


@pytest.mark.parametrize(("series", "warned"), [(7, True), (59, True), (60, False)])
def test_few_series_are_warned_of(
    series: int, warned: bool, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        assert len(read_records(task("forecast"), weekly(tmp_path, series))) == series
    assert (f"only {series} records for task forecast" in caplog.text) == warned


@pytest.mark.parametrize("name", TASKS)
def test_the_floor_is_where_records_equal_the_noise(name: str) -> None:
    chosen = RECIPES[name]
    assert task(name).fewest_records == -(-chosen.sigma // chosen.record_bound)

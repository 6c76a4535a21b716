"""What participants' files may hold by mistake: each has an error that says where, or a set treatment."""

import subprocess
import sys
from collections.abc import Callable
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import pytest

from intertwine.models import baskets, series, table, vulnerability
from intertwine.models.catalogue import catalogue
from intertwine.models.forecast import ForecastTask
from intertwine.models.recipes import recipe
from intertwine.models.risk import RiskTask
from intertwine.models.simulation import Participants
from intertwine.protocols.errors import InputError

Write = Callable[[str], Path]

RISK = "id,cvss_vector,cwe,published,automatable,technical_impact,known_exploited"
VECTOR = "CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:H/A:H"
WEEKS = [(date(2024, 1, 1) + timedelta(weeks=week)).isoformat() for week in range(26)]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def to_file(text: str) -> Path:
        path = tmp_path / "data.csv"
        path.write_bytes(text.encode())
        return path

    return to_file


def weekly(units: Callable[[int], object] = lambda week: 3, skus: str = "AB") -> str:
    rows = [f"{sku},{day},{units(week)}" for sku in skus for week, day in enumerate(WEEKS)]
    return "\n".join(["sku,week,units", *rows]) + "\n"


@pytest.mark.parametrize(
    "day", ["20240108", "2024-W02-1", "08/01/2024", "2024-1-8", "2024-02-30", "2024-01-08T00:00", "08.01.24"]
)
def test_dates_have_one_form(write: Write, day: str) -> None:
    with pytest.raises(InputError, match=f"row 2, column week: '{day}' is not a date"):
        series.load(write(f"sku,week,units\nA,{day},1\n"))
    with pytest.raises(InputError, match=f"row 3, column published: '{day}' is not a date"):
        vulnerability.load(write(f"{RISK}\nV-1,,,2024-01-08,,,0\nV-2,,,{day},,,0\n"))


@pytest.mark.parametrize("units", ["-1", "nan", "inf", "-inf", "1e3", "1.0", "+1", "1_000", "٣", "10000001"])
def test_units_are_whole_numbers(write: Write, units: str) -> None:
    with pytest.raises(
        InputError, match=r"row 54, column units: .* is not a whole number from 0 to 10000000"
    ):
        series.load(write(weekly() + f"C,2024-01-01,{units}\n"))


@pytest.mark.parametrize(
    ("weeks", "row", "missing"),
    [
        (WEEKS[1:], 54, WEEKS[0]),
        (WEEKS[:-1], 78, WEEKS[-1]),
        (WEEKS[:9] + WEEKS[10:], 62, WEEKS[9]),
        (WEEKS[4:2:-1] + WEEKS[:2], 57, WEEKS[2]),
    ],
    ids=["begins late", "ends early", "in the middle", "out of order"],
)
def test_a_gap_is_named_with_the_row_before_it(
    write: Write, weeks: list[str], row: int, missing: str
) -> None:
    """Two whole products stand in rows 2 to 53, then one with a gap, whose rows may have any order."""
    text = weekly() + "".join(f"C,{day},1\n" for day in weeks)
    with pytest.raises(InputError, match=f"row {row}, column week: SKU C has .* and lacks {missing}"):
        series.load(write(text))


def test_rows_may_have_any_order_and_the_first_repetition_is_named(write: Write) -> None:
    header, *rows = weekly(lambda week: week).splitlines()
    shuffled = [rows[place] for place in np.random.default_rng(1).permutation(len(rows))]
    records = series.load(write("\n".join([header, *shuffled])))
    assert records.units.tolist() == [list(range(26))] * 2
    again = "\n".join([header, *shuffled, f"B,{WEEKS[3]},9", f"A,{WEEKS[0]},9", f"B,{WEEKS[3]},9"])
    with pytest.raises(InputError, match="row 55, column week: this SKU has that week twice"):
        series.load(write(again))


def test_constant_series_are_forecast(write: Write) -> None:
    """Nothing is divided by a series' own spread or level."""
    for units in (0, 7):
        records, task = series.load(write(weekly(lambda week, units=units: units))), ForecastTask()
        members = Participants(task, [records])
        found = members.simulate(recipe("forecast"), seed=1, noise=False)
        assert np.isfinite(found.parameters).all()
        assert np.isfinite([found.published[0].loss, found.published[0].metric]).all()
        ahead = task.reference(found.parameters, task.inputs(records))["forecast"]
        assert np.isfinite(ahead).all()
        assert units > 0 or not ahead.any()


def test_constant_features_train(write: Write) -> None:
    """What centres and whitens them is public: a participant's own spread of zero divides nothing."""
    rows = [f"V-{number},{VECTOR},CWE-79,2024-01-08,yes,total,{number % 2}" for number in range(60)]
    records, task = vulnerability.load(write("\n".join([RISK, *rows]))), RiskTask()
    assert not np.ptp(records.features, axis=0).any()
    found = Participants(task, [records]).simulate(recipe("risk"), seed=1, noise=False)
    assert np.isfinite(found.parameters).all()
    assert found.published[0].metric == 0.5


def test_a_customer_is_one_record_wherever_its_rows_stand(write: Write) -> None:
    codes = catalogue().codes
    rows = [f"a,{codes[1]}", f"b,{codes[1]}", f"a,{codes[1]}", f"a,{codes[2]}", f" a ,{codes[1]}"]
    records = baskets.load(write("\n".join(["customer,item", *rows])))
    assert records.customers == ("a", "b")
    assert records.full.sum(axis=1).tolist() == [2, 1]
    assert records.held_out.tolist() == [2, -1]


def test_unknown_items_are_left_out_and_a_customer_of_nothing_else_is_no_record(write: Write) -> None:
    rows = ["a,no such item", f"b,{catalogue().codes[3]}", "b,nor this"]
    records = baskets.load(write("\n".join(["customer,item", *rows])))
    assert records.customers == ("b",)
    assert records.full.sum() == 1


@pytest.mark.parametrize("end", ["\r\n", "\r", "\n\n"], ids=["Windows", "old Mac", "blank lines"])
def test_line_ends_of_any_system(write: Write, end: str) -> None:
    text = "\ufeff" + weekly().replace("\n", end).replace("A,", '"A",')
    assert series.load(write(text)).units.shape == (2, 26)


@pytest.mark.parametrize(
    ("cell", "message"),
    [
        (b"\xff", "row 4 is not UTF-8 text"),
        (b"\xed\xa0\x80", "row 4 is not UTF-8 text"),
        (b"A\0", "row 4, column sku: the cell holds a NUL character"),
        (b'"A', "row 104 goes on for more than 100 lines"),
        (b"x" * 2**18, "row 4 is longer than 262144 characters"),
        (b'"' + b"x" * 140_000 + b'"', "row 4 is not valid CSV: field larger"),
    ],
    ids=["bytes", "half a character", "NUL", "open quote", "endless line", "huge cell"],
)
def test_what_is_no_text_is_named_by_its_row(tmp_path: Path, cell: bytes, message: str) -> None:
    path = tmp_path / "data.csv"
    rows = [b"sku,week,units", b"\xc3\xa9,2024-01-01,1", b"B,2024-01-01,1", cell + b",2024-01-01,1"]
    path.write_bytes(b"\n".join([*rows, *[b"C,2024-01-01,1"] * 200]))
    with pytest.raises(InputError, match=message):
        series.load(path)


def test_how_many_records_are_read_is_bounded(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(series, "MAX_SKUS", 2)
    with pytest.raises(InputError, match="row 54, column sku: the file goes on after 2 SKUs"):
        series.load(write(weekly(skus="ABC")))
    monkeypatch.setattr(series, "MAX_ROWS", 30)
    with pytest.raises(InputError, match="row 32, column sku: the file goes on after 2 SKUs or 30 rows"):
        series.load(write(weekly()))
    monkeypatch.setattr(baskets, "MAX_CUSTOMERS", 1)
    code = catalogue().codes[0]
    with pytest.raises(InputError, match="row 3, column customer: the file goes on after 1 customers"):
        baskets.load(write(f"customer,item\na,{code}\nb,{code}\n"))
    monkeypatch.setattr(vulnerability, "MAX_RECORDS", 1)
    with pytest.raises(InputError, match="row 3, column id: the file goes on after 1 vulnerabilities"):
        vulnerability.load(write(f"{RISK}\nV-1,,,2024-01-08,,,0\nV-2,,,2024-01-08,,,0\n"))


LOADER = """
import re, sys
from pathlib import Path
from intertwine.models import baskets, registry, series, vulnerability
def kilobytes(what):
    return int(re.search(rf"{what}:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1])
baskets.catalogue()
Path("/proc/self/clear_refs").write_text("5")  # the peak so far is forgotten
before = kilobytes("VmRSS")
counts = [len(module.load(Path(sys.argv[1]))) for module in (series, baskets, vulnerability)]
print(*counts, kilobytes("VmHWM") - before)
"""


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="peak memory is read from /proc")
def test_a_large_file_takes_memory_for_its_records_alone(tmp_path: Path) -> None:
    """100 MB, nearly all of them in a column that no task reads."""
    path, padding, code = tmp_path / "large.csv", "x" * 8000, catalogue().codes[0]
    with path.open("w") as file:
        file.write(f"sku,week,units,customer,item,{RISK},notes\n")
        for number in range(480 * len(WEEKS)):
            sku, week = divmod(number, len(WEEKS))
            facts = f"V-{number},{VECTOR},CWE-79,2024-01-08,yes,total,0"
            file.write(f"{sku},{WEEKS[week]},1,c{number % 9},{code},{facts},{padding}\n")
    assert path.stat().st_size > 100e6
    command = [sys.executable, "-c", LOADER, str(path)]
    answer = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    *counts, kilobytes = map(int, answer.split())
    assert counts == [480, 9, 12_480]
    assert kilobytes < 40 << 10


def test_a_file_beyond_the_limit_is_not_opened(tmp_path: Path) -> None:
    path = tmp_path / "sparse.csv"
    with path.open("wb") as file:
        file.truncate(table.MAX_BYTES + 1)
    with pytest.raises(InputError, match=f"more than the {table.MAX_BYTES} allowed"):
        series.load(path)
    with pytest.raises(InputError, match="is not a file"):
        series.load(tmp_path)

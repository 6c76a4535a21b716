"""Participants' files: what is read, and how unusable ones are refused."""

from datetime import date, timedelta
from pathlib import Path

import numpy as np
import pytest

from intertwine.models import baskets, series, table, vulnerability
from intertwine.models.catalogue import catalogue
from intertwine.models.registry import task
from intertwine.protocols.errors import InputError

RISK_HEADER = "id,cvss_vector,cwe,published,automatable,technical_impact,known_exploited"
VECTOR = "CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:H/A:H"


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "data.csv"
    path.write_text(text, encoding="utf-8")
    return path


def weekly(weeks: int = 26) -> str:
    monday = date(2024, 1, 1)
    rows = [
        f"{sku},{(monday + timedelta(weeks=week)).isoformat()},{week % 5}"
        for sku in "BA"
        for week in range(weeks)
    ]
    return "\n".join(["sku,week,units", *rows])


def test_weekly_units_become_a_table(tmp_path: Path) -> None:
    records = series.load(write(tmp_path, weekly()))
    assert records.skus == ("A", "B")
    assert records.units.shape == (2, 26)
    assert records.units[0, :6].tolist() == [0, 1, 2, 3, 4, 0]
    assert series.EPOCH + timedelta(weeks=records.first_week) == date(2024, 1, 1)


def test_baskets_keep_the_orders_of_customers_and_of_purchase(tmp_path: Path) -> None:
    first, second, third = catalogue().codes[5], catalogue().codes[2], catalogue().codes[9]
    rows = [
        f"late,{first}",
        f"late,{second}",
        "late,unknown",
        f"late,{third.lower()}",
        f"late,{first}",
        f"early,{second}",
    ]
    records = baskets.load(write(tmp_path, "\n".join(["customer,item", *rows])))
    assert records.customers == ("late", "early")
    assert np.flatnonzero(records.full[0]).tolist() == [2, 5, 9]
    assert records.held_out.tolist() == [9, -1]
    assert np.flatnonzero(records.before.full[0]).tolist() == [2, 5]
    assert records.before.full[1].sum() == 1


def test_vulnerabilities_become_features(tmp_path: Path) -> None:
    rows = [f"V-1,{VECTOR},CWE-89,2020-01-31,Yes,total,1", "V-2,,,2024-10-30,,,0"]
    records = vulnerability.load(write(tmp_path, "\n".join([RISK_HEADER, *rows])))
    names = {name: records.features[:, i].tolist() for i, name in enumerate(vulnerability.FEATURES)}
    assert len(names) == 57
    assert records.score.tolist() == [9.8, 0.0]
    assert records.exploited.tolist() == [True, False]
    assert names["SQL injection"] == [1, 0]
    assert names["unscored"] == names["no CWE"] == [0, 1]
    assert names["automatable and total impact"] == names["older than 3 years"] == [1, 0]
    assert names["older than 5 years"] == [0, 0]


BAD_WEEKS = {
    "column_missing": (weekly().replace("units", "pieces"), "lacks the column units"),
    "no_rows": ("sku,week,units\n", "no rows"),
    "empty_file": ("", "lacks the columns"),
    "column_twice": ("sku,week,units,units\n", "twice"),
    "negative": (weekly() + "\nC,2024-01-01,-3", "row 54, column units: '-3'"),
    "nan": (weekly() + "\nC,2024-01-01,nan", "row 54, column units: 'nan'"),
    "fraction": (weekly() + "\nC,2024-01-01,1.5", "row 54, column units"),
    "too_many": (weekly() + "\nC,2024-01-01,99999999999", "row 54, column units"),
    "empty_cell": (weekly() + "\n,2024-01-01,1", "row 54, column sku: the cell is empty"),
    "not_a_date": (weekly() + "\nC,tomorrow,1", "row 54, column week: 'tomorrow'"),
    "not_a_monday": (weekly() + "\nC,2024-01-02,1", "not a Monday"),
    "week_twice": (weekly() + "\nA,2024-01-01,1", "that week twice"),
    "week_missing": (weekly() + "\nC,2024-01-01,1", "SKU C has 1 of the file's 26 weeks"),
    "too_short": (weekly(24), "spans 24 weeks"),
    "ragged_row": (weekly() + "\nC,2024-01-01", "row 54 has 2 cells"),
    "open_quote": (weekly() + '\n"C,2024-01-01,1', "not valid CSV"),
    "long_cell": (weekly() + f"\n{'x' * 201},2024-01-01,1", "longer than 200"),
}


@pytest.mark.parametrize("defect", BAD_WEEKS)
def test_unusable_weekly_units(defect: str, tmp_path: Path) -> None:
    text, message = BAD_WEEKS[defect]
    path = write(tmp_path, text)
    with pytest.raises(InputError, match=message) as caught:
        series.load(path)
    assert str(path) in caught.value.problem
    assert caught.value.remedy


BAD_BASKETS = {
    "column_missing": ("customer,thing\nc1,x", "lacks the column item"),
    "nothing_known": ("customer,item\nc1,x", "no item of the catalogue"),
    "empty_cell": ("customer,item\n,10002", "row 2, column customer"),
}


@pytest.mark.parametrize("defect", BAD_BASKETS)
def test_unusable_baskets(defect: str, tmp_path: Path) -> None:
    text, message = BAD_BASKETS[defect]
    with pytest.raises(InputError, match=message):
        baskets.load(write(tmp_path, text))


BAD_VULNERABILITIES = {
    "column_missing": ("id,cwe\nV-1,", "lacks the columns cvss_vector, published"),
    "vector": (f"{RISK_HEADER}\nV-1,AV:N,,2024-01-01,,,0", "row 2, column cvss_vector"),
    "weakness": (f"{RISK_HEADER}\nV-1,{VECTOR},89,2024-01-01,,,0", "row 2, column cwe: '89'"),
    "date": (f"{RISK_HEADER}\nV-1,{VECTOR},,01/02/2024,,,0", "row 2, column published"),
    "decision": (
        f"{RISK_HEADER}\nV-1,{VECTOR},,2024-01-01,maybe,,0",
        "column automatable: 'maybe' is not known",
    ),
    "label": (f"{RISK_HEADER}\nV-1,{VECTOR},,2024-01-01,,,", "row 2, column known_exploited"),
    "id_twice": (f"{RISK_HEADER}\nV-1,,,2024-01-01,,,0\nV-1,,,2024-01-01,,,0", "row 3, column id"),
}


@pytest.mark.parametrize("defect", BAD_VULNERABILITIES)
def test_unusable_vulnerabilities(defect: str, tmp_path: Path) -> None:
    text, message = BAD_VULNERABILITIES[defect]
    with pytest.raises(InputError, match=message):
        vulnerability.load(write(tmp_path, text))


def test_a_file_over_the_limit_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(table, "MAX_BYTES", 100)
    with pytest.raises(InputError, match="more than the 100 allowed"):
        series.load(write(tmp_path, weekly()))


def test_a_file_that_is_not_text_or_not_there(tmp_path: Path) -> None:
    path = tmp_path / "data.csv"
    path.write_bytes(b"sku,week,units\n\xff")
    with pytest.raises(InputError, match="not UTF-8"):
        series.load(path)
    with pytest.raises(InputError, match="cannot be read"):
        series.load(tmp_path / "absent.csv")


def test_an_unknown_task_is_refused_with_the_known_ones() -> None:
    with pytest.raises(InputError, match="forecast, recommendation, risk"):
        task("weather")

"""`intertwine agent data import risk`, from files on disk to a portfolio that loads."""

import json
import stat
from pathlib import Path

import pytest
from typer.testing import CliRunner

from intertwine.client.data_cli import data
from intertwine.models import vulnerability
from intertwine.protocols.errors import InputError


def record(name: str, vendor: str) -> str:
    vector = "CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:H/A:H"
    cna = {"metrics": [{"cvssV3_1": {"vectorString": vector}}], "affected": [{"vendor": vendor}]}
    metadata = {"cveId": name, "state": "PUBLISHED", "datePublished": "2024-05-01T00:00:00Z"}
    head = {"dataType": "CVE_RECORD", "dataVersion": "5.1"}
    return json.dumps(head | {"cveMetadata": metadata, "containers": {"cna": cna}})


@pytest.fixture
def command(tmp_path: Path) -> list[str]:
    (tmp_path / "cves").mkdir()
    for name, vendor in (("CVE-2024-0001", "Fortinet"), ("CVE-2024-0002", "ASUS")):
        (tmp_path / "cves" / f"{name}.json").write_text(record(name, vendor))
    (tmp_path / "kev.csv").write_text("cveID,dateAdded\nCVE-2024-0001,5/2/2024\n")
    (tmp_path / "epss.csv").write_text("#model_version:v1\ncve,epss\nCVE-2024-0001,0.9\nCVE-2024-0002,0.1\n")
    words = ["import", "risk", "--kev", f"{tmp_path}/kev.csv", "--output", f"{tmp_path}/portfolio.csv"]
    return [*words, "--cve", f"{tmp_path}/cves", "--epss", f"{tmp_path}/epss.csv"]


def test_the_portfolio_is_private_and_loads(command: list[str], tmp_path: Path) -> None:
    result = CliRunner().invoke(data, command)
    assert result.exit_code == 0, result.output
    assert "2 vulnerabilities, 1 of them known exploited" in result.output
    assert "2 have an EPSS score (model_version:v1)" in result.output
    output = tmp_path / "portfolio.csv"
    assert vulnerability.load(output).exploited.tolist() == [True, False]
    assert stat.S_IMODE(output.stat().st_mode) == 0o600


def test_vendor_and_since_select(command: list[str], tmp_path: Path) -> None:
    CliRunner().invoke(data, [*command, "--vendor", "fortinet", "--since", "2024-05-01"])
    assert vulnerability.load(tmp_path / "portfolio.csv").ids == ("CVE-2024-0001",)


def test_a_fault_leaves_nothing_behind(command: list[str], tmp_path: Path) -> None:
    (tmp_path / "epss.csv").write_text("cve,epss\nCVE-2024-0001,NaN\n")
    result = CliRunner().invoke(data, command)
    assert isinstance(result.exception, InputError)
    assert "row 2, column epss: 'NaN'" in str(result.exception)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cves", "epss.csv", "kev.csv"]


def test_a_source_of_vulnerabilities_is_needed(command: list[str]) -> None:
    result = CliRunner().invoke(data, command[:6])
    assert "no source of vulnerabilities" in str(result.exception)


def test_a_vendor_needs_a_name(command: list[str]) -> None:
    result = CliRunner().invoke(data, [*command, "--vendor", " - "])
    assert "--vendor has neither letters nor digits" in str(result.exception)

"""`intertwine agent data`: make a task's data file from public sources."""

from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from intertwine.models.vulnerability_sources.portfolio import Portfolio, Selection, Sources, build
from intertwine.models.vulnerability_sources.record import vendor_name
from intertwine.protocols.errors import InputError
from intertwine.protocols.files import write_private

data = typer.Typer(help="Make data files from public sources.", no_args_is_help=True)
imports = typer.Typer(
    help="Import a task's data from files in their publishers' formats.", no_args_is_help=True
)
data.add_typer(imports, name="import")
console = Console()


@imports.command()
def risk(
    kev: Annotated[Path, typer.Option(help="CISA's Known Exploited Vulnerabilities, JSON or CSV.")],
    output: Annotated[Path, typer.Option(help="The portfolio to write, a CSV file.")],
    cve: Annotated[
        list[Path] | None, typer.Option(help="CVE 5 records: a file, folder, zip or tar; may be repeated.")
    ] = None,
    nvd: Annotated[
        list[Path] | None, typer.Option(help="NVD 2.0 JSON, plain or gzip; may be repeated.")
    ] = None,
    epss: Annotated[Path | None, typer.Option(help="An EPSS file, CSV or CSV.gz.")] = None,
    vendor: Annotated[
        list[str] | None, typer.Option(help="Only this vendor's products; may be repeated.")
    ] = None,
    since: Annotated[
        datetime | None, typer.Option(formats=["%Y-%m-%d"], help="Only what was published from this day on.")
    ] = None,
) -> None:
    """Join public vulnerability data into a portfolio for the risk task. Reads files only, no network."""
    if not cve and not nvd:
        raise InputError("There is no source of vulnerabilities.", "Give --cve or --nvd at least once.")
    sources = Sources(kev, tuple(cve or ()), tuple(nvd or ()), epss)
    vendors = frozenset(vendor_name(name) for name in vendor or ())
    if "" in vendors:
        raise InputError(
            "A --vendor has neither letters nor digits.", "Give a vendor's name, or leave it out."
        )
    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as bars:
        bar = bars.add_task("reading")
        portfolio = build(
            sources,
            Selection(vendors, since.date() if since else None),
            lambda name, count: bars.update(bar, description=f"{name}: {count:,} records"),
        )
    write_private(output, portfolio.csv())
    _report(portfolio, output)


def _report(portfolio: Portfolio, output: Path) -> None:
    exploited = sum(cve.id in portfolio.exploited for cve in portfolio.rows)
    assessed = sum(bool(cve.automatable and cve.technical_impact) for cve in portfolio.rows)
    scored = sum(bool(cve.vector) for cve in portfolio.rows)
    lines = [
        f"{output}: {len(portfolio.rows):,} vulnerabilities, {exploited:,} of them known exploited.",
        f"{scored:,} have a CVSS 3 vector, {assessed:,} have CISA's SSVC decision points.",
    ]
    if portfolio.epss is not None:
        edition = portfolio.epss.edition[:100] or "of unknown date"
        lines.append(f"{len(portfolio.epss.scores):,} have an EPSS score ({edition}).")
    for line in [*lines, *portfolio.notes.lines()]:
        console.print(line, markup=False, highlight=False, soft_wrap=True)

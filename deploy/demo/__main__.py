"""`make demo`: start a federation, run it to its end, audit it, write the report."""

import argparse
import shutil
import sys
import time
from pathlib import Path

from rich.console import Console

from deploy.demo.data import write_participant_files
from deploy.demo.federation import Federation
from deploy.demo.processes import Daemons, intertwine, show
from deploy.demo.report import shortcomings, write_report
from intertwine.protocols.errors import IntertwineError


def main() -> int:
    """Run the demo; the exit code says whether everything, the audit included, went well."""
    parser = argparse.ArgumentParser(prog="make demo", description=__doc__)
    parser.add_argument("--output", type=Path, default=Path("build/demo"), help="folder to write, made anew")
    output: Path = parser.parse_args().output
    console = Console()
    try:
        problems = _run(output, console)
    except IntertwineError as error:
        Console(stderr=True, soft_wrap=True).print(f"Error: {error}", style="red", markup=False)
        return error.exit_code
    except KeyboardInterrupt:
        console.print("Interrupted; every process has been ended.")
        return 130
    for problem in problems:
        Console(stderr=True, soft_wrap=True).print(
            f"Not as it should be: {problem}", style="red", markup=False
        )
    return 1 if problems else 0


def _run(output: Path, console: Console) -> list[str]:
    """Run everything; returns what did not go as the demo promises."""
    started = time.monotonic()
    shutil.rmtree(output, ignore_errors=True)
    (output / "logs").mkdir(parents=True)
    data = write_participant_files(output / "data")
    bundle, audit = output / "demo.bundle", output / "audit.json"
    with Daemons(output / "logs").guard() as daemons:
        federation = Federation(output, data, daemons)
        federation.start()
        enrolments = federation.enrol_records()
        federation.train()
        predictions = federation.predictions()
        federation.drill()
        budgets = federation.budgets()
        federation.export(bundle)
        federation.stop()
    show(
        intertwine(
            *("audit", "verify", str(bundle), "--log-key", federation.log_key(), "--no-cache"),
            *("--json", str(audit), "--html", str(output / "audit.html")),
        ),
        (0, 1),
    )
    report = write_report(
        output,
        data=data,
        enrolments=enrolments,
        budgets=budgets,
        predictions=predictions,
        seconds=time.monotonic() - started,
    )
    page = output / "report.html"
    console.print(f"Report: [bold]{page}[/]  ({time.monotonic() - started:.0f} s)")
    return shortcomings(report)


if __name__ == "__main__":
    sys.exit(main())

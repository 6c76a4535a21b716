"""`make demo`: start a federation, run it to its end, audit it, write the report."""

import argparse
import shutil
import sys
import time
from pathlib import Path

from deploy.demo.data import write_participant_files
from deploy.demo.federation import Federation
from deploy.demo.processes import Daemons, intertwine, show
from deploy.demo.report import write_report
from rich.console import Console

from intertwine.protocols.errors import IntertwineError


def main() -> int:
    """Run the demo; the exit code says whether everything, the audit included, went well."""
    parser = argparse.ArgumentParser(prog="make demo", description=__doc__)
    parser.add_argument("--output", type=Path, default=Path("build/demo"), help="folder to write, made anew")
    output: Path = parser.parse_args().output
    console = Console()
    try:
        _run(output, console)
    except IntertwineError as error:
        Console(stderr=True, soft_wrap=True).print(f"Error: {error}", style="red", markup=False)
        return error.exit_code
    except KeyboardInterrupt:
        console.print("Interrupted; every process has been ended.")
        return 130
    return 0


def _run(output: Path, console: Console) -> None:
    started = time.monotonic()
    shutil.rmtree(output, ignore_errors=True)
    (output / "logs").mkdir(parents=True)
    data = write_participant_files(output / "data")
    bundle, audit = output / "bundle", output / "audit.json"
    with Daemons(output / "logs").guard() as daemons:
        federation = Federation(output, data, daemons)
        federation.start()
        federation.train()
        predictions = federation.predictions()
        budgets = federation.budgets()
        federation.export(bundle)
    show(intertwine("audit", "verify", str(bundle), "--json", str(audit)))
    report = write_report(
        output,
        data=data,
        budgets=budgets,
        predictions=predictions,
        seconds=time.monotonic() - started,
    )
    console.print(f"Report: [bold]{report}[/]  ({time.monotonic() - started:.0f} s)")


if __name__ == "__main__":
    sys.exit(main())

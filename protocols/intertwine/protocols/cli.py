"""The `intertwine` command: one group for each role, loaded only when it is used."""

import importlib
import sys

import click
import typer
from rich.console import Console
from rich.text import Text

from intertwine.protocols.errors import IntertwineError, missing_package

# Group → (module, name of the typer application, extra that brings it, one line of help).
_GROUPS = {
    "agent": ("intertwine.client.cli", "agent", "Take part: enrol, run rounds, see the budget, predict."),
    "audit": ("intertwine.zk.audit.cli", "", "Verify what a federation did; watch its log, or witness it."),
    "coordinator": (
        "intertwine.server.cli",
        "coordinator",
        "Run a federation: invite, launch, follow, stop.",
    ),
}


class _Groups(click.Group):
    """Resolves a role's commands on first use, so that an auditor needs no torch and no web server."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(_GROUPS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _GROUPS:
            return None
        module, extra, summary = _GROUPS[cmd_name]
        if "--help" in sys.argv[1:2] or len(sys.argv) == 1:
            return click.Group(cmd_name, help=summary)
        try:
            application = importlib.import_module(module).app
        except ModuleNotFoundError as error:
            if (error.name or "").startswith("intertwine"):
                raise
            problem = f"`intertwine {cmd_name}` needs {error.name}, which is not installed."
            raise missing_package(problem, extra) from error
        return typer.main.get_command(application)


def main() -> None:
    """Entry point: run a command, print errors as sentences, exit with the error's code."""
    try:
        command = _Groups(
            name="intertwine", help="Federated edge deployment with proven differential privacy."
        )
        click.version_option(package_name="intertwine", prog_name="intertwine")(command)
        # Outside standalone mode click returns the code of `typer.Exit` instead of exiting with it.
        code = command(standalone_mode=False)
        sys.exit(code if isinstance(code, int) else 0)
    except IntertwineError as error:
        _fail(str(error), error.exit_code)
    except click.ClickException as error:
        error.show()
        sys.exit(2)
    except (click.Abort, KeyboardInterrupt):
        _fail("Interrupted.", 130)


def _fail(message: str, code: int) -> None:
    Console(stderr=True, soft_wrap=True).print(Text.assemble(("Error: ", "bold red"), message))
    sys.exit(code)

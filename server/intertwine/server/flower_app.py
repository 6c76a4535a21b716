"""The ServerApp that Flower loads in a run's process: it hands the nodes to the round protocol."""

from flwr.app import Context
from flwr.serverapp import Grid, ServerApp

from intertwine.server.fleet import Fleet

app = ServerApp()


@app.main()
def main(grid: Grid, context: Context) -> None:
    """Drive the run that `run_config` names; an exception ends Flower's run as finished:failed."""
    # Imported here, so that its failure is the run's failure and is reported as such.
    from intertwine.server.driver import drive  # noqa: PLC0415

    with Fleet(grid) as fleet:
        drive(fleet, dict(context.run_config), context.run_id)

"""`intertwine audit witness`: co-sign a log's checkpoints, so that it cannot show two histories unseen."""

import logging
import signal
import sys
from pathlib import Path
from typing import Annotated

import typer

from intertwine.protocols.note import VerifierKey
from intertwine.zk.audit.witness import Witness, WitnessHome
from intertwine.zk.audit.witness_server import WitnessServer

app = typer.Typer(no_args_is_help=True, help="Co-sign a log's checkpoints: make a witness and run it.")

HomeOption = Annotated[Path, typer.Option("--home", help="The witness's home folder.")]
_DEFAULT_HOME = Path.home() / ".intertwine" / "witness"


@app.command()
def init(
    name: Annotated[str, typer.Option(help="A name for its key, such as witness.example/w1.")],
    home: HomeOption = _DEFAULT_HOME,
) -> None:
    """Make a home with a fresh key; print the line for policies. Safe to run twice."""
    typer.echo(f"witness {name} {WitnessHome.create(home, name).verifier}")


@app.command()
def serve(
    log: Annotated[list[str], typer.Option(help="A log's verifier key; once for each log that it follows.")],
    home: HomeOption = _DEFAULT_HOME,
    host: Annotated[str, typer.Option(help="Address to bind to.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65_535, help="Port; 0 for any that is free.")] = 8444,
) -> None:
    """Answer logs that ask for a co-signature; ends with Ctrl-C or SIGTERM."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    witness = Witness(WitnessHome.open(home), [VerifierKey.parse(text) for text in log])
    try:
        with WitnessServer(witness, host, port) as server:
            typer.echo(f"Ready: {server.url}")
            sys.stdout.flush()
            server.serve_forever()
    except KeyboardInterrupt:
        return
    finally:
        witness.close()

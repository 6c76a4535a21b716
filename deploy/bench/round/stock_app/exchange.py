"""An app for stock Flower: every node gets a random vector and answers with another of the same size.

Vectors differ every time, because Flower sends no object twice.
"""

import json
import time
from pathlib import Path

import numpy as np
from flwr.app import ArrayRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import FedAvg

TIMEOUT_S = 300.0
server = ServerApp()
client = ClientApp()


@client.train()
def answer(message: Message, context: Context) -> Message:
    """A vector in the place of an update."""
    dimension = int(context.run_config["dimension"])
    content = RecordDict({"arrays": _vector(dimension), "metrics": MetricRecord({"num-examples": 1})})
    return Message(content, reply_to=message)


@server.main()
def main(grid: Grid, context: Context) -> None:
    """Run the rounds once all nodes are there, and write how many seconds they took together."""
    config = context.run_config
    nodes, rounds, dimension = (int(config[key]) for key in ("nodes", "rounds", "dimension"))
    while len(list(grid.get_node_ids())) < nodes:
        time.sleep(0.1)
    started = time.monotonic()
    if config["strategy"] == "fedavg":
        strategy = FedAvg(fraction_evaluate=0.0, min_train_nodes=nodes, min_available_nodes=nodes)
        strategy.start(grid, _vector(dimension), num_rounds=rounds, timeout=TIMEOUT_S)
    else:
        for _ in range(rounds * int(config["exchanges"])):
            _exchange(grid, dimension)
    seconds = time.monotonic() - started
    Path(str(config["output"])).write_text(json.dumps({"seconds": seconds}))


def _exchange(grid: Grid, dimension: int) -> None:
    content = RecordDict({"arrays": _vector(dimension)})
    messages = [Message(content, node, "train") for node in grid.get_node_ids()]
    replies = list(grid.send_and_receive(messages, timeout=TIMEOUT_S))
    if len(replies) != len(messages) or any(reply.has_error() for reply in replies):
        raise RuntimeError("a node did not answer")


def _vector(dimension: int) -> ArrayRecord:
    return ArrayRecord([np.random.default_rng().normal(size=dimension)])

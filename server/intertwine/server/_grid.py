"""Pulls replies as Flower's `HttpGrid.pull_messages` does, but without its pause of a second.

A SuperNode announces a reply before it uploads it. Who looks in between, and with frequent looks that is
every other time, waits for `initial_backoff` seconds before the next try; `HttpGrid` leaves that at 1.
The connection of the grid is a private attribute of flwr 1.41: this file is the only one that uses it.
"""

from concurrent.futures import ThreadPoolExecutor

import httpx
from flwr.app import Message
from flwr.proto.message_pb2 import ConfirmMessageReceivedRequest, ObjectTree
from flwr.proto.runtime_pb2 import PullAppMessagesRequest
from flwr.serverapp import Grid
from flwr.supercore.inflatable.inflatable_object import iterate_object_tree
from flwr.supercore.inflatable.inflatable_protobuf_utils import make_pull_object_fn_protobuf
from flwr.supercore.inflatable.inflatable_utils import (
    ObjectPullError,
    inflate_object_from_contents,
    pull_objects,
)
from flwr.superlink.grid import HttpGrid

_BACK_OFF_S = (0.05, 1.0)
_CONNECTIONS = 16
_UPLOAD_S = 60.0
"""How long an announced reply may take to be uploaded before it counts as lost."""


def pull_replies(grid: Grid, message_ids: list[str]) -> dict[str, Message | None]:
    """Replies to these messages that have come by now, keyed by the id of the message that they answer.

    None stands for a reply that was announced and could not be fetched. Confirmed replies are deleted on
    the SuperLink, so each is returned once.
    """
    if not isinstance(grid, HttpGrid):
        return {message.metadata.reply_to_message_id: message for message in grid.pull_messages(message_ids)}
    announced = grid._runtime_client.PullMessages(PullAppMessagesRequest(message_ids=message_ids))
    requests = [header.metadata.reply_to_message_id for header in announced.messages_list]
    if not requests:
        return {}
    # Side by side: a node that announces a reply and never uploads it must not cost the others theirs.
    with ThreadPoolExecutor(max_workers=min(len(requests), _CONNECTIONS)) as pool:
        fetched = pool.map(lambda tree: _fetch(grid, tree), announced.message_object_trees)
        return dict(zip(requests, fetched, strict=True))


def _fetch(grid: HttpGrid, tree: ObjectTree) -> Message | None:
    client, run_id = grid._runtime_client, grid.run.run_id
    try:
        contents = pull_objects(
            [branch.object_id for branch in iterate_object_tree(tree)],
            make_pull_object_fn_protobuf(client.PullObject, grid.node, run_id),
            max_time=_UPLOAD_S,
            initial_backoff=_BACK_OFF_S[0],
            backoff_cap=_BACK_OFF_S[1],
        )
        message = inflate_object_from_contents(tree.object_id, contents)
    except (ObjectPullError, httpx.HTTPError, ValueError):
        return None
    client.ConfirmMessageReceived(
        ConfirmMessageReceivedRequest(node=grid.node, run_id=run_id, message_object_id=tree.object_id)
    )
    return message if isinstance(message, Message) else None

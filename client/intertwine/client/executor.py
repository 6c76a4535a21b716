"""The resident executor: answers the coordinator's requests with this package's code, and no other.

Flower's own executor would unpack the app bundle that the coordinator sends and import it. This one takes
the place of `flower-superexec` and `flwr-clientapp`: it pulls tasks from the SuperNode on loopback,
compares the bundle with the one known hash without opening it, and hands the request's bytes to a handler
of the installed package. It speaks the Runtime API of flwr 1.41 through Flower's internal client.
"""

import logging
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import httpx
from flwr.app import ConfigRecord, Error, Message, RecordDict
from flwr.common.constant import ErrorCode, SubStatus
from flwr.common.serde import context_from_proto
from flwr.proto.node_pb2 import Node
from flwr.proto.runtime_pb2 import (
    AcquireTaskRequest,
    PullAppMessagesRequest,
    PullTaskInputRequest,
    PushTaskOutputRequest,
    SendTaskHeartbeatRequest,
)
from flwr.supercore.constant import TASK_TOKEN_HEADER, TaskType
from flwr.supercore.heartbeat import HeartbeatSender
from flwr.supercore.inflatable.inflatable_protobuf_utils import (
    make_confirm_message_received_fn_protobuf,
    make_pull_object_fn_protobuf,
)
from flwr.supercore.inflatable.inflatable_utils import pull_and_inflate_object_from_tree
from flwr.supercore.interceptors import SuperExecAuthHttpInterceptor
from flwr.supercore.protobuf.client import ProtobufCall, ProtobufRequestContext
from flwr.supercore.runtime import RuntimeHttpClient
from flwr.supernode.runtime.run_clientapp import push_message

from intertwine.client.connection import Connection
from intertwine.client.supernode import SuperNode
from intertwine.protocols.errors import FederationError, VerificationError
from intertwine.protocols.fab import AWAKE_TYPE, FIELD, PAYLOAD_LIMIT, RECORD, REQUEST_TYPE, check_fab
from intertwine.protocols.flower import exempt_loopback

_log = logging.getLogger(__name__)

_POLL_S = 0.2
"""Pause between two looks for a task. The SuperNode looks for the reply every 0.5 s: faster gains nothing."""
_PULL_S = (0.05, 1.0)
"""First and longest pause while the SuperNode does not have all of a request yet."""
_MESSAGE_S = 20.0
"""How long an offered request may take to arrive; after that the SuperNode is started anew."""
_AWAKE_S = 0.5
"""How long an empty request is held: it keeps the SuperNode from a sleep of 3 s, at half the traffic of 0."""
_RESTART_S = (1.0, 10.0)
"""First and longest pause before a SuperNode that ended is started again. One that could not sign off is
refused until the SuperLink has missed its heartbeat, for about a minute."""
_LASTED_S = 60.0

Handler = Callable[[bytes, int], bytes]
"""Request payload and Flower's run id in, reply payload out; each at most `PAYLOAD_LIMIT` bytes."""


class Executor:
    """Serves the tasks of one SuperNode, one at a time.

    handler: what it raises is logged here and reaches the coordinator as a failure without any detail.
    connection: tells people about this SuperNode.
    """

    def __init__(self, supernode: SuperNode, handler: Handler, connection: Connection) -> None:
        self._supernode = supernode
        self._handler = handler
        self._connection = connection

    def run(self, stop: threading.Event) -> None:
        """Serve until `stop` is set, then end the SuperNode; a request in hand is answered first.

        Starts the SuperNode, and starts it again whenever it ends, at growing intervals up to 10 s. The
        SuperNode itself waits for a SuperLink that is away.
        """
        pause = _RESTART_S[0]
        try:
            while not stop.is_set():
                began = time.monotonic()
                self._supernode.start()
                self._connection.begin()
                self._serve(stop)
                self._supernode.stop()
                if stop.is_set():
                    return
                pause = _RESTART_S[0] if time.monotonic() - began > _LASTED_S else pause
                if self._connection.ended():
                    said = self._supernode.log_tail()
                    _log.warning("the SuperNode ended, and starts again in %g s. %s", pause, said)
                stop.wait(pause)
                pause = min(2 * pause, _RESTART_S[1])
        finally:
            self._supernode.stop()

    def _serve(self, stop: threading.Event) -> None:
        """Serve tasks until the SuperNode ends, a reply is lost on the way to it, or `stop` is set."""
        token = _TaskToken()
        with _connect(self._supernode, token) as client:
            while self._supernode.alive and not stop.is_set():
                self._connection.look()
                token.value = _acquire(client)
                if not token.value:
                    stop.wait(_POLL_S)
                elif not self._finish(client, stop):
                    # The SuperNode would wait for the lost reply for ever, and fetch no other request.
                    return
                token.value = ""

    def _finish(self, client: RuntimeHttpClient, stop: threading.Event) -> bool:
        """Do the task whose token is set; whether the SuperNode can go on."""
        try:
            with _heartbeat(client):
                given = client.PullTaskInput(PullTaskInputRequest())
                message = self._pull_message(
                    client, Node(node_id=given.context.node_id), given.run.run_id, stop
                )
                reply = self._reply(message, given.fab.content, given.run.run_id)
                push_message(client, reply, context_from_proto(given.context))
                client.PushTaskOutput(PushTaskOutputRequest(sub_status=SubStatus.COMPLETED))
        except Exception:
            if _is_withdrawn(client):
                _log.warning("a task was withdrawn before its reply was ready")
                return True
            _log.exception("a task's reply was lost on the way to the SuperNode")
            return False
        return True

    def _pull_message(
        self, client: RuntimeHttpClient, node: Node, run_id: int, stop: threading.Event
    ) -> Message:
        """The task's message. The SuperNode offers the task a moment before it has the message.

        FederationError if it never gets it, because the SuperLink was restarted in between.
        """
        pull = make_pull_object_fn_protobuf(client.PullObject, node, run_id)
        deadline = time.monotonic() + _MESSAGE_S

        def pull_object(object_id: str) -> bytes:
            self._require_message(deadline, stop)
            return pull(object_id)

        while not (pulled := client.PullMessages(PullAppMessagesRequest())).messages_list:
            self._require_message(deadline, stop)
            stop.wait(_PULL_S[0])
        tree = pulled.message_object_trees[0]
        message = pull_and_inflate_object_from_tree(
            tree,
            pull_object,
            make_confirm_message_received_fn_protobuf(client.ConfirmMessageReceived, node, run_id),
            return_type=Message,
            initial_backoff=_PULL_S[0],
            backoff_cap=_PULL_S[1],
        )
        # The id is the hash of the message and therefore not in it; the reply refers to it.
        message.metadata.__dict__["_message_id"] = tree.object_id
        return message

    def _require_message(self, deadline: float, stop: threading.Event) -> None:
        if stop.is_set() or not self._supernode.alive:
            raise FederationError("The SuperNode ended before it had the request.")
        if time.monotonic() > deadline:
            raise FederationError("The SuperNode has offered a request that it does not get.")

    def _reply(self, message: Message, fab: bytes, run_id: int) -> Message:
        """The reply to one message; never raises for what the message or the handler does."""
        try:
            check_fab(fab)
        except VerificationError as error:
            _log.error("run %d: %s", run_id, error)
            return Message(
                Error(ErrorCode.INVALID_FAB, "this app bundle is not accepted here"), reply_to=message
            )
        try:
            if message.metadata.message_type == AWAKE_TYPE:
                time.sleep(_AWAKE_S)
                return Message(RecordDict(), reply_to=message)
            payload = self._handler(_payload(message), run_id)
            if len(payload) > PAYLOAD_LIMIT:
                raise FederationError(f"The reply has {len(payload)} bytes, more than {PAYLOAD_LIMIT}.")
            return Message(RecordDict({RECORD: ConfigRecord({FIELD: payload})}), reply_to=message)
        except Exception:
            _log.exception("run %d: the request was not answered", run_id)
            reason = "the participant could not answer"
            return Message(Error(ErrorCode.CLIENT_APP_RAISED_EXCEPTION, reason), reply_to=message)


class _TaskToken:
    """Names the task in hand in each request of the client, while there is one."""

    value = ""

    def intercept(self, context: ProtobufRequestContext, call_next: ProtobufCall) -> httpx.Response:
        if self.value:
            context.request.headers[TASK_TOKEN_HEADER] = self.value
        return call_next(context)


def _connect(supernode: SuperNode, token: _TaskToken) -> RuntimeHttpClient:
    # No retry invoker: Flower's sends SIGINT to its own process on a 401, which would end the agent.
    exempt_loopback(os.environ)
    secret = SuperExecAuthHttpInterceptor(
        master_secret=supernode.secret, protected_methods={"/flwr.proto.Runtime/AcquireTask"}
    )
    return RuntimeHttpClient.from_server_address(
        supernode.runtime_address, insecure=True, root_certificates=None, interceptors=[secret, token]
    )


def _is_withdrawn(client: RuntimeHttpClient) -> bool:
    """Whether the SuperNode has given up the task itself: it took too long, or its message is gone."""
    try:
        client.SendTaskHeartbeat(SendTaskHeartbeatRequest())
    except httpx.HTTPStatusError as error:
        return error.response.status_code == httpx.codes.UNAUTHORIZED
    except httpx.TransportError:
        pass
    return False


def _acquire(client: RuntimeHttpClient) -> str:
    """The token of the next task; empty if there is none or the SuperNode does not answer (yet)."""
    try:
        answer = client.AcquireTask(AcquireTaskRequest(supported_task_types=[TaskType.CLIENT_APP]))
    except httpx.HTTPError as error:
        _log.debug("the SuperNode gives no task: %s", error)
        return ""
    return str(answer.token)


@contextmanager
def _heartbeat(client: RuntimeHttpClient) -> Iterator[None]:
    """Tell the SuperNode every 20 s that the task in hand is alive, however long the handler takes."""

    def beat() -> bool:
        try:
            client.SendTaskHeartbeat(SendTaskHeartbeatRequest())
        except httpx.TransportError:
            return False  # tried again
        except httpx.HTTPStatusError as error:
            _log.debug("the task's heartbeat was refused: %s", error)
        return True

    sender = HeartbeatSender(beat)
    sender.start()
    try:
        yield
    finally:
        sender.stop()


def _payload(message: Message) -> bytes:
    record = message.content.get(RECORD)
    payload = record.get(FIELD) if isinstance(record, ConfigRecord) else None
    if message.metadata.message_type != REQUEST_TYPE or not isinstance(payload, bytes):
        raise FederationError("The request is not in the form of this release.")
    if len(payload) > PAYLOAD_LIMIT:
        raise FederationError(f"The request has {len(payload)} bytes, more than {PAYLOAD_LIMIT}.")
    return payload

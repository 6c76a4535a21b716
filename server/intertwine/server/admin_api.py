"""Administration and audit over HTTP, for callers that were granted a role.

What changes something is logged in the same transaction as an act of whoever asked for it.
"""

import logging
import shutil
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, TypeAlias

from fastapi import APIRouter, Depends, Query
from fastapi.responses import FileResponse
from pydantic import BaseModel, ConfigDict, Field
from starlette.background import BackgroundTask

from intertwine.server.access import Caller, CallerRole
from intertwine.server.cosigning import coordinator_policy
from intertwine.server.enrolment import invite
from intertwine.server.export import export_bundle
from intertwine.server.home import Home
from intertwine.server.store import Run, Store
from intertwine.server.supervisor import stop as stop_run
from intertwine.server.views import ParticipantView, RunView, participant_views, run_views

_log = logging.getLogger(__name__)
# One bundle at a time: it holds the whole log and its files, and fills the disk that the log grows on.
_exporting = threading.Lock()

Authorise: TypeAlias = Callable[..., Callable[..., Caller]]
# Tells Flower that a run has ended.
ForgetDriver: TypeAlias = Callable[[Run], None]


class InvitationOrder(BaseModel):
    """Whom to invite. hours: how long the token is valid."""

    model_config = ConfigDict(extra="forbid", strict=True)

    participant: str
    role: str
    tasks: Annotated[list[str], Field(max_length=100)]
    hours: Annotated[float, Field(gt=0, le=24 * 365)] = 72.0


class InvitationToken(BaseModel):
    """A one-time token, shown this once."""

    token: str


def admin_router(home: Home, store: Store, allow: Authorise, forget: ForgetDriver) -> APIRouter:
    """The paths for coordinators, and those that auditors may read.

    allow: makes, from roles, the dependency that admits a caller with one of them.
    """
    router = APIRouter(prefix="/v1")
    coordinator: CallerRole = "coordinator"
    reader = Depends(allow("auditor", coordinator))
    Administrator: TypeAlias = Annotated[Caller, Depends(allow(coordinator))]

    @router.get("/participants", dependencies=[reader])
    def participants() -> list[ParticipantView]:
        """Everyone who ever enrolled."""
        return participant_views(store)

    @router.get("/runs", dependencies=[reader])
    def runs() -> list[RunView]:
        """Every run, and how it stands."""
        return run_views(store)

    @router.get("/bundle", dependencies=[reader], response_class=FileResponse)
    def bundle(run: Annotated[list[str], Query(max_length=100)] = []) -> FileResponse:  # noqa: B006
        """The bundle that auditors verify, with the files of the named runs, or of all."""
        folder = Path(tempfile.mkdtemp(prefix=".bundle-", dir=home.path))
        try:
            with _exporting:
                export_bundle(store, folder / "intertwine.bundle", run, coordinator_policy(home))
        except BaseException:
            shutil.rmtree(folder)
            raise
        return FileResponse(
            folder / "intertwine.bundle",
            filename="intertwine.bundle",
            media_type="application/octet-stream",
            background=BackgroundTask(shutil.rmtree, folder),
        )

    @router.post("/invitations", status_code=201)
    def invitations(order: InvitationOrder, caller: Administrator) -> InvitationToken:
        """Make a one-time invitation token."""
        lifetime = int(3600 * order.hours)
        token = invite(home, store, order.participant, order.role, order.tasks, lifetime, caller.name)
        _log.info("invited by %s", caller.name, extra={"participant": order.participant})
        return InvitationToken(token=token)

    @router.post("/runs/{run}/stop")
    def stop(run: str, caller: Administrator) -> RunView:
        """End a run before its time."""
        stop_run(store, run, forget, caller.name)
        _log.warning("stopped by %s", caller.name, extra={"run": run})
        return next(view for view in run_views(store) if view.run == run)

    return router

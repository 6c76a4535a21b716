"""What operators are shown of a deployment: its participants, runs and published models."""

from pydantic import BaseModel
from sqlalchemy import select

from intertwine.protocols.entries import Publication, decode_entry
from intertwine.protocols.plan import Plan
from intertwine.server.membership import revoked
from intertwine.server.run_state import RunState
from intertwine.server.store import LogRow, PublicationRow, Run, Store


class ParticipantView(BaseModel):
    """A participant, and whether it still is one."""

    participant: str
    role: str
    tasks: list[str]
    revoked: bool


class RunView(BaseModel):
    """How a run stands. phase: what it needs next, empty once it has ended; launched: seconds since 1970."""

    run: str
    task: str
    state: str
    phase: str
    detail: str
    rounds: int
    finished_rounds: int
    launched: int


class ModelView(BaseModel):
    """A published model. published: seconds since 1970; entry: its position in the log; onnx: its digest."""

    task: str
    run: str
    round: int
    published: int
    entry: int
    onnx: str


def participant_views(store: Store) -> list[ParticipantView]:
    """Everyone who ever enrolled, by name."""
    members = store.participants()
    with store.reading() as session:
        gone = revoked(session, [member.name for member in members])
    return [
        ParticipantView(
            participant=member.name, role=member.role, tasks=member.tasks, revoked=member.name in gone
        )
        for member in members
    ]


def run_views(store: Store) -> list[RunView]:
    """Every run, in the order of launching."""
    return [_run_view(store, run) for run in store.runs()]


def _run_view(store: Store, run: Run) -> RunView:
    plan = Plan.decode(run.plan)
    return RunView(
        run=run.name,
        task=run.task,
        state=run.state,
        phase="" if run.ended else RunState.of(plan, store.run_entries(run.name)).resumed().phase,
        detail=run.detail,
        rounds=plan.rounds,
        finished_rounds=run.finished_rounds,
        launched=run.launched,
    )


def model_views(store: Store) -> list[ModelView]:
    """Every published model, the oldest first."""
    rows = select(LogRow.position, LogRow.data).join(
        PublicationRow, PublicationRow.position == LogRow.position
    )
    with store.reading() as session:
        found = [(row.position, decode_entry(row.data)) for row in session.execute(rows)]
    return [
        ModelView(
            task=entry.round.task,
            run=entry.round.run,
            round=entry.round.number,
            published=entry.time,
            entry=position,
            onnx=entry.onnx,
        )
        for position, entry in sorted(found, key=lambda pair: pair[0])
        if isinstance(entry, Publication)
    ]

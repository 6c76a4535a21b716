"""The auditor recomputes the published ONNX file from the log: no byte of it is the coordinator's choice."""

from collections.abc import Callable

import numpy as np
import pytest

from intertwine.protocols.aggregation import parameters_to_bytes
from intertwine.protocols.entries import (
    Act,
    CommitEntry,
    Entry,
    ModelEntry,
    Outcome,
    PlanEntry,
    RoundOpened,
)
from intertwine.protocols.errors import VerificationError
from intertwine.protocols.model_file import expected_model, parameters_marker
from intertwine.protocols.plan import Plan
from intertwine.zk.audit.model_file import check_model_file
from intertwine.zk.training_record import model_metadata
from tests.recording import Audit, Recording, assert_fails

DIFFERENT = "is not the plan's template with the published parameters"

Forge = Callable[[bytes, bytes, dict[str, str]], bytes]


def plan_of(recording: Recording) -> Plan:
    plan: Plan = recording.entries[recording.position(PlanEntry)].plan.body
    return plan


def parts(recording: Recording) -> tuple[bytes, bytes, dict[str, str]]:
    """What the published file is made from: template, parameters and metadata."""
    plan, parameters = plan_of(recording), recording.blobs[recording.entries[-1].parameters]
    metadata = model_metadata(recording.origin, recording.run_entries(plan.run), parameters)
    return recording.blobs[plan.template], parameters, metadata


def other_weights(template: bytes, parameters: bytes, metadata: dict[str, str]) -> bytes:
    return expected_model(template, parameters_to_bytes(np.full(len(parameters) // 8, 1e-9)), metadata)


def last_bit_of_a_weight(template: bytes, parameters: bytes, metadata: dict[str, str]) -> bytes:
    return expected_model(template, bytes([parameters[0] ^ 1]) + parameters[1:], metadata)


def other_graph(template: bytes, parameters: bytes, metadata: dict[str, str]) -> bytes:
    return expected_model(template.replace(b"graph", b"paper"), parameters, metadata)


def graph_behind_the_graph(template: bytes, parameters: bytes, metadata: dict[str, str]) -> bytes:
    return expected_model(template, parameters, metadata) + b"\x3a\x00"


def other_metadata(template: bytes, parameters: bytes, metadata: dict[str, str]) -> bytes:
    return expected_model(template, parameters, metadata | {"round": "3"})


def more_metadata(template: bytes, parameters: bytes, metadata: dict[str, str]) -> bytes:
    return expected_model(template, parameters, metadata | {"author": "mallory"})


def no_metadata(template: bytes, parameters: bytes, metadata: dict[str, str]) -> bytes:
    return expected_model(template, parameters, {})


@pytest.mark.parametrize(
    "forge",
    [
        other_weights,
        last_bit_of_a_weight,
        other_graph,
        graph_behind_the_graph,
        other_metadata,
        more_metadata,
        no_metadata,
    ],
)
def test_model_file_forged(recording: Recording, audit: Audit, forge: Forge) -> None:
    """The log names the forged file, and the bundle holds it."""
    recording.edit(-1, onnx=recording.keep(forge(*parts(recording))))
    assert_fails(audit(recording), "publication", len(recording.entries) - 1, DIFFERENT)


def test_model_digest_of_another_file(recording: Recording, audit: Audit) -> None:
    """The digest is that of a file which the bundle holds anyway."""
    recording.edit(-1, onnx=plan_of(recording).initial)
    assert_fails(audit(recording), "publication", len(recording.entries) - 1, DIFFERENT)


def test_template_altered(recording: Recording, audit: Audit) -> None:
    recording.blobs[plan_of(recording).template] = b"another graph around " + parameters_marker(3)
    assert_fails(audit(recording), "publication", len(recording.entries) - 1, "altered")


def test_template_swapped_in_the_plan(recording: Recording, audit: Audit) -> None:
    """Participants signed commits to the plan that they saw."""
    other = recording.keep(b"another graph around " + parameters_marker(3))
    recording.edit(recording.position(PlanEntry), template=other)
    assert_fails(audit(recording), "commit", recording.position(CommitEntry), "for another plan")


def check(recording: Recording, plan: Plan, origin: str) -> None:
    entries = recording.run_entries("spring")
    check_model_file(plan, recording.entries[-1], origin, entries, recording.blobs.__getitem__)


def test_the_recomputed_file_is_the_published_one(recording: Recording) -> None:
    check(recording, plan_of(recording), recording.origin)


@pytest.mark.parametrize(
    ("template", "words"),
    [
        (b"a graph", "no place for 3"),
        (b"a graph around " + parameters_marker(2), "no place for 3"),
        (2 * parameters_marker(3), "more than one place"),
    ],
)
def test_planned_template_that_holds_no_such_parameters(
    recording: Recording, template: bytes, words: str
) -> None:
    plan = plan_of(recording).model_copy(update={"template": recording.keep(template)})
    with pytest.raises(VerificationError, match=words) as caught:
        check(recording, plan, recording.origin)
    assert caught.value.check == "model_file"


def test_the_log_is_in_the_file(recording: Recording) -> None:
    """The same template, parameters and entries make another file in another log."""
    with pytest.raises(VerificationError, match=DIFFERENT):
        check(recording, plan_of(recording), "intertwine/elsewhere")


@pytest.mark.parametrize("kind", [PlanEntry, RoundOpened, CommitEntry, Outcome, ModelEntry])
def test_every_entry_of_the_run_is_in_the_file(recording: Recording, kind: type[Entry]) -> None:
    """Another time in one of them makes another training record."""
    position = recording.position(kind)
    entry = recording.entries[position]
    recording.entries[position] = entry.model_copy(update={"time": entry.time + 1})
    with pytest.raises(VerificationError, match=DIFFERENT):
        check(recording, plan_of(recording), recording.origin)


def test_what_others_do_meanwhile_is_not_in_the_file(recording: Recording) -> None:
    """Entries about no run, or about another one, leave the file as it is."""
    recording.entries.insert(recording.position(ModelEntry), recording.entries[recording.position(Act)])
    check(recording, plan_of(recording), recording.origin)

"""Enrolled records: the audit follows their chains, and gives a proven figure per record to nothing else."""

import hashlib
import math
from collections.abc import Callable

import numpy as np
import pytest

from intertwine.protocols.accounting import Assurance, Loss, guarantee, release_rho, sampled_loss
from intertwine.protocols.aggregation import parameters_from_bytes, update_to_bytes
from intertwine.protocols.dataset import Dataset, content_digest
from intertwine.protocols.encoding import sha256
from intertwine.protocols.entries import (
    BeaconEntry,
    CommitEntry,
    DatasetEntry,
    Enrolment,
    Outcome,
    PlanEntry,
    ReleaseEntry,
)
from intertwine.protocols.errors import VerificationError
from intertwine.protocols.mechanism import ReleaseMechanism
from intertwine.protocols.round import Release, Signed, StatementContext
from intertwine.zk import glm, release
from intertwine.zk.audit import Status
from intertwine.zk.dataset_proof import Chain, extend, verify_dataset
from intertwine.zk.round_proof import (
    Answer,
    check_commit,
    statement_for,
    verify_release,
    verify_releases,
)
from tests.recording import Audit, Recording, account, assert_fails, fixed_key

# Positions of documents: ana's first, ben's, what ana added after the first run.
ANA, BEN, ADDED = range(3)


def document(recording: Recording, number: int) -> Signed[Dataset]:
    return recording.entries[recording.position(DatasetEntry, number)].dataset


def attachments(recording: Recording, signed: Signed[Dataset], part: str) -> list[bytes]:
    return [recording.blobs[getattr(page, part)] for page in signed.body.pages]


def chain_of(recording: Recording, *numbers: int) -> Chain:
    """The chain after these documents."""
    chain = None
    for number in numbers:
        signed = document(recording, number)
        chain = extend(chain, signed, attachments(recording, signed, "commitments"))
    return chain


def edit_page(recording: Recording, number: int, **changes: object) -> None:
    position = recording.position(DatasetEntry, number)
    (page,) = document(recording, number).body.pages
    recording.edit(position, pages=[page.model_copy(update=changes)])


# A log as it should be


def test_honest_log_passes(enrolled: Recording, audit: Audit) -> None:
    steps: list[tuple[int, int]] = []
    verdict = audit(enrolled, progress=lambda *step: steps.append(step))
    assert verdict.passed, verdict.checks
    assert steps == [(1, 7), (2, 7), (3, 7), (7, 7)]  # pages one by one, releases together
    assert (verdict.counts.proofs_verified, verdict.counts.proofs_rejected) == (3, 1)
    (judged,) = [check for check in verdict.checks if check.name == "dataset"]
    assert judged.detail == "entries judged: 3, pages proven: 3"


def test_figures_are_proven_for_records_only(enrolled: Recording, audit: Audit) -> None:
    """ana: one step with half of the records in a secret lot, and one sum; ben's forged step is infinite."""
    ana, ben = audit(enrolled).privacy
    loss = sampled_loss(600, 400, 1024 / 2048) + Loss(release_rho(30, 50))
    assert (ana.participant, ana.assurance) == ("ana", Assurance.PROVEN_RECORD)
    assert ana.guarantee.epsilon == pytest.approx(guarantee(loss, 1e-5).epsilon)
    assert ana.guarantee.epsilon < guarantee(Loss(release_rho(600, 400)), 1e-5).epsilon
    assert (ben.participant, ben.assurance) == ("ben", Assurance.PROVEN_RECORD)
    assert math.isinf(ben.guarantee.epsilon)
    assert ben.invalid_releases == 1


def test_later_run_uses_the_whole_chain(enrolled: Recording) -> None:
    whole = chain_of(enrolled, ANA, ADDED)
    assert [page.rows for page in whole.dataset.pages] == [6, 2]
    commits = [entry.commit.body for entry in enrolled.entries if isinstance(entry, CommitEntry)]
    assert [commit.dataset for commit in commits if commit.slot.participant == "ana"] == [
        chain_of(enrolled, ANA).head,
        whole.head,
    ]


# 9 dataset


def test_copied_commitments(enrolled: Recording, audit: Audit) -> None:
    """ben enrols ana's points, which he cannot open."""
    first = document(enrolled, ANA).body.pages[0]
    edit_page(enrolled, BEN, commitments=first.commitments)
    assert_fails(audit(enrolled), "dataset", enrolled.position(DatasetEntry, BEN), "a commitment occurs")


@pytest.mark.parametrize(
    ("number", "changes", "words"),
    [
        (BEN, {"deployment": sha256(b"other")}, "another deployment"),
        (BEN, {"task": "forecast"}, "not enrolled for task 'forecast'"),
        (BEN, {"sequence": 2}, "number 2, not 1"),
        (BEN, {"columns": 2}, "has not the 3 commitments"),
        (BEN, {"label": "none"}, "has not the 3 commitments"),
        (ADDED, {"sequence": 3}, "number 3, not 2"),
        (ADDED, {"previous": sha256(b"other")}, "does not follow"),
        (BEN, {"entries": "uniform"}, "has not the 5 commitments"),
        (ADDED, {"row_bound": 31}, "another form"),
    ],
)
def test_document_that_breaks_a_rule(
    enrolled: Recording, audit: Audit, number: int, changes: dict[str, object], words: str
) -> None:
    position = enrolled.position(DatasetEntry, number)
    enrolled.edit(position, **changes)
    assert_fails(audit(enrolled), "dataset", position, words)


def test_document_signed_by_another(enrolled: Recording, audit: Audit) -> None:
    position = enrolled.position(DatasetEntry, BEN)
    enrolled.keys = {**enrolled.keys, "ben": fixed_key("ana")}
    enrolled.edit(position, row_bound=30)
    assert_fails(audit(enrolled), "dataset", position, "another key")


def test_document_before_its_participant(enrolled: Recording, audit: Audit) -> None:
    position = enrolled.position(DatasetEntry, BEN)
    entry = enrolled.entries.pop(position)
    early = enrolled.position(Enrolment, 1)
    enrolled.entries.insert(early, entry)
    verdict = audit(enrolled)
    (judged,) = [check for check in verdict.checks if check.name == "dataset"]
    assert (judged.status, judged.entry) == (Status.FAILED, early)


@pytest.mark.parametrize("part", ["commitments", "proof"])
def test_blob_missing(enrolled: Recording, audit: Audit, part: str) -> None:
    del enrolled.blobs[getattr(document(enrolled, BEN).body.pages[0], part)]
    assert_fails(audit(enrolled), "dataset", enrolled.position(DatasetEntry, BEN), "lacks blob")


def test_page_proven_for_another_participant(enrolled: Recording, audit: Audit) -> None:
    """cyd signs ben's document as her own: all is well with it but for the proof, which names ben."""
    position = enrolled.position(DatasetEntry, BEN)
    enrolled.edit(position, participant="cyd")
    assert_fails(audit(enrolled), "dataset", position, "constraint_identity")


def test_proof_of_another_page(enrolled: Recording, audit: Audit) -> None:
    edit_page(enrolled, BEN, proof=document(enrolled, ANA).body.pages[0].proof)
    assert_fails(audit(enrolled), "dataset", enrolled.position(DatasetEntry, BEN))


def test_same_records_at_two_participants(enrolled: Recording, audit: Audit) -> None:
    position = enrolled.position(DatasetEntry, BEN)
    enrolled.edit(position, content=document(enrolled, ANA).body.content)
    assert_fails(audit(enrolled), "dataset", position, "'ana' has enrolled the same records")


def test_same_records_twice_in_a_chain(enrolled: Recording, audit: Audit) -> None:
    """They would count twice in every sum, and one record would move it twice as far."""
    position = enrolled.position(DatasetEntry, ADDED)
    enrolled.edit(position, content=document(enrolled, ANA).body.content)
    assert_fails(audit(enrolled), "dataset", position, "its chain holds the same records")


def test_same_records_in_a_new_chain_of_their_owner(enrolled: Recording, audit: Audit) -> None:
    """Somebody who lost the secrets may start again; proofs bind the place, so this one needs its own."""
    position = enrolled.position(DatasetEntry, ADDED)
    enrolled.edit(position, content=document(enrolled, ANA).body.content, previous="")
    enrolled.entries[position + 1 :] = []
    assert_fails(audit(enrolled), "dataset", position, "constraint_identity")


def test_content_digest_ignores_order_and_notices_the_rest() -> None:
    features, labels = np.array([[1, -2], [3, 4], [1, -2]]), np.array([0, 1, 1])
    digest = content_digest("ab" * 32, features, labels)
    assert content_digest("ab" * 32, features[::-1], labels[::-1]) == digest
    others = [
        content_digest("cd" * 32, features, labels),
        content_digest("ab" * 32, features, 1 - labels),
        content_digest("ab" * 32, features[:2], labels[:2]),
        content_digest("ab" * 32, np.column_stack([features[:, 0], features[:, 1] + 1]), labels),
        content_digest("ab" * 32, features, None),
    ]
    assert len({digest, *others}) == 6


# verify_dataset


def test_verify_dataset_names_the_first_defect(enrolled: Recording) -> None:
    signed = document(enrolled, BEN)
    points, proofs = (attachments(enrolled, signed, part) for part in ("commitments", "proof"))
    key = fixed_key("ben").public
    assert verify_dataset(signed, key, points, proofs, None) == chain_of(enrolled, BEN)
    short, identity = points[0][:-1], b"\xc0" + bytes(47)
    defects: dict[str, Callable[[], object]] = {
        "signature": lambda: verify_dataset(signed, fixed_key("ana").public, points, proofs, None),
        "dataset_chain": lambda: verify_dataset(signed, key, points, proofs, chain_of(enrolled, ANA)),
        "commitments_digest": lambda: verify_dataset(signed, key, [short], proofs, None),
        "commitment_count": lambda: verify_dataset(*resigned(signed, short), proofs, None),
        "point_encoding": lambda: verify_dataset(*resigned(signed, identity + points[0][48:]), proofs, None),
        "copied_commitment": lambda: verify_dataset(
            *resigned(signed, points[0][:48] + points[0][:-48]), proofs, None
        ),
        "proof_digest": lambda: verify_dataset(signed, key, points, [proofs[0][:-1]], None),
    }
    for check, act in defects.items():
        with pytest.raises(VerificationError) as caught:
            act()
        assert caught.value.check == check


def resigned(signed: Signed[Dataset], points: bytes) -> tuple[Signed[Dataset], str, list[bytes]]:
    """The document with other points, signed by ben."""
    page = signed.body.pages[0].model_copy(update={"commitments": sha256(points)})
    body = signed.body.model_copy(update={"pages": [page]})
    return Signed[Dataset].create(body, fixed_key("ben")), fixed_key("ben").public, [points]


# Every way to a proven figure per record, other than proving it


def no_dataset(recording: Recording) -> None:
    """The commit of a release, under a plan that claims a glm."""
    commit = recording.entries[recording.position(CommitEntry)].commit.body
    recording.edit(
        recording.position(CommitEntry), dataset="", gradient=commit.randomness, randomness=commit.lot, lot=[]
    )


def dataset_swapped(recording: Recording) -> None:
    recording.edit(recording.position(CommitEntry), dataset=chain_of(recording, BEN).head)


def dataset_of_nobody(recording: Recording) -> None:
    recording.edit(recording.position(CommitEntry), dataset=sha256(b"any"))


def dataset_after_commit(recording: Recording) -> None:
    entry = recording.entries.pop(recording.position(DatasetEntry, ANA))
    recording.entries.insert(recording.position(CommitEntry) + 1, entry)


def dataset_after_beacon(recording: Recording) -> None:
    entry = recording.entries.pop(recording.position(DatasetEntry, ANA))
    recording.entries.insert(recording.position(BeaconEntry) + 1, entry)


def dataset_never_enrolled(recording: Recording) -> None:
    del recording.entries[recording.position(DatasetEntry, ANA)]


def dataset_unproven(recording: Recording) -> None:
    edit_page(recording, ANA, proof=recording.keep(b"trust me"))


def dataset_of_another_form(recording: Recording) -> None:
    """A plan with a smaller row_bound than the records were proven to have."""
    position = recording.position(PlanEntry)
    plan = recording.entries[position].plan.body
    mechanism = plan.mechanism.model_copy(update={"row_bound": 10})
    recording.edit(position, mechanism=mechanism, record_bound=200)
    plan = recording.entries[position].plan.body
    recording.edit(recording.position(CommitEntry), plan=plan.digest())


def plan_relabelled(recording: Recording) -> None:
    """A run of releases whose plan is said, afterwards, to have been a glm."""
    position = recording.position(PlanEntry)
    recording.edit(position, mechanism=ReleaseMechanism(update_bound=600))
    released = recording.entries[position].plan.body
    recording.edit(recording.position(CommitEntry), plan=released.digest(), dataset="")
    recording.edit(position, mechanism=recording.entries[-1].plan.body.mechanism, record_bound=30)


def no_lot(recording: Recording) -> None:
    """An amplified plan, and a commit that fixes no lot."""
    recording.edit(recording.position(CommitEntry), lot=[])


def proof_is_a_release(recording: Recording) -> None:
    """Honest noise on a vector of ana's choice, with a valid proof of just that; logged as accepted."""
    position = recording.position(CommitEntry)
    opening = release.commit(np.array([9, -9, 9]), 400, hashlib.sha256(b"choice").digest())
    recording.edit(position, randomness=[point.hex() for point in opening.commitments.randomness])
    plan, commit = (
        recording.entries[recording.position(PlanEntry)].plan.body,
        recording.entries[position].commit,
    )
    drawn = recording.position(BeaconEntry)
    recording.redraw_beacon(drawn)
    beacon = bytes.fromhex(recording.entries[drawn].beacon)
    slot = commit.body.slot.identifier()
    update = opening.gradient + release.noise(opening, beacon, slot)
    context = StatementContext.create(plan, commit, beacon).encode()
    statement = release.ReleaseStatement(context, beacon, slot, 400, 600, opening.commitments, update)
    recording.edit(
        recording.position(ReleaseEntry),
        commit=commit.digest(),
        beacon=beacon.hex(),
        update=recording.keep(update_to_bytes(update)),
        proof=recording.keep(release.prove(statement, opening)),
    )


@pytest.mark.parametrize(
    ("forgery", "check"),
    [
        (no_dataset, "commit"),
        (dataset_swapped, "commit"),
        (dataset_of_nobody, "commit"),
        (dataset_after_commit, "commit"),
        (dataset_after_beacon, "commit"),
        (dataset_never_enrolled, "commit"),
        (dataset_unproven, "dataset"),
        (dataset_of_another_form, "commit"),
        (plan_relabelled, "commit"),
        (no_lot, "commit"),
        (proof_is_a_release, "proof"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_proven_record_needs_a_data_bound_proof(
    enrolled: Recording, audit: Audit, forgery: Callable[[Recording], None], check: str
) -> None:
    """The audit fails at once, and no figure for ana is both finite and called proven for a record."""
    end = enrolled.position(Outcome) + 1
    later_plan = enrolled.entries[enrolled.position(PlanEntry, 1)]
    enrolled.entries[end:] = [later_plan]
    forgery(enrolled)
    verdict = audit(enrolled)
    failed = [result.name for result in verdict.checks if result.status is Status.FAILED]
    assert failed[0] == check
    for row in (*verdict.privacy, *account(enrolled.entries, set())):
        assert row.participant != "ana" or math.isinf(row.guarantee.epsilon)


def test_superseded_dataset(enrolled: Recording, audit: Audit) -> None:
    """After ana has added records, her commits must name the new head, not the one from before."""
    position = enrolled.position(CommitEntry, 2)
    enrolled.edit(position, dataset=chain_of(enrolled, ANA).head)
    assert_fails(audit(enrolled), "commit", position, "does not name the dataset")


# verify_release


def answered(recording: Recording, number: int) -> tuple[object, ...]:
    """The arguments of `verify_release` for release `number`, but for the chain."""
    signed = recording.entries[recording.position(ReleaseEntry, number)].release
    run, body = signed.body.slot.round, signed.body
    (plan,) = [
        entry.plan.body
        for entry in recording.entries
        if isinstance(entry, PlanEntry) and entry.plan.body.run == run.run
    ]
    (commit,) = [
        entry.commit
        for entry in recording.entries
        if isinstance(entry, CommitEntry) and entry.commit.digest() == body.commit
    ]
    update, proof, parameters = (
        recording.blobs[digest] for digest in (body.update, body.proof, commit.body.parameters)
    )
    return plan, commit, bytes.fromhex(body.beacon), signed, update, proof, parameters


def refused(arguments: tuple[object, ...], chain: Chain | None) -> str:
    with pytest.raises(VerificationError) as caught:
        verify_release(*arguments, chain)
    return caught.value.check


def test_release_is_verified_against_the_chain_it_names(enrolled: Recording) -> None:
    step, total = answered(enrolled, 0), answered(enrolled, 2)
    verify_release(*step, chain_of(enrolled, ANA))
    verify_release(*total, chain_of(enrolled, ANA, ADDED))
    for wrong in (None, chain_of(enrolled, BEN), chain_of(enrolled, ANA, ADDED)):
        assert refused(step, wrong) == "commit_dataset"


def test_many_are_verified_together_as_one_by_one(enrolled: Recording) -> None:
    """Three valid ones among four that fail at different stages."""
    ana, whole, ben = chain_of(enrolled, ANA), chain_of(enrolled, ANA, ADDED), chain_of(enrolled, BEN)
    step, forged, ana_sum, ben_sum = (answered(enrolled, number) for number in range(4))
    *others, signed, update, _, parameters = step
    body = signed.body.model_copy(update={"proof": sha256(forged[5])})
    swapped = (*others, Signed[Release].create(body, fixed_key("ana")), update, forged[5], parameters)
    answers = [
        Answer(*step, ana),
        Answer(*step, ben),
        Answer(*forged, ben),
        Answer(*ana_sum, whole),
        Answer(*ben_sum, ben),
        Answer(*swapped, ana),
        Answer(*step[:4], bytes(12), *step[5:], ana),
    ]
    checks = [error and error.check for error in verify_releases(answers)]
    assert checks == [
        None,
        "commit_dataset",
        "constraint_identity",
        None,
        None,
        "constraint_identity",
        "update_digest",
    ]
    assert verify_releases([]) == []


def test_dataset_swapped_under_the_same_name(enrolled: Recording) -> None:
    """Other records behind the digest that was committed to: the proof itself is about ana's points."""
    named = chain_of(enrolled, ANA)
    swapped = Chain(named.head, named.sequence, chain_of(enrolled, BEN).dataset)
    assert refused(answered(enrolled, 0), swapped) == "constraint_identity"
    longer = Chain(named.head, named.sequence, chain_of(enrolled, ANA, ADDED).dataset)
    assert refused(answered(enrolled, 0), longer) == "commitment_count"


def test_step_from_other_parameters(enrolled: Recording) -> None:
    *others, parameters = answered(enrolled, 0)
    assert refused((*others, bytes(len(parameters))), chain_of(enrolled, ANA)) == "commit_parameters"


def test_weights_that_fit_no_statement(enrolled: Recording) -> None:
    """A model that has diverged is refused as such, before anything is computed."""
    plan, commit, beacon, _, update, _, _ = answered(enrolled, 0)
    vector = np.frombuffer(update, "<i4").astype(np.int64)
    for weight in (1e30, -1e30):
        with pytest.raises(VerificationError) as caught:
            statement_for(plan, commit, beacon, vector, np.full(3, weight), chain_of(enrolled, ANA))
        assert caught.value.check == "weights_range"


@pytest.mark.parametrize(
    ("changes", "check"),
    [
        ({"gradient": 1}, "commitment_count"),
        ({"lot": 0}, "commitment_count"),
        ({"lot": 2}, "commitment_count"),
        ({"randomness": 2}, "commitment_count"),
        ({"lot": "ff" * 48}, "point_encoding"),
    ],
)
def test_points_of_a_data_bound_commit(
    enrolled: Recording, changes: dict[str, int | str], check: str
) -> None:
    plan, commit, *_ = answered(enrolled, 0)
    (point,) = commit.body.randomness
    points = {part: [value] if isinstance(value, str) else [point] * value for part, value in changes.items()}
    check_commit(plan, commit.body, chain_of(enrolled, ANA))
    with pytest.raises(VerificationError) as caught:
        check_commit(plan, commit.body.model_copy(update=points), chain_of(enrolled, ANA))
    assert caught.value.check == check


def test_statement_follows_from_the_documents(enrolled: Recording) -> None:
    plan, commit, beacon, _, update, _, parameters = answered(enrolled, 0)
    vector, start = np.frombuffer(update, "<i4").astype(np.int64), parameters_from_bytes(parameters, 3)
    statement = statement_for(plan, commit, beacon, vector, start, chain_of(enrolled, ANA))
    assert isinstance(statement, glm.GlmStatement)
    assert statement.model == glm.Model("logistic", 20, "1.0", 1024)
    assert statement.dataset == chain_of(enrolled, ANA).dataset
    context = StatementContext.decode(statement.context)
    assert (context.dataset, context.plan) == (commit.body.dataset, plan.digest())


def test_release_signed_again_for_another_commit(enrolled: Recording) -> None:
    """ana answers her second commit with the step that she proved for the first."""
    plan, commit, beacon, *rest = answered(enrolled, 2)
    _, _, _, signed, update, proof, _ = answered(enrolled, 0)
    body = Release(
        slot=commit.body.slot,
        commit=commit.digest(),
        beacon=beacon.hex(),
        update=signed.body.update,
        proof=signed.body.proof,
    )
    again = Signed[Release].create(body, fixed_key("ana"))
    arguments = (plan, commit, beacon, again, update, proof, rest[-1])
    assert refused(arguments, chain_of(enrolled, ANA, ADDED)) == "proof_length"

"""Enrolled records, and the runs that train on them: real documents, commitments and proofs."""

import stat
from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest

from intertwine.client.budget import spent
from intertwine.client.dataset_enrolment import Progress, Send, enrol_records
from intertwine.client.datasets import Datasets, Records, opening_of, records_of
from intertwine.client.enrol import enrol
from intertwine.client.home import Home as AgentHome
from intertwine.client.ledger import Ledger
from intertwine.protocols.accounting import Assurance, Guarantee
from intertwine.protocols.aggregation import update_from_bytes
from intertwine.protocols.cli import main
from intertwine.protocols.dataset import Dataset
from intertwine.protocols.encoding import sha256
from intertwine.protocols.entries import DatasetEntry, Outcome, ReleaseEntry
from intertwine.protocols.envelope import Envelope
from intertwine.protocols.errors import FederationError, InputError, VerificationError
from intertwine.protocols.policy import Policy
from intertwine.protocols.round import Commit, Signed
from intertwine.server.control import DATASETS
from intertwine.server.datasets import MAX_ENVELOPE_BYTES, enrol_dataset
from intertwine.server.enrolment import invite
from intertwine.zk.audit import verify_bundle
from intertwine.zk.dataset import Shape, dataset_circuit
from tests.federation import Member, MemoryFederation, halved_noise
from tests.serving import served
from tests.toy import STATISTICS, glm, register, write_points

SHAPE = Shape(3, 32, "binary")


def away(_envelope: bytes) -> None:
    raise FederationError("The coordinator cannot be reached.")


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MemoryFederation]:
    """Two participants with records of their own: birch has enrolled them, alder's envelope is under way."""
    root = tmp_path_factory.mktemp("original")
    with pytest.MonkeyPatch.context() as patch:
        register(patch)
        federation = MemoryFederation(root)
        for seed, name in enumerate(("alder", "birch"), 1):
            federation.add(name, {"toy": write_points(root / f"{name}.csv", 30, seed)})
        federation.enrol_records("birch", "toy")
        with pytest.raises(FederationError):
            federation.enrol_records("alder", "toy", away)
        yield federation


@pytest.fixture
def federation(original: MemoryFederation, tmp_path: Path) -> MemoryFederation:
    """The two of them; alder's envelope has not arrived."""
    return original.copy(tmp_path)


@pytest.fixture
def envelope(federation: MemoryFederation) -> Envelope:
    """That envelope."""
    caught: list[bytes] = []

    def catch(data: bytes) -> None:
        caught.append(data)
        away(data)

    with pytest.raises(FederationError):
        federation.enrol_records("alder", "toy", catch)
    return Envelope.from_bytes(caught[0], (1 << 20,) * 2)


@pytest.fixture
def enrolled(federation: MemoryFederation) -> MemoryFederation:
    """The two of them; both have enrolled their records."""
    federation.enrol_records("alder", "toy")
    return federation


@pytest.fixture
def cedar(federation: MemoryFederation, tmp_path: Path) -> Member:
    """A third one, who has enrolled nothing."""
    return federation.add("cedar", {"toy": write_points(tmp_path / "cedar.csv", 20, 3)})


def outcomes(federation: MemoryFederation) -> dict[str, tuple[str, str]]:
    return {entry.slot.participant: (entry.verdict, entry.check) for entry in federation.entries(Outcome)}


def records(count: int, seed: int = 9) -> Records:
    rng = np.random.default_rng(seed)
    return Records(rng.integers(-9, 10, (count, 3)), rng.integers(0, 2, count), SHAPE, "1")


def levels(member: Member) -> dict[Assurance, Guarantee]:
    return {row.assurance: row.guarantee for row in spent(member.ledger, "toy")}


# Runs


def test_a_statistics_run_releases_the_enrolled_sum_with_its_noise(enrolled: MemoryFederation) -> None:
    enrolled.execute(enrolled.plan("toy", "sums", **STATISTICS))

    assert outcomes(enrolled) == {"alder": ("accepted", ""), "birch": ("accepted", "")}
    for entry in enrolled.entries(ReleaseEntry):
        release = entry.release.body
        update = update_from_bytes(enrolled.store.blob(release.update), 3)
        truth = enrolled.members[release.slot.participant].tasks["toy"].records.features.sum(axis=0)
        assert 0 < np.abs(update - truth).max() < 8 * 50
    verdict = verify_bundle(enrolled.bundle(), Policy.of_key(enrolled.store.deployment))
    assert verdict.passed, verdict.checks
    audited = {row.assurance: row.guarantee for row in verdict.privacy if row.participant == "alder"}
    assert levels(enrolled.members["alder"]) == audited
    assert set(audited) == {Assurance.PROVEN_RECORD}

    # A release proves nothing of records: the figure for all of the task is attested from then on.
    enrolled.execute(enrolled.plan("toy", "release", participants=["alder"]))
    assert set(levels(enrolled.members["alder"])) == {Assurance.ATTESTED_RECORD}


def test_glm_steps_train_on_secret_lots_and_are_amplified(enrolled: MemoryFederation) -> None:
    choices = {"sigma": 400, "rounds": 2, "participants": ["alder"], **glm(lot=1024)}
    enrolled.execute(enrolled.plan("toy", "steps", **choices))

    assert len(enrolled.entries(ReleaseEntry)) == 2
    assert outcomes(enrolled) == {"alder": ("accepted", "")}
    verdict = verify_bundle(enrolled.bundle(), Policy.of_key(enrolled.store.deployment))
    assert verdict.passed, verdict.checks
    costs = levels(enrolled.members["alder"])
    assert costs == {row.assurance: row.guarantee for row in verdict.privacy if row.participant == "alder"}
    assert costs[Assurance.PROVEN_RECORD].epsilon < 2.0  # 2.55 without amplification


@pytest.mark.parametrize("choices", [STATISTICS, {"sigma": 400, **glm()}], ids=["statistics", "glm"])
def test_halved_noise_is_rejected(enrolled: MemoryFederation, choices: dict[str, object]) -> None:
    member = enrolled.members["alder"]
    member.releaser = halved_noise
    member.restart()
    with pytest.raises(FederationError, match="quorum"):
        enrolled.execute(enrolled.plan("toy", "one", participants=["alder"], **choices))
    assert outcomes(enrolled) == {"alder": ("rejected", "constraint_identity")}


def test_launch_names_who_has_not_enrolled(federation: MemoryFederation) -> None:
    with pytest.raises(InputError, match=r"'alder'.*intertwine agent dataset commit toy"):
        federation.plan("toy", "early", participants=["alder", "birch"], **STATISTICS)


def test_launch_leaves_out_who_has_not_enrolled(federation: MemoryFederation) -> None:
    plan = federation.plan("toy", "early", **STATISTICS)
    assert (plan.participants, plan.quorum) == (["birch"], 1)
    with pytest.raises(InputError, match="quorum: 2 is more than the 1"):
        federation.plan("toy", "early", quorum=2, **STATISTICS)


@pytest.mark.parametrize(
    "choices",
    [
        {"record_norm": "2"},
        {"mechanism": {**STATISTICS["mechanism"], "row_bound": 31}, "record_bound": 31},
        {"mechanism": {**STATISTICS["mechanism"], "label": "none"}},
    ],
)
def test_launch_refuses_a_plan_for_other_records(
    federation: MemoryFederation, choices: dict[str, object]
) -> None:
    with pytest.raises(InputError, match="does not fit task 'toy'"):
        federation.plan("toy", "other", **{**STATISTICS, **choices})


def test_the_agent_refuses_a_plan_for_other_records(
    enrolled: MemoryFederation, caplog: pytest.LogCaptureFixture
) -> None:
    plan = enrolled.plan("toy", "other", **STATISTICS).model_copy(update={"record_norm": "2"})
    with pytest.raises(FederationError, match="quorum"):
        enrolled.execute(plan)
    assert "request_dataset failed: the plan is for records with record_norm 2" in caplog.text


def test_a_commit_that_names_anothers_dataset_is_rejected(
    enrolled: MemoryFederation, caplog: pytest.LogCaptureFixture
) -> None:
    """dataset_swapped: birch signs, in its own name, a commit to alder's records."""
    head = Datasets(enrolled.members["alder"].ledger).head("toy")

    def tamper(name: str, kind: str, reply: bytes) -> bytes:
        if (name, kind) != ("birch", "commit"):
            return reply
        commit = Signed[Commit].decode(Envelope.from_bytes(reply, ()).document).body
        swapped = commit.model_copy(update={"dataset": head.digest})
        return Envelope(Signed[Commit].create(swapped, enrolled.members[name].key).encode()).to_bytes()

    enrolled.tamper = tamper
    with pytest.raises(FederationError, match="0 commits"):
        enrolled.execute(enrolled.plan("toy", "swapped", participants=["birch"], **STATISTICS))
    assert "commit_dataset failed" in caplog.text


# Over HTTPS


@pytest.fixture
def client(federation: MemoryFederation) -> Iterator[httpx.Client]:
    with served(federation.home, federation.store, lambda _key: 77) as client:
        yield client


@pytest.fixture
def agent(federation: MemoryFederation, client: httpx.Client, tmp_path: Path) -> AgentHome:
    """An agent that enrolled through the real path."""
    home, data = AgentHome(tmp_path / "agent"), write_points(tmp_path / "dune.csv", 20, 3)
    token = invite(federation.home, federation.store, "dune", "security", ["toy"], 60)
    enrol(home, str(client.base_url), token, {"toy": data})
    return home


def test_the_commands_enrol_what_is_new_and_list_it(
    agent: AgentHome, federation: MemoryFederation, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def run(*arguments: str) -> str:
        with pytest.MonkeyPatch.context() as patch, pytest.raises(SystemExit) as ended:
            patch.setattr(
                "sys.argv", ["intertwine", "agent", "dataset", *arguments, "--home", str(agent.path)]
            )
            main()
        assert ended.value.code == 0
        return " ".join(capsys.readouterr().out.split())

    assert "No records" in run("list")
    assert "20 records of task toy are enrolled now, 20 in all." in run("commit", "toy")
    assert "All 20 records of task toy are enrolled already." in run("commit", "toy")
    assert "in use" in run("list")
    write_points(tmp_path / "dune.csv", 8, 4)
    said = run("commit", "toy")
    assert "does not start with the 20 enrolled records" in said
    assert "8 records of task toy are enrolled now" in said
    listed = run("list")
    assert "replaced" in listed
    assert "in use" in listed
    assert len(federation.entries(DatasetEntry)) == 3


def test_what_the_control_plane_answers(
    agent: AgentHome, federation: MemoryFederation, client: httpx.Client, envelope: Envelope
) -> None:
    mine = {"authorization": f"Bearer {agent.access_token.read_text()}"}

    def post(content: bytes, headers: dict[str, str] = mine) -> httpx.Response:
        return client.post(DATASETS, content=content, headers=headers)

    body = Signed[Dataset].decode(envelope.document).body
    content = federation.entries(DatasetEntry)[0].dataset.body.content
    copied = body.model_copy(update={"participant": "dune", "content": content})
    duplicate = Envelope(Signed[Dataset].create(copied, agent.signing_key).encode(), envelope.attachments)

    assert post(envelope.to_bytes(), {}).status_code == 401
    assert post(b"x" * (MAX_ENVELOPE_BYTES + 1)).status_code == 413
    assert post(b"garbage").status_code == 400
    stolen = post(envelope.to_bytes())
    assert (stolen.status_code, "signature" in stolen.json()["error"]) == (400, True)
    again = post(duplicate.to_bytes())
    assert (again.status_code, "duplicate_dataset" in again.json()["error"]) == (409, True)
    assert len(federation.entries(DatasetEntry)) == 1


# Enrolment


def test_appended_records_extend_the_chain_and_changed_ones_start_another(
    federation: MemoryFederation, cedar: Member, monkeypatch: pytest.MonkeyPatch
) -> None:
    datasets, said = Datasets(cedar.ledger), []

    def add(some: Records) -> int:
        return enrol_records(datasets, cedar.identity, "toy", some, federation.sender("cedar"), said.append)

    whole = records(45)
    assert [add(whole.slice(0, 25)), add(whole.slice(0, 25)), add(whole.slice(0, 40))] == [25, 0, 15]
    first, second = (entry.dataset for entry in federation.entries(DatasetEntry)[1:])
    assert (second.body.sequence, second.body.previous) == (2, first.digest())
    assert said == []
    federation.execute(federation.plan("toy", "sums", participants=["cedar"], **STATISTICS))

    other = records(12, seed=4)
    assert add(other.slice(0, 10)) == 10
    monkeypatch.setattr("intertwine.client.dataset_enrolment.MAX_DATASET_PAGES", 1)
    assert add(other) == 12
    later = [entry.dataset.body for entry in federation.entries(DatasetEntry)[3:]]
    assert [(body.sequence, body.previous) for body in later] == [(3, ""), (4, "")]
    assert said == [
        "The file does not start with the 40 enrolled records: a new chain replaces them.",
        "The chain of 10 records is full: a new one replaces it.",
    ]
    assert outcomes(federation) == {"cedar": ("accepted", "")}
    federation.assert_passes()


def test_an_interrupted_enrolment_goes_on_with_the_same_bytes(
    federation: MemoryFederation, cedar: Member
) -> None:
    """Ctrl-C in the second page's proof, then the coordinator is away, then its answer is lost."""
    whole = records(4100)
    sent: list[bytes] = []

    def try_with(send: Send, progress: Progress = lambda *_: None) -> int:
        datasets = Datasets(Ledger(federation.root / "cedar" / "ledger.db"))
        return enrol_records(datasets, cedar.identity, "toy", whole, send, progress=progress)

    def interrupt(page: int, _pages: int, _part: float) -> None:
        if page == 2:
            raise KeyboardInterrupt

    def does_not_arrive(envelope: bytes) -> None:
        sent.append(envelope)
        away(envelope)

    def arrives(envelope: bytes) -> None:
        sent.append(envelope)
        federation.sender("cedar")(envelope)

    def loses_its_answer(envelope: bytes) -> None:
        arrives(envelope)
        away(envelope)

    with pytest.raises(KeyboardInterrupt):
        try_with(arrives, interrupt)
    datasets = Datasets(cedar.ledger)
    kept = datasets.proofs(datasets.unfinished("toy"))
    assert set(kept) == {0}
    for send in (does_not_arrive, loses_its_answer):
        with pytest.raises(FederationError):
            try_with(send)
    assert try_with(arrives) == 4100
    assert len(sent) == 3
    assert len(set(sent)) == 1
    assert Envelope.from_bytes(sent[0], (1 << 20,) * 4).attachments[1] == kept[0]
    assert len(federation.entries(DatasetEntry)) == 2


def test_duplicates_are_refused_in_any_order_and_other_records_taken_afterwards(
    federation: MemoryFederation, cedar: Member
) -> None:
    """duplicate_dataset: by another participant; the owner may start a new chain with its own records."""
    birch = federation.members["birch"]
    theirs = records_of(Datasets(birch.ledger).all())
    shuffled = Records(theirs.features[::-1], theirs.labels[::-1], theirs.shape, theirs.record_norm)

    def add(member: Member, some: Records) -> int:
        send = federation.sender(member.identity.participant)
        return enrol_records(Datasets(member.ledger), member.identity, "toy", some, send)

    for _ in range(2):
        with pytest.raises(InputError, match="duplicate_dataset"):
            add(cedar, shuffled)
    assert len(federation.entries(DatasetEntry)) == 1
    assert add(birch, shuffled) == len(shuffled)
    assert add(cedar, records(5)) == 5
    assert [row.sequence for row in Datasets(cedar.ledger).all()] == [1]


def refused(federation: MemoryFederation, sender: str, envelope: Envelope, check: str) -> None:
    blobs = set(federation.home.blobs.iterdir())
    with pytest.raises(VerificationError) as caught:
        enrol_dataset(federation.store, sender, envelope.to_bytes())
    assert caught.value.check == check
    assert len(federation.entries(DatasetEntry)) == 1
    assert set(federation.home.blobs.iterdir()) == blobs


@pytest.mark.parametrize(
    ("changes", "check"),
    [
        ({"participant": "birch"}, "dataset_owner"),
        ({"task": "forecast"}, "dataset_owner"),
        ({"deployment": "0" * 64}, "dataset_owner"),
        ({"sequence": 2}, "dataset_chain"),
        ({"sequence": 2, "previous": "0" * 64}, "dataset_chain"),
        ({"columns": 2}, "commitment_count"),
        ({"row_bound": 33}, "constraint_identity"),
    ],
)
def test_a_document_that_is_not_what_was_proven(
    federation: MemoryFederation, envelope: Envelope, changes: dict[str, object], check: str
) -> None:
    body = Signed[Dataset].decode(envelope.document).body.model_copy(update=changes)
    signed = Signed[Dataset].create(body, federation.members["alder"].key)
    refused(federation, "alder", Envelope(signed.encode(), envelope.attachments), check)


def test_a_document_of_somebody_else(federation: MemoryFederation, envelope: Envelope) -> None:
    refused(federation, "birch", envelope, "signature")


def test_altered_attachments(federation: MemoryFederation, envelope: Envelope) -> None:
    points, proof = envelope.attachments
    swapped = points[48:96] + points[:48] + points[96:]
    flipped = proof[:-1] + bytes([proof[-1] ^ 1])
    for attachments, check in (((swapped, proof), "commitments_digest"), ((points, flipped), "proof_digest")):
        refused(federation, "alder", Envelope(envelope.document, attachments), check)
    with pytest.raises(InputError, match="attachments"):
        federation.sender("alder")(Envelope(envelope.document, (points,)).to_bytes())


def test_points_that_were_used_before(federation: MemoryFederation, envelope: Envelope) -> None:
    """copied_commitment: a point of the document is in another one already."""
    with federation.store.transaction() as session:
        federation.store.claim_points(session, [envelope.attachments[0][:48].hex()])
    with pytest.raises(InputError, match="copied_commitment"):
        federation.sender("alder")(envelope.to_bytes())
    assert len(federation.entries(DatasetEntry)) == 1


def test_the_ledger_keeps_records_for_a_restart_and_privately(enrolled: MemoryFederation) -> None:
    path = enrolled.root / "alder" / "ledger.db"
    datasets = Datasets(Ledger(path))
    opening = opening_of(datasets.chain(datasets.head("toy").digest))
    assert np.array_equal(opening.features, enrolled.members["alder"].tasks["toy"].records.features)
    (page,) = enrolled.entries(DatasetEntry)[1].dataset.body.pages
    assert sha256(b"".join(opening.dataset.pages[0].commitments)) == page.commitments
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_the_widest_records_can_be_enrolled() -> None:
    """Their one gate over a thousand columns must not nest deeper than Python can descend."""
    circuit = dataset_circuit(Shape(1024, 2047, "none", "uniform"))
    assert len(circuit.committed) == 1025


def test_a_file_without_records(cedar: Member) -> None:
    with pytest.raises(InputError, match="no records"):
        enrol_records(Datasets(cedar.ledger), cedar.identity, "toy", records(0), away)

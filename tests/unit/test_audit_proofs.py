"""Many proofs: in one process or several, by one verifier or two, and none twice."""

import stat
from collections.abc import Sequence
from pathlib import Path

import pytest

from intertwine.protocols.bundle import EarlierCheckpoint, run_of
from intertwine.protocols.entries import Outcome, Publication, ReleaseEntry, blobs_of
from intertwine.protocols.errors import InputError
from intertwine.protocols.merkle import Tree, leaf_hash
from intertwine.protocols.policy import Policy
from intertwine.protocols.round import InclusionProof
from intertwine.zk import independent
from intertwine.zk.audit import Status, proofs, verify_bundle
from intertwine.zk.audit.proofs import ProofCache
from tests.recording import Audit, Recording, assert_fails


@pytest.fixture(params=["release", "data-bound"])
def any_recording(request: pytest.FixtureRequest, recording: Recording, enrolled: Recording) -> Recording:
    return recording if request.param == "release" else enrolled


def test_both_verifiers_agree_on_a_log(any_recording: Recording, audit: Audit) -> None:
    verdict = audit(any_recording, independent=True)
    assert verdict.passed
    assert verdict.report.versions.independent_verifier
    assert verdict.counts.proofs_rejected == 1


def test_verifiers_that_disagree_are_not_believed(
    recording: Recording, audit: Audit, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As if the second verifier accepted everything: it contradicts the first about ben's forged proof."""
    monkeypatch.setattr(independent, "verify_file", lambda data: None)
    verdict = audit(recording, independent=True)
    assert_fails(verdict, "proof", recording.position(ReleaseEntry, 1), proofs.DISAGREEMENT)


@pytest.mark.parametrize("workers", [1, 2])
def test_processes_make_no_difference(
    any_recording: Recording, audit: Audit, monkeypatch: pytest.MonkeyPatch, workers: int
) -> None:
    monkeypatch.setattr(proofs, "PARALLEL_FROM_S", 0.0)
    steps: list[tuple[int, int]] = []
    verdict = audit(any_recording, workers=workers, progress=lambda *step: steps.append(step))
    assert verdict.passed
    assert verdict.counts.proofs_rejected == 1
    assert steps[-1][0] == steps[-1][1] >= 4


def test_wrong_outcome_is_found_by_processes_too(
    recording: Recording, audit: Audit, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(proofs, "PARALLEL_FROM_S", 0.0)
    recording.edit(recording.position(Outcome, -1), verdict="rejected", check="constraint_identity")
    assert_fails(audit(recording, workers=2), "proof", recording.position(ReleaseEntry, -1), "is valid")


# The cache


def counted(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many claims were judged, call by call."""
    calls: list[int] = []
    judge = proofs.judge

    def spy(claims: Sequence[object], ask_both: bool) -> list[str]:
        verdicts = judge(claims, ask_both)
        calls.append(len(verdicts))
        return verdicts

    monkeypatch.setattr(proofs, "judge", spy)
    return calls


def test_valid_proofs_are_verified_once(
    any_recording: Recording, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The rejected one is verified every time: only what was found valid is remembered."""
    bundle, calls = any_recording.write(tmp_path), counted(monkeypatch)
    first = verify_bundle(bundle, cache=ProofCache(tmp_path / "cache"))
    before = sum(calls)
    second = verify_bundle(bundle, cache=ProofCache(tmp_path / "cache"))
    assert first == second
    assert first.passed
    assert sum(calls) - before == 1 < before


def test_another_verifier_is_not_vouched_for(
    recording: Recording, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle, calls = recording.write(tmp_path), counted(monkeypatch)
    verify_bundle(bundle, cache=ProofCache(tmp_path / "cache"))
    verify_bundle(bundle, cache=ProofCache(tmp_path / "cache"), independent=True)
    assert calls == [4, 4]


def test_a_proof_is_remembered_with_everything_it_is_about(recording: Recording, tmp_path: Path) -> None:
    """Another update for the same proof is another claim, which fails though the first one is remembered."""
    verify_bundle(recording.write(tmp_path), cache=ProofCache(tmp_path / "cache"))
    position = recording.position(ReleaseEntry, -1)
    update = recording.blobs[recording.entries[position].release.body.update]
    recording.edit(position, update=recording.keep(bytes([update[0] ^ 1]) + update[1:]))
    (tmp_path / "again").mkdir()
    verdict = verify_bundle(recording.write(tmp_path / "again"), cache=ProofCache(tmp_path / "cache"))
    assert_fails(verdict, "proof", position, "constraint_identity")


def test_cache_is_private_and_survives_an_interruption(tmp_path: Path) -> None:
    first, second = bytes(32), bytes([1] * 32)
    cache = ProofCache(tmp_path / "cache")
    cache.add([first, second, first])
    (path,) = (tmp_path / "cache").iterdir()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    path.write_bytes(path.read_bytes()[:-7])  # the disk was full, or the machine lost power
    cache = ProofCache(tmp_path / "cache")
    assert first in cache
    assert second not in cache
    cache.add([second])
    assert second in ProofCache(tmp_path / "cache")


def test_cache_that_cannot_be_used(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="cannot be written"):
        ProofCache(tmp_path / "file")


# Checkpoints and proofs inside a bundle, and those that others hold


def tree_of(recording: Recording) -> Tree:
    return Tree(leaf_hash(entry.encode()) for entry in recording.entries)


def earlier(recording: Recording, size: int) -> EarlierCheckpoint:
    path = tree_of(recording).consistency(size, len(recording.entries))
    return EarlierCheckpoint(checkpoint=recording.checkpoint(size), consistency=[node.hex() for node in path])


def test_proofs_in_the_bundle_lead_to_its_checkpoint(recording: Recording, audit: Audit) -> None:
    position, size = recording.position(Publication), len(recording.entries)
    path = [node.hex() for node in tree_of(recording).inclusion(position, size)]
    verdict = audit(
        recording,
        manifest={
            "earlier": [earlier(recording, 7), earlier(recording, 12)],
            "publications": [InclusionProof(index=position, path=path)],
        },
        checkpoints=[recording.checkpoint(5)],
    )
    assert verdict.passed
    assert "earlier checkpoints: 2, of your own: 1, inclusion proofs: 1" in verdict.checks[5].detail


def test_wrong_proofs_in_the_bundle(recording: Recording, tmp_path: Path) -> None:
    good = earlier(recording, 7)
    cases = [
        {"earlier": [good.model_copy(update={"consistency": good.consistency[:-1]})]},
        {"publications": [InclusionProof(index=3, path=[])]},
        {"publications": [InclusionProof(index=10**6, path=[])]},
    ]
    for number, manifest in enumerate(cases):
        (tmp_path / str(number)).mkdir()
        assert_fails(verify_bundle(recording.write(tmp_path / str(number), **manifest)), "log_consistency")


def test_checkpoint_of_a_fork_that_somebody_holds(recording: Recording, audit: Audit) -> None:
    """The same log key has signed another history of the same length."""
    other = recording.copy()
    other.edit(other.position(Outcome), verify_ms=31)
    verdict = audit(recording, checkpoints=[other.checkpoint(len(other.entries))])
    assert_fails(verdict, "log_consistency", words="the log was forked")


def test_bundle_that_is_older_than_what_somebody_holds(recording: Recording, audit: Audit) -> None:
    newer = recording.checkpoint(len(recording.entries))
    del recording.entries[recording.position(Publication) :]
    assert_fails(audit(recording, checkpoints=[newer]), "log_consistency", words="an older state")


# Bundles of some runs


def test_runs_whose_files_are_elsewhere(enrolled: Recording, tmp_path: Path) -> None:
    """Their releases count, by the log's word; it is said that nobody verified them."""
    bundle = enrolled.write(tmp_path, runs=["sums"], blobs=files_of(enrolled, tmp_path, "sums"))
    verdict = verify_bundle(bundle, Policy.of_key(enrolled.log_key.public))
    assert verdict.passed, verdict.checks
    assert verdict.runs == ("sums",)
    assert "not in this bundle: the runs steps" in verdict.checks[13].detail
    rows = {row.participant: row for row in verdict.privacy}
    assert (rows["ana"].releases, rows["ana"].unverified_releases) == (2, 1)
    assert (rows["ben"].invalid_releases, rows["ben"].unverified_releases) == (1, 0)


def test_run_that_the_log_does_not_have(recording: Recording, tmp_path: Path) -> None:
    verdict = verify_bundle(recording.write(tmp_path, runs=["autumn", "spring"]))
    assert_fails(verdict, "aggregate", words="the log has none")


def test_run_left_out_of_scope_needs_none_of_its_files(recording: Recording, tmp_path: Path) -> None:
    verdict = verify_bundle(recording.write(tmp_path, runs=[]))
    (failed,) = [check for check in verdict.checks if check.status is Status.FAILED]
    assert failed.name == "publication"  # files that nothing in scope names


def files_of(recording: Recording, folder: Path, run: str) -> dict[str, Path]:
    """The files that a bundle of one run holds."""
    entries = [entry for entry in recording.entries if run_of(entry) in (None, run)]
    named = {digest for entry in entries for digest in blobs_of(entry)}
    (folder / "files").mkdir()
    for digest in named:
        (folder / "files" / digest).write_bytes(recording.blobs[digest])
    return {digest: folder / "files" / digest for digest in named}

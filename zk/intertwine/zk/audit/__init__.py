"""The audit of a bundle: numbered checks, from files alone, and what each participant's privacy amounts to.

A pass says that the log is consistent and signed, that every accepted update carries a valid proof made after
its beacon was drawn as the protocol demands, that no logged release was left out of the aggregate or the
account, and that the models, ONNX files included, follow from the accepted updates. It does not say that the
participants' data are true, that the graph which a plan names for its model is a sensible one, or that other
parties were shown the same log: for that, compare the checkpoint with theirs. Figures for single records rest
on proofs only where a run's updates were proven to follow from enrolled records.
"""

from intertwine.zk.audit.auditor import verify_bundle
from intertwine.zk.audit.verdict import CHECKS, Check, CheckResult, Counts, Status, Verdict

__all__ = ["CHECKS", "Check", "CheckResult", "Counts", "Status", "Verdict", "verify_bundle"]

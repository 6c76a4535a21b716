"""The demo's figures: taken from the public bundle, the audit's verdict and the participants' own data.

The demo plays every party, so it may evaluate models on everyone's held-out records; in a real federation
no metric leaves an agent.
"""

import json
import statistics
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import torch

from deploy.demo.federation import DRILL, MEMBERS, TASKS
from deploy.demo.page import render
from deploy.demo.proofs import write_proof_files
from intertwine.models.registry import task as find_task
from intertwine.models.task import Evaluation
from intertwine.protocols.aggregation import parameters_from_bytes
from intertwine.protocols.bundle import Bundle
from intertwine.protocols.entries import (
    DatasetEntry,
    Entry,
    ModelEntry,
    Outcome,
    PlanEntry,
    Publication,
    ReleaseEntry,
    decode_entry,
)
from intertwine.protocols.files import write_atomic
from intertwine.protocols.plan import Plan
from intertwine.protocols.round import RoundId, Slot
from intertwine.zk.privacy import ALL_TASKS

MAX_PARITY_DIFFERENCE = 1e-5
SIMULATED_TASKS = ("risk",)

Json = dict[str, Any]


def write_report(
    output: Path,
    *,
    data: Mapping[str, Mapping[str, Path]],
    enrolments: list[Json],
    budgets: Mapping[str, list[Json]],
    predictions: list[Json],
    seconds: float,
) -> Json:
    """Write report.json, report.html and the folder proofs into `output`; returns what report.json holds."""
    torch.set_num_threads(1)  # the models are small: several threads mostly wait for each other
    report = _Report(output, data).collect()
    took = {(row["participant"], row["task"]): row["seconds"] for row in enrolments}
    for row in report["datasets"]:
        row["enrol_s"] = took[row["participant"], row["task"]]
    audit = json.loads((output / "audit.json").read_text())
    report |= {
        "proofs": _proofs(report.pop("slots"), budgets),
        "privacy": [_privacy(row) for row in audit["privacy"] if row["task"] != ALL_TASKS],
        "audit": {
            "verdict": "pass" if audit["passed"] else "fail",
            "checks": audit["checks"],
            "entries": audit["counts"]["entries"],
            "log_key": audit["log_key"],
        },
        "predictions": predictions,
        "seconds": round(seconds, 1),
    }
    # JSON has no infinity; 1e999 is a valid number that parses to it everywhere.
    text = json.dumps(report, indent=1).replace(": Infinity", ": 1e999")
    write_atomic(output / "report.json", text.encode())
    write_atomic(output / "report.html", render(report).encode())
    return report


def shortcomings(report: Json) -> list[str]:
    """What the demo promises and this run did not show, in sentences."""
    caught = {(row["participant"], row["run"]) for row in report["proofs"]["rejected"]}
    cheaters = {(member.name, DRILL) for member in MEMBERS if member.dishonest}
    found = []
    if report["audit"]["verdict"] != "pass":
        found.append("the audit failed.")
    if caught != cheaters:
        found.append(f"rejected were {sorted(caught)}, not {sorted(cheaters)}.")
    found += [
        f"the ONNX file of {task} differs from torch by {row['max_abs_difference']:g}."
        for task, row in report["onnx"].items()
        if row["max_abs_difference"] > MAX_PARITY_DIFFERENCE
    ]
    return found


class _Report:
    """What bundle and data say, task by task."""

    def __init__(self, output: Path, data: Mapping[str, Mapping[str, Path]]) -> None:
        self._output = output
        self._bundle = Bundle.open(output / "demo.bundle")
        self._entries: list[Entry] = [decode_entry(entry) for entry in self._bundle.entries()]
        self._plans = {
            entry.plan.body.run: entry.plan.body for entry in self._entries if isinstance(entry, PlanEntry)
        }
        self._data = data
        self._records = {
            task: [find_task(task).load(files[task]) for files in data.values() if task in files]
            for task in TASKS
        }

    def collect(self) -> Json:
        """Everything but what the agents and the auditor contribute."""
        return {
            "version": "intertwine/demo-report/v2",
            "participants": [
                {"name": member.name, "role": member.role, "tasks": list(self._data[member.name])}
                for member in MEMBERS
            ],
            "simulated": list(SIMULATED_TASKS),
            "tasks": {task: self._task(task) for task in TASKS},
            "datasets": self._datasets(),
            "onnx": {task: self._onnx(task) for task in TASKS},
            "rounds": self._rounds(),
            "slots": self._slots(),
            "proof_files": write_proof_files(self._bundle, self._entries, self._output / "proofs"),
        }

    def _task(self, run: str) -> Json:
        plan = self._plans[run]
        task = find_task(plan.task)
        digests = [plan.initial]
        digests += [entry.parameters for entry in self._of_run(run) if isinstance(entry, ModelEntry)]
        history = [self._evaluate(plan, digest) for digest in digests]
        final = self._evaluate(plan, self._publication(run).parameters)
        return {
            "run": run,
            "record": task.record,
            "rounds": plan.rounds,
            "average_last": plan.average_last,
            "dimension": plan.dimension,
            "sigma": plan.sigma,
            "record_bound": plan.record_bound,
            "mechanism": plan.mechanism.model_dump(mode="json"),
            "metric": {
                "name": task.metric_name,
                "higher_is_better": task.higher_is_better,
                "initial": history[0].metric,
                "final": final.metric,
                "baseline_name": task.baseline_name,
                "baseline": final.baseline,
            },
            "history": [
                {"round": number, "loss": point.loss, "metric": point.metric}
                for number, point in enumerate(history)
            ],
        }

    def _datasets(self) -> list[Json]:
        """What every participant committed to, task by task; the demo's chains have one document each."""
        bodies = [entry.dataset.body for entry in self._entries if isinstance(entry, DatasetEntry)]
        return [
            {
                "participant": body.participant,
                "task": body.task,
                "records": sum(page.rows for page in body.pages),
                "columns": body.columns,
                "entries": body.entries,
                "label": body.label,
                "row_bound": body.row_bound,
                "pages": len(body.pages),
                "bytes": sum(len(self._bundle.blob(page.proof)) for page in body.pages),
            }
            for body in sorted(bodies, key=lambda body: TASKS.index(body.task))
        ]

    def _evaluate(self, plan: Plan, digest: str) -> Evaluation:
        """The unweighted mean over the participants' held-out records."""
        parameters = parameters_from_bytes(self._bundle.blob(digest), plan.dimension)
        task = find_task(plan.task)
        points = [task.evaluate(parameters, records) for records in self._records[plan.task]]
        return Evaluation(
            loss=statistics.fmean(point.loss for point in points),
            metric=statistics.fmean(point.metric for point in points),
            baseline=statistics.fmean(point.baseline for point in points),
        )

    def _onnx(self, run: str) -> Json:
        """Keep the published file, and see how far it is from torch on every participant's real inputs."""
        plan, publication = self._plans[run], self._publication(run)
        task = find_task(plan.task)
        path, model = self._output / "models" / f"{plan.task}.onnx", self._bundle.blob(publication.onnx)
        path.parent.mkdir(exist_ok=True)
        write_atomic(path, model)
        parameters = parameters_from_bytes(self._bundle.blob(publication.parameters), plan.dimension)
        session = onnxruntime.InferenceSession(model)
        names = [output.name for output in session.get_outputs()]
        worst = 0.0
        for records in self._records[plan.task]:
            inputs = task.inputs(records)
            expected = task.reference(parameters, inputs)
            for name, found in zip(names, session.run(names, inputs), strict=True):
                if np.issubdtype(found.dtype, np.floating):
                    worst = max(worst, float(np.abs(found - expected[name]).max()))
        return {"path": str(path), "sha256": publication.onnx, "max_abs_difference": worst}

    def _rounds(self) -> list[Json]:
        rounds: dict[RoundId, Json] = {}
        for entry in self._entries:
            if isinstance(entry, Outcome):
                identity = entry.slot.round
                row = rounds.setdefault(
                    identity,
                    {
                        "run": identity.run,
                        "task": identity.task,
                        "round": identity.number,
                        "accepted": [],
                        "rejected": [],
                        "aborted": [],
                    },
                )
                row[entry.verdict].append(entry.slot.participant)
        return list(rounds.values())

    def _slots(self) -> list[Json]:
        """One row for each release: who, what became of it, how large and how long to verify."""
        outcomes: dict[Slot, Outcome] = {
            entry.slot: entry for entry in self._entries if isinstance(entry, Outcome)
        }
        return [
            {
                "participant": slot.participant,
                "run": slot.round.run,
                "task": slot.round.task,
                "round": slot.round.number,
                "dimension": self._plans[slot.round.run].dimension,
                "check": outcomes[slot].check,
                "accepted": outcomes[slot].verdict == "accepted",
                "verify_s": outcomes[slot].verify_ms / 1000,
                "bytes": len(self._bundle.blob(entry.release.body.proof)),
            }
            for entry in self._entries
            if isinstance(entry, ReleaseEntry)
            for slot in [entry.release.body.slot]
        ]

    def _publication(self, run: str) -> Publication:
        return next(entry for entry in self._of_run(run) if isinstance(entry, Publication))

    def _of_run(self, run: str) -> list[ModelEntry | Publication]:
        return [
            entry
            for entry in self._entries
            if isinstance(entry, ModelEntry | Publication) and entry.round.run == run
        ]


def _proofs(slots: list[Json], budgets: Mapping[str, list[Json]]) -> Json:
    seconds = {
        (participant, row["run"], row["round"]): row["prove_s"]
        for participant, rows in budgets.items()
        for row in rows
    }
    by_task: dict[str, Json] = defaultdict(lambda: {"prove_s": [], "verify_s": [], "bytes": []})
    for slot in slots:
        rows = by_task[slot["task"]]
        rows["dimension"] = slot["dimension"]
        rows["prove_s"].append(round(seconds[slot["participant"], slot["run"], slot["round"]], 3))
        rows["verify_s"].append(slot["verify_s"])
        rows["bytes"].append(slot["bytes"])
    fields = ("participant", "run", "task", "round", "check")
    return {
        "made": len(slots),
        "verified": sum(slot["accepted"] for slot in slots),
        "rejected": [{name: slot[name] for name in fields} for slot in slots if not slot["accepted"]],
        "prove_s_median": statistics.median(seconds.values()),
        "verify_s_median": statistics.median(slot["verify_s"] for slot in slots),
        "bytes_median": statistics.median(slot["bytes"] for slot in slots),
        "dimension_max": max(slot["dimension"] for slot in slots),
        "by_task": dict(by_task),
    }


def _privacy(row: Json) -> Json:
    """One row of the audit's account, flat, with what the task's record-level figure protects."""
    flat = {**row, **row["guarantee"], "record": find_task(row["task"]).record}
    del flat["guarantee"]
    return flat

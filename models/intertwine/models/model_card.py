"""A task's model card in Markdown: what its model is for, and for what it is not.

The headings are those of Mitchell et al. 2019, as far as they concern a task; what a single run reached and
cost stands in its log.
"""

from collections.abc import Iterable, Mapping

from intertwine.models.task import DataBoundTask, Records, Task


def render(task: Task[Records]) -> str:
    """The card, with a heading of level two."""
    better = "higher" if task.higher_is_better else "lower"
    proven = isinstance(task, DataBoundTask)
    bound = "the proofs, from enrolled records" if proven else "the participant, on its word"
    sections = {
        "Intended use": [task.card.intended_use],
        "Inputs": _named(task.card.inputs),
        "Outputs": _named(task.card.outputs),
        "Evaluation": [
            f"{task.metric_name} on records that training never sees ({better} is better), "
            f"beside the baseline: {task.baseline_name}."
        ],
        "Privacy": [
            f"A record is {task.record}. What one record contributes is bounded by {bound}.",
            f"A participant needs at least {task.fewest_records} records.",
        ],
        "Limits": _bullets(task.card.limits),
    }
    blocks = [f"## {task.name}, version {task.version}", f"{task.dimension} parameters, exported as ONNX."]
    for title, lines in sections.items():
        blocks += [f"**{title}**", "\n".join(lines)]
    return "\n\n".join(blocks) + "\n"


def _named(meanings: Mapping[str, str]) -> list[str]:
    return _bullets(f"`{name}`: {meaning}." for name, meaning in meanings.items())


def _bullets(lines: Iterable[str]) -> list[str]:
    return [f"- {line}" for line in lines]

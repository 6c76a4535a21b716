"""CVSS 3.1 base score from a vector string.

Source: FIRST, Common Vulnerability Scoring System v3.1: Specification Document, section 7.1 (base metric
equations) and 7.4 (metric values); rounding as in its appendix A. Version 3.0 vectors are read with the
same formula. Temporal and environmental metrics are accepted and ignored.
"""

from dataclasses import dataclass

from intertwine.protocols.errors import InputError

VALUES: dict[str, str] = {
    "AV": "NALP",
    "AC": "LH",
    "PR": "NLH",
    "UI": "NR",
    "S": "UC",
    "C": "NLH",
    "I": "NLH",
    "A": "NLH",
}
"""The letters that each base metric may take."""

_ATTACK_VECTOR = {"N": 0.85, "A": 0.62, "L": 0.55, "P": 0.2}
_COMPLEXITY = {"L": 0.77, "H": 0.44}
_PRIVILEGES = {"U": {"N": 0.85, "L": 0.62, "H": 0.27}, "C": {"N": 0.85, "L": 0.68, "H": 0.5}}
_INTERACTION = {"N": 0.85, "R": 0.62}
_IMPACT = {"N": 0.0, "L": 0.22, "H": 0.56}

_REMEDY = "Give a CVSS 3.1 vector such as CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:H/A:H."


@dataclass(frozen=True)
class BaseMetrics:
    """The eight base metrics. letters: metric name to its letter, complete and valid."""

    letters: dict[str, str]

    @classmethod
    def parse(cls, vector: str) -> "BaseMetrics":
        """Read a vector; InputError if it is not version 3, or a base metric is missing, twice or unknown."""
        version, *parts = vector.split("/")
        if version not in ("CVSS:3.1", "CVSS:3.0"):
            raise InputError(f"The vector {vector!r} is not a CVSS version 3 vector.", _REMEDY)
        letters: dict[str, str] = {}
        for part in parts:
            metric, _, letter = part.partition(":")
            if metric in letters or not letter:
                raise InputError(f"The vector {vector!r} is malformed at {part!r}.", _REMEDY)
            letters[metric] = letter
        for metric, values in VALUES.items():
            if len(letters.get(metric, "")) != 1 or letters[metric] not in values:
                raise InputError(f"The vector {vector!r} has no valid value for {metric}.", _REMEDY)
        return cls({metric: letters[metric] for metric in VALUES})

    def score(self) -> float:
        """The base score, 0.0 to 10.0 with one decimal."""
        metric = self.letters
        changed = metric["S"] == "C"
        impact_base = 1.0 - (1 - _IMPACT[metric["C"]]) * (1 - _IMPACT[metric["I"]]) * (
            1 - _IMPACT[metric["A"]]
        )
        impact = 6.42 * impact_base
        if changed:
            impact = 7.52 * (impact_base - 0.029) - 3.25 * (impact_base - 0.02) ** 15
        if impact <= 0:
            return 0.0
        exploitability = (
            8.22
            * _ATTACK_VECTOR[metric["AV"]]
            * _COMPLEXITY[metric["AC"]]
            * _PRIVILEGES[metric["S"]][metric["PR"]]
            * _INTERACTION[metric["UI"]]
        )
        total = impact + exploitability
        return _round_up(min(1.08 * total if changed else total, 10.0))


def _round_up(score: float) -> float:
    """The smallest number with one decimal that is not below `score`, robust to float error (appendix A)."""
    hundred_thousandths = round(score * 100_000)
    if hundred_thousandths % 10_000 == 0:
        return hundred_thousandths / 100_000
    return (hundred_thousandths // 10_000 + 1) / 10

"""The timeline of a run as inline SVG: a mark for every participant and round.

Lengths are SVG user units. A picture is at most some 400 wide, so that its text stays readable on a phone.
Each state has a form of its own, so that nothing depends on colour.
"""

from collections import Counter, defaultdict
from collections.abc import Sequence

from intertwine.zk.audit.markup import Html, element
from intertwine.zk.audit.report import RoundEnd, RoundReport, RunReport, SlotEnd

ROUNDS_ACROSS = 20
MAX_ROWS = 60

_TOP = 20
_STEP = 14.0
_LETTER = 6.6
_PIXELS = 1.25  # that a unit takes where there is room
_NAME_LENGTH = 16

MEANINGS = {
    SlotEnd.ACCEPTED: "accepted: counted in the model",
    SlotEnd.REJECTED: "rejected: its release failed a check",
    SlotEnd.ABORTED: "aborted: committed, but never released",
    SlotEnd.ABSENT: "absent: never committed",
    SlotEnd.OPEN: "open: committed, and no outcome is due",
}


def timeline(run: RunReport) -> list[Html]:
    """The run's rounds in pictures of at most ROUNDS_ACROSS rounds each."""
    parts = range(0, len(run.rounds), ROUNDS_ACROSS)
    return [_picture(run.name, run.rounds[start : start + ROUNDS_ACROSS]) for start in parts]


def mark(end: SlotEnd) -> Html:
    """The mark of a state by itself, for a legend."""
    return element(
        "svg", *_marks({end: [(1.0, 1.0)]}), viewBox="0 0 14 14", class_="mark", aria_hidden="true"
    )


def _picture(run: str, rounds: Sequence[RoundReport]) -> Html:
    names = list(dict.fromkeys(slot.participant for current in rounds for slot in current.slots))
    shown = {name: _TOP + row * _STEP for row, name in enumerate(names[:MAX_ROWS])}
    left = 8 + _LETTER * max((len(_shorten(name)) for name in shown), default=0)
    columns = [left + column * _STEP for column in range(len(rounds))]
    places: dict[SlotEnd, list[tuple[float, float]]] = defaultdict(list)
    for x, current in zip(columns, rounds, strict=True):
        for slot in current.slots:
            if slot.participant in shown:
                places[slot.end].append((x, shown[slot.participant]))
    bottom, right = _TOP + len(shown) * _STEP, left + len(rounds) * _STEP + 6
    parts = [_label(left - 6, y + 10, _shorten(name), "name", "end") for name, y in shown.items()]
    for x, current in zip(columns, rounds, strict=True):
        if current is rounds[0] or current.number % 5 == 0:
            parts.append(_label(x + 6, _TOP - 6, str(current.number), "axis", "middle"))
        if current.end in _ROUND_SIGNS:
            parts.append(_label(x + 6, bottom + 11, *_ROUND_SIGNS[current.end], "middle"))
    return element(
        "svg",
        *parts,
        *_marks(places),
        class_="chart",
        viewBox=f"0 0 {right:.0f} {bottom + 16:.0f}",
        width=f"{right * _PIXELS:.0f}",
        role="img",
        aria_label=_alternative(run, rounds),
    )


def _marks(places: dict[SlotEnd, list[tuple[float, float]]]) -> list[Html]:
    """One path for all marks of a state, and one for the signs inside them."""
    parts = []
    for end, corners in places.items():
        frame, sign = _FORMS[end]
        for kind, form in (("frame", frame), ("sign", sign)):
            if form:
                d = "".join(f"M{x:g} {y:g}{form}" for x, y in corners)
                parts.append(element("path", class_=f"{end} {kind}", d=d))
    return parts


_ROUND_SIGNS = {RoundEnd.FAILED: ("✕", "failed"), RoundEnd.OPEN: ("…", "axis")}
_SQUARE = "h12v12h-12z"
# How to draw each state from its upper left corner, as relative moves.
_FORMS = {
    SlotEnd.ACCEPTED: (_SQUARE, ""),
    SlotEnd.REJECTED: (_SQUARE, "m3 3l6 6m0 -6l-6 6"),
    SlotEnd.ABORTED: (_SQUARE, "m3 6h6"),
    SlotEnd.ABSENT: ("m4 6a2 2 0 1 0 4 0a2 2 0 1 0 -4 0z", ""),
    SlotEnd.OPEN: ("m2 6a4 4 0 1 0 8 0a4 4 0 1 0 -8 0z", ""),
}


def _alternative(run: str, rounds: Sequence[RoundReport]) -> str:
    counts = Counter(slot.end for current in rounds for slot in current.slots)
    tally = ", ".join(f"{counts[end]} {end}" for end in SlotEnd if counts[end])
    failed = [str(current.number) for current in rounds if current.end is RoundEnd.FAILED]
    suffix = f"; failed rounds: {', '.join(failed)}" if failed else ""
    return f"Run {run}, rounds {rounds[0].number} to {rounds[-1].number}: {tally or 'no slots'}{suffix}"


def _label(x: float, y: float, text: str, kind: str, anchor: str) -> Html:
    return element("text", text, class_=kind, x=f"{x:g}", y=f"{y:g}", text_anchor=anchor)


def _shorten(text: str) -> str:
    return text if len(text) <= _NAME_LENGTH else f"{text[: _NAME_LENGTH - 1]}…"

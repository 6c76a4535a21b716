"""Pieces that the report's sections are made of: tables, digests, times and figures."""

import math
from collections.abc import Sequence
from datetime import UTC, datetime
from decimal import ROUND_CEILING, Context

from intertwine.zk.audit.markup import Content, Html, element

MAX_ROWS = 500
"""Rows of one table, as long as its caller knows no better; the JSON document has all of them."""

_LAST_TIME = 253_402_300_799  # the end of the year 9999
_SHORT = 12
_COLUMNS = {"#": "n", "+": "wide", "=": "line"}
_SUPERSCRIPTS = str.maketrans("0123456789-", "⁰¹²³⁴⁵⁶⁷⁸⁹⁻", "+")


def section(identifier: str, title: str, *content: Content) -> Html:
    """A numbered part of the report, named by its heading."""
    return element("section", element("h2", title, id=identifier), *content, aria_labelledby=identifier)


def table(
    label: str,
    headings: Sequence[str],
    rows: Sequence[Sequence[Content]],
    name: int = 0,
    limit: int = MAX_ROWS,
) -> Html:
    """A table that scrolls by itself where it is too wide.

    A heading's last character says what its column holds: # numbers, + sentences, = what stays on one line.
    name: the column that names its row; limit: how many rows to show.
    """
    kinds = [_COLUMNS.get(heading[-1]) for heading in headings]
    head = (
        element("th", heading.rstrip("#+="), scope="col", class_="n" if kind == "n" else None)
        for heading, kind in zip(headings, kinds, strict=True)
    )
    body = (
        element(
            "tr",
            *(_cell(cell, kinds[column], names=column == name) for column, cell in enumerate(row)),
        )
        for row in rows[:limit]
    )
    scrolled = element(
        "div",
        element("table", element("thead", element("tr", *head)), element("tbody", *body)),
        class_="scroll",
        tabindex="0",
        role="region",
        aria_label=label,
    )
    return Html(scrolled + rest(len(rows) - limit))


def facts(pairs: Sequence[tuple[str, Content]]) -> Html:
    """Terms with what they stand for, one a line."""
    return element(
        "dl", *((element("dt", term), element("dd", value)) for term, value in pairs), class_="plain"
    )


def listed(items: Sequence[Content], **attributes: str) -> Html:
    """A list."""
    return element("ul", *(element("li", item) for item in items), **attributes)


def paragraph(*content: Content, kind: str | None = None) -> Html:
    """A paragraph."""
    return element("p", *content, class_=kind)


def digest(value: str) -> Html | None:
    """A digest, shortened, with all of it to point at; nothing for an empty one."""
    if not value:
        return None
    return element("abbr", f"{value[:_SHORT]}…", class_="hex", title=value)


def whole(value: str) -> Html:
    """A digest or key in full."""
    return element("span", value, class_="hex")


def position(entry: int | None) -> str:
    """A position in the log; a dash if there is none."""
    return "–" if entry is None else str(entry)


def when(seconds: int) -> str:
    """A time in words, UTC."""
    if not 0 <= seconds <= _LAST_TIME:
        return f"{seconds} s after 1970"
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S")


def rounded_up(value: float) -> str:
    """A bound with three significant digits, never smaller than it is."""
    if math.isinf(value):
        return "∞"
    if not value:
        return "0"
    exact = Context(prec=3, rounding=ROUND_CEILING).create_decimal(repr(value))
    return f"{exact:,f}" if 1e-3 <= value < 1e9 else f"{exact:.2e}"


def small(value: float) -> str:
    """A small probability, rounded up to two significant digits."""
    exact = Context(prec=2, rounding=ROUND_CEILING).create_decimal(repr(value))
    if value >= 1e-2 or not value:
        return f"{exact:f}".removesuffix(".0")
    digits, _, exponent = f"{exact:.1e}".partition("e")
    return f"{digits.removesuffix('.0')} · 10{exponent.translate(_SUPERSCRIPTS)}"


def plural(count: int, noun: str) -> str:
    """A number and what it counts."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def _cell(content: Content, kind: str | None, names: bool) -> Html:
    if names:
        return element("th", content, scope="row", class_=kind)
    return element("td", content, class_=kind)


def rest(count: int, noun: str = "row") -> Html:
    """That so many are not shown; nothing if all are."""
    if count <= 0:
        return Html("")
    return paragraph(
        f"and {plural(count, noun)} more: the verdict's JSON document has them all.", kind="small"
    )

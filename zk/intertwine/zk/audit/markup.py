"""HTML that escapes by construction: whatever is not Html already becomes text."""

import html
import unicodedata
from collections.abc import Iterable
from typing import TypeAlias

MAX_TEXT = 1000
"""Characters of one piece of text; more is cut off."""

_VOID = frozenset({"br", "circle", "line", "meta", "path", "rect"})
_UNPRINTABLE = frozenset(
    {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}
)  # with them the marks that turn text round


class Html(str):
    """Markup that is safe to put into a page as it is."""

    __slots__ = ()


Content: TypeAlias = str | int | Iterable["Content"] | None
"""Text is escaped; None is nothing."""


def element(tag: str, *content: Content, **attributes: str | float | bool | None) -> Html:
    """One element. Attributes: class_ is class, aria_label is aria-label; False and None leave one out."""
    head = "".join(_attribute(name, value) for name, value in attributes.items())
    if tag in _VOID:
        return Html(f"<{tag}{head}>" if tag in {"br", "meta"} else f"<{tag}{head}/>")
    return Html(f"<{tag}{head}>{join(content)}</{tag}>")


def join(*content: Content) -> Html:
    """The pieces one after the other."""
    return Html("".join(_piece(part) for part in content))


def clean(text: str, limit: int = MAX_TEXT) -> str:
    """Text from a bundle without characters that a reader cannot see, and of bounded length."""
    shown = "".join("�" if unicodedata.category(char) in _UNPRINTABLE else char for char in text[: limit + 1])
    return shown if len(shown) <= limit else f"{shown[: limit - 1]}…"


def _piece(part: Content) -> str:
    if isinstance(part, Html):
        return part
    if isinstance(part, str):
        return html.escape(clean(part))
    if part is None:
        return ""
    return f"{part:,}" if isinstance(part, int) else "".join(map(_piece, part))


def _attribute(name: str, value: str | float | bool | None) -> str:
    if value is None or value is False:
        return ""
    key = name.rstrip("_").replace("_", "-")
    if value is True:
        return f" {key}"
    return f' {key}="{html.escape(clean(str(value), 1 << 20))}"'

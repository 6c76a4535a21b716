"""Write `docs/reference/model-cards.md` anew, from the tasks.

python -m docs.model_cards
"""

import sys
from pathlib import Path

from intertwine.models.model_card import render
from intertwine.models.registry import TASKS, task

FILE = Path(__file__).parent / "reference" / "model-cards.md"
_HEAD = """# Model cards

What each shared model is for, what it reads and gives, and what it cannot do. A published ONNX file has its
card as metadata, beside the run, a digest of its training record, and what that cost each participant by
name; an auditor [recomputes](../../protocols/spec/round.md#model-file) them with the file. What one run
reached is in its [bundle](../how-to/verify-a-bundle.md). `python -m docs.model_cards` writes this page from
the tasks.
"""


def main() -> int:
    """Replace the page."""
    FILE.write_text(page())
    return 0


def page() -> str:
    """The page: a card for each task that comes with intertwine."""
    return "\n".join([_HEAD, *(render(task(name)) for name in TASKS)])


if __name__ == "__main__":
    sys.exit(main())

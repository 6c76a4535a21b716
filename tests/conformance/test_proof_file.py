"""Proof files: bounds that hold before anything is parsed, and the page that says what is in them."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from intertwine.protocols.errors import InputError, VerificationError
from intertwine.zk import independent, proof_file
from tests.conformance.forgery.file_cases import having
from tests.conformance.generate_vectors import FOLDER

PAGE = Path(__file__).parents[2].joinpath("zk", "PROOF_FILE.md").read_text(encoding="utf-8")
GOOD = (FOLDER / "statistics-honest.json").read_bytes()
FILES = {
    "release": proof_file.ReleaseFile,
    "dataset": proof_file.DatasetFile,
    "statistics": proof_file.StatisticsFile,
    "glm": proof_file.GlmFile,
}
VERIFIERS = [proof_file.verify_file, independent.verify_file]


def fields_on_page(kind: str) -> set[str]:
    row = next(line for line in PAGE.splitlines() if line.startswith(f"| `{kind}` |"))
    _, _, own = row.partition(f"| `{kind}` |")
    base: set[str] = set()
    if "as statistics" in own:
        base = fields_on_page("statistics") - {"moment", "weights"}
        own = own.partition(";")[2]
    return base | set(re.findall(r"`(\w+)`", own))


@pytest.mark.parametrize("kind", FILES)
def test_page_names_the_fields(kind: str) -> None:
    common = {"version", "statement", "context", "proof"}
    assert all(f"`{name}`" in PAGE for name in common)
    assert fields_on_page(kind) | common == set(FILES[kind].model_fields)


def test_page_states_the_bounds() -> None:
    assert (proof_file.MAX_FILE_BYTES, proof_file.MAX_ITEMS) == (64 << 20, 1 << 20)
    assert f"{proof_file.MAX_PAGES} dataset pages" in PAGE
    assert f"at most {proof_file.MAX_CONTEXT_BYTES}" in PAGE


BOMBS: dict[str, Callable[[], bytes]] = {
    "too_large": lambda: bytes(proof_file.MAX_FILE_BYTES + 1),
    "too_many_items": lambda: b"[" + b"0," * (proof_file.MAX_ITEMS + 1) + b"0]",
    "too_deep": lambda: b"[" * 100_000,
    "too_deep_in_a_field": lambda: having(pages=[[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]])(GOOD),
    "too_many_pages": lambda: having(pages=[{"commitments": [], "rows": 1}] * 1025)(GOOD),
    "endless_number": lambda: GOOD.replace(b'"row_bound":50', b'"row_bound":' + b"9" * 10_000),
    "text_beyond_ascii": lambda: having(label="binäry")(GOOD),
    "control_character": lambda: having(label="binary\n")(GOOD),
    "long_text": lambda: having(label="b" * 129)(GOOD),
}


@pytest.mark.parametrize("verify", VERIFIERS, ids=["fast", "independent"])
@pytest.mark.parametrize("bomb", BOMBS)
def test_refused_before_it_costs_anything(bomb: str, verify: Callable[[bytes], None]) -> None:
    with pytest.raises(InputError) as refused:
        verify(BOMBS[bomb]())
    assert len(str(refused.value)) < 500


@pytest.mark.parametrize("verify", VERIFIERS, ids=["fast", "independent"])
def test_largest_dimension_is_no_bomb(verify: Callable[[bytes], None]) -> None:
    with pytest.raises(VerificationError) as refused:
        verify(having(update="00" * 8 * 131_073)(GOOD))
    assert refused.value.check == "update_encoding"

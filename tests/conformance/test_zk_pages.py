"""The normative pages say what the code does: checks, parameters, inputs, transcript, circuits, bits."""

import hashlib
import math
import re
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from intertwine.zk import dataset, glm, instance, noise, release, sampler, statistics, step
from intertwine.zk.circuit import Circuit
from intertwine.zk.dataset import Shape
from intertwine.zk.domain import BLINDING_ROWS, DATA_ROWS, OMEGA, SIZE
from intertwine.zk.field import MODULUS
from intertwine.zk.transcript import Transcript
from tests.proving import BEACON, KINDS, SEED, SLOT, example, example_proof, release_case

FOLDER = Path(__file__).parents[2] / "zk"
MODULES: dict[str, Any] = {"release": release, "dataset": dataset, "statistics": statistics, "glm": glm}
VECTOR = "42c272ea9c632f8ece80dad06a4fe997ddb2f81976f17b7de2d405238adb15bd"


def page(name: str) -> str:
    return (FOLDER / f"{name.upper()}.md").read_text(encoding="utf-8")


def section(name: str, title: str) -> str:
    """What stands below a heading, up to the next one."""
    return re.split(rf"^## (?:\d+\. )?{title}\n", page(name), flags=re.MULTILINE)[1].split("\n## ")[0]


def rows(text: str) -> Iterator[list[str]]:
    """The cells of all table rows, without those of heads and rules."""
    lines = [line for line in text.splitlines() if line.startswith("|")]
    for _, table in groupby(range(len(lines)), lambda index: lines[index].startswith("|---")):
        yield from ([cell.strip() for cell in lines[i].strip("|").split("|")] for i in table)


def body(text: str) -> list[list[str]]:
    found = list(rows(text))
    rule = next(index for index, row in enumerate(found) if set(row[0]) == {"-"})
    return found[rule + 1 :]


def circuit_of(kind: str) -> Circuit:
    case = example(kind)
    return case.instance_of(case.statement).circuit


@pytest.mark.parametrize("kind", KINDS)
def test_check_tables(kind: str) -> None:
    own = MODULES[kind].CHECKS[: -len(instance.ARGUMENT_CHECKS)]
    expected = [[str(check.number), check.name, check.meaning] for check in own]
    assert body(section(kind, "Checks")) == expected


def test_checks_of_the_argument() -> None:
    found = body(section("argument", "Checks"))
    assert [name for name, _ in found] == [name for name, _ in instance.ARGUMENT_CHECKS]
    for (_, said), (_, meaning) in zip(found, instance.ARGUMENT_CHECKS, strict=True):
        assert said.startswith(meaning)


def minus(value: float) -> str:
    return f"−{-value:.2f}"


def test_parameter_tables() -> None:
    chosen = [sampler.sampler(sigma) for sigma in sampler.SIGMAS]
    base = [sampler._LEVELS[each.sigma][0] for each in chosen]
    tables = {
        "σ": [str(each.sigma) for each in chosen],
        "levels": [str(len(each.steps)) for each in chosen],
        "σ₁ of each level": [str(value) for value in base],
        "B": [str(each.bits) for each in chosen],
        "step k": [str(each.steps[1]) if len(each.steps) > 1 else "" for each in chosen],
        "rows of the threshold table": [str(len(each.table.rows)) for each in chosen],
        r"largest \|z_l\|": [str(each.table.rows[-1][0]) for each in chosen],
        "log₂ TV, per coordinate": [minus(math.log2(sampler.total_variation(each.sigma))) for each in chosen],
    }
    text = section("argument", "Noise").replace(r"\|z_l\|", "abs(z_l)")
    found = {row[0].replace("abs(z_l)", r"\|z_l\|"): row[1:] for row in rows(text) if len(row) == 8}
    for label, values in tables.items():
        assert found[label] == values


@pytest.mark.parametrize("kind", KINDS)
def test_public_inputs(kind: str) -> None:
    case = example(kind)
    listed = [name for row in body(section(kind, "Public inputs")) for name in row[0].split(", ")]
    assert listed == [name for name, _ in case.instance_of(case.statement).inputs]


def absorbed(kind: str, monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, bytes]]:
    """Everything that the verifier absorbs, in order."""
    said: list[tuple[str, bytes]] = []
    original = Transcript.absorb

    def heard(self: Transcript, label: str, data: bytes) -> None:
        said.append((label, data))
        original(self, label, data)

    monkeypatch.setattr(Transcript, "absorb", heard)
    example(kind).verify(example_proof(kind))
    return said


@pytest.mark.parametrize("kind", KINDS)
def test_transcript(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Steps 1 to 7 of section 3 with their labels, counts and challenges; the proof is what 3 to 7 absorb."""
    steps = re.findall(r"^\d\. (.*)", section("argument", "Transcript and proof"), flags=re.MULTILINE)
    challenges = [name for text in steps[2:] for name in text.split("**")[1].split(", ")]
    assert challenges == ["alpha", "beta", "theta", "kappa", "gamma", "zeta", "v", "rho"]
    circuit, proof = circuit_of(kind), example_proof(kind)
    said = absorbed(kind, monkeypatch)
    expected: list[tuple[str, int]] = [(name, 1) for name in re.findall(r"`(\w+)`: ", steps[0])]
    expected += [(name, -1) for row in body(section(kind, "Public inputs")) for name in row[0].split(", ")]
    sizes = [
        (len(circuit.witness) + len(circuit.tables), "alpha, beta, theta, kappa"),
        (len(circuit.late) + len(circuit.helpers) + 1, "gamma"),
        (4, "zeta"),
        (len(circuit.columns) + 2, "v"),
        (2, "rho"),
    ]
    for (count, drawn), text in zip(sizes, steps[2:], strict=True):
        label = re.findall(r"^`(\w+)` each", text)[0]
        assert text.endswith(f"**{drawn}**")
        expected += [(label, count), ("challenge", len(drawn.split(", ")))]
    found = [(label, len(list(group))) for label, group in groupby(said, lambda item: item[0])]
    assert [label for label, _ in found] == [label for label, _ in expected]
    assert all(count in (-1, real) for (_, count), (_, real) in zip(expected, found, strict=True))
    assert said[0] == ("protocol", b"intertwine/zk/2") and said[1] == ("circuit", circuit.digest)
    assert [data.decode() for label, data in said if label == "challenge"] == challenges
    sent = [data for label, data in said[-len(proof) :] if label in {"commitment", "evaluation", "opening"}]
    assert b"".join(sent) == proof


@pytest.mark.parametrize("kind", KINDS)
def test_names_of_circuits(kind: str) -> None:
    (template,) = re.findall(r"^Name: `(.*?)`", section(kind, "Circuit"), flags=re.MULTILINE)
    pattern = re.sub(r"=\S+", lambda _: r"=\\S+", template)
    assert re.fullmatch(pattern.replace(r"\\S", r"\S"), circuit_of(kind).name)
    fields = re.findall(r"(\w+)=", template)
    assert fields == re.findall(r"(\w+)=", circuit_of(kind).name)


def block(place: str) -> list[str]:
    limbs = [f"{name}_{index}" for name in ("below", "above") for index in range(5)]
    return [f"{name}[{place}]" for name in ("carry", "sign", "size", *limbs)]


def noise_entries(place: str) -> list[str]:
    return [*block(place)[3:], f"interval[{place}]"]


def noise_gates(page: int, levels: int = 1) -> list[str]:
    bits = [f"{name}_boolean[{page},{level}]" for level in range(levels) for name in ("carry", "sign")]
    return [*bits, f"noise[{page}]"]


def lines(circuit: Circuit) -> dict[str, list[str]]:
    found = [line.split(" ") for line in circuit.description.splitlines()]
    assert found[0][0] == "circuit"
    return {line[0]: line[1:] for line in found[1:] if line[0] != "table"}


def tables(circuit: Circuit) -> list[tuple[str, int]]:
    return [(table.name, table.tag) for table in circuit.tables]


def test_release_circuit() -> None:
    """Two pages of two levels: page by page, level by level."""
    circuit = release.release_circuit(2049, DATA_ROWS + 1, 9)
    places = ["0,0", "0,1", "1,0", "1,1"]
    assert lines(circuit) == {
        "committed": [*(f"r[{place}]" for place in places), "g[0]", "g[1]"],
        "linear": [],
        "witness": [*(name for place in places for name in block(place)), "slack"],
        "late": [],
        "gates": [*noise_gates(0, 2), *noise_gates(1, 2)],
        "lookups": [*(name for place in places for name in noise_entries(place)), "slack"],
        "sums": ["norm"],
    }
    assert tables(circuit) == [("range", 0), ("threshold", 1)]


def test_dataset_circuits() -> None:
    integer = lines(dataset.dataset_circuit(Shape(2, 5, "integer")))
    assert integer == {
        "committed": ["x[0]", "x[1]", "y"],
        "linear": [],
        "witness": ["slack_0", "slack_1"],
        "late": [],
        "gates": ["row_norm"],
        "lookups": ["feature[0]", "feature[1]", "label", "slack_0", "slack_1"],
        "sums": [],
    }
    uniform = lines(dataset.dataset_circuit(Shape(2, 5, "binary", "uniform")))
    assert uniform == integer | {
        "committed": ["x[0]", "x[1]", "y", "weight"],
        "linear": ["combined", "total"],
        "gates": ["uniform", "row_norm", "label_boolean"],
        "lookups": ["weight", "slack_0", "slack_1"],
    }
    assert tables(dataset.dataset_circuit(Shape(2, 5, "none"))) == [("range", 0)]


def test_statistics_circuits() -> None:
    def described(label: dataset.Label, moment: statistics.Moment, weights: statistics.Weights) -> Any:
        return lines(statistics.statistics_circuit(Shape(3, 5, label), "9,5", 2, moment, weights, 50))

    plain = {
        "committed": ["r[0,0]"],
        "linear": ["combined[0]", "combined[1]"],
        "witness": [*block("0,0"), "g[0]"],
        "late": [],
        "gates": noise_gates(0),
        "lookups": noise_entries("0,0"),
        "sums": ["total"],
    }
    assert described("none", "sum", "one") == plain
    copies = {"late": ["left[0]", "left[1]"], "gates": [*noise_gates(0), "left[0]", "left[1]"]}
    partners = {"label": ["y[0]", "y[1]"], "gram": ["other[0]", "other[1]"]}
    assert described("binary", "sum", "label") == plain | copies | {
        "linear": [*plain["linear"], *partners["label"]]
    }
    assert described("none", "gram", "one") == plain | copies | {
        "linear": [*plain["linear"], *partners["gram"]]
    }


def test_glm_circuits() -> None:
    def per_page(*names: str) -> list[str]:
        return [f"{name}[{page}]" for page in (0, 1) for name in names]

    circuit = circuit_of("glm")
    expected = {
        "committed": ["r[0,0]", "lot_r[0]", "lot_r[1]"],
        "linear": per_page("margin", "y", "combined"),
        "witness": [
            *per_page("lot_carry", "lot_bits", "lot_in", "high", "link", "low_0", "low_1"),
            *block("0,0"),
            "g[0]",
        ],
        "late": ["left[0]", "left[1]"],
        "gates": [*per_page("lot_carry_boolean", "lot_sum", "margin", "left"), *noise_gates(0)],
        "lookups": [*per_page("lot", "residual", "low_0", "low_1"), *noise_entries("0,0")],
        "sums": ["gradient"],
    }
    assert lines(circuit) == expected
    assert tables(circuit) == [("lot", 2), ("residual", 3), ("range", 0), ("threshold", 1)]


@pytest.mark.parametrize("kind", KINDS)
def test_every_name_stands_in_the_page(kind: str) -> None:
    """Columns, gates, entries and sums are all named where they are defined."""
    circuit, text = (
        circuit_of(kind),
        page(kind) + section("argument", "Noise") + section("argument", "Constraints"),
    )
    constraints = [line for word in ("gates", "lookups", "sums") for line in lines(circuit)[word]]
    for name in (*circuit.columns, *circuit.linear, *constraints):
        stem = re.sub(r"_\d+$", "_", re.sub(r"\[.*", "", re.sub(r"^\w+\.", "NAME.", name)))
        assert re.search(rf"\b{re.escape(stem)}", text), name


def test_constants() -> None:
    argument = page("argument")
    for text in (
        f"r = {MODULUS:#x}",
        f"{SIZE} rows",
        f"Rows 0 … {DATA_ROWS - 1} are data rows, rows {DATA_ROWS} … {SIZE - 1} blind",
        f"`{instance.VERSION.decode()}`",
        f"`{noise._BEACON_TAG.decode()}`",
        f"`{noise._PURPOSE.decode()}`",
        f"Table `range` (tag 0): 0 … {len(noise.RANGE.rows) - 1}",
    ):
        assert text in argument
    assert pow(7, (MODULUS - 1) // 4096, MODULUS) == OMEGA and BLINDING_ROWS == 8
    glm_page = page("glm")
    for text in (
        f"`{step._PURPOSE.decode()}`",
        "Table `lot` (tag 2)",
        "table `residual` (tag 3)",
        f"number A, 1 … {step.MAX_RESIDUAL}",
        f"number Q, 1 … {step.FULL_LOT}",
        f"`{step._DECIMAL.pattern.replace('|', chr(92) + '|')}`",
        f"beyond |a| = {step._SATURATION} it is 0 or A",
    ):
        assert text in glm_page
    assert f"1 … {noise.MAX_DIMENSION}" in page("release")
    assert release.MAX_NORM_BOUND == 2**27 and "number C, 1 … 2^27" in page("release")
    assert f"number d, 1 … {dataset.MAX_COLUMNS}" in page("dataset")
    assert f"number R, 1 … {dataset.MAX_ROW_BOUND}" in page("dataset")
    assert f"number, 1 … {DATA_ROWS}" in page("dataset")


def shake(purpose: bytes, level: int, number: int, length: int) -> bytes:
    """As ARGUMENT.md and GLM.md write it."""
    place = bytes([level]) + number.to_bytes(4, "little")
    return hashlib.shake_256(b"intertwine/beacon-bits/1" + BEACON + SLOT + purpose + place).digest(length)


def test_public_bits() -> None:
    dimension = DATA_ROWS + 2
    bits = noise.public_randomness(BEACON, SLOT, dimension, 20001)
    for level in (0, 1):
        for number, start, count in ((0, 0, DATA_ROWS), (1, DATA_ROWS, 2)):
            data = shake(b"release-noise", level, number, 8 * count)
            for i in (0, 1, count - 1):
                word = int.from_bytes(data[8 * i : 8 * i + 8], "little")
                assert int(bits[level, start + i]) == word % 2**63
    for number, chosen in enumerate(step.public_lot(BEACON, SLOT, [3, 5])):
        data = shake(b"lot", 0, number, 2 * len(chosen))
        words = [int.from_bytes(data[i : i + 2], "little") % 2048 for i in range(0, len(data), 2)]
        assert chosen.tolist() == words


def test_sensitivities_of_statistics() -> None:
    """The last column of the claim's table."""
    shape = Shape(4, 7, "integer")
    values = {"R": 7, "Y·R": 7 * 1024, "R² + Y²": 49 + 1024**2}
    table = [row for row in rows(section("statistics", "Claim")) if len(row) == 4 and "," in row[0]]
    for kind, _, _, bound in table[1:]:
        moment, weights = kind.split(", ")
        assert statistics.sensitivity(shape, moment, weights) == values[bound]  # type: ignore[arg-type]
    assert len(table) == 4


def test_a_proof_keeps_its_bytes() -> None:
    """Changes to a proof's bytes are deliberate: they need a new protocol version."""
    proof = release_case(np.arange(-3, 4, dtype=np.int64), norm_bound=6, seed=SEED).prove()
    assert hashlib.sha256(proof).hexdigest() == VECTOR

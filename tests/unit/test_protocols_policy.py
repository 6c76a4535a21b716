"""Policies: who must co-sign a checkpoint, read from C2SP tlog-policy files."""

import base64
from itertools import combinations
from pathlib import Path

import pytest

from intertwine.protocols.errors import InputError
from intertwine.protocols.note import CHECKPOINT_KEY, COSIGNATURE_KEY, VerifierKey
from intertwine.protocols.policy import MAX_POLICY_BYTES, MAX_WITNESSES, Policy, Witness
from tests.recording import fixed_key

PUBLIC = fixed_key("log").public
LOG = VerifierKey(f"intertwine/{PUBLIC[:16]}", CHECKPOINT_KEY, PUBLIC)
ANA, BEN, CYD = (
    VerifierKey(f"{name}.example/w", COSIGNATURE_KEY, fixed_key(name).public)
    for name in ("ana", "ben", "cyd")
)
HEAD = f"log {LOG}\nwitness ana {ANA}\nwitness ben {BEN} https://ben.example:8444/w\nwitness cyd {CYD}\n"


def test_published_keys() -> None:
    """Verifier keys that C2SP's other implementations publish: a log's and a witness's."""
    log = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
    witness = "remora.n621.de+da77ade7+BOvN63jn/bLvkieywe8R6UYAtVtNbZpXh34x7onlmtw2"
    assert VerifierKey.parse(log).kind == CHECKPOINT_KEY
    assert VerifierKey.parse(witness).kind == COSIGNATURE_KEY
    assert [str(VerifierKey.parse(text)) for text in (log, witness)] == [log, witness]


def test_policy_of_a_key() -> None:
    policy = Policy.of_key(PUBLIC.upper())
    assert (policy.origin, policy.log_key, policy.witnesses) == (LOG.name, PUBLIC, ())
    assert policy.log == LOG
    assert policy.satisfied([])


def test_fields(tmp_path: Path) -> None:
    path = tmp_path / "policy"
    path.write_text(f"# ours\n\n \t{HEAD}group two 2 ana ben cyd  \n\t# end\nquorum two", "utf-8")
    policy = Policy.read(path)
    assert policy.log == LOG
    assert policy.witnesses[1] == Witness("ben", BEN.name, BEN.public, "https://ben.example:8444/w")
    assert [witness.verifier for witness in policy.witnesses] == [ANA, BEN, CYD]


@pytest.mark.parametrize(
    ("rules", "enough"),
    [
        ("quorum none", ["", "a", "b", "c", "ab", "ac", "bc", "abc"]),
        ("quorum ana", ["a", "ab", "ac", "abc"]),
        ("group g any ana ben\nquorum g", ["a", "b", "ab", "ac", "bc", "abc"]),
        ("group g all ana cyd\nquorum g", ["ac", "abc"]),
        ("group g 2 ana ben cyd\nquorum g", ["ab", "ac", "bc", "abc"]),
        ("group g any ana ben\ngroup h all g cyd\nquorum h", ["ac", "bc", "abc"]),
    ],
)
def test_quorum(rules: str, enough: list[str]) -> None:
    policy = Policy.parse(f"{HEAD}{rules}\n")
    everyone = ("ana", "ben", "cyd")
    sets = [set(some) for count in range(4) for some in combinations(everyone, count)]
    assert ["".join(sorted(name[0] for name in some)) for some in sets if policy.satisfied(some)] == enough
    assert policy.satisfied([*everyone, "dan"])
    assert policy.satisfied(["dan"]) == ("none" in rules)


LINE = 5  # the first line after HEAD
DAMAGED = str(ANA).replace("+", "+0", 1)[:-1]
OTHER = VerifierKey("dan.example/w", COSIGNATURE_KEY, fixed_key("dan").public)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("quorums none", "unknown"),
        ("quorum", "arguments"),
        ("quorum ana ben", "arguments"),
        ("quorum dan", "not defined"),
        (f"log {LOG}", "second log"),
        (f"witness dan {ANA}", "used before"),
        (f"witness dan {VerifierKey('x', COSIGNATURE_KEY, PUBLIC)}", "used before"),
        (f"witness ana {OTHER}", "taken"),
        (f"witness none {OTHER}", "taken"),
        (f"witness dan {VerifierKey('x', CHECKPOINT_KEY, OTHER.public)}", "type 1"),
        (f"witness dan {DAMAGED}", "verifier key"),
        (f"witness dan {OTHER.public}", "not a verifier key"),
        (f"witness dan x+{str(OTHER).partition('+')[2]}", "damaged"),
        ("witness dan x+00000000+" + base64.b64encode(b"\x04" * 32).decode(), "not a verifier key"),
        (f"witness dan {OTHER} http://dan.example", "URL"),
        (f"witness dan {OTHER} ftp://127.0.0.1", "URL"),
        (f"witness dan {OTHER} https://", "URL"),
        (f"witness dan {OTHER} https://dan:secret@dan.example", "URL"),
        (f"witness dan {OTHER} https://dan.example/?x", "URL"),
        (f"witness dan {OTHER} https://dan.example:port/", "URL"),
        (f"witness dan {OTHER} https://[", "URL"),
        ("group g 2 ana", "threshold"),
        ("group g 0 ana ben", "threshold"),
        ("group g 01 ana ben", "threshold"),
        ("group g most ana ben", "threshold"),
        ("group g any", "arguments"),
        ("group g any dan", "not defined"),
        ("group g any g", "not defined"),
        ("group g any none", "not defined"),
        ("group g any ana ana", "again"),
        ("group ana any ben", "taken"),
        ("quorum\r none", "control"),
        ("quorum\x00none", "control"),
        ("quorum\u00a0none", "unknown"),
    ],
)
def test_bad_line(line: str, words: str) -> None:
    with pytest.raises(InputError) as caught:
        Policy.parse(f"{HEAD}{line}\nquorum none\n")
    assert f"line {LINE}" in caught.value.problem
    assert words in caught.value.problem
    assert caught.value.remedy


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "no log"),
        ("quorum none\n", "no log"),
        (HEAD, "no quorum"),
        (f"{HEAD}quorum none\nquorum ana\n", "line 6: a second quorum"),
        (f"{HEAD}group g any ana\ngroup h any ana\nquorum h\n", "line 6: 'ana' is a member again"),
        (
            f"witness x {VerifierKey('x', COSIGNATURE_KEY, PUBLIC)}\nlog {LOG}\nquorum none\n",
            "line 2: the key",
        ),
        ("#" * (MAX_POLICY_BYTES + 1), "bytes"),
    ],
)
def test_bad_policy(text: str, words: str) -> None:
    with pytest.raises(InputError, match=words):
        Policy.parse(text)


def test_too_many_witnesses() -> None:
    keys = (VerifierKey("w", COSIGNATURE_KEY, fixed_key(str(i)).public) for i in range(MAX_WITNESSES + 1))
    lines = [f"witness w{number} {key}" for number, key in enumerate(keys)]
    with pytest.raises(InputError, match="more than 64 witnesses"):
        Policy.parse("\n".join([f"log {LOG}", *lines, "quorum none"]))


@pytest.mark.parametrize("key", ["", "ab", PUBLIC + "\n", "g" * 64])
def test_bad_key(key: str) -> None:
    with pytest.raises(InputError, match="64 hexadecimal digits"):
        Policy.of_key(key)

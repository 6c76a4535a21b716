"""Whose word on a log is enough: its key, the witnesses that count, and how many of them must co-sign.

A text file in the format of C2SP tlog-policy:

    log VKEY [URL]
    witness NICKNAME VKEY [URL]
    group NICKNAME all|any|K MEMBER...
    quorum NICKNAME|none
"""

import re
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Self, TypeAlias
from urllib.parse import urlsplit

from intertwine.protocols.addresses import is_loopback
from intertwine.protocols.checkpoint import log_verifier
from intertwine.protocols.errors import InputError
from intertwine.protocols.files import read_bounded
from intertwine.protocols.note import CHECKPOINT_KEY, COSIGNATURE_KEY, VerifierKey

MAX_POLICY_BYTES = 64 << 10
MAX_WITNESSES = 64
_MAX_GROUPS = 64
_CONTROL = re.compile(r"[^\t\n\x20-\x7e\x80-\U0010ffff]")


@dataclass(frozen=True)
class Witness:
    """Somebody who co-signs checkpoints.

    nickname: its name in the policy; name: that of its key; key_hex: 64 hexadecimal digits; url: where it
    takes checkpoints, empty if it is not asked.
    """

    nickname: str
    name: str
    key_hex: str
    url: str = ""

    @property
    def verifier(self) -> VerifierKey:
        """The key that checks its co-signatures."""
        return VerifierKey(self.name, COSIGNATURE_KEY, self.key_hex)


@dataclass(frozen=True)
class Group:
    """Satisfied if at least `threshold` of its members are: witnesses by nickname, or groups."""

    threshold: int
    members: "tuple[str | Group, ...]"


Quorum: TypeAlias = str | Group | None


@dataclass(frozen=True)
class Policy:
    """One log, its witnesses and the quorum; quorum None: the log's own signature is enough."""

    origin: str
    log_key: str
    witnesses: tuple[Witness, ...] = ()
    quorum: Quorum = None

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a policy of at most 64 KiB; InputError naming the line at fault."""
        if len(text.encode(errors="replace")) > MAX_POLICY_BYTES:
            raise InputError(f"The policy has more than {MAX_POLICY_BYTES} bytes.", "Check the file.")
        reader = _Reader()
        for number, line in enumerate(text.split("\n"), 1):
            try:
                reader.read(line)
            except InputError as error:
                raise InputError(f"Policy, line {number}: {error.problem}", error.remedy) from error
        if reader.log is None or not reader.decided:
            missing = "log" if reader.log is None else "quorum"
            raise InputError(f"The policy has no {missing} line.", "Add one.")
        return cls(reader.log.name, reader.log.public, tuple(reader.witnesses), reader.quorum)

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read a policy file; InputError naming the file or the line at fault."""
        return cls.parse(read_bounded(path, MAX_POLICY_BYTES).decode(errors="replace"))

    @classmethod
    def of_key(cls, public: str) -> Self:
        """The log with this key (64 hexadecimal digits), without witnesses; InputError if it is no key."""
        if not re.fullmatch("[0-9a-fA-F]{64}", public):
            raise InputError(
                f"{public[:80]!r} is not a key of 64 hexadecimal digits.",
                "Give the log's key as its coordinator published it.",
            )
        log = log_verifier(public.lower())
        return cls(log.name, log.public)

    @property
    def log(self) -> VerifierKey:
        """The key that checks the log's own signature."""
        return VerifierKey(self.origin, CHECKPOINT_KEY, self.log_key)

    def satisfied(self, nicknames: Collection[str]) -> bool:
        """Whether co-signatures by these witnesses are enough."""
        return self.quorum is None or _holds(self.quorum, nicknames)


def _holds(rule: str | Group, nicknames: Collection[str]) -> bool:
    if isinstance(rule, str):
        return rule in nicknames
    return sum(_holds(member, nicknames) for member in rule.members) >= rule.threshold


class _Reader:
    """What the lines of a policy have defined so far."""

    def __init__(self) -> None:
        self.log: VerifierKey | None = None
        self.witnesses: list[Witness] = []
        self.quorum: Quorum = None
        self.decided = False
        self._rules: dict[str, str | Group] = {}
        self._grouped: set[str] = set()

    def read(self, line: str) -> None:
        """Take one line; InputError, without its number, if it cannot be."""
        if _CONTROL.search(line):
            raise InputError("it has a control character.", "Take it out.")
        words = re.split("[ \t]+", line.strip(" \t"))
        if not words[0] or words[0].startswith("#"):
            return
        keyword, *arguments = words
        readers: dict[str, tuple[int, int, Callable[[list[str]], None]]] = {
            "log": (1, 2, self._read_log),
            "witness": (2, 3, self._read_witness),
            "group": (3, 2 + MAX_WITNESSES + _MAX_GROUPS, self._read_group),
            "quorum": (1, 1, self._read_quorum),
        }
        if keyword not in readers:
            raise InputError(f"{keyword[:80]!r} is unknown.", "Write log, witness, group or quorum.")
        least, most, reader = readers[keyword]
        if not least <= len(arguments) <= most:
            raise InputError(f"{keyword} has {len(arguments)} arguments.", "Compare the documented format.")
        reader(arguments)

    def _read_log(self, arguments: list[str]) -> None:
        if self.log is not None:
            raise InputError("a second log.", "A policy is about one log; write one for each.")
        key = _key(arguments[0], CHECKPOINT_KEY, "log")
        self._refuse_duplicate(key)
        if len(arguments) > 1:
            check_url(arguments[1])
        self.log = key

    def _read_witness(self, arguments: list[str]) -> None:
        nickname, key = arguments[0], _key(arguments[1], COSIGNATURE_KEY, "witness")
        if len(self.witnesses) == MAX_WITNESSES:
            raise InputError(f"more than {MAX_WITNESSES} witnesses.", "Leave some out.")
        self._refuse_duplicate(key)
        url = arguments[2] if len(arguments) > 2 else ""
        if url:
            check_url(url)
        self._define(nickname, nickname)
        self.witnesses.append(Witness(nickname, key.name, key.public, url))

    def _read_group(self, arguments: list[str]) -> None:
        nickname, threshold, *members = arguments
        if sum(isinstance(rule, Group) for rule in self._rules.values()) == _MAX_GROUPS:
            raise InputError(f"more than {_MAX_GROUPS} groups.", "Leave some out.")
        rules = [self._defined(member) for member in members]
        again = self._grouped.intersection(members) or {name for name in members if members.count(name) > 1}
        if again:
            raise InputError(f"{min(again)!r} is a member again.", "A name counts in one group, once.")
        named = {"all": len(members), "any": 1}
        number = named.get(threshold) or (int(threshold) if re.fullmatch("[1-9][0-9]{0,2}", threshold) else 0)
        if not 1 <= number <= len(members):
            raise InputError(
                f"the threshold {threshold[:80]!r} does not fit {len(members)} members.",
                "Write all, any, or a number between 1 and that of the members.",
            )
        self._define(nickname, Group(number, tuple(rules)))
        self._grouped.update(members)

    def _read_quorum(self, arguments: list[str]) -> None:
        if self.decided:
            raise InputError("a second quorum.", "Keep one.")
        self.quorum = None if arguments[0] == "none" else self._defined(arguments[0])
        self.decided = True

    def _define(self, nickname: str, rule: str | Group) -> None:
        if nickname == "none" or nickname in self._rules:
            raise InputError(f"the name {nickname[:80]!r} is taken.", "Choose another.")
        self._rules[nickname] = rule

    def _defined(self, nickname: str) -> str | Group:
        if nickname not in self._rules:
            raise InputError(f"{nickname[:80]!r} is not defined.", "Define it on a line above this one.")
        return self._rules[nickname]

    def _refuse_duplicate(self, key: VerifierKey) -> None:
        """A log that witnesses itself, or a witness that counts twice, proves nothing."""
        used = {witness.key_hex for witness in self.witnesses} | ({self.log.public} if self.log else set())
        if key.public in used:
            raise InputError(f"the key of {key.name!r} is used before.", "Name every key once.")


def _key(text: str, kind: int, role: str) -> VerifierKey:
    key = VerifierKey.parse(text)
    if key.kind != kind:
        raise InputError(
            f"the key of {key.name!r} has type {key.kind}, and a {role}'s has {kind}.", "Copy the right one."
        )
    return key


def check_url(url: str) -> None:
    """InputError unless `url` is https, or http to this machine itself."""
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname or "", parts.port
    except ValueError:
        parts, host = urlsplit(""), ""
    plain = parts.scheme == "http" and is_loopback(host)
    if not host or not (parts.scheme == "https" or plain) or parts.query or parts.fragment or parts.username:
        raise InputError(
            f"{url[:80]!r} is not a URL to use.", "Give https://HOST[:PORT][/PATH]; http only for 127.0.0.1."
        )

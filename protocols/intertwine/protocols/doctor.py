"""Examining an installation: findings, each ok, warn or fail and with a remedy, for coordinators and agents.

Nothing here changes anything. What only one role has is examined in that role's part.
"""

import json
import re
import shutil
import stat
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path
from typing import Literal, TypeAlias

from cryptography import x509
from rich.console import Console
from rich.table import Table
from rich.text import Text

from intertwine.protocols.errors import IntertwineError
from intertwine.protocols.files import read_bounded
from intertwine.protocols.signing import SigningKey

Level: TypeAlias = Literal["ok", "warn", "fail"]
LOW_DISK_BYTES = 5 << 30
FULL_DISK_BYTES = 256 << 20
CLOCK_WARNING_S, CLOCK_FAILURE_S = 5.0, 60.0
RENEWAL = timedelta(days=30)
_LIMIT = 1 << 16
_STYLES = {"ok": "green", "warn": "yellow", "fail": "bold red"}


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at. remedy: what to do; empty if all is well."""

    name: str
    level: Level
    text: str
    remedy: str = ""


Examination: TypeAlias = Callable[[], Iterable[Finding]]


def examine(examinations: Sequence[tuple[str, Examination]]) -> list[Finding]:
    """All findings in order; an examination that cannot be made is a failure under its name."""
    findings: list[Finding] = []
    for name, look in examinations:
        try:
            findings += look()
        except IntertwineError as error:
            findings.append(Finding(name, "fail", error.problem, error.remedy))
        except (OSError, ValueError) as error:
            findings.append(Finding(name, "fail", f"It cannot be examined: {error}.", "See to that first."))
    return findings


def healthy(findings: Iterable[Finding]) -> bool:
    """Whether nothing fails; warnings do not count."""
    return all(finding.level != "fail" for finding in findings)


def as_json(findings: Iterable[Finding]) -> str:
    """The findings as a JSON array of objects."""
    return json.dumps([asdict(finding) for finding in findings])


def show(findings: Iterable[Finding], console: Console) -> None:
    """The findings as a table."""
    table = Table("", "what", "finding", "remedy")
    for finding in findings:
        level = Text(finding.level, style=_STYLES[finding.level])
        table.add_row(level, Text(finding.name), Text(finding.text), Text(finding.remedy))
    console.print(table)


# What both roles have


def versions(packages: Iterable[str]) -> Iterator[Finding]:
    """Python, this distribution, and packages: installed, and the very one if a version is pinned."""
    python = ".".join(map(str, sys.version_info[:3]))
    supported = sys.version_info[:2] == (3, 11)
    remedy = "" if supported else "Install intertwine under Python 3.11."
    yield Finding("python", "ok" if supported else "fail", f"Python {python}", remedy)
    pins = dict(re.findall(r"^([\w-]+)==([\w.]+)", "\n".join(requires("intertwine") or ()), re.MULTILINE))
    for name in ("intertwine", *packages):
        yield _version(name, pins.get(name))


def _version(name: str, pinned: str | None) -> Finding:
    try:
        installed = version(name)
    except PackageNotFoundError:
        return Finding(name, "fail", "It is not installed.", "Install intertwine with the role's extra.")
    # A build of the pinned release, such as 2.13.0+cpu, is that release.
    if pinned not in (None, installed, installed.partition("+")[0]):
        remedy = f"Install {name}=={pinned}: another release may work differently."
        return Finding(name, "fail", f"{installed} is installed, not {pinned}", remedy)
    return Finding(name, "ok", installed)


def disk(folder: Path) -> Iterator[Finding]:
    """Space where the state grows."""
    free = shutil.disk_usage(folder).free
    text = f"{free / (1 << 30):.1f} GiB are free at {folder}"
    if free >= LOW_DISK_BYTES:
        yield Finding("disk", "ok", text)
    else:
        yield Finding("disk", "fail" if free < FULL_DISK_BYTES else "warn", text, "Free some space.")


def private_files(files: Iterable[Path]) -> Iterator[Finding]:
    """Secrets: there, and nobody else's to read."""
    for path in files:
        if not path.is_file():
            yield Finding(path.name, "fail", "It is missing.", "Restore it from a backup.")
            continue
        mode = stat.S_IMODE(path.stat().st_mode)
        if mode & 0o077:
            remedy = f"Run: chmod 600 {path}, and replace the key if others use this machine."
            yield Finding(path.name, "fail", f"Others may read it (mode {mode:04o}).", remedy)
        else:
            yield Finding(path.name, "ok", f"mode {mode:04o}")


def signing_key(path: Path) -> Iterator[Finding]:
    """Which key a file made by `SigningKey.write` holds."""
    yield Finding(path.name, "ok", f"public key {SigningKey.read(path).public}")


def certificate(path: Path, remedy: str) -> Iterator[Finding]:
    """How long a PEM certificate goes on. remedy: how to get another one."""
    found = x509.load_pem_x509_certificate(read_bounded(path, _LIMIT))
    now, end = datetime.now(UTC), found.not_valid_after_utc
    text = f"valid until {end:%Y-%m-%d}"
    if now < found.not_valid_before_utc:
        yield Finding(path.name, "fail", "It is not valid yet.", "Set this machine's clock.")
    elif end <= now:
        yield Finding(path.name, "fail", f"It expired on {end:%Y-%m-%d}.", remedy)
    else:
        renew = end - now < RENEWAL
        yield Finding(path.name, "warn" if renew else "ok", text, remedy if renew else "")


def clock(ahead_s: float, reference: str) -> Iterator[Finding]:
    """This machine's clock. ahead_s: by how much it is ahead of the reference; negative: behind it.

    SuperLinks refuse what was signed in the future, so that one may be behind by more than one may be ahead.
    """
    where = "ahead of" if ahead_s >= 0 else "behind"
    off = abs(ahead_s)
    if off <= CLOCK_WARNING_S:
        yield Finding("clock", "ok", f"It agrees with {reference}.")
    else:
        level: Level = "warn" if -CLOCK_FAILURE_S <= ahead_s < 0 else "fail"
        remedy = "Set it, and keep it with NTP: signed requests are refused when clocks differ."
        yield Finding("clock", level, f"This machine's clock is {off:.0f} s {where} {reference}.", remedy)

"""Makes the conformance vectors and their manifest: `make vectors`.

Every vector is made anew from fixed seeds, shown to both verifiers and compared with what its case declares;
nothing is written if one is not as declared. A run takes some minutes.
"""

import json
import sys
from pathlib import Path

from rich.console import Console
from rich.progress import track

from intertwine.protocols.errors import InputError, VerificationError
from intertwine.protocols.files import write_atomic
from intertwine.zk import independent, proof_file
from tests.conformance.forgery.cases import UNUSABLE, Case
from tests.conformance.forgery.catalogue import CASES

FOLDER = Path(__file__).parent / "vectors"
VERSION = "intertwine/conformance/1"


def vector(case: Case) -> bytes:
    """The bytes of a case's file; ValueError if they are not what the case declares."""
    made = case.make()
    data, broken = (made, frozenset()) if isinstance(made, bytes) else (made.data, made.broken)
    if broken != case.breaks:
        raise ValueError(f"{case.file}: breaks {sorted(broken)}, not {sorted(case.breaks)}")
    for verifier in (proof_file, independent):
        if (said := verdict(verifier.verify_file, data)) != case.check:
            raise ValueError(f"{case.file}: {verifier.__name__} says {said!r}, not {case.check!r}")
    return data


def verdict(verify, data: bytes) -> str:
    """The check that refuses a file, UNUSABLE, or nothing if it is accepted."""
    try:
        verify(data)
    except VerificationError as error:
        return error.check
    except InputError:
        return UNUSABLE
    return ""


def entry(case: Case) -> dict[str, object]:
    """What the manifest says about a vector."""
    return {
        "file": case.file,
        "case": case.name,
        "statement": case.statement,
        "exit_code": case.exit_code,
        "check": case.check if case.exit_code == 1 else "",
        "broken_gates": sorted(case.breaks),
        "why": case.why,
    }


def main() -> None:
    """Write vectors and manifest, and remove files that no case makes."""
    cases = [CASES[file] for file in sorted(CASES)]
    files = {case.file: vector(case) for case in track(cases, "Making vectors", console=Console(stderr=True))}
    manifest = {"version": VERSION, "vectors": [entry(case) for case in cases]}
    files["manifest.json"] = (json.dumps(manifest, indent=1) + "\n").encode()
    FOLDER.mkdir(exist_ok=True)
    for path in FOLDER.glob("*.json"):
        if path.name not in files:
            path.unlink()
    for name, data in files.items():
        write_atomic(FOLDER / name, data)
    sys.stdout.write(f"{len(cases)} vectors in {FOLDER}\n")


if __name__ == "__main__":
    main()

"""Make `reference_string.bin` from Ethereum's `kzg_trusted_setup.txt`.

    python zk/scripts/make_reference_string.py kzg_trusted_setup.txt zk/intertwine/zk/reference_string.bin

Refuses a text file with another digest than the published one, and points that fail the pairing checks.
"""

import hashlib
import sys
from pathlib import Path

from intertwine.zk import reference_string

TEXT_DIGEST = "d39b9f2d047cc9dca2de58f264b6a09448ccd34db967881a6713eacacf0f26b7"


def convert(text: bytes) -> bytes:
    """The text form (Lagrange G1, G2 powers, G1 powers, in hexadecimal) to the shipped binary form."""
    if hashlib.sha256(text).hexdigest() != TEXT_DIGEST:
        sys.exit("this is not the published kzg_trusted_setup.txt: its sha256 differs")
    size, g2_size, *points = text.decode("ascii").split()
    if (int(size), int(g2_size), len(points)) != (4096, 65, 4096 + 65 + 4096):
        sys.exit("unexpected header in kzg_trusted_setup.txt")
    lagrange, g2_powers, powers = points[:4096], points[4096 : 4096 + 65], points[4096 + 65 :]
    return bytes.fromhex("".join(lagrange + powers + g2_powers[:2]))


def main() -> None:
    """Convert, check, write, and print the digest to pin."""
    source, target = (Path(argument) for argument in sys.argv[1:])
    data = convert(source.read_bytes())
    reference_string.check_points(data)
    target.write_bytes(data)
    print(hashlib.sha256(data).hexdigest())


if __name__ == "__main__":
    main()

"""A second verifier, written from the normative pages alone, on py_ecc and the standard library.

It shares no code with the prover or the first verifier: `verify_file` is all there is to call.
"""

from intertwine.zk.independent.files import verify_file

__all__ = ["verify_file"]

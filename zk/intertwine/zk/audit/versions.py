"""What an audit was made with, so that somebody else can make it again."""

import platform
from importlib.metadata import version

from intertwine.zk import instance, reference_string
from intertwine.zk.audit.report import Versions


def versions(independent: bool) -> Versions:
    """The versions installed here; independent: whether the second verifier was used."""
    return Versions(
        intertwine=version("intertwine"),
        proof_protocol=instance.VERSION.decode(),
        py_arkworks_bls12381=version("py-arkworks-bls12381"),
        py_ecc=version("py-ecc"),
        python_flint=version("python-flint"),
        python=platform.python_version(),
        reference_string=reference_string.DIGEST,
        independent_verifier=independent,
    )

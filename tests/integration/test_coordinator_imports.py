"""The coordinator's servers stay small: what only trains or exports models is not loaded with them."""

import subprocess
import sys

LARGE = ("torch", "onnx", "onnxruntime", "opacus")


def test_the_servers_and_the_round_driver_do_not_load_what_models_need() -> None:
    """`up` runs below the command line's module, the round driver below Flower's app."""
    code = (
        "import sys, intertwine.server.cli, intertwine.server.flower_app, intertwine.server.driver\n"
        "from intertwine.models import registry\n"
        "registry.require('forecast')\n"
        f"print(sorted(set({LARGE}) & set(sys.modules)))"
    )
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert loaded.stdout.strip() == "[]"

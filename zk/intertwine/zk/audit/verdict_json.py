"""The verdict as a JSON document; its schema is `protocols/spec/verdict.schema.json`."""

import dataclasses
import json

from intertwine.zk.audit.verdict import Verdict

VERSION = "intertwine/verdict/v2"


def verdict_to_json(verdict: Verdict) -> bytes:
    """The verdict as JSON. An infinite epsilon is the number 1e999, which every parser reads as infinity."""
    document = {"version": VERSION, **dataclasses.asdict(verdict)}
    tokens = json.JSONEncoder(indent=2).iterencode(document)
    return ("".join("1e999" if token == "Infinity" else token for token in tokens) + "\n").encode()  # noqa: S105

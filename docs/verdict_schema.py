"""Write `protocols/spec/verdict.schema.json` anew, from the classes that a verdict consists of.

python -m docs.verdict_schema
"""

import json
import sys
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from intertwine.zk.audit.verdict import Verdict
from intertwine.zk.audit.verdict_json import VERSION

FILE = Path(__file__).parents[1] / "protocols" / "spec" / "verdict.schema.json"


def main() -> int:
    """Replace the schema."""
    FILE.write_text(schema_text())
    return 0


def schema_text() -> str:
    """The schema (JSON Schema 2020-12): every field is there, and there are no others."""
    schema = TypeAdapter(Verdict).json_schema(mode="serialization")
    schema["properties"] = {"version": {"const": VERSION}, **schema["properties"]}
    for part in (schema, *schema["$defs"].values()):
        _close(part)
    document = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": f"urn:{VERSION.replace('/', ':')}",
        **schema,
    }
    return json.dumps(document, indent=2) + "\n"


def _close(part: dict[str, Any]) -> None:
    if part.get("type") != "object":
        return
    part["required"] = list(part["properties"])
    part["additionalProperties"] = False
    for field in part["properties"].values():
        field.pop("default", None)
        field.pop("title", None)


if __name__ == "__main__":
    sys.exit(main())

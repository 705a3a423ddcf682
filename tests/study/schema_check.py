"""JSON objects against the schema they name, with all schemas at hand for references."""

from __future__ import annotations

from typing import Any

import jsonschema
from referencing import Registry, Resource

from npubench.study.serialise import COMPARE, DESIGN, ERROR, RUN, SERVE, STUDY, SWEEP, load_schema

SCHEMAS = (RUN, COMPARE, SWEEP, STUDY, SERVE, DESIGN, ERROR)


def validate(document: dict[str, Any]) -> None:
    loaded = [load_schema(schema) for schema in SCHEMAS]
    registry: Registry[Any] = Registry().with_resources(
        (schema["$id"], Resource.from_contents(schema)) for schema in loaded
    )
    validator = jsonschema.Draft202012Validator(load_schema(document["schema"]), registry=registry)
    validator.validate(document)

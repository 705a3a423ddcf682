"""A study's result as the JSON object of `schemas/study.1.json`."""

from __future__ import annotations

import dataclasses
from typing import Any

from npubench.study.serialise import STUDY
from npubench.study.studies.record import StudyResult, StudySection

__all__ = ["study_to_json"]


def study_to_json(result: StudyResult, *, complete: bool = True) -> dict[str, Any]:
    """The JSON object of a result; ``complete`` is false where an interrupt left sections out."""
    return {
        "schema": STUDY,
        "stamp": dataclasses.asdict(result.stamp),
        "study": {
            "name": result.name,
            "title": result.title,
            "settings": dict(result.settings),
            "complete": complete,
        },
        "sections": [_section_to_json(section) for section in result.sections],
        "notes": list(result.notes),
    }


def _section_to_json(section: StudySection) -> dict[str, Any]:
    keys = [column.key for column in section.columns]
    return {
        "key": section.key,
        "title": section.title,
        "columns": [
            {
                "key": column.key,
                "title": column.title,
                "unit": column.unit,
                "published": column.published,
            }
            for column in section.columns
        ],
        "rows": [
            {
                "published": index in section.published_rows,
                "cells": dict(zip(keys, row, strict=True)),
            }
            for index, row in enumerate(section.rows)
        ],
        "claims": [dataclasses.asdict(claim) for claim in section.claims],
        "notes": list(section.notes),
    }

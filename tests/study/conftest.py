from __future__ import annotations

import pytest
from study_fakes import Library

from npubench.study.session import Session


@pytest.fixture
def library() -> Library:
    return Library()


@pytest.fixture
def session(library: Library) -> Session:
    return library.session()

from __future__ import annotations

import pytest

from npubench.study.session import Session
from tests.study.study_fakes import Library


@pytest.fixture
def library() -> Library:
    return Library()


@pytest.fixture
def session(library: Library) -> Session:
    return library.session()

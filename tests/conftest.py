"""Fixtures for all tests."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture
def vectors() -> Path:
    """The vectors of other projects, beside the checkout; a test that needs them skips without them."""
    folder = Path(__file__).resolve().parents[2] / "shared" / "vectors"
    if not folder.is_dir():
        pytest.skip(f"../shared/vectors is not here: {folder}")
    return folder

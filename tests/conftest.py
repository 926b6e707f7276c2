"""What all tests share: one thread, checked shapes, and the way to the private test data."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import shape_hook

shape_hook.install("headwarp")  # before anything of it is imported

import torch  # noqa: E402
from hypothesis import settings  # noqa: E402

torch.set_num_threads(1)
# The same examples in every run; HEADWARP_FUZZ=1000 draws new ones every time.
settings.register_profile("repeatable", derandomize="HEADWARP_FUZZ" not in os.environ)
settings.load_profile("repeatable")


@pytest.fixture(scope="session")
def test_data() -> Path:
    """The folder of private photos and clips; tests that need it skip where it is not there."""
    named = os.environ.get("HEADWARP_TEST_DATA")
    if not named:
        pytest.skip("HEADWARP_TEST_DATA is not set: private test photos and clips are not here")
    folder = Path(named)
    if not folder.is_dir():
        pytest.skip(f"HEADWARP_TEST_DATA names {folder}, which is no folder")
    return folder

"""README and the first pages, done from top to bottom on small files."""

from __future__ import annotations

import pytest
from doc_runs import GROUPS, run_page
from face_pictures import needs_mediapipe


@needs_mediapipe
@pytest.mark.parametrize("page", GROUPS["start"])
def test_the_page_is_done_from_top_to_bottom(page, tmp_path, monkeypatch):
    assert list(run_page(page, tmp_path, monkeypatch))

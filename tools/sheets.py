"""Contact sheets, by the name that commands know them by."""

from __future__ import annotations

from ..training.data.sheets import HEADER, Frame, contact_sheet, write_sheet

__all__ = ["HEADER", "Frame", "contact_sheet", "write_sheet"]

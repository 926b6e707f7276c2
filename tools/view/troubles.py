"""What went wrong, as a sentence for the person; what nobody expected stands in the terminal too."""

from __future__ import annotations

import logging

from ...geom.errors import HeadwarpError
from .saving import Stopped
from .screen import Screen

_LOG = logging.getLogger("headwarp")


def tell_error(screen: Screen, error: Exception) -> None:
    """Say an error on a screen.

    Args:
        screen: the person's.
        error: whatever it is.
    """
    if isinstance(error, Stopped):
        screen.tell("Stopped", str(error))
    elif isinstance(error, HeadwarpError):
        screen.tell("That did not work", str(error), bad=True)
    else:
        _LOG.error("view: internal error", exc_info=error)
        text = f"{type(error).__name__}: {error}; the terminal shows more"
        screen.tell("Internal error", text, bad=True)

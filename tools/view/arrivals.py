"""Uploads that are too large are refused while they arrive; viser would keep whatever is sent."""

from __future__ import annotations

from typing import Any

from .files import plain_name
from .page import too_large


def refuse_large_uploads(client: Any, most_bytes: int) -> None:
    """Forget a client's upload as soon as it says that it is, or turns out to be, larger than allowed.

    Our page sends none (`page`); this is for a page that is not ours. viser has no public way; tests hold on
    to what is used of it here.
    """
    from viser._messages import FileTransferPart, FileTransferStartUpload

    uploads = client.gui._current_file_upload_states

    def judge(_: int, message: Any) -> None:
        state = uploads.get(message.transfer_uuid)
        if state is None or max(state["total_bytes"], state["transferred_bytes"]) <= most_bytes:
            return
        del uploads[message.transfer_uuid]  # what still comes of it is dropped
        words = f"{plain_name(state['filename'])}: {too_large(most_bytes)}"
        client.add_notification("That did not work", words, color="red", auto_close_seconds=20.0)

    for kind in (FileTransferStartUpload, FileTransferPart):
        client.gui._websock_interface.register_handler(kind, judge)

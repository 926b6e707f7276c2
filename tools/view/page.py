"""What the page gets besides viser's own: a style, and listeners where viser's would be in the way."""

from __future__ import annotations

import html

_KEYS = """
document.body.addEventListener('keydown', event => {
    if (event.target.role === 'slider' && event.key.startsWith('Arrow')) event.stopPropagation();
});"""
"""An arrow key on a slider is the slider's. viser would take it for the view's too, turn the head in 3D, and
draw it without a pause: on a machine without a GPU that takes all the time of the picture."""
_DRAG = """
document.addEventListener('pointerdown', event => {
    if (event.target.tagName === 'CANVAS') event.preventDefault = () => {};
}, true);"""
"""viser forbids the default of a press on the head from a passive listener, which the browser refuses with an
error in its console; nothing is lost when it is not asked."""
_UPLOAD = """
document.addEventListener('change', event => {
    const file = event.target.type === 'file' && event.target.files[0];
    if (!file || file.size <= MOST_BYTES) return;
    event.stopPropagation();
    const note = document.createElement('div');
    note.setAttribute('role', 'alert');
    note.textContent = `${file.name}: TOO_LARGE, got ${Math.ceil(file.size / 1e6)} MB`;
    note.style = 'position:fixed;left:24px;bottom:24px;max-width:420px;padding:12px 16px;z-index:9999;'
        + 'background:#fff;border-left:5px solid #fa5252;box-shadow:0 2px 12px #0004;font:14px sans-serif';
    document.body.append(note);
    setTimeout(() => note.remove(), 20000);
}, true);"""
"""A file that is too large is not read, let alone sent."""
_STYLE = "img[src^='blob:'] { width: 100%; border-radius: 6px; } strong { overflow-wrap: anywhere; }"


def extras(most_bytes: int) -> str:
    """An HTML element that installs all of it, once a page.

    Args:
        most_bytes: of an upload.
    """
    upload = _UPLOAD.replace("MOST_BYTES", str(most_bytes)).replace("TOO_LARGE", too_large(most_bytes))
    script = f"if (!window.headwarp) {{ window.headwarp = 1; {_KEYS} {_DRAG} {upload} }}"
    return f'<style onload="{html.escape(script)}">{_STYLE}</style>'


def too_large(most_bytes: int) -> str:
    """What is said of an upload that is."""
    return f"expected at most {most_bytes / 1e6:.0f} MB (--upload-megabytes)"

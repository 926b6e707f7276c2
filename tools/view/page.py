"""What the page gets besides viser's own: a style, and listeners where viser's would be in the way."""

from __future__ import annotations

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
_STYLE = "img[src^='blob:'] { width: 100%; border-radius: 6px; }"

EXTRAS = f'<style onload="if (!window.headwarp) {{ window.headwarp = 1; {_KEYS} {_DRAG} }}">{_STYLE}</style>'
"""An HTML element that installs all of it, once a page."""

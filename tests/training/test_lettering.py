"""Words in pictures: in letters that there are, and never wider than their room."""

import numpy as np
import pytest
from PIL import Image, ImageDraw

from headwarp.training.data.lettering import plain_letters, typeface, write_words


@pytest.mark.parametrize("text", ["", "a", "source", "a name that is far too long for its room", "x" * 5000])
@pytest.mark.parametrize("width", [1, 10, 60, 400])
def test_no_word_leaves_its_room(text, width):
    picture = Image.new("RGB", (500, 40), (255, 255, 255))
    written = write_words(ImageDraw.Draw(picture), (20, 10), text, width=width)
    assert written <= width
    dark = np.flatnonzero((np.asarray(picture) < 200).any((0, 2)))
    assert not len(dark) or (dark[0] >= 19 and dark[-1] <= 20 + width)
    assert len(dark) or not text or width < 60


def test_of_a_long_name_both_ends_are_kept():
    kept = []

    class Draw:
        def textlength(self, words, font=None):
            return 10.0 * len(words)

        def text(self, place, words, **more):
            kept.append(words)

    write_words(Draw(), (0, 0), "0123456789abcdef", width=90)
    assert kept == ["0123..def"]


def test_letters_are_those_of_the_typeface():
    assert plain_letters("Zo\u00eb \u65e5\u672c\u8a9e \u0141\n\u202e") == "Zoe ??? ???"
    assert typeface(13) is typeface(13)

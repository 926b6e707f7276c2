"""The errors headwarp raises for things a user can mend."""

_LONGEST = 2000


class HeadwarpError(Exception):
    """A problem with the input, the files or the installation; its text says what, expected, got and remedy.

    The command line prints the text of these alone, without a traceback, and exits with code 1. A text is
    kept to a length that a person reads: names and numbers in a damaged file have any.

    Example:
        >>> len(str(HeadwarpError("a" * 10**6)))
        2000
    """

    def __init__(self, *arguments: object) -> None:
        super().__init__(*(_shortened(item) if isinstance(item, str) else item for item in arguments))


def _shortened(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST // 2 - 5]} [...] {text[2 - _LONGEST // 2 :]}"


class MissingDependencyError(HeadwarpError, ImportError):
    """An optional package is not installed; the text gives the pip line that mends it."""


class MediaError(HeadwarpError):
    """A photo or clip could not be read or written."""


class NoFaceError(HeadwarpError):
    """No face was found where one is needed."""


class ModelFileError(HeadwarpError, ValueError):
    """A head model, fit or checkpoint file is refused: wrong content, version or origin."""


class ShapeError(HeadwarpError, ValueError):
    """A tensor has not the documented shape, dtype or range."""

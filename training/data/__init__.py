"""Photos and clips in and out (``media``), their ``provenance``, and files written whole (``atomic``)."""

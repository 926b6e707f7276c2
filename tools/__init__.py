"""The commands: one file each, a frozen config dataclass and ``run(config) -> report`` beside it.

A command composes the rooms below (geom, flame, warping, training) and holds no mathematics. It returns its
report as a JSON-able mapping; an optional ``describe(report) -> str`` is what a person reads.
`headwarp.tools.cli` does the rest: arguments, ``--json``, errors, exit codes. ``COMMANDS`` there names them.
"""

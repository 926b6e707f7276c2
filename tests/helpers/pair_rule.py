"""The rule of docs/pairs/cross_identity_40.csv, as that file states it."""

from __future__ import annotations

import csv
import random
from pathlib import Path

SEED, PAIRS = 40, 40


def pairs_by_rule(manifest: Path) -> list[tuple[str, str]]:
    """Photo and clip of every pair, from the manifest of the footage."""
    with manifest.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    person = {row["name"]: row["person"] for row in rows}
    alone = [row for row in rows if row["mesh_share"] == "1.0" and row["mesh_faces_max"] == "1"]
    photos = [row["name"] for row in alone if row["kind"] == "photo" and row["det_faces_max"] == "1"]
    photos = [name for name in photos if not name.endswith("240p.jpg")]  # another size of one picture
    clips = [row for row in alone if row["kind"] == "clip" and row["crop"] and row["cuts"] == "0"]
    generator = random.Random(SEED)
    generator.shuffle(photos)
    generator.shuffle(clips)
    uses = {row["crop"]: 0 for row in clips}
    pairs: list[tuple[str, str]] = []
    while len(pairs) < PAIRS:
        photo = photos[len(pairs) % len(photos)]
        others = [
            row["crop"]
            for row in clips
            if person[row["name"]] != person[photo] and (photo, row["crop"]) not in pairs
        ]
        clip = min(others, key=uses.__getitem__)  # the first of those used least
        uses[clip] += 1
        pairs.append((photo, clip))
    return pairs

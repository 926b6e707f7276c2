"""The clips that training is given: files, folders, trees of persons, VoxCeleb trees; who is in them."""

from __future__ import annotations

import csv
import hashlib
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ....geom.errors import HeadwarpError, MediaError
from ..inputs import CLIPS, PHOTOS, Input, is_numbered, list_inputs, output_names
from ..vox import PARTITIONS, list_clips, parse_name

NAME, PERSON, SAME = "name", "person", "same_person_as"


@dataclass(frozen=True)
class FoundClip:
    """A clip before it is packed.

    Attributes:
        path: a video, or a folder of its frames.
        name: no two alike, a plain name of a folder.
        place: below the folder that was named, parts joined by ``/``, without suffix: the name under which
            `headwarp fit` puts its fit.
        person: who is in it.
    """

    path: Path
    name: str
    place: str
    person: str


def find_clips(data: str | os.PathLike[str] | Sequence[str | os.PathLike[str]]) -> list[FoundClip]:
    """The clips that are meant, sorted by name.

    The person is what stands before ``#`` in the name of the file; else the folder below the named one that
    it lies in; else a person of its own.

    Args:
        data: a clip, a folder of clips (of persons' folders, or of frames' folders), a VoxCeleb tree (of
            which ``train`` is taken if it is divided), a ``.csv`` list, or several of these.

    Raises:
        MediaError: no clip there.
    """
    several = [data] if isinstance(data, (str, os.PathLike)) else list(data)
    return named_clips([found for one in several for found in clip_inputs(os.fspath(one))], several)


def named_clips(inputs: Sequence[Input], asked: Sequence[str | os.PathLike[str]]) -> list[FoundClip]:
    """Inputs with names and persons, sorted by name; ``asked`` is what they were sought in.

    Raises:
        MediaError: there are none.
    """
    if not inputs:
        given, kinds = ", ".join(os.fspath(one) for one in asked), ", ".join(sorted(CLIPS))
        raise MediaError(f"{given}: expected clips ({kinds}) or folders of numbered frames, found none")
    names = output_names(inputs)
    plain = _plain(names)
    clips = [
        FoundClip(Path(found.path), folder, name, _person(found))
        for found, name, folder in zip(inputs, names, plain, strict=True)
    ]
    return sorted(clips, key=lambda clip: clip.name)


def clip_inputs(path: str) -> list[Input]:
    """The clips that one word stands for; none where a folder holds none.

    Raises:
        MediaError: a file that is no clip, or nothing there.
    """
    folder = Path(path)
    if folder.is_dir() and any((folder / name).is_dir() for name in PARTITIONS):
        part = next(name for name in PARTITIONS if (folder / name).is_dir())
        places = [clip.path for clip in list_clips(folder, partition=part)]
        return [found for place in places for found in _part_inputs(place)]
    if is_numbered(path):
        return [Input(path, folder.name)]
    found = list(list_inputs([path]))
    clips = [one for one in found if one.member is None and _is_clip(one.path)]
    if folder.is_dir():
        clips += [Input(str(below), below.name) for below in sorted(folder.iterdir()) if is_numbered(below)]
    elif found and not clips:
        what = "another file" if folder.exists() else f"nothing (sought from {Path.cwd()})"
        raise MediaError(found[0].problem or f"{path}: expected a clip or a folder of clips, found {what}")
    return clips


def _part_inputs(place: Path, below: str = "") -> list[Input]:
    """A clip of a divided tree; or those in the folder of a person, and in folders of it."""
    name = f"{below}{place.name}"
    entries = [] if place.is_file() else sorted(e for e in place.iterdir() if not e.name.startswith("."))
    if place.is_file() or any(entry.suffix.lower() in PHOTOS for entry in entries):
        return [Input(str(place), name)]
    wanted = [entry for entry in entries if entry.is_dir() or entry.suffix.lower() in CLIPS]
    found = [one for entry in wanted for one in _part_inputs(entry, f"{name}/")]
    return found if found or below else [Input(str(place), name)]  # reading an empty one says so


def _is_clip(path: str) -> bool:
    return (os.path.splitext(path)[1].lower() in CLIPS and os.path.isfile(path)) or is_numbered(path)


def _plain(names: Sequence[str]) -> list[str]:
    joined = [name.lstrip(".").replace("/", "__").replace("\\", "-") or "clip" for name in names]
    if len(set(joined)) == len(joined):
        return joined
    digests = [hashlib.sha256(os.fsencode(name)).hexdigest()[:8] for name in names]
    return [f"{name}_{digest}" for name, digest in zip(joined, digests, strict=True)]


def _person(found: Input) -> str:
    folder, _, name = found.place.rpartition("/")
    if "#" in name and not name.startswith("#"):
        return parse_name(name).identity
    return folder.rpartition("/")[2] or os.path.splitext(name)[0]


# Lists of persons


@dataclass(frozen=True)
class PersonList:
    """What a CSV list says of clips.

    Attributes:
        path: the list.
        persons: clip (stem of its file) -> person.
        named: every person in it.
        nameless: clips of which it names no person.
    """

    path: Path
    persons: Mapping[str, str]
    named: frozenset[str]
    nameless: frozenset[str]


def read_persons(path: str | os.PathLike[str]) -> PersonList:
    """Read a list with a row for each clip: ``name`` (its file), and ``person``, ``same_person_as`` or both.

    ``same_person_as`` names a person of another list, and counts where ``person`` is empty. Other columns are
    passed over.

    Raises:
        HeadwarpError: the file cannot be read, or lacks these columns.
    """
    place = Path(path)
    try:
        with open(place, encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file)
            columns = [column.strip() for column in reader.fieldnames or ()]
            if NAME not in columns or not {PERSON, SAME} & set(columns):
                raise HeadwarpError(
                    f"{place}: expected a first line with the columns {NAME} and {PERSON} or {SAME}, got "
                    f"{', '.join(columns) or 'nothing'}"
                )
            reader.fieldnames = columns
            rows = [{key: (row.get(key) or "").strip() for key in (NAME, PERSON, SAME)} for row in reader]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        reason = (getattr(error, "strerror", None) or str(error)).lower()
        raise HeadwarpError(f"{place}: cannot be read as a list of persons ({reason})") from error
    stems = {_stem(row[NAME]): row[PERSON] or row[SAME] for row in rows if row[NAME]}
    return PersonList(
        path=place,
        persons={stem: person for stem, person in stems.items() if person},
        named=frozenset(row[key] for row in rows for key in (PERSON, SAME) if row[key]),
        nameless=frozenset(stem for stem, person in stems.items() if not person),
    )


def _stem(name: str) -> str:
    return os.path.splitext(name.replace("\\", "/").rpartition("/")[2])[0]


def with_persons(clips: Iterable[FoundClip], persons: PersonList) -> list[FoundClip]:
    """Clips named by a list's persons; those it does not know stay as they are."""
    return [
        FoundClip(c.path, c.name, c.place, persons.persons.get(_stem(c.path.name), c.person)) for c in clips
    ]


def without_persons(
    clips: Iterable[FoundClip], excluded: PersonList
) -> tuple[list[FoundClip], dict[str, str]]:
    """Clips of nobody that a list names, and the reasons why the others are left out (clip -> reason).

    A clip is left out if the list names its person (in either column), or the clip itself without a person.
    To keep the persons of a test set out of training, give the training clips their persons first
    (`with_persons`), then exclude the list of the test set.
    """
    kept, left_out = [], {}
    for clip in clips:
        if clip.person in excluded.named:
            left_out[clip.name] = f"{excluded.path.name} names its person {clip.person}"
        elif _stem(clip.path.name) in excluded.nameless:
            left_out[clip.name] = f"{excluded.path.name} names this clip"
        else:
            kept.append(clip)
    return kept, left_out

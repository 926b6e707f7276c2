"""``headwarp weights list``, ``check`` and ``fetch``, with a small network and a server on this machine."""

import dataclasses
import io
import json
import logging

import pytest
import torch
from file_server import serving
from torch import nn

from headwarp.geom.nets import _weight_files, weights
from headwarp.geom.nets.weights import KNOWN, KnownWeights, sha256_of
from headwarp.tools import weights_check, weights_list
from headwarp.tools.cli import main


class Tiny(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 2, 1)


@pytest.fixture
def published(tmp_path):
    """What the server sends: the file's bytes and their hash."""
    path = tmp_path / "published.pth"
    torch.save(Tiny().state_dict(), path)
    return path.read_bytes(), sha256_of(path)


@pytest.fixture
def table(published, monkeypatch):
    """Call with an address: ``tiny`` has a hash, ``free`` has none, ``closed`` no address either."""
    content, digest = published

    def make(url="https://example.org/tiny.pth"):
        tiny = KnownWeights(
            name="tiny",
            network="tiny",
            file="tiny.pth",
            url=url,
            sha256=digest,
            size=len(content),
            licence="free of charge",
            origin="a test",
        )
        free = dataclasses.replace(tiny, name="free", file="free.pth", sha256=None, size=None)
        closed = dataclasses.replace(
            free, name="closed", file="closed.pth", url=None, origin="log in at https://x.org"
        )
        for module in (weights, weights_list, weights_check):
            monkeypatch.setattr(module, "KNOWN", (tiny, free, closed))
        for module in (weights, _weight_files):
            monkeypatch.setattr(module, "build", lambda name: Tiny())
        monkeypatch.delenv(weights.VARIABLE, raising=False)

    return make


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "weights"
    folder.mkdir()
    return folder


def run(capsys, *words):
    """Exit code, what was said and what was complained about."""
    code = main(["weights", *map(str, words)])
    return code, *capsys.readouterr()


def typing(monkeypatch, text, *, terminal=True):
    stdin = io.StringIO(text)
    stdin.isatty = lambda: terminal
    monkeypatch.setattr("sys.stdin", stdin)


# list


def test_list_shows_every_known_file_and_where_it_is(capsys, tmp_path, monkeypatch):
    monkeypatch.setenv(weights.VARIABLE, str(tmp_path))
    file = tmp_path / "vgg19-dcbb9e9d.pth"
    file.write_bytes(b"")
    code, said, _ = run(capsys, "list", "--json", tmp_path / "r.json")
    report = json.loads((tmp_path / "r.json").read_text())
    assert code == 0
    assert report["places"] == [str(tmp_path)]
    assert list(report["weights"]) == [known.name for known in KNOWN]
    assert report["weights"]["vgg19"]["found"] == str(file)
    assert f"vgg19: {file}" in said
    assert "ir_se50: not found" in said
    assert "licence: non-commercial research only" in said
    assert "sha256 unknown: recorded by the first `headwarp weights check`" in said


def test_list_without_a_folder_says_how_to_name_one(capsys, monkeypatch):
    monkeypatch.delenv(weights.VARIABLE, raising=False)
    code, said, _ = run(capsys, "list")
    assert code == 0
    assert said.startswith("sought in nowhere: name a folder with --weights-dir or $HEADWARP_WEIGHTS\n")


# check


def test_check_compares_with_the_known_hash_and_loads(capsys, table, folder, published):
    table()
    (folder / "tiny.pth").write_bytes(published[0])
    code, said, _ = run(capsys, "check", "--weights-dir", folder)
    assert code == 0
    assert f"tiny: sound; {folder / 'tiny.pth'}, sha256 {published[1]} (known)" in said
    assert sorted(path.name for path in folder.iterdir()) == ["tiny.pth"]


def test_check_records_an_unknown_hash_and_holds_to_it(capsys, table, folder, published):
    table()
    (folder / "free.pth").write_bytes(published[0])
    assert "(recorded now)" in run(capsys, "check", "free", "--weights-dir", folder)[1]
    assert (folder / "free.pth.sha256").read_text() == f"{published[1]}  free.pth\n"
    assert "(recorded)" in run(capsys, "check", "free", "--weights-dir", folder)[1]
    torch.save(Tiny().state_dict(), folder / "free.pth")
    code, _, complaint = run(capsys, "check", "free", "--weights-dir", folder)
    assert code == 1
    assert f"expected sha256 {published[1]}" in complaint


def test_one_bad_file_does_not_hide_the_others(capsys, table, folder, published, tmp_path):
    table()
    (folder / "tiny.pth").write_bytes(published[0])
    torch.save({"other": torch.ones(2)}, folder / "free.pth")
    report = tmp_path / "r.json"
    code, said, complaint = run(capsys, "check", "--weights-dir", folder, "--json", report)
    assert code == 1
    assert "1 sound, 1 not" in said
    assert (
        "free.pth: expected weights of the network tiny: 2 of 2 keys missing: conv.weight, conv.bias"
        in complaint
    )
    assert not (folder / "free.pth.sha256").exists()  # a file that does not fit is not vouched for
    assert list(json.loads(report.read_text())["failed"]) == ["free"]


def test_check_of_one_file_with_its_own_hash(capsys, table, tmp_path):
    table()
    own = tmp_path / "own.pth"
    torch.save(Tiny().state_dict(), own)
    code, _, complaint = run(capsys, "check", "tiny", "--file", own)
    assert code == 1
    assert "pass its own hash as --sha256 if you trust it" in complaint
    code, said, _ = run(capsys, "check", "tiny", "--file", own, "--sha256", sha256_of(own)[:16])
    assert code == 0
    assert "(given)" in said


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["check"], "no weights were found; sought in no folder, as $HEADWARP_WEIGHTS is not set"),
        (["check", "vgg"], "expected one of tiny, free, closed, got 'vgg'"),
        (["check", "--sha256", "0" * 64], "--file and --sha256 belong to one file"),
        (["check", "tiny", "free", "--file", "x"], "--file and --sha256 belong to one file"),
        (["check", "tiny", "--file", "random"], "random: no such file"),
        (["check", "tiny"], "no tiny.pth; sought in no folder"),
        (["fetch", "vgg", "--yes", "--weights-dir", "w"], "expected one of tiny, free, closed, got 'vgg'"),
        (["fetch", "tiny", "--yes"], "expected a folder to put weights into"),
        (["fetch", "closed", "--yes", "--weights-dir", "w"], "Get closed.pth: log in at https://x.org"),
    ],
)
def test_what_cannot_be_done_is_one_sentence(capsys, table, words, complaint, tmp_path, monkeypatch):
    table()
    monkeypatch.chdir(tmp_path)
    code, _, said = run(capsys, *words)
    assert code == 1
    assert complaint in said
    assert said.count("\n") == 1


# fetch


def test_fetch_asks_shows_the_licence_and_fetches(capsys, table, folder, published, monkeypatch):
    typing(monkeypatch, "y\n")
    with serving("whole", content=published[0]) as (url, _):
        table(url)
        code, said, asked = run(capsys, "fetch", "tiny", "--weights-dir", folder)
    assert code == 0
    assert f"Download tiny.pth (0 MiB) from {url}\nto {folder / 'tiny.pth'}?" in asked
    assert "Its licence: free of charge. [y/N] " in asked
    assert said == f"tiny: fetched; {folder / 'tiny.pth'}\n"
    assert run(capsys, "check", "tiny", "--weights-dir", folder)[0] == 0


@pytest.mark.parametrize("answer", ["n\n", "\n", "", "yesterday\n"])
def test_anything_but_yes_declines_and_reads_nothing(capsys, table, folder, answer, published, monkeypatch):
    typing(monkeypatch, answer)
    with serving("whole", content=published[0]) as (url, behaviour):
        table(url)
        code, said, _ = run(capsys, "fetch", "tiny", "--weights-dir", folder)
    assert code == 1
    assert said == "tiny: declined\n"
    assert behaviour.asked == []
    assert not list(folder.iterdir())


def test_without_a_terminal_yes_must_be_said_before(capsys, table, folder, published, monkeypatch):
    typing(monkeypatch, "y\n", terminal=False)
    with serving("whole", content=published[0]) as (url, behaviour):
        table(url)
        code, _, complaint = run(capsys, "fetch", "tiny", "--weights-dir", folder)
        assert code == 1
        assert "(free of charge), but stdin is no terminal; pass --yes" in complaint
        assert behaviour.asked == []
        assert run(capsys, "fetch", "tiny", "--weights-dir", folder, "--yes")[0] == 0


def test_a_broken_fetch_goes_on_and_what_is_there_is_not_fetched(
    capsys, table, folder, published, monkeypatch
):
    monkeypatch.setenv(weights.VARIABLE, str(folder))
    with serving(("cut", 700), "whole", content=published[0]) as (url, behaviour):
        table(url)
        monkeypatch.setenv(weights.VARIABLE, str(folder))
        code, said, _ = run(capsys, "fetch", "tiny", "--yes")
        assert (code, behaviour.asked) == (0, [None, "bytes=700-"])
        code, said, _ = run(capsys, "fetch", "tiny", "--yes")
        assert (code, len(behaviour.asked)) == (0, 2)
        assert said == f"tiny: there already; {folder / 'tiny.pth'}\n"


def test_a_wrong_file_that_is_there_is_not_replaced_unasked(capsys, table, folder):
    table()
    (folder / "tiny.pth").write_bytes(b"mine")
    code, _, complaint = run(capsys, "fetch", "tiny", "--yes", "--weights-dir", folder)
    assert code == 1
    assert "move that file away first" in complaint
    assert (folder / "tiny.pth").read_bytes() == b"mine"


def test_one_that_fails_does_not_keep_the_others_back(capsys, table, folder, published):
    with serving("whole", content=published[0]) as (url, _):
        table(url)
        code, said, complaint = run(capsys, "fetch", "closed", "tiny", "--yes", "--weights-dir", folder)
    assert code == 1
    assert "tiny: fetched" in said
    assert "closed: no address to fetch it from" in complaint


def test_nothing_here_is_random(table, folder, caplog):
    table()
    with caplog.at_level(logging.WARNING, logger="headwarp"):
        main(["weights", "check", "tiny", "--weights-dir", str(folder)])
        main(["weights", "list"])
    assert "random" not in caplog.text

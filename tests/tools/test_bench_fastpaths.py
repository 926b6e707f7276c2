"""The bench of fast ways: real parts in turns, and a record that tells a wrong picture."""

from __future__ import annotations

import pytest
import torch
from toy_animators import loaded

from headwarp.tools.bench import fastpaths
from headwarp.warping.graphs import graphs_of

SIDE = 32


@pytest.fixture(scope="module")
def parts():
    torch.manual_seed(0)
    graphs = graphs_of(loaded("dagan"), (SIDE, SIDE))
    with torch.no_grad():
        return fastpaths.parts_of(graphs, torch.rand(1, 3, SIDE, SIDE))


def test_what_runs_for_every_frame_is_timed_on_what_the_source_gave(parts):
    assert [part.graph.name for part in parts] == ["detect", "animate"]
    names = [port.name for port in parts[1].graph.inputs]
    given = dict(zip(names, parts[1].inputs, strict=True))
    network = parts[1].graph.module.network
    with torch.no_grad():
        expected = network.generator.encode(given["source"]).features
    assert torch.equal(given["features"], expected)


def test_ways_that_need_no_compiler_make_the_same_picture(parts, tmp_path):
    ways = fastpaths.ways_of(parts, tmp_path)
    chosen = {way: ways[way] for way in ("eager", "channels_last", "prepared")}
    records = fastpaths.compare("toy", chosen, rounds=2, picture=fastpaths._picture_of(parts))
    assert [record.way for record in records] == list(chosen)
    assert (records[0].ratio, records[0].cpu_ratio, records[0].difference) == (1, 1, 0)
    assert all(record.difference < 1e-4 and record.median_ms > 0 for record in records)


def test_a_wrong_picture_is_told():
    right, wrong = torch.zeros(1, 3, 4, 4), torch.zeros(1, 3, 4, 4)
    wrong[0, 0, 0, 0] = 0.25
    ways = {"eager": lambda: lambda: (right,), "off": lambda: lambda: (wrong,)}
    plain, off = fastpaths.compare("toy", ways, rounds=2)
    assert (plain.difference, off.difference) == (0, 0.25)
    assert off.mean_difference == pytest.approx(0.25 / 48)

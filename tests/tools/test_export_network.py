"""`headwarp export`: graphs that equal the network in onnxruntime and in a process without headwarp."""

from __future__ import annotations

import hashlib
import importlib
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from toy_animators import loaded

from headwarp.geom.errors import HeadwarpError
from headwarp.tools import cli
from headwarp.tools.export_network import RECORD, export_network
from headwarp.warping.animators import shipped_weights
from headwarp.warping.checkpoints import save_checkpoint
from headwarp.warping.graphs import graphs_of
from headwarp.warping.graphs.program import write_torchscript

export_network_module = importlib.import_module("headwarp.tools.export_network")
SIDE = 32
NEAR = 2e-5
DOCS = Path(__file__).parents[2] / "docs" / "deploying.md"


WRITER = """
import dataclasses
import json
import sys
from pathlib import Path
import torch
from toy_animators import loaded, shaken
from headwarp.tools.export_network import export_network
from headwarp.warping.animators import load_animator
from headwarp.warping.checkpoints import save_checkpoint
from headwarp.warping.graphs import graphs_of
from headwarp.warping.graphs.program import difference, program_of, write_onnx, write_torchscript
from headwarp.warping.progressive import paper
from headwarp.warping.pwm import CodesConfig, PwmConfig
from headwarp.warping.residual import ResidualConfig

torch.set_num_threads(1)
folder, side = Path(sys.argv[1]), int(sys.argv[2])
config = PwmConfig(network=ResidualConfig(channels=(4, 4, 4), stem=8, detail=2))
path = folder / "untrained.safetensors"
save_checkpoint(path, load_animator("pwm", config=config), config=config, name="pwm")
path.with_suffix(".json").write_text(json.dumps({"licence": "mine", "secret": "kept"}))
export_network(path, folder / "pwm", size=(side, side))
export_network("pwm", folder / "shipped", size=(side, side))

few = {"width": 2, "min_channels": 4, "max_channels": 8, "levels": 2, "code_channels": 2}
narrow = dataclasses.replace(paper("codes"), **few)
coded = PwmConfig(network=narrow, codes=CodesConfig(count=9))
graph = graphs_of(shaken(load_animator("pwm", config=coded), by=0.05), (side, side))[1]
write_torchscript(program_of(graph), graph, folder / "coded.pt")
for batch in (1, 3):
    assert difference(graph, folder / "coded.pt", batch=batch) < 2e-5, batch

for graph in graphs_of(loaded("fomm"), (side, side)):
    program = program_of(graph)
    write_torchscript(program, graph, folder / f"{graph.name}.pt")
    inputs = graph.examples(5, seed=3)
    torch.save([list(inputs), list(graph.module(*inputs))], folder / f"{graph.name}.pair")
    write_onnx(program, graph, folder / f"{graph.name}.onnx")
    assert difference(graph, folder / f"{graph.name}.onnx", batch=5) < 2e-5, graph.name
"""


@pytest.fixture(scope="module")
def written(tmp_path_factory) -> Path:
    """The shipped network and an untrained one by the command, one guided by codes alone, and `fomm`: in a
    process of its own, because torch does not look through checked shapes.
    """
    pytest.importorskip("onnxscript")
    pytest.importorskip("onnxruntime")
    folder = tmp_path_factory.mktemp("export")
    subprocess.run([sys.executable, "-c", WRITER, str(folder), str(SIDE)], check=True, env=_paths())
    return folder


def _paths() -> dict[str, str]:
    helpers = str(Path(__file__).parents[1] / "helpers")
    return {**os.environ, "PYTHONPATH": os.pathsep.join([helpers, *filter(None, sys.path)])}


@pytest.mark.slow
def test_the_record_says_what_was_written(written):
    record = json.loads((written / "pwm" / RECORD).read_text())
    assert [graph["file"] for graph in record["graphs"]] == ["encode.onnx", "animate.onnx"]
    assert record["opset"] == 20
    digest = hashlib.sha256((written / "untrained.safetensors").read_bytes()).hexdigest()
    assert record["source"] == {"file": "untrained.safetensors", "sha256": digest, "licence": "mine"}
    assert all(graph["max_abs_difference"] < NEAR for graph in record["graphs"])


@pytest.mark.slow
def test_the_shipped_network_is_written_as_it_is(written):
    graphs = json.loads((written / "shipped" / RECORD).read_text())["graphs"]
    assert [graph["file"] for graph in graphs] == ["encode.onnx", "animate.onnx"]
    assert all(graph["max_abs_difference"] < NEAR for graph in graphs)


def test_the_shipped_network_is_found_with_its_licence():
    path, name, _ = export_network_module._source("pwm")
    assert (path, name) == (shipped_weights("pwm"), "pwm")
    assert export_network_module._provenance(path)["licence"] == "Apache-2.0"
    told = json.loads(path.with_suffix(".json").read_text())
    assert export_network_module._sha256(path) == told["sha256"]


@pytest.mark.slow
def test_the_page_animates_with_onnxruntime_alone(written, tmp_path):
    """The script of docs/deploying.md, in a process that cannot import torch or headwarp."""
    from PIL import Image

    random = np.random.default_rng(0)
    Image.fromarray(random.integers(0, 255, (SIDE, SIDE, 3), dtype=np.uint8)).save(tmp_path / "photo.png")
    flow = np.zeros((2, 2, SIDE, SIDE), np.float32)
    flow[1, 0] = 4.0
    whole = np.ones((2, 1, SIDE, SIDE), np.float32)
    np.savez(tmp_path / "guidance.npz", flow=flow, known=whole, visible=whole)
    (script,) = re.findall(r"```python\n(# play\.py.*?)```", DOCS.read_text(), flags=re.S)
    blocked = "import sys\nsys.modules['torch'] = sys.modules['headwarp'] = None\n"
    (tmp_path / "play.py").write_text(blocked + script)
    words = ["play.py", str(written / "pwm"), "photo.png", "guidance.npz", "out"]
    subprocess.run([sys.executable, *words], cwd=tmp_path, check=True)
    still, moved = (np.asarray(Image.open(path), float) for path in sorted((tmp_path / "out").iterdir()))
    photo = np.asarray(Image.open(tmp_path / "photo.png"), float)
    inner = np.s_[4:-4, 4:-8]
    assert np.abs(still - photo)[inner].mean() < np.abs(moved - photo)[inner].mean() / 2
    shifted = np.roll(photo, -4, axis=1)
    assert np.abs(moved - shifted)[inner].mean() < np.abs(moved - photo)[inner].mean() / 2


@pytest.mark.slow
def test_standing_still_is_exact(written):
    """An untrained network is the geometry animator: without flow the source, bit for bit, in onnxruntime."""
    import onnxruntime

    source = np.random.default_rng(1).random((1, 3, SIDE, SIDE), dtype=np.float32)
    session = onnxruntime.InferenceSession(written / "pwm" / "animate.onnx")
    shapes = {
        port.name: [1 if isinstance(n, str) else n for n in port.shape] for port in session.get_inputs()
    }
    given = {name: np.ones(shape, np.float32) for name, shape in shapes.items()}
    given |= {
        name: np.zeros(shapes[name], np.float32) for name in ("flow", "displacement", "hollow", "residual")
    }
    given |= {"colours": source, "background": source}
    assert np.array_equal(session.run(["image"], given)[0], source)


@pytest.mark.slow
def test_torchscript_needs_torch_alone(written):
    """Every graph of `fomm`, five frames together, in a process that cannot import headwarp."""
    program = (
        "import sys, torch\n"
        "sys.modules['headwarp'] = None\n"
        "for name in sys.argv[1:]:\n"
        "    given, wanted = torch.load(name + '.pair')\n"
        "    for a, b in zip(torch.jit.load(name + '.pt')(*given), wanted, strict=True):\n"
        "        torch.testing.assert_close(a, b, rtol=0, atol=2e-5)\n"
    )
    names = ["detect", "encode", "relative", "animate"]
    subprocess.run([sys.executable, "-c", program, *names], cwd=written, check=True)


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="a device of Linux")
def test_torchscript_on_a_full_disk_is_an_error_and_no_end_of_the_process():
    program = SimpleNamespace(module=lambda: torch.fx.symbolic_trace(torch.nn.ReLU()))
    graph = SimpleNamespace(examples=lambda batch: (torch.zeros(batch),))
    with pytest.raises(OSError, match="No space left"):
        write_torchscript(program, graph, Path("/dev/full"))


def test_pieces_make_the_animators_picture():
    """Before anything is written: the graphs' modules in their order are `animate`."""
    from headwarp.geom.guidance import Driving, Source

    torch.manual_seed(0)
    source, frames = torch.rand(1, 3, SIDE, SIDE), torch.rand(3, 3, SIDE, SIDE)
    animator = loaded("fomm")
    wanted = animator.animate(animator.encode([Source(image=source)]), Driving(image=frames))
    detect, encode, _, animate = (graph.module for graph in graphs_of(animator, (SIDE, SIDE)))
    with torch.no_grad():
        made = animate(source, *encode(source), *detect(source), *detect(frames))
    torch.testing.assert_close(made[0], wanted.image, rtol=0, atol=NEAR)
    torch.testing.assert_close(made[1], wanted.flow, rtol=0, atol=1e-3)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["geometry"], "no weights of it come with the package"),
        (["nothing.safetensors"], "no such checkpoint"),
        (["pwm", "--output", "net.onnx"], "expected a folder"),
        (["pwm", "--size", "0", "32"], "multiples of"),
    ],
)
def test_what_makes_no_sense_is_said(words, said, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    rest = [] if "--output" in words else ["--output", "out"]
    assert cli.main(["export", *words, *rest]) == 1
    assert said in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_another_folder_is_left_alone(tmp_path):
    (tmp_path / "diary.txt").write_text("mine")
    with pytest.raises(HeadwarpError, match="holds something else"):
        export_network("pwm", tmp_path)
    assert (tmp_path / "diary.txt").read_text() == "mine"


def test_animators_without_a_network_are_refused(tmp_path):
    from headwarp.warping.animators.copy import CopyConfig

    path = save_checkpoint(tmp_path / "c.safetensors", {}, config=CopyConfig(), name="copy")
    with pytest.raises(HeadwarpError, match="nothing to export"):
        export_network(path, tmp_path / "out")
    assert not (tmp_path / "out").exists()

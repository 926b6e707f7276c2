"""`animate` and `evaluate` with --animator pwm and a checkpoint: what runs, and what is said before work."""

import json

import numpy as np
import pytest
import torch
from face_pictures import needs_mediapipe, portrait, sway
from PIL import Image

from headwarp.geom.errors import HeadwarpError
from headwarp.geom.nets.folding import FoldedSpadeResBlock
from headwarp.tools import cli
from headwarp.tools.animate import animate
from headwarp.tools.performance import check_window, open_animator, ready
from headwarp.training.data.media import VideoReader, VideoWriter
from headwarp.warping.animators import frame_multiple, load_animator
from headwarp.warping.animators.pwm import PwmAnimator
from headwarp.warping.checkpoints import save_checkpoint
from headwarp.warping.progressive import ProgressiveConfig
from headwarp.warping.pwm import PwmConfig
from headwarp.warping.residual import ResidualConfig

SMALL = PwmConfig(ResidualConfig(channels=(8, 8, 12, 16), detail=4))
PROGRESSIVE = PwmConfig(ProgressiveConfig(width=2, min_channels=4, max_channels=16))


def checkpoint(path, config, **header):
    torch.manual_seed(0)
    return save_checkpoint(path, PwmAnimator(config), config=config, name="pwm", **header)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A photo, a clip, and checkpoints of both kinds of network."""
    folder = tmp_path_factory.mktemp("pwm")
    Image.fromarray(portrait()).save(folder / "photo.png")
    with VideoWriter(folder / "clip.mp4", 10, crf=1) as writer:
        for frame in sway(4):
            writer.write(frame)
    checkpoint(folder / "residual.safetensors", SMALL)
    checkpoint(folder / "progressive.safetensors", PROGRESSIVE)
    checkpoint(folder / "other.safetensors", SMALL, kind="discriminator")
    return folder


def words(files, **options):
    given = {"source": "photo.png", "driving": "clip.mp4", "checkpoint": "residual.safetensors", **options}
    made = ["animate", "--animator", "pwm", "--output", str(files / "out.mp4")]
    for name, value in given.items():
        made += [f"--{name}", str(files / value) if (files / value).exists() else value]
    return made


@needs_mediapipe
def test_an_untrained_residual_network_animates_as_geometry_does(files):
    assert cli.main(words(files, size="128")) == 0
    with VideoReader(files / "out.mp4") as reader:
        made = np.stack(list(reader)).astype(int)
    assert made.shape == (4, 128, 128, 3)
    expected = np.stack(list(animate(files / "photo.png", files / "clip.mp4", size=128))).astype(int)
    assert np.abs(made - expected).mean() < 3  # but for the clip's compression


@needs_mediapipe
def test_the_progressive_network_animates_in_a_window_that_it_takes(files):
    assert cli.main(words(files, checkpoint="progressive.safetensors", size="96")) == 0
    with VideoReader(files / "out.mp4") as reader:
        assert next(iter(reader)).shape == (96, 96, 3)


@needs_mediapipe
def test_evaluate_measures_checkpoints_beside_geometry(files, tmp_path):
    report = tmp_path / "r.json"
    made = [
        "evaluate",
        "--clips",
        str(files / "clip.mp4"),
        "--animator",
        "geometry,pwm",
        "--against",
        "geometry",
    ]
    made += ["--checkpoint", str(files / "residual.safetensors"), "--stride", "3", "--json", str(report)]
    assert cli.main(made) == 0
    content = json.loads(report.read_text())
    assert list(content["metrics"]) == ["copy", "similarity", "tps", "geometry", "pwm"]
    assert content["metrics"]["pwm"]["l1"] == pytest.approx(content["metrics"]["geometry"]["l1"], abs=1e-5)
    assert content["difference"]["pwm"]["l1"]["mean"] == pytest.approx(0, abs=1e-5)


@needs_mediapipe
def test_a_clip_of_a_size_that_the_network_does_not_take_fails_with_the_remedy(files, capsys):
    made = ["evaluate", "--clips", str(files / "clip.mp4"), "--animator", "pwm", "--checkpoint"]
    assert cli.main([*made, str(files / "progressive.safetensors")]) == 1  # the clip has 300 px
    assert "expected sides that are multiples of 32, got 300 x 300" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"checkpoint": "nothing.safetensors"}, "nothing.safetensors: no such checkpoint"),
        ({"checkpoint": "photo.png"}, "expected a checkpoint of headwarp (.safetensors)"),
        (
            {"checkpoint": "other.safetensors"},
            "expected a checkpoint of kind 'animator', got 'discriminator'",
        ),
        ({"animator": "geometry"}, "expected a checkpoint of name 'geometry', got 'pwm'"),
        (
            {"checkpoint": "progressive.safetensors", "size": "250"},
            "--size: pwm takes multiples of 32 pixels, got 250; take 256",
        ),
    ],
)
def test_what_cannot_work_is_said_at_once(files, options, text, capsys, monkeypatch):
    monkeypatch.setattr("headwarp.tools.openings.open_driver", lambda *_, **__: pytest.fail("work had begun"))
    made = words(files, **{k: v for k, v in options.items() if k != "animator"})
    if "animator" in options:
        made[made.index("pwm")] = options["animator"]
    assert cli.main(made) == 1
    assert text in capsys.readouterr().err


@needs_mediapipe
@pytest.mark.parametrize("name", ["residual", "progressive"])
def test_compiled_networks_animate_and_are_measured(files, tmp_path, name, monkeypatch):
    compiled = []
    monkeypatch.setattr(torch, "compile", lambda function, *, dynamic: compiled.append(1) or function)
    assert cli.main([*words(files, checkpoint=f"{name}.safetensors", size="96"), "--compile"]) == 0
    assert len(compiled) == 1
    if name == "residual":
        made = ["evaluate", "--clips", str(files / "clip.mp4"), "--animator", "geometry,pwm", "--stride", "3"]
        assert cli.main([*made, "--checkpoint", str(files / "residual.safetensors"), "--compile"]) == 0
        assert len(compiled) == 2


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (["--animator", "geometry", "--compile"], "expected an animator with a network, such as pwm"),
        (["--animator", "pwm", "--precision", "bf16"], "bfloat16: expected compile with it"),
        (["--animator", "pwm", "--compile", "--precision", "bf16"], "this cpu has no instructions for it"),
    ],
)
@pytest.mark.parametrize("command", ["animate", "evaluate"])
def test_what_cannot_be_compiled_is_said_at_once(files, command, options, text, capsys, monkeypatch):
    monkeypatch.setattr("headwarp.warping.inference.bfloat16_pays", lambda: False)
    inputs = {
        "animate": ["--source", "photo.png", "--driving", "clip.mp4", "--output", "out.mp4"],
        "evaluate": ["--clips", "clip.mp4"],
    }
    monkeypatch.chdir(files)
    assert cli.main([command, *inputs[command], *options]) == 1
    assert text in capsys.readouterr().err


def test_a_newer_checkpoint_asks_for_an_upgrade(files, tmp_path, capsys, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr("headwarp.__version__", "99.0.0")
        newer = checkpoint(tmp_path / "newer.safetensors", SMALL)
    assert cli.main(words(files, checkpoint=str(newer))) == 1
    assert "written by headwarp 99.0.0" in capsys.readouterr().err


def test_windows_of_pairs_are_checked_before_the_list(files, tmp_path, capsys):
    made = ["evaluate", "--pairs", str(tmp_path / "p.csv"), "--size", "100", "--animator", "pwm"]
    assert cli.main([*made, "--checkpoint", str(files / "progressive.safetensors")]) == 1
    assert "--size: pwm takes multiples of 32 pixels, got 100; take 96" in capsys.readouterr().err


def test_multiples_are_those_of_the_network():
    assert frame_multiple(PwmAnimator(SMALL)) == 1
    assert frame_multiple(PwmAnimator(PROGRESSIVE)) == 32
    check_window(load_animator("geometry"), 37, name="geometry")
    with pytest.raises(HeadwarpError, match="got 1; take 32"):
        check_window(PwmAnimator(PROGRESSIVE), 1, name="pwm")


def test_commands_prepare_the_network_that_they_open(files):
    made = open_animator("pwm", files / "progressive.safetensors")
    assert any(isinstance(part, FoldedSpadeResBlock) for part in made.network.network.modules())
    assert load_animator("pwm", files / "progressive.safetensors").state_dict()  # the library's stays whole


def test_ready_sets_a_network_to_inference_on_its_device():
    network = PwmAnimator(SMALL)
    network.train().requires_grad_(True)
    made = ready(network, "meta")
    assert made is network
    assert not any(module.training for module in made.modules())
    assert not any(p.requires_grad for p in made.parameters())
    assert {p.device.type for p in made.parameters()} == {"meta"}
    plain = load_animator("geometry")
    assert ready(plain, "cpu") is plain

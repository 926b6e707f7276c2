"""``headwarp info`` explains every file that the library and its neighbours write; broken ones are a
sentence.
"""

from __future__ import annotations

import io
import json
import pickle
import struct
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch
from flame_fits import flame_fit, flame_head
from flame_schema import write_landmark_files
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from keypoint_cases import depth_files, fomm_checkpoint
from toy_fit import toy_fit, varied
from toy_head import toy_head

from headwarp.flame.export.arkit import ARKIT_NAMES, write_arkit_csv
from headwarp.flame.export.gltf import write_gltf
from headwarp.flame.export.obj import write_obj_sequence
from headwarp.flame.formats import write_fit
from headwarp.flame.io import load_head
from headwarp.geom.errors import HeadwarpError
from headwarp.geom.mesh import save_mesh
from headwarp.tools.cli import main
from headwarp.tools.info import Info, describe, run
from headwarp.training.data.jobs import Job, JobConfig, open_manifest, run_jobs
from headwarp.warping.animators.copy import CopyConfig
from headwarp.warping.checkpoints import save_checkpoint


def info(path: Path) -> dict:
    report = run(Info(file=path))
    assert describe(report).startswith(f"{path}: {report['kind']}")
    assert main(["info", str(path)]) == 0  # it did its work, whatever the file says of another's
    return report


@pytest.fixture
def made(tmp_path) -> tuple:
    head = toy_head()
    return head, toy_fit(head, 4, **varied(head, 4)), tmp_path


@pytest.mark.parametrize("name", ["a.glb", "a.gltf"])
def test_gltf(made, name):
    head, fit, folder = made
    write_gltf(head, fit, folder / name, fps=10)
    report = info(folder / name)
    assert (report["kind"], report["vertices"], report["triangles"]) == ("glTF", 156, len(head.faces))
    assert report["morph_target_names"] == "5 expression_*"
    assert report["joints"] == "root, neck, jaw, left_eye, right_eye"
    assert report["seconds"] == pytest.approx(0.3)
    assert report["extras"]["model_id"] == head.model_id
    assert report["animation_extras"]["detected"] == 4


def test_obj_file_and_sequence(made):
    head, fit, folder = made
    write_obj_sequence(head, fit, folder / "s", normals=True)
    report = info(folder / "s" / "00002.obj")
    assert (report["kind"], report["vertices"], report["normals"]) == ("OBJ mesh", 156, 156)
    assert "frame 2 of 4, detected; head toy" in report["header"]
    report = info(folder / "s")
    assert (report["kind"], report["frames"], report["last"]) == ("OBJ sequence", 4, "00003.obj")


@pytest.mark.parametrize("suffix", [".ply", ".stl", ".off"])
def test_other_meshes(made, suffix):
    head, _, folder = made
    save_mesh(folder / f"m{suffix}", head.template, head.faces)
    assert (info(folder / f"m{suffix}")["faces"]) == len(head.faces)


def test_arkit_csv(tmp_path):
    head = load_head("builtin")
    fit = toy_fit(head, 3, eyelids=torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 0.0]]))
    write_arkit_csv(head, fit, tmp_path / "a.csv")
    report = info(tmp_path / "a.csv")
    assert (report["frames"], report["blendshapes"]) == (3, len(ARKIT_NAMES))
    assert next(iter(report["largest"])) == "eyeBlinkLeft"
    assert "tongueOut" in report["always_zero"]


def test_arkit_rows_that_the_app_left_empty(tmp_path):
    (tmp_path / "a.csv").write_text("Timecode,BlendShapeCount,EyeBlinkLeft,JawOpen\n0,2,0.5,0.1\n1,0\n")
    report = info(tmp_path / "a.csv")
    assert (report["frames"], report["frames_without_numbers"], report["blendshapes"]) == (2, 1, 2)


def test_pose_tracks_and_other_tables(tmp_path):
    (tmp_path / "p.csv").write_text("time,yaw,smile\n0,0,0\n1,20,1\n")
    (tmp_path / "p.json").write_text(json.dumps({"relative": True, "keyframes": [{"time": 0, "yaw": 1}]}))
    (tmp_path / "c.csv").write_text("clip,label\na,1\nb,2\n")
    assert (info(tmp_path / "p.csv")["kind"], info(tmp_path / "p.csv")["keyframes"]) == ("pose track", 2)
    assert (info(tmp_path / "p.json")["kind"], info(tmp_path / "p.json")["channels"]) == ("pose track", "yaw")
    assert (info(tmp_path / "c.csv")["rows"], info(tmp_path / "c.csv")["columns"]) == (2, "clip, label")


@pytest.mark.parametrize(
    ("name", "path", "title"),
    [
        ("vhap", ".", "VHAP tracking"),
        ("vhap-dataset", "d", "VHAP dataset (GaussianAvatars)"),
        ("deca", "a.npy", "DECA codedict"),
        ("emoca", "d", "EMOCA codes"),
        ("smirk", "a.pkl", "SMIRK parameters"),
        ("metrical", "d", "metrical-tracker .frame"),
        ("pixel3dmm", "d", "pixel3dmm .frame"),
    ],
)
def test_other_trackers(tmp_path, name, path, title):
    flame = flame_head().model
    fit = flame_fit(flame, perspective=name not in ("deca", "emoca", "smirk"))
    written = write_fit(fit, flame, tmp_path / path, name=name).path
    report = info(written)
    assert (report["kind"], report["format"]) == (title, name)
    assert report["read_by"].startswith("headwarp convert fit")


def test_files_around_flame(tmp_path):
    paths = write_landmark_files(tmp_path, 100)
    assert info(paths["mediapipe"])["landmarks"] == {"mediapipe": "105 (flame-mediapipe)"}
    assert info(paths["static"])["kind"] == "landmark embedding"
    assert info(paths["deca"])["contour_table"] == "(79, 17)"
    masks = {"face": np.arange(5), "neck": np.arange(3)}
    (tmp_path / "FLAME_masks.pkl").write_bytes(pickle.dumps(masks, protocol=2))
    report = info(tmp_path / "FLAME_masks.pkl")
    assert (report["kind"], report["regions"]) == ("region masks", {"face": 5, "neck": 3})
    np.savez(
        tmp_path / "FLAME_texture.npz", mean=np.zeros((4, 4, 3)), tex_dir=np.zeros((4, 4, 3, 2)), vt=0, ft=0
    )
    report = info(tmp_path / "FLAME_texture.npz")
    assert (report["kind"], report["name"], report["texture_coordinates"]) == ("texture space", "FLAME", True)


def test_an_ict_folder_is_a_head(test_data):
    report = info(test_data / "ict_facekit" / "FaceXModel")
    assert (report["kind"], report["name"]) == ("head", "ict")
    assert "mouthSmile_L" in report["expression_names"]


def test_a_gnm_head_is_told_by_its_keys(tmp_path):
    np.savez(
        tmp_path / "g.npz", template_vertex_positions=np.zeros((9, 3)), vertex_identity_basis=np.zeros(2)
    )
    assert info(tmp_path / "g.npz")["kind"] == "GNM head"


class Double:
    """Work for a manifest: fails for the argument 2."""

    def open(self):
        def call(argument: int, folder: Path) -> dict:
            if argument == 2:
                raise HeadwarpError("no face in it")
            (folder / f"{argument}.txt").write_text("x")
            return {"twice": 2 * argument}

        return call


def test_manifest_and_output_folder(tmp_path):
    jobs = [Job(str(i), i) for i in range(4)]
    with open_manifest(tmp_path / "manifest.jsonl", kind="fit", fingerprint={"sigma": 3.0}) as manifest:
        run_jobs(jobs, Double(), manifest=manifest, config=JobConfig(), total=4)
    with (tmp_path / "manifest.jsonl").open("a") as file:
        file.write('{"key": "cut off')
    report = info(tmp_path / "manifest.jsonl")
    assert report["kind"] == "manifest of headwarp fit"
    assert [report[k] for k in ("inputs", "done", "failed_inputs", "damaged_lines")] == [4, 3, 1, 1]
    assert report["failures"] == {"no face in it": 1}
    assert report["options"] == {"sigma": 3.0}
    assert info(tmp_path)["kind"] == "output folder: manifest of headwarp fit"


def test_reports(tmp_path):
    failed = {"a": "no face"}
    content = {"clips": [1, 2], "reprojection_percent_iod": 1.5, "frames": 7, "failed": failed, "ok": False}
    (tmp_path / "report.json").write_text(json.dumps(content))
    report = info(tmp_path / "report.json")
    assert (report["kind"], report["frames"], report["inputs"]) == ("report of headwarp fit", 7, "2 entries")
    (tmp_path / "x.json").write_text('{"a": [1], "b": "text"}')
    assert info(tmp_path / "x.json")["keys"] == {"a": "1 entries", "b": "'text'"}


def tar_of(path: Path, names: list[str]) -> None:
    with tarfile.open(path, "w") as archive:
        for name in names:
            member = tarfile.TarInfo(name)
            member.size = 700
            archive.addfile(member, io.BytesIO(bytes(700)))


def test_tar_shard(tmp_path):
    names = ["a/1.mp4", "a/1.json", "a/2.mp4", "b/1.mp4", "c/" + 150 * "x" + ".mp4"]
    tar_of(tmp_path / "s.tar", names)
    report = info(tmp_path / "s.tar")
    assert (report["kind"], report["samples"], report["files"], report["bytes"]) == ("tar shard", 4, 5, 3500)
    assert report["by_suffix"] == {"mp4": 4, "json": 1}
    whole = (tmp_path / "s.tar").read_bytes()
    (tmp_path / "cut.tar").write_bytes(whole[:2000])
    with pytest.raises(
        HeadwarpError, match=r"cut\.tar: not a sound tar: it is damaged or cut off at byte 1536"
    ):
        info(tmp_path / "cut.tar")


@pytest.mark.parametrize("new", [True, False])
def test_checkpoints_of_other_projects(tmp_path, new):
    content = fomm_checkpoint(width=2)
    path = tmp_path / "vox.pth.tar"
    torch.save(content, path, _use_new_zipfile_serialization=new)
    report = info(path)
    assert report["kind"] == "a checkpoint of [FOMM]"
    assert report["read_by"] == "headwarp convert checkpoint vox.pth.tar"
    assert report["entries"].startswith("generator, discriminator, kp_detector")
    networks = [content[part] for part in ("generator", "discriminator", "kp_detector")]
    assert report["tensors"] == sum(map(len, networks))
    assert report["parameters"] == sum(value.numel() for part in networks for value in part.values())
    torch.save(depth_files()[1], path, _use_new_zipfile_serialization=new)
    report = info(path)
    assert (report["kind"], report["entries"]) == ("the decoder of a depth network (depth.pth)", None)


def test_checkpoint_and_other_safetensors(tmp_path):
    from safetensors.torch import save_file

    path = save_checkpoint(
        tmp_path / "c.safetensors", {"w": torch.zeros(2, 3)}, config=CopyConfig(), name="copy", step=7
    )
    report = info(path)
    assert (report["kind"], report["parameters"], report["arrays"]) == ("checkpoint", 6, {"w": "F32 (2, 3)"})
    assert (report["made_with"]["name"], report["made_with"]["step"]) == ("copy", 7)
    save_file({f"t{i}": torch.zeros(1) for i in range(70)}, tmp_path / "o.safetensors", metadata={"by": "me"})
    report = info(tmp_path / "o.safetensors")
    assert (report["kind"], report["metadata"]) == ("safetensors", {"by": "me"})
    assert report["arrays"]["..."] == "10 more"
    (tmp_path / "cut.safetensors").write_bytes(path.read_bytes()[:-4])
    with pytest.raises(HeadwarpError, match="it is cut off"):
        info(tmp_path / "cut.safetensors")


@pytest.mark.parametrize(
    ("name", "content", "text"),
    [
        ("a.glb", b"glTF", "ends within its header"),
        ("a.glb", struct.pack("<4sIII4s", b"glTF", 1, 20, 0, b"JSON"), "expected glTF 2, got version 1"),
        (
            "a.glb",
            struct.pack("<4sIII4s", b"glTF", 2, 20, 1 << 30, b"JSON"),
            "expected at most .* bytes of JSON",
        ),
        ("a.glb", struct.pack("<4sIII4s", b"glTF", 2, 90, 40, b"JSON"), "the file is cut off"),
        ("a.gltf", b'{"asset": {"version": "2.0"}, "meshes": [{}]}', "not sound glTF .KeyError"),
        ("a.json", b'{"a": ' * 100_000, "not sound JSON"),
        ("a.json", b"[1, 2", "not sound JSON"),
        ("a.obj", b"# nothing\n", "expected an OBJ mesh, got no vertex"),
        ("a.obj", b"v 1 2 x\n", "not a sound OBJ: vertex '1 2 x'"),
        ("a.csv", b"\n", "got no header line"),
        ("a.pkl", pickle.dumps({"a": 1}), "expected a head model, its masks or embeddings, or a fit"),
        ("a.safetensors", struct.pack("<Q", 9) + b"{}", "header is cut off or damaged"),
        ("a.safetensors", struct.pack("<Q", 9) + b'{"a": {}}', "not a sound safetensors file: tensor 'a'"),
    ],
)
def test_broken_files(tmp_path, name, content, text):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(HeadwarpError, match=text) as caught:
        info(tmp_path / name)
    assert "\n" not in str(caught.value)


@pytest.fixture(scope="module")
def seeds(tmp_path_factory) -> list[tuple[str, bytes]]:
    """A small sound file of every kind that is parsed here."""
    folder = tmp_path_factory.mktemp("seeds")
    head = toy_head(6, 7)
    fit = toy_fit(head, 2)
    write_gltf(head, fit, folder / "a.glb")
    write_gltf(head, fit, folder / "b.gltf")
    write_obj_sequence(head, fit, folder / "s")
    tar_of(folder / "c.tar", ["a.txt", "b.txt"])
    save_checkpoint(folder / "d.safetensors", {"w": torch.zeros(2)}, config=CopyConfig(), name="copy")
    np.savez(folder / "e.npz", x=np.zeros(3), y=np.ones((2, 2)))
    (folder / "f.csv").write_text("Timecode,BlendShapeCount,EyeBlinkLeft\n0,1,0.5\n")
    (folder / "g.jsonl").write_text('{"manifest": 1, "kind": "fit", "fingerprint": {}}\n{"key": "a"}\n')
    (folder / "h.pkl").write_bytes(pickle.dumps({"face": np.arange(3)}, protocol=2))
    (folder / "i.obj").write_bytes((folder / "s" / "00000.obj").read_bytes())
    return [(path.name, path.read_bytes()) for path in sorted(folder.iterdir()) if path.is_file()]


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_damage_is_a_sentence_or_still_a_file(seeds, tmp_path, data):
    """Bytes changed, cut out or put in: never another exception."""
    name, content = data.draw(st.sampled_from(seeds))
    broken = bytearray(content)
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, max(0, min(len(broken), 2000) - 1)))
        how = data.draw(st.sampled_from(("change", "cut", "insert", "end")))
        if how == "change" and broken:
            broken[place] = data.draw(st.integers(0, 255))
        elif how == "cut":
            del broken[place : place + data.draw(st.integers(1, 64))]
        elif how == "insert":
            broken[place:place] = data.draw(st.binary(max_size=16))
        else:
            del broken[place:]
    path = tmp_path / name
    path.write_bytes(bytes(broken))
    refusal = None
    try:
        info(path)
    except HeadwarpError as error:
        refusal = str(error)
    assert refusal is None or str(path) in refusal

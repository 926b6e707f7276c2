"""The command line: arguments, errors, exit codes; and every command of the table."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
import types
from dataclasses import dataclass
from pathlib import Path

import pytest
from tyro.conf import Positional

from headwarp import __version__
from headwarp.geom.errors import HeadwarpError
from headwarp.tools import cli
from headwarp.tools.inputs import check_apart, check_places


@dataclass(frozen=True)
class Toy:
    """Do something to files.

    More about it.
    """

    inputs: Positional[tuple[Path, ...]]
    """What to work on."""
    expression: tuple[str, ...] = ()
    """Named expressions."""
    yaw: float = 0.0
    """Degrees."""
    source_image: Path | None = None
    """A picture."""
    output: Path | None = None
    """What is written."""


@pytest.fixture
def toy(monkeypatch):
    """A command ``toy`` whose work the test chooses with ``toy.run = ...``."""
    module = types.ModuleType("headwarp.tools._toy")
    module.Toy = Toy
    module.run = lambda config: {"inputs": list(config.inputs), "yaw": config.yaw}
    monkeypatch.setitem(sys.modules, "headwarp.tools._toy", module)
    monkeypatch.setattr(cli, "COMMANDS", {"toy": "_toy:Toy", "convert toy": "_toy:Toy"})
    monkeypatch.setattr(cli, "summary", lambda name: "Do something.")
    return module


def raising(error):
    def run(config):
        raise error

    return run


def parsed(*words):
    return cli.parse(cli.load_command("toy"), words)[0]


@pytest.mark.parametrize("name", cli.COMMANDS)
def test_every_command_has_config_run_and_a_summary(name):
    command = cli.load_command(name)
    assert dataclasses.is_dataclass(command.config)
    assert command.config.__dataclass_params__.frozen
    assert callable(command.run)
    assert cli.summary(name).endswith(".")
    assert len(cli.summary(name)) < 100


@pytest.mark.parametrize("name", cli.COMMANDS)
def test_every_command_explains_every_option(name, capsys):
    assert cli.main([*name.split(), "--help"]) == 0
    shown = capsys.readouterr().out
    assert "--json" in shown
    for field in dataclasses.fields(cli.load_command(name).config):
        assert field.name.replace("_", "-") in shown or field.name.upper() in shown


def test_help_lists_every_command(capsys):
    assert cli.main(["--help"]) == 0
    shown = capsys.readouterr().out
    assert all(f"\n  {name} " in shown for name in cli.COMMANDS)


def test_help_and_version_are_quick_because_nothing_heavy_is_loaded(tmp_path):
    code = (
        "import sys; from headwarp.tools.cli import main; main(['--help']); sys.exit('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, check=False)
    assert done.returncode == 0


@pytest.mark.parametrize(
    "words", [(Path(sys.executable).with_name("headwarp"),), (sys.executable, "-m", "headwarp")]
)
def test_the_installed_script_and_the_module_say_their_version(tmp_path, words):
    done = subprocess.run([*words, "--version"], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout == f"headwarp {__version__}\n"


def test_report_is_shown_and_written(toy, tmp_path, capsys):
    target = tmp_path / "deep" / "r.json"
    assert cli.main(["toy", "a.png", "b.png", "--yaw", "-5", "--json", str(target)]) == 0
    assert json.loads(target.read_text()) == {"inputs": ["a.png", "b.png"], "yaw": -5.0}
    assert [path.name for path in target.parent.iterdir()] == ["r.json"]
    assert capsys.readouterr().out == "yaw: -5.0\n"


def test_describe_is_what_a_person_reads(toy, capsys):
    toy.describe = lambda report: f"turned by {report['yaw']:.0f} degrees"
    assert cli.main(["convert", "toy", "a", "--yaw=3"]) == 0
    assert capsys.readouterr().out == "turned by 3 degrees\n"


def test_work_not_done_is_written_and_exits_1(toy, tmp_path):
    toy.run = lambda config: {"ok": False, "missing": float("nan")}
    assert cli.main(["toy", "a", "--json", str(tmp_path / "r.json")]) == 1
    assert json.loads((tmp_path / "r.json").read_text()) == {"ok": False, "missing": None}


def test_known_error_is_one_sentence(toy, capsys):
    toy.run = raising(HeadwarpError("a.png: no face found; pass --landmarks"))
    assert cli.main(["toy", "a.png"]) == 1
    assert capsys.readouterr() == ("", "headwarp toy: a.png: no face found; pass --landmarks\n")


def test_unknown_error_is_a_sentence_and_a_traceback_only_on_demand(toy, capsys, monkeypatch):
    toy.run = raising(ZeroDivisionError("division by zero"))
    monkeypatch.delenv("HEADWARP_DEBUG", raising=False)
    assert cli.main(["toy", "a"]) == 1
    quiet = capsys.readouterr().err
    assert quiet.startswith(
        "headwarp toy: internal error: ZeroDivisionError: division by zero; this is a bug"
    )
    assert quiet.count("\n") == 1
    monkeypatch.setenv("HEADWARP_DEBUG", "1")
    assert cli.main(["toy", "a"]) == 1
    assert "Traceback" in capsys.readouterr().err


@pytest.mark.parametrize(
    "error",
    [
        MemoryError("Unable to allocate 74.5 GiB"),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 80000000000 bytes"),
        RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB"),
    ],
)
def test_too_little_memory_is_no_bug(toy, capsys, error):
    toy.run = raising(error)
    assert cli.main(["toy", "a"]) == 1
    said = "headwarp toy: not enough memory; take a smaller size, or fewer things at once\n"
    assert capsys.readouterr().err == said


def test_missing_package_points_to_doctor(toy, capsys):
    toy.run = raising(ModuleNotFoundError("No module named 'scipy'"))
    assert cli.main(["toy", "a"]) == 1
    assert "run `headwarp doctor`" in capsys.readouterr().err


def test_interrupt_exits_130(toy, capsys):
    toy.run = raising(KeyboardInterrupt())
    assert cli.main(["toy", "a"]) == 130
    assert capsys.readouterr().err == "headwarp toy: interrupted\n"


@pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP"])
def test_a_process_that_is_told_to_end_leaves_nothing_half_written(toy, capsys, tmp_path, name):
    half = tmp_path / "half"

    def killed(config):
        try:
            half.touch()
            os.kill(os.getpid(), getattr(signal, name))
            time.sleep(5)
        finally:
            half.unlink()

    toy.run = killed
    assert cli.main(["toy", "a"]) == 130
    assert not half.exists()
    assert capsys.readouterr().err == "headwarp toy: interrupted\n"
    assert signal.getsignal(getattr(signal, name)) is signal.SIG_DFL


def test_a_signal_that_is_ignored_stays_so(toy):
    toy.run = lambda config: os.kill(os.getpid(), signal.SIGHUP) or {}
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        assert cli.main(["toy", "a"]) == 0
    finally:
        signal.signal(signal.SIGHUP, before)


@pytest.mark.parametrize(("stopped", "code"), [("SIGINT", 130), ("SIGTERM", 130), ("steps", 0)])
def test_a_training_that_was_ended_early_is_no_success(toy, capsys, stopped, code):
    toy.run = lambda config: {"stopped": stopped, "steps": 3}
    assert cli.main(["toy", "a"]) == code
    said = capsys.readouterr()
    assert "steps: 3" in said.out
    assert ("interrupted; the same command goes on" in said.err) == (code == 130)


def test_closed_pipe_is_quiet(tmp_path):
    if os.name == "nt":
        pytest.skip("POSIX pipes")
    script = Path(sys.executable).with_name("headwarp")
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run([script, "--help"], stdout=write, stderr=subprocess.PIPE, cwd=tmp_path, check=False)
    os.close(write)
    assert (done.returncode, done.stderr) == (1, b"")


@pytest.mark.parametrize(
    ("words", "text"),
    [
        ([], "expected a command"),
        (["tyo"], "no command 'tyo'; did you mean toy?"),
        (["zzzz"], "the commands are toy, convert toy"),
        (["convert"], "no command 'convert'; did you mean convert toy?"),
        (["convert", "tyo"], "no command 'convert tyo'; did you mean convert toy?"),
        (["toy"], "expected at least one of INPUTS"),
        (["toy", "a", "--yaw", "1", "--yaw", "2"], "--yaw: given twice"),
        (["toy", "a", "--json", "x", "--json=y"], "--json: given twice"),
        (["toy", "a", "--source_image", "x", "--source-image", "y"], "--source-image: given twice"),
        (["toy", "a", "--nose", "1"], "--nose"),
        (["toy", "a", "--yaw", "left"], "left"),
    ],
)
def test_wrong_arguments_exit_2(toy, words, text, capsys):
    assert cli.main(words) == 2
    shown = capsys.readouterr()
    assert text in shown.err
    assert shown.out == ""


def test_repeated_options_of_several_values_add_up(toy):
    assert parsed(
        "a", "--expression", "smile=1", "--yaw", "3", "--expression=blink=1", "--expression", "c", "d"
    ) == Toy(inputs=(Path("a"),), expression=("smile=1", "blink=1", "c", "d"), yaw=3.0)


def test_underscores_and_dashes_are_the_same(toy):
    assert parsed("a", "--source_image", "x") == parsed("a", "--source-image", "x")


def test_json_that_cannot_be_written_stops_before_the_work(toy, tmp_path, capsys):
    toy.run = raising(AssertionError("the work was begun"))
    assert cli.main(["toy", "a", "--json", str(tmp_path)]) == 1
    assert "expected a file, got the folder" in capsys.readouterr().err
    (tmp_path / "file").write_text("")
    assert cli.main(["toy", "a", "--json", str(tmp_path / "file" / "r.json")]) == 1
    assert "--json: expected a folder, got the file" in capsys.readouterr().err
    assert cli.main(["toy", "a", "--json", str(tmp_path / "file" / "deeper" / "r.json")]) == 1
    assert f"({tmp_path / 'file'} is a file); name another one" in capsys.readouterr().err
    assert cli.main(["toy", "a", "--json", str(tmp_path / "new" / "r.json")]) == 1
    assert "the work was begun" in capsys.readouterr().err
    assert not (tmp_path / "new").exists()  # whatever ends the work early leaves no folder


@pytest.mark.parametrize("option", ["--output", "--json"])
def test_what_is_read_is_not_written_over(toy, tmp_path, capsys, monkeypatch, option):
    toy.run = raising(AssertionError("the work was begun"))
    monkeypatch.chdir(tmp_path)
    Path("photo.jpg").write_text("mine")
    os.link("photo.jpg", "same.jpg")
    os.symlink(tmp_path / "photo.jpg", "link.jpg")
    for name in ("photo.jpg", "./photo.jpg", "same.jpg", "link.jpg"):
        for words in (
            ["photo.jpg"],
            ["other.jpg", "--source-image", "photo.jpg"],
            ["a", "--expression", "photo.jpg"],
        ):
            assert cli.main(["toy", *words, option, name]) == 1
            assert (
                capsys.readouterr().err
                == f"headwarp toy: {option}: {Path(name)} is one of the inputs; give another name\n"
            )


@dataclass(frozen=True)
class Shown:
    source: tuple[Path, ...]
    output: Path


def test_photos_of_a_folder_that_is_read_are_not_written_over(tmp_path):
    (tmp_path / "photos").mkdir()
    mine = tmp_path / "photos" / "mine.jpg"
    mine.write_text("mine")
    with pytest.raises(HeadwarpError, match=r"--output: .*mine\.jpg is one of the inputs"):
        check_apart(Shown((tmp_path / "photos",), mine))
    check_apart(Shown((tmp_path / "photos",), tmp_path / "photos" / "new.jpg"))
    check_apart(Shown((mine,), tmp_path / "other.jpg"))


def test_an_output_below_a_file_stops_before_the_work(toy, tmp_path, capsys):
    toy.run = raising(AssertionError("the work was begun"))
    (tmp_path / "file").write_text("")
    for place in ("o.png", "a/o.png"):
        assert cli.main(["toy", "a", "--output", str(tmp_path / "file" / place)]) == 1
        assert f"({tmp_path / 'file'} is a file); name another one" in capsys.readouterr().err


def test_a_folder_that_is_there_may_lie_where_nothing_can_be_written(tmp_path, monkeypatch):
    mounted = tmp_path / "read_only" / "mounted"
    mounted.mkdir(parents=True)
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path) != mounted.parent)
    check_places(Shown((), mounted))
    check_places(Shown((), mounted / "new" / "o.png"))
    with pytest.raises(HeadwarpError, match=r"cannot write .*o\.png \(.*read_only cannot be written to\)"):
        check_places(Shown((), mounted.parent / "o.png"))


def test_two_things_are_not_written_into_one_file(toy, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert cli.main(["toy", "a", "--output", "o.png", "--json", f"{tmp_path}/o.png"]) == 1
    assert "--json: " in (said := capsys.readouterr().err)
    assert "o.png is what --output writes; give another name" in said
    assert not list(tmp_path.iterdir())


def test_what_is_there_and_not_read_is_written_anew(toy, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("o.json").write_text("an earlier run's")
    os.mkdir("folder")
    assert cli.main(["toy", "folder", "x" * 300, "--output", "folder", "--json", "o.json"]) == 0
    assert json.loads(Path("o.json").read_text())["yaw"] == 0.0

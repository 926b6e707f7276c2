"""The command line: a table of commands, each resolved only when it is asked for.

Exit codes: 0 the work was done; 1 it was not (one sentence on stderr says why); 2 the arguments are wrong;
130 interrupted. A report that carries ``"ok": False`` is written and shown, and the exit code is 1.
"""

from __future__ import annotations

import ast
import contextlib
import difflib
import importlib
import inspect
import os
import re
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import MISSING, dataclass, fields, make_dataclass
from pathlib import Path
from typing import Annotated, Any, get_args, get_origin, get_type_hints

from .. import __version__
from ..geom.errors import HeadwarpError

COMMANDS: dict[str, str] = {
    "fit": "fit:Fit",
    "render": "render:Render",
    "edit": "edit:Edit",
    "animate": "animate:Animate",
    "swap": "swap:Swap",
    "evaluate": "evaluate:Evaluate",
    "prepare": "prepare:Prepare",
    "synth": "synth:Synth",
    "learn-head": "learn_head:LearnHead",
    "train": "train:Train",
    "tune": "tune:Tune",
    "depth": "depth:Depth",
    "attention": "attention:Attention",
    "segment": "segment:Segment",
    "convert head": "convert_head:ConvertHead",
    "convert landmarks": "convert_landmarks:ConvertLandmarks",
    "convert fit": "convert_fit:ConvertFit",
    "convert checkpoint": "convert_checkpoint:ConvertCheckpoint",
    "export": "export_network:ExportNetwork",
    "weights list": "weights_list:WeightsList",
    "weights check": "weights_check:WeightsCheck",
    "weights fetch": "weights_fetch:WeightsFetch",
    "view": "view:View",
    "bench": "bench:Bench",
    "info": "info:Info",
    "doctor": "doctor:Doctor",
    "demo": "demo:Demo",
}
"""Name on the command line -> ``module:Config`` in `headwarp.tools`, in the order of the help."""


ALL_THREADS = ("bench", "train", "tune")
"""Commands that work, or measure, with all threads that are there."""


STOPPED = ("SIGINT", "SIGTERM")
"""What ends a training early, after a checkpoint, as its report says."""


class ArgumentError(Exception):
    """The words on the command line do not make sense; the text says which and why."""


@dataclass(frozen=True)
class Command:
    """A command and the module it lives in.

    Attributes:
        name: as typed, one or two words.
        config: the frozen dataclass its arguments fill.
        run: does the work and returns the report.
        describe: the report as text for a person.
    """

    name: str
    config: type
    run: Callable[[Any], Mapping[str, Any]]
    describe: Callable[[Mapping[str, Any]], str]


def load_command(name: str) -> Command:
    """Import the module of a command, and no other command's.

    Args:
        name: a key of `COMMANDS`.

    Example:
        >>> load_command("info").config.__name__
        'Info'
    """
    module_name, config_name = COMMANDS[name].split(":")
    module = importlib.import_module(f".{module_name}", __package__)
    return Command(name, getattr(module, config_name), module.run, getattr(module, "describe", _plain_lines))


def _plain_lines(report: Mapping[str, Any]) -> str:
    """The report of a command without a ``describe`` of its own: its plain entries, one a line."""
    plain = {key: value for key, value in report.items() if isinstance(value, (str, int, float, Path))}
    return "\n".join(f"{key}: {value}" for key, value in plain.items())


def summary(name: str) -> str:
    """The first sentence of a command's config docstring, read without importing the module.

    Raises:
        LookupError: the module has no such class.
    """
    module_name, config_name = COMMANDS[name].split(":")
    folder = Path(__file__).parent / module_name
    path = folder / "__init__.py" if folder.is_dir() else folder.with_suffix(".py")
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.ClassDef) and node.name == config_name:
            return (ast.get_docstring(node) or "").split("\n\n")[0].replace("\n", " ")
    raise LookupError(f"{path}: expected a class {config_name}, named in COMMANDS[{name!r}]; found none")


def help_text() -> str:
    """What ``headwarp --help`` shows."""
    width = max(map(len, COMMANDS))
    rows = [f"  {name:<{width}}  {summary(name)}" for name in COMMANDS]
    return "\n".join(
        [
            "usage: headwarp COMMAND ...   (headwarp COMMAND --help for its options)",
            "",
            "Animate real portraits from 3D geometry.",
            "",
            "commands:",
            *rows,
            "",
            "options:",
            "  -h, --help   show this and exit",
            "  --version    show the version and exit",
            "  --json FILE  (every command) write its report as JSON",
        ]
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return the exit code; the entry point of ``headwarp``.

    Args:
        argv: the words after ``headwarp``; those of the process when None.

    Example:
        >>> main(["--version"])  # doctest: +ELLIPSIS
        headwarp ...
        0
    """
    words = list(sys.argv[1:] if argv is None else argv)
    label = "headwarp"
    try:
        if words in (["-h"], ["--help"]):
            return _say(help_text())
        if words == ["--version"]:
            return _say(f"headwarp {__version__}")
        name, rest = split_name(words)
        label = f"headwarp {name}"
        with _ended_as_by_ctrl_c():
            return _run(load_command(name), rest)
    except ArgumentError as error:
        return _fail(label, str(error), code=2)
    except SystemExit as error:  # tyro, after its help (0) or its own error text (2)
        return error.code if isinstance(error.code, int) else 2
    except KeyboardInterrupt:
        return _fail(label, "interrupted", code=130)
    except HeadwarpError as error:
        return _fail(label, str(error))
    except BrokenPipeError:  # the reader of our output has gone: keep the interpreter's last flush quiet
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except Exception as error:  # noqa: BLE001 (the last resort: a bug is reported in one sentence)
        return _internal_error(label, error)


@contextlib.contextmanager
def _ended_as_by_ctrl_c() -> Iterator[None]:
    """Half-written files go with what wrote them, also when the process is told to end or its terminal is
    closed. Whoever handles or ignores a signal already (``nohup``, a program that calls `main`) keeps that.
    """
    signals = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]
    ours = threading.current_thread() is threading.main_thread()
    taken = [each for each in signals if ours and signal.getsignal(each) is signal.SIG_DFL]
    for each in taken:
        signal.signal(each, signal.default_int_handler)
    try:
        yield
    finally:
        for each in taken:
            signal.signal(each, signal.SIG_DFL)


def split_name(words: Sequence[str]) -> tuple[str, list[str]]:
    """The command's name (one or two words) and the words after it.

    Raises:
        ArgumentError: no command, or none of that name.
    """
    for count in (2, 1):
        name = " ".join(words[:count])
        if len(words) >= count and name in COMMANDS:
            return name, list(words[count:])
    if not words:
        raise ArgumentError(f"expected a command\n\n{help_text()}")
    nested = [name for name in COMMANDS if name.startswith(words[0] + " ")]
    close = nested or difflib.get_close_matches(words[0], COMMANDS, n=1)
    hint = f"did you mean {' or '.join(close)}?" if close else f"the commands are {', '.join(COMMANDS)}"
    raise ArgumentError(f"no command {' '.join(words[: 2 if nested else 1])!r}; {hint}")


def parse(command: Command, words: Sequence[str]) -> tuple[Any, Path | None]:
    """The command's config made from words, and the file of ``--json``.

    An option that takes several values may be repeated; another one may not.

    Raises:
        ArgumentError: an option given twice, or nothing where at least one value is needed.
        SystemExit: from tyro, after it printed help or an error.
    """
    import tyro

    report_help = tyro.conf.arg(help="Write the report to this file as JSON.")
    parts: list[Any] = [("config", Annotated[command.config, tyro.conf.arg(name="")])]
    if not _writes_json(command):
        parts.append(("json", Annotated[Path | None, report_help], None))
    invocation_type = make_dataclass("Invocation", parts)
    invocation: Any = tyro.cli(
        invocation_type,
        prog=f"headwarp {command.name}",
        description=inspect.cleandoc(command.config.__doc__ or ""),
        args=merge_repeats(words, command.config),
        config=(tyro.conf.PositionalMetavarFromFieldName, tyro.conf.DisallowNone),
    )
    config = invocation.config
    for field in fields(config):
        required = field.default is MISSING and field.default_factory is MISSING
        if required and getattr(config, field.name) == ():
            raise ArgumentError(f"expected at least one of {field.name.upper()}; see --help")
    return config, config.json if _writes_json(command) else invocation.json


def _writes_json(command: Command) -> bool:
    """Whether a command takes the file of ``--json`` itself, because it writes more beside it."""
    return any(field.name == "json" for field in fields(command.config))


def merge_repeats(words: Sequence[str], config: type) -> list[str]:
    """Join repeated options that take several values: ``--x a --x b`` -> ``--x a b``.

    Raises:
        ArgumentError: a repeated option that takes one value (the parser would silently keep the last).

    Example:
        >>> @dataclass
        ... class Edit:
        ...     expression: tuple[str, ...] = ()
        >>> merge_repeats(["--expression", "smile=1", "--expression=blink=1"], Edit)
        ['--expression', 'smile=1', 'blink=1']
    """
    groups: list[list[str]] = [[]]
    by_name: dict[str, list[str]] = {}
    other_names = _aliases(config)
    for word in words:
        if not word.startswith("--") or word == "--":
            groups[-1].append(word)
            continue
        option, equals, value = word.partition("=")
        option = other_names.get(option.replace("_", "-"), option)
        name = option[2:].replace("_", "-")
        values = [value] if equals else []
        if name not in by_name:
            by_name[name] = [option, *values]
            groups.append(by_name[name])
        elif name in _variadic(config):
            by_name[name].extend(values)
            groups.append(by_name[name])
        else:
            raise ArgumentError(f"{option}: given twice; it takes one value")
    unique = {id(group): group for group in groups}
    return [word for group in unique.values() for word in group]


def _aliases(config: type) -> dict[str, str]:
    """Other names of options, as their fields' ``tyro.conf.arg(aliases=...)`` lists them -> the option
    itself.
    """
    hints = get_type_hints(config, include_extras=True)
    return {
        alias: "--" + name.replace("_", "-")
        for name, hint in hints.items()
        for mark in getattr(hint, "__metadata__", ())
        for alias in getattr(mark, "aliases", None) or ()
    }


def _variadic(config: type) -> set[str]:
    hints = get_type_hints(config)
    several = [name for name, hint in hints.items() if get_origin(hint) is tuple and ... in get_args(hint)]
    return {name.replace("_", "-") for name in several}


def _run(command: Command, words: Sequence[str]) -> int:
    config, json_path = parse(command, words)
    if json_path is not None:
        _prepare_folder(json_path)
    from .inputs import check_apart, check_places

    check_apart(config, json_path)
    check_places(config)
    if command.name not in ALL_THREADS:
        _keep_to_one_thread()
    report = command.run(config)
    if json_path is not None and not _writes_json(command):
        from ..training.data.atomic import write_json

        write_json(json_path, report)
    _say(command.describe(report))
    for reason in report.get("failed", {}).values():
        _fail(f"headwarp {command.name}", reason)
    if report.get("stopped") in STOPPED:
        return _fail(f"headwarp {command.name}", "interrupted; the same command goes on", code=130)
    return 0 if report.get("ok", True) else 1


def _keep_to_one_thread() -> None:
    """Frames are made of kernels of a few milliseconds: a second thread brings little on an idle machine, and
    its spinning costs tenfold on a busy one. ``OMP_NUM_THREADS`` says otherwise.
    """
    torch = sys.modules.get("torch")
    if torch is not None and "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(1)


def _prepare_folder(path: Path) -> None:
    """Fail before the work rather than after it."""
    if path.is_dir():
        raise HeadwarpError(f"--json: expected a file, got the folder {path}; name a file in it")
    from .inputs import check_folder

    check_folder(path.parent, option="--json")


def _say(text: str) -> int:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()
    return 0


def _fail(label: str, text: str, *, code: int = 1) -> int:
    sys.stderr.write(f"{label}: {text}\n")
    return code


def _internal_error(label: str, error: Exception) -> int:
    if os.environ.get("HEADWARP_DEBUG") == "1":
        traceback.print_exception(error)
    if isinstance(error, MemoryError) or re.search("allocate memory|out of memory", str(error)):
        return _fail(label, "not enough memory; take a smaller size, or fewer things at once")
    advice = (
        "an installation is incomplete: run `headwarp doctor`"
        if isinstance(error, ImportError)
        else "this is a bug: run again with HEADWARP_DEBUG=1 for the traceback and report it"
    )
    return _fail(label, f"internal error: {type(error).__name__}: {error}; {advice}")


if __name__ == "__main__":
    sys.exit(main())

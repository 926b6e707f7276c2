"""Graphs written as ONNX or TorchScript. Both come of one ``torch.export`` program, so that they agree."""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, fx, nn

from ...geom.errors import HeadwarpError, MissingDependencyError
from . import OPSET, Graph

MOST_FRAMES = 4096
"""Frames together, the bound that the exporter is told."""
_NOISY = ("torch.onnx", "torch.export", "torch._export", "onnxscript", "onnx_ir")


def program_of(graph: Graph) -> Any:
    """The graph as a ``torch.export.ExportedProgram``, for any number of frames.

    Raises:
        HeadwarpError: torch cannot make one, with torch's reason.
    """
    batch = torch.export.Dim("batch", min=1, max=MOST_FRAMES)
    shapes = tuple({0: batch} if port.batched else None for port in graph.inputs)
    inputs = graph.examples(3)  # neither 0 nor 1, which the exporter would take for constants
    try:
        with torch.no_grad(), _quiet():
            program = torch.export.export(
                _Flat(graph.module).eval(), inputs, dynamic_shapes=(shapes,), strict=True
            )
            return program.run_decompositions({})
    except Exception as error:  # torch raises what it likes
        reason = str(error).strip().split("\n")[0]
        raise HeadwarpError(f"{graph.name}: torch cannot make a graph of it ({reason})") from error


def write_onnx(program: Any, graph: Graph, path: Path, *, opset: int = OPSET) -> None:
    """One file with its weights in it.

    Args:
        program: the exported program.
        graph: its inputs and outputs.
        path: of the file.
        opset: version of the operators.

    Raises:
        MissingDependencyError: onnx or onnxscript is not installed.
        HeadwarpError: an operation that ONNX lacks.
    """
    _need("onnx", "onnxscript")
    try:
        with torch.no_grad(), _quiet():
            made: Any = torch.onnx.export(
                program,
                dynamo=True,
                opset_version=opset,
                input_names=[port.name for port in graph.inputs],
                output_names=[port.name for port in graph.outputs],
                verbose=False,
            )
    except Exception as error:
        reason = str(error).strip().split("\n")[0]
        raise HeadwarpError(f"{graph.name}: cannot be written as ONNX ({reason})") from error
    made.save(path, external_data=False)


def write_torchscript(program: Any, graph: Graph, path: Path) -> None:
    """What ``torch.jit.load`` takes, in a process that has torch alone.

    Args:
        program: the exported program.
        graph: its inputs and outputs.
        path: of the file.
    """
    with torch.no_grad(), _quiet(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # tracing warns of every shape, TorchScript of itself
        module = _sized_at_run_time(program.module())
        traced = torch.jit.trace(module, graph.examples(3), check_trace=False)
        kept = io.BytesIO()  # torch's own file writer ends the process where the disk is full
        torch.jit.save(torch.jit.freeze(traced.eval()), kept)
    path.write_bytes(kept.getbuffer())


def difference(graph: Graph, path: Path, *, batch: int, seed: int = 1) -> float:
    """Largest absolute difference of a file's outputs from the module's, on inputs drawn by chance.

    Args:
        graph: with the module.
        path: of the file that was written of it.
        batch: driving frames at once.
        seed: of the inputs.

    Raises:
        MissingDependencyError: an ONNX file without onnxruntime.
    """
    inputs = graph.examples(batch, seed=seed)
    with torch.no_grad():
        wanted = graph.module(*inputs)
    found = runner(path)(inputs)
    return max(float((a - b).abs().max()) for a, b in zip(wanted, found, strict=True))


def runner(path: Path) -> Callable[[tuple[Tensor, ...]], tuple[Tensor, ...]]:
    """What computes a written file's outputs, in order, of its inputs, in order, with torch's threads.

    Raises:
        MissingDependencyError: an ONNX file without onnxruntime.
    """
    if path.suffix == ".onnx":
        _need("onnxruntime")
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        names = [each.name for each in session.get_inputs()]
        return lambda given: tuple(
            torch.from_numpy(each)
            for each in session.run(None, {n: t.numpy() for n, t in zip(names, given, strict=True)})
        )
    loaded: Any = torch.jit.load(str(path))

    def run(given: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        with torch.no_grad():
            return tuple(loaded(*given))

    return run


_BY_METHOD: dict[Any, str] = {
    torch.ops.aten.expand.default: "expand",
    torch.ops.aten.view.default: "reshape",
    torch.ops.aten._unsafe_view.default: "reshape",
    torch.ops.aten.reshape.default: "reshape",
    torch.ops.aten.new_zeros.default: "new_zeros",
}


class _Flat(nn.Module):
    """A module whose inputs stand in one row, as their ports do."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, *given: Tensor) -> tuple[Tensor, ...]:
        return tuple(self.module(*given))


def _sized_at_run_time(module: fx.GraphModule) -> fx.GraphModule:
    """Sizes asked of the tensors themselves, in ways that tracing records and does not fix: operators take
    sizes and fills as plain numbers, methods as they are traced.
    """
    nodes = module.graph
    for node in list(nodes.nodes):
        with nodes.inserting_before(node):
            if node.target is torch.ops.aten.sym_size.int:
                made = nodes.call_method("size", node.args)
            elif node.target in _BY_METHOD and any(isinstance(side, fx.Node) for side in node.args[1]):
                made = nodes.call_method(_BY_METHOD[node.target], (node.args[0], *node.args[1]))
            elif node.target is torch.ops.aten.full_like.default:
                zeros = nodes.call_function(torch.zeros_like, node.args[:1])
                made = nodes.call_function(torch.add, (zeros, node.args[1]))
            elif node.target == "_guards_fn" or "_assert" in str(node.target):
                made = None
            else:
                continue
        if made is not None:
            node.replace_all_uses_with(made)
        nodes.erase_node(node)
    nodes.lint()
    module.recompile()
    return module


def _need(*packages: str) -> None:
    import importlib.util

    missing = [name for name in packages if importlib.util.find_spec(name) is None]
    if missing:
        raise MissingDependencyError(
            f"--format onnx: needs {', '.join(missing)}; pip install 'headwarp[export]', or take "
            "--format torchscript"
        )


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without the exporters' remarks on packages that are not used here."""
    levels = {name: logging.getLogger(name).level for name in _NOISY}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name in _NOISY:
            logging.getLogger(name).setLevel(logging.ERROR)
        try:
            yield
        finally:
            for name, level in levels.items():
                logging.getLogger(name).setLevel(level)

"""Networks of animators as graphs of plain tensors, for programs that know nothing of this package.

An animator's work is cut where it is cut here: what depends on the source alone runs once, what depends on a
driving frame runs for each. What is no network (fitting, rasterising, filling) stays outside: its results are
inputs. `graphs_of` makes the graphs; `program` writes them.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from ...geom.errors import HeadwarpError

OPSET = 20
"""Of ONNX: GridSample for pictures is in it since 16, smoothed Resize since 18."""
_BUILDERS = {
    "PwmAnimator": "pwm",
    "FommAnimator": "keypoints",
    "DaganAnimator": "keypoints",
    "Sparse2DenseAnimator": "sparse2dense",
    "HeserAnimator": "heser",
}


@dataclass(frozen=True)
class Port:
    """A tensor that goes into a graph or comes out of it; float32.

    Attributes:
        name: of it, the same wherever the same tensor goes.
        shape: sizes; ``"B"`` is the number of driving frames, any.
        meaning: what it holds, for a person.
        span: least and largest value that make sense; None: any.
    """

    name: str
    shape: tuple[int | str, ...]
    meaning: str
    span: tuple[float, float] | None = None

    @property
    def batched(self) -> bool:
        """Whether there is one for every driving frame."""
        return "B" in self.shape

    def example(self, batch: int, random: torch.Generator) -> Tensor:
        """Drawn evenly from its span, or from -1 to 1; matrices near the identity."""
        low, high = self.span or (-1.0, 1.0)
        size = [batch if side == "B" else int(side) for side in self.shape]
        drawn = low + (high - low) * torch.rand(size, generator=random)
        return torch.eye(2) + 0.2 * drawn if size[2:] == [2, 2] and size[1] != 2 else drawn


@dataclass(frozen=True)
class Graph:
    """One network or a part of one.

    Attributes:
        name: of its file.
        module: takes the inputs in order, returns the outputs in order, a tuple.
        inputs, outputs: what they are.
        runs: once a ``source``, or once a ``frame``: then for any number of frames together.
        meaning: what it does, for a person.
    """

    name: str
    module: nn.Module
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    runs: Literal["source", "frame"]
    meaning: str

    def examples(self, batch: int = 2, *, seed: int = 0) -> tuple[Tensor, ...]:
        """Inputs drawn by chance; a picture's features as real ones are not."""
        random = torch.Generator().manual_seed(seed)
        return tuple(port.example(batch, random) for port in self.inputs)


def graphs_of(animator: object, size: tuple[int, int]) -> tuple[Graph, ...]:
    """The graphs of an animator's networks, in the order in which they run.

    Norms become parts of convolutions, in place: the animator cannot be saved or trained afterwards.

    Args:
        animator: of `load_animator`, with its weights, on the CPU.
        size: (H, W) of the frames; the graphs take no other.

    Raises:
        HeadwarpError: an animator without a network or whose network cannot be a graph, with the reason; a
            size that it does not take.
    """
    from ..animators import frame_multiple

    builder = _BUILDERS.get(type(animator).__name__)
    if builder is None:
        raise HeadwarpError(
            f"{type(animator).__name__}: expected an animator with a network (pwm, fomm, dagan, "
            "sparse2dense, heser), got one that computes without; there is nothing to export"
        )
    step = frame_multiple(animator)  # type: ignore[arg-type]
    if min(size) < 1 or any(side % step for side in size):
        raise HeadwarpError(
            f"size: expected multiples of {step}, as the network takes them, got {size[0]} x {size[1]}"
        )
    made: tuple[Graph, ...] = importlib.import_module(f"{__name__}.{builder}").graphs(animator, size)
    return made


def picture(name: str, size: tuple[int, int], meaning: str, *, batch: int | str = 1) -> Port:
    """A port of RGB in [0, 1].

    Args:
        name: of the port.
        size: (H, W).
        meaning: what it shows, for a person.
        batch: a number, or ``"B"``: that of the driving frames.
    """
    return Port(name, (batch, 3, *size), meaning, (0.0, 1.0))


def fixed(name: str, tensor: Tensor, meaning: str) -> Port:
    """What one graph hands to the next, shaped as this one.

    Args:
        name: of the port.
        tensor: an example.
        meaning: what it holds, for a person.
    """
    return Port(name, tuple(tensor.shape), meaning)

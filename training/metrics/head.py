"""How alike two performances are by the heads fitted to them: pose, expression, named expression units.

All values are one a frame, float64. Which head was fitted decides what its numbers mean: its id stands beside
them in a report.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from ...flame.model import HeadModel
from ...flame.params import HeadParams
from ...flame.posing import JAW_OPEN_RADIANS
from ...geom.errors import ShapeError

__all__ = ["UNIT_ON", "aed_exp_l1", "apd", "aucon", "aucon_active", "prmse", "unit_activations"]

UNIT_ON = 0.5
"""From which share of its full, natural strength on an expression unit counts as on."""
_NOISE = 0.1  # of a unit's length: how far a coefficient vector lies off the span of the units by chance


def apd(generated: Float[Tensor, "T 3"], reference: Float[Tensor, "T 3"]) -> Float[Tensor, " T"]:
    """Average pose distance: mean absolute difference of yaw, pitch and roll in degrees [PWM, section 3].

    [PWM] says "L1 distance" of the three angles; this is its mean over them, not their sum. Angles are
    compared around the circle.

    Args:
        generated: yaw, pitch, roll in degrees, such as `flame.posing.head_pose` gives.
        reference: of the true or of the driving frame.

    Raises:
        ShapeError: shapes differ, or a value is not finite.

    Example:
        >>> apd(torch.tensor([[179.0, 3.0, 0.0]]), torch.tensor([[-179.0, 0.0, 1.0]])).tolist()
        [2.0]
    """
    return _turn(generated, reference).abs().mean(1)


def prmse(generated: Float[Tensor, "T 3"], reference: Float[Tensor, "T 3"]) -> Float[Tensor, " T"]:
    """Root of the mean squared difference of yaw, pitch and roll in degrees, frame by frame [DaGAN].

    [DaGAN] averages these roots over frames, and so does a report; the root of the mean over all frames would
    be larger.

    Args:
        generated: yaw, pitch, roll in degrees, such as `flame.posing.head_pose` gives.
        reference: of the true or of the driving frame.

    Raises:
        ShapeError: shapes differ, or a value is not finite.

    Example:
        >>> prmse(torch.tensor([[3.0, 0.0, 0.0]]), torch.zeros(1, 3)).round(decimals=3).tolist()
        [1.732]
    """
    return _turn(generated, reference).square().mean(1).sqrt()


def aed_exp_l1(generated: Float[Tensor, "T E"], reference: Float[Tensor, "T E"]) -> Float[Tensor, " T"]:
    """Average expression distance: mean absolute difference of expression coefficients [PWM, section 3].

    Coefficients of different heads do not compare, nor do different numbers of them.

    Args:
        generated: expression coefficients of the generated frames.
        reference: of the true or of the driving frames, of the same head.

    Raises:
        ShapeError: shapes differ, or a value is not finite.

    Example:
        >>> aed_exp_l1(torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, -2.0]])).tolist()
        [1.5]
    """
    first, second = _checked(generated, reference, "expression")
    return (first - second).abs().mean(1)


def unit_activations(model: HeadModel, params: HeadParams) -> Mapping[str, Float[Tensor, " T"]]:
    """How strongly each named expression unit of a head is on: 0 at rest, 1 in full natural strength.

    The expression coefficients are explained by those of `flame.expressions` together, by least squares with
    a weak pull to 0; no unit takes what another explains. The jaw opens by its joint, and where the head
    closes its lids by a parameter, blinks are that parameter.

    Args:
        model: the head that was fitted.
        params: of T frames.

    Returns:
        By unit in alphabetical order, float64 (T,); below 0 where the face does the opposite.

    Raises:
        ShapeError: the head has no landmarks to tell its expressions by, or the coefficients are not its own.
    """
    directions = model.named_expressions
    if not directions:
        raise ShapeError(f"head {model.model_id}: expected named expressions, it has landmarks for none")
    names = sorted(directions)
    table = torch.stack([directions[name] for name in names]).double()  # (U, E)
    coefficients = params.expression.to(table)
    if coefficients.shape[1] != table.shape[1]:
        raise ShapeError(
            f"expression: expected {table.shape[1]} coefficients of head {model.model_id}, got "
            f"{coefficients.shape[1]}; fit with this head"
        )
    gram = table @ table.T
    ridge = torch.diag(_NOISE**2 * gram.diagonal())
    amounts = torch.linalg.solve(gram + ridge, table @ coefficients.T)  # (U, T)
    found = {name: amounts[row].cpu() for row, name in enumerate(names)}
    if bool(model.eyelid_basis.any()):
        lids = params.eyelids.double().cpu()
        found |= {"blink_left": lids[:, 0], "blink_right": lids[:, 1]}
    found["jaw"] = params.jaw[:, 0].double().cpu() / JAW_OPEN_RADIANS
    return dict(sorted(found.items()))


def aucon(
    generated: Mapping[str, Float[Tensor, " T"]], reference: Mapping[str, Float[Tensor, " T"]]
) -> Float[Tensor, " T"]:
    """Share of the expression units on which both agree whether they are on, in [0, 1].

    In the manner of AUCON [DaGAN], which counts facial action units that a classifier reads off the picture;
    ours are the named units of the fitted head (`unit_activations`), on from 0.5: numbers do not compare with
    published ones. Most units are off most of the time, so that a still face has a high share: see
    `aucon_active`.

    Args:
        generated: strength of every unit in T frames, see `unit_activations`.
        reference: of the true or of the driving frames.

    Raises:
        ShapeError: other units, or other numbers of frames.

    Example:
        >>> on, off = torch.ones(1), torch.zeros(1)
        >>> aucon({"jaw": on, "smile": on}, {"jaw": on, "smile": off}).tolist()
        [0.5]
    """
    first, second = _on(generated), _on(reference)
    _same_units(generated, reference, first, second)
    return (first == second).double().mean(1)


def aucon_active(
    generated: Mapping[str, Float[Tensor, " T"]], reference: Mapping[str, Float[Tensor, " T"]]
) -> Float[Tensor, " T"]:
    """As `aucon`, over the units that are on in at least one of the two; NaN for a frame with none.

    Args:
        generated, reference: as for `aucon`.

    Example:
        >>> on, off = torch.ones(1), torch.zeros(1)
        >>> aucon_active({"jaw": on, "smile": off}, {"jaw": on, "smile": off}).tolist()
        [1.0]
    """
    first, second = _on(generated), _on(reference)
    _same_units(generated, reference, first, second)
    both, either = (first & second).sum(1).double(), (first | second).sum(1).double()
    return both / either  # 0 / 0 is NaN


def _on(units: Mapping[str, Float[Tensor, " T"]]) -> Bool[Tensor, "T U"]:
    return torch.stack([units[name] >= UNIT_ON for name in sorted(units)], dim=1)


def _same_units(first: Mapping, second: Mapping, on: Tensor, others: Tensor) -> None:
    if set(first) != set(second) or on.shape != others.shape:
        got = f"{sorted(first)} of {len(on)} frames and {sorted(second)} of {len(others)}"
        raise ShapeError(f"generated, reference: expected the same units and frames, got {got}.")


def _turn(generated: Tensor, reference: Tensor) -> Float[Tensor, "T 3"]:
    first, second = _checked(generated, reference, "pose")
    if first.shape[1] != 3:
        raise ShapeError(f"pose: expected (T, 3) of yaw, pitch and roll, got {tuple(first.shape)}.")
    return (first - second + 180) % 360 - 180


def _checked(first: Tensor, second: Tensor, what: str) -> tuple[Tensor, Tensor]:
    if first.ndim != 2 or first.shape != second.shape:
        got = f"{tuple(first.shape)} and {tuple(second.shape)}"
        raise ShapeError(f"{what}: expected two (T, N) of one shape, got {got}.")
    if not bool(torch.isfinite(first).all() and torch.isfinite(second).all()):
        raise ShapeError(f"{what}: expected finite numbers; leave out frames without a face.")
    return first.double().cpu(), second.double().cpu()

"""A person as one mesh: the head of a head model and all its parts, posed by the head's parameters."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from ....flame.model import HeadModel, pose_vertices
from ....flame.params import HeadParams
from ....flame.posing import posed_points
from ....flame.skinning import joint_transforms, linear_blend_skinning, shaped_vertices
from ....geom.mesh import vertex_normals
from ....geom.transforms import axis_angle_to_matrix
from .anatomy import Anatomy, anatomy_of, as_tensor, face_mesh_points, skin_vertices
from .glasses import glasses_parts
from .hair import beard_part, hair_part
from .headwear import headwear_parts
from .occluders import occluder_parts
from .occlusion import ambient_occlusion
from .parts import Material, Part, teeth
from .torso import torso_of, torso_part
from .traits import Traits, draw_traits, stream

PARTS = 1  # stream of random numbers
_LEAST_AMBIENT = {Material.TEETH: 0.5, Material.MOUTH: 0.16}


@dataclass(frozen=True)
class Person:
    """What is posed and drawn; the head's V vertices come first, N in all.

    Attributes:
        head: the head model.
        anatomy: of its template.
        traits: who it is.
        rest: points of all parts in the person's rest frame, (N, 3); the first V are the shaped head.
        place: where textures are looked up: the template for the head, ``rest`` for parts.
        faces: triangles of everything.
        material: of every triangle.
        coords: what materials look up, one row a vertex.
        weights: joint weights of the parts, (N - V, J).
        normals, tangents: of the parts at rest, (N - V, 3).
        follow: vertex of the head whose expression a part's vertex follows, -1 for none.
        ambient: how open to light from everywhere a vertex is, 0 .. 1.
    """

    head: HeadModel
    anatomy: Anatomy
    traits: Traits
    rest: Float[Tensor, "N 3"]
    place: Float[Tensor, "N 3"]
    faces: Int[Tensor, "F 3"]
    material: Int[Tensor, " F"]
    coords: Float[Tensor, "N 4"]
    weights: Float[Tensor, "P J"]
    normals: Float[Tensor, "P 3"]
    tangents: Float[Tensor, "P 3"]
    follow: Int[Tensor, " P"]
    ambient: Float[Tensor, " N"]


@dataclass(frozen=True)
class PosedPerson:
    """T frames in model axes, metres: points and unit normals (T, N, 3), hair's tangents (T, N, 3)."""

    points: Float[Tensor, "T N 3"]
    normals: Float[Tensor, "T N 3"]
    tangents: Float[Tensor, "T N 3"]


def make_person(head: HeadModel, *, seed: int, number: int, occluders: float = 0.15) -> Person:
    """The person of a seed and a number on a head model; equal arguments make equal persons.

    Args:
        head: the head model.
        seed: of the data set.
        number: of the person.
        occluders: share of persons with something before them.
    """
    traits = draw_traits(head.shape_basis.shape[2], seed=seed, number=number, occluders=occluders)
    return build_person(head, traits, seed=seed)


def build_person(head: HeadModel, traits: Traits, *, seed: int) -> Person:
    """A person of given traits; what else is drawn by lot (every hair) comes from the seed.

    Args:
        head: the head model.
        traits: what the person is like.
        seed: of the data set.
    """
    anatomy = anatomy_of(head)
    none = torch.zeros(1, 0)
    shaped = pose_vertices(head, torch.from_numpy(traits.shape), none)[0]
    verts = shaped.double().numpy()
    parts = _parts(head, verts, anatomy, traits, stream(seed, traits.number, PARTS))
    count = len(verts)
    starts = count + np.cumsum([0] + [len(part.points) for part in parts])
    rest = torch.cat([shaped, *(as_tensor(part.points) for part in parts)])
    faces = np.concatenate(
        [head.faces.numpy(), *(part.faces + start for part, start in zip(parts, starts, strict=False))]
    )
    material = np.concatenate(
        [_head_materials(anatomy), *(np.full(len(part.faces), part.material) for part in parts)]
    )
    own = np.stack([anatomy.lips, anatomy.lids, anatomy.beard, anatomy.scalp - traits.hairline], axis=1)
    zeros = [np.zeros_like(part.points) for part in parts]
    person = Person(
        head=head,
        anatomy=anatomy,
        traits=traits,
        rest=rest,
        place=torch.cat([head.template, rest[count:]]),
        faces=torch.from_numpy(faces.astype(np.int64)),
        material=torch.from_numpy(material.astype(np.int64)),
        coords=torch.cat([as_tensor(own), *(as_tensor(part.coords) for part in parts)]),
        weights=_stacked([part.weights for part in parts]),
        normals=_stacked([part.normals for part in parts]),
        tangents=_stacked(
            [z if p.tangents is None else p.tangents for p, z in zip(parts, zeros, strict=True)]
        ),
        follow=torch.from_numpy(
            np.concatenate(
                [np.full(len(p.points), -1) if p.follow is None else p.follow for p in parts]
            ).astype(np.int64)
        ),
        ambient=torch.ones(len(rest)),
    )
    return with_ambient(person)


def with_ambient(person: Person) -> Person:
    """The person with how open each vertex is, measured at rest.

    Where neck and shoulders pass through each other nothing is dark: skin goes on there. Teeth and mouth are
    as in a mouth that is open.
    """
    count = len(person.head.template)
    normals = torch.cat([vertex_normals(person.rest[None, :count], person.head.faces)[0], person.normals])
    ambient = ambient_occlusion(person.rest, normals, person.faces)
    weights = torch.cat([person.head.weights, person.weights])
    on_torso = weights[:, person.head.joint_names.index("root")] > 0.15
    least = torch.where(on_torso, 0.55, 0.0)
    for kind, floor in _LEAST_AMBIENT.items():
        least[person.faces[person.material == int(kind)].unique()] = floor
    return dataclasses.replace(person, ambient=torch.maximum(ambient, least))


def _parts(
    head: HeadModel, verts: np.ndarray, anatomy: Anatomy, traits: Traits, rng: np.random.Generator
) -> list[Part]:
    points = _shaped_points(head, verts, anatomy)
    skin = skin_vertices(head, anatomy.parts)
    torso = torso_of(verts, skin, chin=points[152, 1], scale=anatomy.scale, traits=traits)
    parts = [torso_part(head, anatomy, torso=torso, traits=traits)]
    if not anatomy.parts.teeth.any():
        parts += teeth(points, head.joint_names, scale=anatomy.scale)
    hair = hair_part(head, verts, anatomy=anatomy, torso=torso, traits=traits, rng=rng)
    beard = beard_part(head, verts, anatomy=anatomy, traits=traits, rng=rng)
    parts += [part for part in (hair, beard) if part is not None]
    parts += headwear_parts(head, verts, anatomy=anatomy, traits=traits)
    parts += glasses_parts(head, points, anatomy=anatomy, traits=traits)
    parts += occluder_parts(head, anatomy, traits=traits, rng=rng)
    return parts


def _shaped_points(head: HeadModel, verts: np.ndarray, anatomy: Anatomy) -> np.ndarray:
    """Face-mesh points of the person's own head at rest."""
    return face_mesh_points(head, torch.from_numpy(verts)[None].float())[0].double().numpy()


def _head_materials(anatomy: Anatomy) -> np.ndarray:
    parts = anatomy.parts
    material = np.full(len(parts.skin), int(Material.SKIN))
    material[~parts.skin] = Material.MOUTH
    material[parts.teeth] = Material.TEETH
    material[parts.eyeballs[0] | parts.eyeballs[1]] = Material.EYE
    return material


def _stacked(rows: list[np.ndarray]) -> Tensor:
    return as_tensor(np.concatenate(rows))


def pose_person(person: Person, params: HeadParams) -> PosedPerson:
    """The mesh in the pose of every frame; the head is exactly that of `flame.posing.posed_points`."""
    head = person.head
    front = posed_points(head, params)
    transforms = _transforms(head, params)
    moved = person.rest[len(head.template) :] + _expression(person, params)
    back = linear_blend_skinning(moved, transforms, weights=person.weights)
    turns = torch.cat([transforms[..., :3], torch.zeros_like(transforms[..., 3:])], -1)
    turned = lambda vectors: linear_blend_skinning(vectors[None], turns, weights=person.weights)  # noqa: E731
    normals = torch.cat([vertex_normals(front, head.faces), turned(person.normals)], 1)
    tangents = torch.cat([torch.zeros_like(front), turned(person.tangents)], 1)
    points = torch.cat([front, back + params.translation[:, None]], 1)
    return PosedPerson(points, torch.nn.functional.normalize(normals, dim=-1), tangents)


def _expression(person: Person, params: HeadParams) -> Float[Tensor, "T P 3"]:
    """How far the expression moves the skin under each point of a part, 0 where it follows none."""
    followed = person.follow >= 0
    offset = person.rest.new_zeros(params.frames, len(person.follow), 3)
    rows, back = torch.unique(person.follow[followed], return_inverse=True)
    basis = person.head.expression_basis[rows]
    offset[:, followed] = torch.einsum("vce,te->tvc", basis, params.expression.to(basis))[:, back]
    return offset


def _transforms(head: HeadModel, params: HeadParams) -> Float[Tensor, "T J 3 4"]:
    joints = shaped_vertices(
        head.joint_template,
        shape_basis=head.joint_shape_basis,
        shape=params.shape[None],
        expression_basis=head.joint_expression_basis,
        expression=params.expression,
    )
    given = {
        "root": params.rotation,
        "neck": params.neck,
        "jaw": params.jaw,
        "left_eye": params.eyes[:, :3],
        "right_eye": params.eyes[:, 3:],
    }
    still = torch.zeros_like(params.rotation)
    turns = torch.stack([given.get(name, still) for name in head.joint_names], 1)
    return joint_transforms(joints, axis_angle_to_matrix(turns), parents=head.parents)

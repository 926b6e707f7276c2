"""What passes between rooms: frozen tensors, and an error that names who makes a missing one."""

import dataclasses

import pytest
import torch

from headwarp.geom.errors import HeadwarpError
from headwarp.geom.guidance import PRODUCERS, Driving, GeometrySource, Guidance, Source, require
from headwarp.geom.sources.mesh import MeshSource

FIELDS = {kind: [field.name for field in dataclasses.fields(kind)] for kind in (Source, Driving)}
NEEDS = [(kind, name) for kind, names in FIELDS.items() for name in names]


def test_every_field_has_a_producer_and_every_producer_a_field():
    assert set(PRODUCERS) == {name for names in FIELDS.values() for name in names}


@pytest.mark.parametrize(("kind", "name"), NEEDS, ids=lambda value: getattr(value, "__name__", value))
def test_a_missing_field_names_who_needs_it_and_who_makes_it(kind, name):
    with pytest.raises(HeadwarpError) as caught:
        require(kind(), (name,), by="somebody")
    assert str(caught.value).startswith(f"somebody: {kind.__name__}.{name}: expected a tensor, got None")
    assert str(caught.value).endswith(PRODUCERS[name])


@pytest.mark.parametrize("kind", FIELDS)
def test_observations_are_frozen_and_empty_by_default(kind):
    assert all(getattr(kind(), name) is None for name in FIELDS[kind])
    with pytest.raises(dataclasses.FrozenInstanceError):
        kind().image = torch.zeros(1, 3, 2, 2)


def test_require_hands_back_the_observation_and_looks_at_the_named_fields_only():
    source = Source(image=torch.zeros(1, 3, 2, 2))
    assert require(source, (), by="x") is source
    assert require(source, ("image",), by="x") is source
    with pytest.raises(HeadwarpError, match=r"Source\.mask"):
        require(source, ("image", "mask"), by="x")


@pytest.mark.parametrize(("kind", "name"), [(Source, "camera_motion"), (Driving, "faces"), (Driving, "nose")])
def test_a_field_of_the_wrong_kind_is_an_error_that_lists_the_right_ones(kind, name):
    with pytest.raises(
        HeadwarpError, match=f"{kind.__name__} has no field '{name}'; it has .*posed_vertices"
    ):
        require(kind(), (name,), by="x")


def test_driving_counts_its_frames():
    assert Driving().batch == 1
    assert Driving(landmarks=torch.zeros(3, 68, 2)).batch == 3
    assert Driving(posed_vertices=torch.zeros(4, 5, 3), camera_motion=torch.zeros(4, 2, 3)).batch == 4


def test_guidance_without_codes_and_the_protocol():
    flow = torch.zeros(1, 2, 4, 4)
    guidance = Guidance(flow, torch.ones(1, 1, 4, 4), torch.ones(1, 1, 4, 4))
    assert guidance.codes is None
    assert guidance.source_codes is None
    assert isinstance(MeshSource(), GeometrySource)
    assert not isinstance(guidance, GeometrySource)

"""Recipes by name."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from headwarp.geom.errors import HeadwarpError
from headwarp.training import recipes


@dataclass(frozen=True)
class Settings:
    """Of the toy."""

    weight: float = 1.0


@pytest.fixture
def toy(monkeypatch):
    recipes.recipe_names()  # the files of the folder register themselves once
    monkeypatch.setattr(recipes, "_REGISTERED", dict(recipes._REGISTERED))

    @recipes.register({"light": Settings(0.5), "heavy": Settings(9.0)})
    class Toy:
        def __init__(self, config):
            self.config = config

    return Toy


def test_a_mode_is_a_name(toy):
    file = __name__.rpartition(".")[2]
    assert {f"{file}/light", f"{file}/heavy"} <= set(recipes.recipe_names())
    assert recipes.load_recipe(f"{file}/heavy").config.weight == 9
    assert recipes.load_recipe(f"{file}/light", config=Settings(2.0)).config.weight == 2


def test_a_file_alone_is_its_first_mode(toy):
    file = __name__.rpartition(".")[2]
    assert recipes.recipe_entry(file).name == f"{file}/light"
    assert recipes.load_recipe(file).config.weight == 0.5


def test_unknown_names_and_foreign_configs(toy):
    file = __name__.rpartition(".")[2]
    with pytest.raises(HeadwarpError, match=f"expected one of .*{file}/heavy.*got '{file}/best'"):
        recipes.load_recipe(f"{file}/best")
    with pytest.raises(HeadwarpError, match="expected a config of class Settings, got int"):
        recipes.load_recipe(f"{file}/light", config=3)


def test_a_config_class_instead_of_an_instance_is_a_mistake():
    with pytest.raises(TypeError, match="light: expected an instance of a config dataclass"):
        recipes.register({"light": Settings})


def test_every_registered_recipe_builds():
    for name in recipes.recipe_names():
        assert recipes.recipe_entry(name).name == name

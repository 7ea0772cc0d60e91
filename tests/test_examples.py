"""Each module of the package ends its docstring in an example, and the example holds."""

import ast
import doctest
import importlib
from pathlib import Path

import pytest

HOUSE = Path(__file__).parent.parent / "hg_helpers"
#: Exercises are left out: their modules hold what a learner is to write. What begins with an underscore is not public.
ROOMS = ("cohort", "model", "metrics", "plots", "runtime", "app")
MODULES = [f"{room}.{path.stem}" for room in ROOMS for path in sorted((HOUSE / room).glob("[!_]*.py"))]


def test_every_room_but_the_exercises_is_looked_at():
    assert {path.parent.name for path in HOUSE.glob("*/*.py")} == {*ROOMS, "exercises"}
    assert {name.split(".")[0] for name in MODULES} == set(ROOMS)


@pytest.mark.parametrize("name", MODULES)
def test_a_module_ends_its_docstring_in_an_example(name):
    text = ast.get_docstring(ast.parse((HOUSE / f"{name.replace('.', '/')}.py").read_text(encoding="utf-8"))) or ""
    assert ">>> " in text.split("\n\n")[-1], f"hg_helpers.{name} has no example at the end of its docstring"


@pytest.mark.parametrize("name", MODULES)
def test_the_examples_of_a_module_hold(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    found = doctest.testmod(importlib.import_module(f"hg_helpers.{name}"))
    assert found.failed == 0 and found.attempted > 0
    assert not list(tmp_path.iterdir()), "an example leaves files behind"

"""Rooms stand on one another: an import runs from a room to one below it, never back."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

HOUSE = Path(__file__).resolve().parents[1] / "hg_helpers"
#: What each room may use beside itself; the top level may use everything.
BELOW = {
    "runtime": {"cohort"},  # the checks of `doctor`, until they stand in app
    "cohort": {"runtime"},
    "model": {"cohort", "runtime"},
    "metrics": {"cohort"},
    "plots": {"cohort", "metrics"},
    "exercises": {"cohort", "model", "metrics"},
    "app": {"cohort", "model", "metrics", "plots", "runtime"},
}
#: The order in which the model is read; a module imports from those before it.
MODEL = ["latent", "config", "curriculum", "networks", "moments", "losses", "synthesizer", "steps", "training"]


def imports(path: Path) -> Iterator[tuple[str, str]]:
    """(room, module) of each import from the package, wherever in the file it stands."""
    here = path.relative_to(HOUSE).parts[:-1]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.level:
            base = [*here[: len(here) - node.level + 1], *(node.module.split(".") if node.module else [])]
            for names in [base] if len(base) > 1 else [[*base, alias.name] for alias in node.names]:
                yield names[0], names[1] if len(names) > 1 else ""


@pytest.mark.parametrize("room", BELOW)
def test_imports_run_downwards_between_rooms(room):
    assert (HOUSE / room / "__init__.py").is_file()
    for path in (HOUSE / room).rglob("*.py"):
        for other, _ in imports(path):
            assert other in BELOW[room] | {room}, f"{path.relative_to(HOUSE)} imports from {other}"


def test_each_folder_is_a_room_and_no_module_lies_outside():
    assert {path.parent.name for path in HOUSE.glob("*/*.py")} == set(BELOW)
    assert {path.name for path in HOUSE.glob("*.py")} == {"__init__.py", "__main__.py"}


def test_the_models_modules_are_read_in_one_order():
    assert {path.stem for path in (HOUSE / "model").glob("*.py")} - {"__init__"} == set(MODEL)
    for number, name in enumerate(MODEL):
        for room, other in imports(HOUSE / "model" / f"{name}.py"):
            if room == "model":
                assert other in MODEL[:number], f"{name} imports {other}"

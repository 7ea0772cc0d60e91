"""Rooms stand on one another: an import runs from a room to one below it, never back."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import hg_helpers as hg

HOUSE = Path(__file__).resolve().parents[1] / "hg_helpers"
#: What each room may use beside itself; the top level may use everything.
BELOW = {
    "runtime": set(),
    "cohort": {"runtime"},
    "model": {"cohort", "runtime"},
    "metrics": {"cohort", "runtime"},
    "plots": {"cohort", "metrics"},
    "exercises": {"cohort", "model"},
    "app": {"cohort", "model", "metrics", "plots", "runtime"},
}
#: The order in which the model is read; a module imports from those before it.
MODEL = ["latent", "heads", "networks", "losses", "config"]
MODEL += ["synthesizer", "resume", "training"]


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


def test_the_public_names_are_a_contract():
    machinery = {"load_checkpoint", "save_checkpoint", "seed_everything", "setup", "write_parts"}
    cohort = {"ART_DEMO", "ART_FULL", "CohortEncoder", "describe", "DownloadError", "Feature", "Schema", "data_folder"}
    cohort |= {"download_cohort", "load_cohort", "simulate_cohort", "split_patients", "truth", "validate_cohort"}
    model = {"Autoencoder", "BiLSTM", "Critic", "GaussianPrototypes", "Generator", "LatentBuffer", "PersistentNoise"}
    model |= {"Synthesizer", "TrainConfig", "Trainer", "TrainingStopped", "UniformNoise", "VariationalAutoencoder"}
    model |= {"autoencoder_loss", "co_moments", "correlation_loss", "correlation_matrix", "curriculum_batches"}
    model |= {"gradient_penalty", "moment_loss"}
    assert set(hg.__all__) == {"evaluate", "exercises", "metrics", "plots", "train"} | machinery | cohort | model
    assert all(hasattr(hg, name) for name in hg.__all__)

"""What is imported is declared, what is declared is what `requirements.txt` installs, and under licences like ours."""

import ast
import importlib.metadata
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from tests.lowest import lowest

ROOT = Path(__file__).resolve().parents[1]

#: Names of modules that differ from the name of the distribution they come in.
DISTRIBUTION = {"sklearn": "scikit-learn", "yaml": "pyyaml", "xdist": "pytest-xdist", "PIL": "pillow"}
#: What may be imported because a declared package cannot do without it; a test looks whether that is still so.
BROUGHT = {"nbformat": "nbval", "packaging": "pytest", "pillow": "matplotlib", "ipython": "ipywidgets"}
#: Generators of others: they are compared with where they are installed, each in an environment of its own.
OPTIONAL = {"deepecho", "mostlyai"}
#: Licences whose terms reach into a program that uses them. LGPL's do not, and files under it are not passed on here.
COPYLEFT = re.compile(r"(?<!L)GPL|(?<!Lesser )General Public License|Affero|SSPL|Business Source|Non-?Commercial", re.I)
#: The terms of the Fortran library in the wheels of numpy and scipy: whoever links it is free.
RUNTIME = re.compile(r"GPL-[\w.-]+ WITH GCC-exception[\w.-]*", re.I)


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def imported(code: str) -> Iterator[str]:
    """Distributions that a module asks for, at its top or anywhere inside; not those whose absence skips a test."""
    local = {"hg_helpers", "tests", *(path.stem for path in (ROOT / "tests").rglob("*.py"))}
    for node in ast.walk(ast.parse(code)):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            names = [node.module]
        elif isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
            called = getattr(node.func, "attr", getattr(node.func, "id", ""))
            names = [node.args[0].value] if called in ("import_module", "__import__") else []
        for name in names:
            top = name.split(".")[0]
            if top not in sys.stdlib_module_names and top not in local:
                yield DISTRIBUTION.get(top, normal(top))


def code_of(path: Path) -> str:
    """A module's text, or a notebook's cells without the lines that only IPython understands."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".ipynb":
        cells = ["".join(cell["source"]) for cell in json.loads(text)["cells"] if cell["cell_type"] == "code"]
        text = re.sub(r"^(\s*)[%!].*$", r"\1pass", "\n".join(cells), flags=re.M)
    return text


def declared(group: str) -> dict[str, Requirement]:
    """A list of ``pyproject.toml``; no parser of TOML comes with Python 3.10."""
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    (block,) = re.findall(rf"^{group} = \[(.*?)\]$", text, re.M | re.S)
    found = [Requirement(line) for line in re.findall(r'"([^"]+)"', re.sub(r"#.*", "", block))]
    return {normal(requirement.name): requirement for requirement in found}


def requirements() -> dict[str, Requirement]:
    lines = [line.split("#")[0].strip() for line in (ROOT / "requirements.txt").read_text(encoding="utf-8").split("\n")]
    found = [Requirement(line) for line in lines if line and not line.startswith("-")]
    return {normal(requirement.name): requirement for requirement in found}


def brought_by(name: str) -> set[str]:
    """What an installed distribution requires here, its optional extras aside."""
    found = map(Requirement, importlib.metadata.requires(name) or [])
    return {normal(one.name) for one in found if one.marker is None or one.marker.evaluate({"extra": ""})}


def test_the_package_imports_nothing_that_it_does_not_declare_and_declares_nothing_in_vain():
    found = {
        name for path in (ROOT / "hg_helpers").rglob("*.py") for name in imported(path.read_text(encoding="utf-8"))
    }
    assert {"pyarrow", "requests", "threadpoolctl"} <= found  # imported inside functions, too
    extra = set(declared("notebooks"))  # `workshop` and moving pictures, imported where they are used
    assert found - set(declared("dependencies")) - set(BROUGHT) <= extra and "nbconvert" in found & extra
    assert set(declared("dependencies")) - found == set()


@pytest.mark.parametrize("part", ["tests", "notebooks", "conftest.py"])
def test_what_tests_and_notebooks_import_is_installed_by_requirements_txt(part):
    place = ROOT / part
    paths = [place] if place.is_file() else [p for p in place.rglob("*") if p.suffix in (".py", ".ipynb")]
    found = {name for path in paths for name in imported(code_of(path))}
    assert "pytest" in found or part == "notebooks"
    assert found - set(declared("dependencies")) - set(requirements()) - set(BROUGHT) - OPTIONAL == set()


@pytest.mark.parametrize(("name", "by"), BROUGHT.items())
def test_what_is_left_to_another_package_is_still_brought_by_it(name, by):
    assert by in requirements() or by in declared("dependencies")
    assert name in brought_by(by)


def test_requirements_txt_installs_the_package_and_both_extras_within_their_bounds():
    lines = (ROOT / "requirements.txt").read_text(encoding="utf-8").split()
    assert lines[-2:] == ["-e", "."]
    listed, extras = requirements(), declared("notebooks") | declared("test")
    assert set(listed) == {"torch", *extras}
    for name, found in listed.items():
        bound = {**declared("dependencies"), **extras}[name]
        pinned = [one.version for one in found.specifier if one.operator == "=="]
        assert all(bound.specifier.contains(version) for version in pinned), name
        assert pinned or found.specifier == bound.specifier, name


def test_the_oldest_packages_that_we_promise_are_those_that_are_tried():
    bounds = {name: one.version for name, bound in declared("dependencies").items() for one in bound.specifier}
    assert lowest() == bounds and len(bounds) > 10
    workflow = (ROOT / ".github" / "workflows" / "tests.yml").read_text(encoding="utf-8")
    assert "python -m tests.lowest --torch" in workflow and "==" not in workflow  # no second list


# --- licences ---------------------------------------------------------------------------------------------------------


def licence(name: str) -> str:
    """What a distribution says of its licence in a line: expression, classifiers or a short licence field."""
    about = importlib.metadata.metadata(name)
    said = [about.get("License-Expression") or ""]
    said += [line.split("::")[-1].strip() for line in about.get_all("Classifier", []) if line.startswith("License ::")]
    said.append((about.get("License") or "").strip().split("\n")[0][:120])  # some put the whole text there
    return "; ".join(filter(None, said))


def binds(said: str) -> bool:
    return bool(COPYLEFT.search(RUNTIME.sub("", said)))


def everything_needed() -> set[str]:
    """All distributions that a plain install brings to this machine, the hardware's own libraries aside."""
    known, new = set(), set(declared("dependencies"))
    while new:
        known |= new
        found = set().union(*map(brought_by, new))
        # CUDA's libraries and triton come with torch's GPU build, under NVIDIA's terms; we pass on none of them
        new = {name for name in found if not name.startswith(("nvidia-", "cuda-", "triton"))} - known
    return known


def test_no_package_that_an_install_brings_has_a_licence_that_would_bind_ours():
    found = {name: licence(name) for name in everything_needed()}
    assert {"pillow", "certifi", "jinja2"} <= set(found)  # three steps away, some of them
    assert [name for name, said in found.items() if not said] == []
    assert {name: said for name, said in found.items() if binds(said)} == {}


@pytest.mark.parametrize(
    "said", ["GPL-3.0-only", "GNU General Public License v2 (GPLv2)", "AGPL-3.0", "MIT AND GPL-2.0"]
)
def test_a_licence_that_would_bind_ours_is_told(said):
    assert binds(said)


@pytest.mark.parametrize(
    "said",
    [
        "MIT",
        "BSD-3-Clause AND 0BSD AND MIT AND Zlib AND CC0-1.0",
        "LGPL-2.1",
        "GNU Lesser General Public License v3",
        "GPL-3.0-or-later WITH GCC-exception-3.1",
    ],
)
def test_a_licence_that_does_not_bind_ours_passes(said):
    assert not binds(said)

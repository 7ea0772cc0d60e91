"""What a notebook must be before it may be shown: its anatomy, its hygiene, and a set-up cell that sets up.

Whether the cells run, and print what they printed, is nbval's business.
"""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import statistics
import subprocess
import sys
import sysconfig
from importlib import metadata
from pathlib import Path

import nbformat
import pytest

from tests.minutes import counted

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "notebooks"
SERIES = ["01_preprocessing", "02_wgan_gp_v1", "03_vae", "04_latent_buffer_v2", "05_evaluation"]
SERIES += ["06_usefulness"]
KNOWN_TAGS = {
    "setup",
    "solution",
    "widget",
    "nbval-check-output",
    "nbval-ignore-output",
    "nbval-skip",
    "raises-exception",
}
COLAB = "https://colab.research.google.com"


# --- reading ----------------------------------------------------------------------------------------------------------


@pytest.fixture(params=SERIES)
def name(request) -> str:
    assert (FOLDER / f"{request.param}.ipynb").is_file(), f"notebooks/{request.param}.ipynb is missing"
    return request.param


@pytest.fixture
def notebook(name) -> nbformat.NotebookNode:
    return nbformat.read(FOLDER / f"{name}.ipynb", as_version=nbformat.NO_CONVERT)


def code_of(notebook) -> list:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def prose_of(notebook) -> list:
    return [cell for cell in notebook.cells if cell.cell_type == "markdown"]


def tags_of(cell) -> list[str]:
    return cell.metadata.get("tags", [])


def pictures_of(cell) -> list[str]:
    """Those that a code cell shows, each as its HTML with the alternative text, or as the name of its kind."""
    shown = [output.get("data", {}) for output in cell.outputs]
    pages = [data["text/html"] for data in shown if "<img " in data.get("text/html", "")]
    return pages + [kind for data in shown for kind in data if kind.startswith("image/")]


def first_line(cell) -> str:
    return cell.source.strip().split("\n")[0][:70]


def repository() -> str:
    """The one address: `[project.urls] Repository` in pyproject.toml (tomllib comes with Python 3.11 only)."""
    block = (ROOT / "pyproject.toml").read_text(encoding="utf-8").split("[project.urls]")[1].split("\n[")[0]
    return re.search(r'^Repository = "(.+?)"$', block, re.MULTILINE)[1]


# --- the file ---------------------------------------------------------------------------------------------------------


def test_there_is_nothing_in_the_folder_but_the_series():
    strange = sorted({path.stem for path in FOLDER.glob("*.ipynb")} - set(SERIES))
    assert not strange, f"not in the series: {strange}; a copy, or a name that the links do not know"


def test_the_file_is_a_valid_notebook_for_any_python3_and_small(name, notebook):
    nbformat.validate(notebook)
    assert notebook.nbformat == 4
    assert notebook.metadata.kernelspec.name == "python3"
    ids = [cell["id"] for cell in notebook.cells]
    assert len(set(ids)) == len(ids)
    assert "widgets" not in notebook.metadata, "the state of widgets is stored; clear it, it is large and random"
    assert (FOLDER / f"{name}.ipynb").stat().st_size < 1_000_000


def test_the_anatomy_is_within_the_targets(notebook):
    code = code_of(notebook)
    lines = [sum(bool(line.strip()) for line in cell.source.splitlines()) for cell in code]
    words = sum(len(re.sub(r"```.*?```", "", cell.source, flags=re.S).split()) for cell in prose_of(notebook))
    found = {
        "cells (40 to 70)": 40 <= len(notebook.cells) <= 70 or len(notebook.cells),
        # of at most 85 columns, as a projector shows; 8 lines of 120 columns come to 12 of these
        "median lines of a code cell (at most 12)": statistics.median(lines) <= 12 or statistics.median(lines),
        "most lines of a code cell (40)": max(lines) <= 40 or max(lines),
        "words of prose a code cell (60 to 120)": 60 <= words / len(code) <= 120 or words / len(code),
    }
    assert {k: v for k, v in found.items() if v is not True} == {}


# --- the run that is committed ----------------------------------------------------------------------------------------


def test_the_committed_run_is_one_clean_run_from_top_to_bottom(notebook):
    code = code_of(notebook)
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    for cell in code:
        for output in cell.outputs:
            assert output.output_type != "error" or "raises-exception" in tags_of(cell), first_line(cell)
            assert output.get("name") != "stderr", f"{first_line(cell)}: {output.get('text', '')[:200]}"
            if output.output_type == "execute_result":
                assert output.execution_count == cell.execution_count, first_line(cell)


def test_no_output_holds_what_changes_from_run_to_run(notebook):
    for cell in code_of(notebook):
        for output in cell.outputs:
            text = output.get("text", "") + "".join(output.get("data", {}).get("text/plain", ""))
            assert not re.search(r" at 0x[0-9a-f]{6,}|/root/|/home/|/tmp/|[A-Z]:\\\\", text), (
                f"{first_line(cell)}: an address or a path of the machine it ran on: {text[:200]}"
            )
            # what GitHub, and a page without widgets, would show in the place of a picture
            assert "children=(" not in text, f"{first_line(cell)}: a widget's inside as text: {text[:200]}"


def test_tags_are_spelled_right_and_no_comment_pretends_to_be_one(notebook):
    for cell in notebook.cells:
        assert set(tags_of(cell)) <= KNOWN_TAGS, first_line(cell)
        if cell.cell_type == "code":  # a marker with words behind it is silently ignored by nbval, so none at all
            assert not re.search(r"^\s*#.*(NBVAL|PYTEST_VALIDATE)", cell.source, re.M), first_line(cell)
            checked = {"nbval-check-output", "nbval-ignore-output", "nbval-skip"} & set(tags_of(cell))
            assert len(checked) <= 1, f"{first_line(cell)}: {checked} contradict each other"
            # whatever cannot run here does not belong into a notebook that must run everywhere
            assert "nbval-skip" not in tags_of(cell), first_line(cell)
        else:
            assert not tags_of(cell), first_line(cell)


def test_at_least_eight_cells_are_compared_and_have_something_to_compare(notebook):
    compared = [cell for cell in code_of(notebook) if "nbval-check-output" in tags_of(cell)]
    assert len(compared) >= 8
    for cell in compared:
        kinds = {kind for output in cell.outputs for kind in output.get("data", {"text": ""})}
        assert kinds - {"image/png", "image/jpeg"} and not pictures_of(cell), (
            f"{first_line(cell)}: pictures are not compared"
        )
        # the text beside a picture, `<Figure size ...>`, says nothing about what is in it
        texts = [o.get("text", "") or o.get("data", {}).get("text/plain", "") for o in cell.outputs]
        assert any(text.strip() and not text.startswith(("<Figure", "<Picture")) for text in texts), first_line(cell)


# --- exercises --------------------------------------------------------------------------------------------------------


def test_each_exercise_has_a_task_a_hint_a_stub_and_a_hidden_solution(notebook):
    cells = notebook.cells
    solutions = [i for i, cell in enumerate(cells) if "solution" in tags_of(cell)]
    assert len(solutions) >= 4
    titles = [int(n) for cell in prose_of(notebook) for n in re.findall(r"^#+ Your turn (\d+)", cell.source, re.M)]
    assert titles == list(range(1, len(solutions) + 1))
    for i in solutions:
        task, stub, solution = cells[i - 2], cells[i - 1], cells[i]
        called = re.findall(r"hg\.exercises\.(check_\w+)\(", stub.source)
        assert task.cell_type == "markdown" and "Your turn" in task.source, first_line(solution)
        assert "<details><summary>Hint</summary>" in task.source and "</details>" in task.source, first_line(task)
        assert stub.cell_type == "code" and "..." in stub.source and called, first_line(stub)
        assert any("Not yet: " in output.get("text", "") for output in stub.outputs), first_line(stub)
        # JupyterLab and Notebook 7 fold by the one, Colab by the other and by the title (notebooks/README.md)
        folded = {"source_hidden": True, "outputs_hidden": True}
        assert solution.metadata.get("jupyter") == folded, f'{first_line(solution)}: "Right" stands under the task'
        assert solution.metadata.get("cellView") == "form", f"{first_line(solution)}: Colab would show it"
        assert re.match(r"# ?@title Solution\b", solution.source), first_line(solution)
        for check in called:
            assert re.search(rf"assert hg\.exercises\.{check}\(", solution.source), f"{check} is not asserted"
        assert any("Right: " in output.get("text", "") for output in solution.outputs), first_line(solution)


def test_the_checks_that_it_calls_exist(notebook):
    from hg_helpers import exercises

    used = {c for cell in code_of(notebook) for c in re.findall(r"exercises\.(check_\w+)\(", cell.source)}
    assert used <= set(exercises.__all__)


# --- the way in and on ------------------------------------------------------------------------------------------------


def test_the_first_cell_has_title_promise_badge_links_time_and_prerequisites(name, notebook):
    cell = notebook.cells[0]
    assert cell.cell_type == "markdown"
    title, promise = [part for part in cell.source.split("\n\n") if part.strip()][:2]
    assert re.match(r"# \S", title) and "\n" not in title.strip()
    assert len(promise.split()) >= 8 and not promise.lstrip().startswith(("#", "[", "!", "- "))
    address = repository().removeprefix("https://github.com/")
    badge = (
        f"[![Open in Colab]({COLAB}/assets/colab-badge.svg)]({COLAB}/github/{address}/blob/main/notebooks/{name}.ipynb)"
    )
    assert badge in cell.source, f"the badge must be {badge}"
    position = SERIES.index(name)
    for i, word in ((position - 1, "Previous"), (position + 1, "Next")):
        if 0 <= i < len(SERIES):
            assert f"({SERIES[i]}.ipynb)" in cell.source and re.search(word, cell.source, re.I), f"no link: {word}"
    assert re.search(
        r"Time: about \d+ (minutes|hours?)\b.* to read and do, (about )?\d+ (s|seconds|minutes) to run \(2 CPU cores\)",
        cell.source,
    )
    assert re.search(r"prerequisite|you need|assum", cell.source, re.I)


def test_the_stated_minutes_are_those_that_words_lines_and_exercises_take(notebook):
    told = int(re.search(r"Time: about (\d+) minutes", notebook.cells[0].source)[1])
    *_, minutes = counted(notebook)["all"]
    assert abs(told - minutes) <= 5, f"stated {told}, counted {minutes:.0f}; see python -m tests.minutes"


def test_names_come_from_hg_and_never_from_inside_a_room(notebook):
    for cell in code_of(notebook):
        deep = re.findall(r"^\s*(?:from|import)\s+hg_helpers\b.*$", cell.source, re.M)
        assert {line.strip() for line in deep} <= {"import hg_helpers as hg"}, first_line(cell)
    import hg_helpers as hg

    for cell in notebook.cells:  # in prose as well: what it names must be there
        for name, inside in re.findall(r"\bhg\.(\w+)(?:\.(\w+))?", cell.source):
            assert name in hg.__all__, f"{first_line(cell)}: hg.{name} is not a public name"
            within = inside and name in ("metrics", "plots", "exercises")
            assert not within or hasattr(getattr(hg, name), inside), f"{first_line(cell)}: no hg.{name}.{inside}"


def test_every_link_to_a_file_leads_somewhere(notebook):
    for cell in prose_of(notebook):
        for target in re.findall(r"\]\(([^)\s]+)\)", cell.source):
            if re.match(r"https?://|mailto:|#|attachment:", target):
                continue
            file = target.split("#")[0]
            stem = Path(file).stem
            if stem in SERIES and file == f"{stem}.ipynb":
                assert (FOLDER / file).is_file(), target
            else:
                assert (FOLDER / file).exists(), f"{first_line(cell)}: {target} leads nowhere"


def test_the_last_cells_are_takeaways_and_what_to_read_next(notebook):
    headings = [h for cell in prose_of(notebook) for h in re.findall(r"^## (.+)$", cell.source, re.M)]
    assert headings[-2:] == ["Takeaways", "Read next"]
    numbers = [int(found[1]) for heading in headings if (found := re.match(r"(\d+)\. ", heading))]
    assert numbers == list(range(1, len(headings) - 1)), headings


def test_the_set_up_cell_is_the_same_everywhere_and_knows_the_address(notebook):
    cells = [cell for cell in notebook.cells if "setup" in tags_of(cell)]
    assert len(cells) == 1 and notebook.cells[1] is cells[0], "exactly one cell, the second, is the set-up cell"
    assert cells[0].source == set_up_source()
    assert f'"git+{repository()}"' in cells[0].source
    assert "".join(output.text for output in cells[0].outputs) == "hg_helpers is ready (seed 0)\n"


def set_up_source() -> str:
    """That of the first notebook there is; all are held to it."""
    for stem in SERIES:
        path = FOLDER / f"{stem}.ipynb"
        if path.is_file():
            cells = nbformat.read(path, as_version=4).cells
            return next(cell.source for cell in cells if "setup" in tags_of(cell))
    pytest.skip("no notebook is written yet")


def test_code_fits_a_projector(name, notebook):
    for cell in code_of(notebook):
        wide = [line for line in cell.source.splitlines() if len(line) > 85]
        assert not wide, f"{first_line(cell)}: {wide}"


def test_each_picture_has_words_for_those_who_do_not_see_it(name, notebook):
    for cell in code_of(notebook):
        for data in (output.get("data", {}) for output in cell.outputs):
            if any(kind.startswith("image/") for kind in data):
                alt = re.search(r'<img alt="([^"]*)"', "".join(data.get("text/html", "")))
                assert alt and len(alt[1].split()) >= 8, first_line(cell)


def test_what_a_learner_guesses_is_held_against_what_happens(name, notebook):
    cells = code_of(notebook)
    guesses = [(g, i) for i, cell in enumerate(cells) for g in re.findall(r"^(my_\w+) = None", cell.source, re.M)]
    assert guesses
    for guess, place in guesses:
        judged = re.search(rf"predicted\([^\n]*\b{guess}\b", cells[place].source)
        used = any(re.search(rf"\b{guess}\b", cell.source) for cell in cells[place + 1 :])
        assert judged or used, f"nobody looks at {guess}"


def test_each_figure_is_followed_by_words(notebook):
    for i, cell in enumerate(notebook.cells):
        if cell.cell_type != "code":
            continue
        if pictures_of(cell):
            after = notebook.cells[i + 1 : i + 3]
            words = [len(c.source.split()) for c in after if c.cell_type == "markdown"]
            assert words and max(words) >= 8, f"{first_line(cell)}: no sentence says what the picture shows"


# --- the set-up cell in a bare folder ---------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_the_set_up_cell_installs_the_package_in_an_empty_folder_and_leaves_torch(tmp_path):
    """As on Colab: torch is there, the package is not, and `HG_HELPERS_SOURCE` names a git address."""
    if shutil.which("git") is None or not (ROOT / ".git").exists():
        pytest.skip("not a git checkout: there is no repository to install from")
    bare, folder = tmp_path / "repository.git", tmp_path / "empty"
    subprocess.run(["git", "clone", "--quiet", "--bare", str(ROOT), str(bare)], check=True, capture_output=True)
    folder.mkdir()
    # `name @ git+file:///...` is refused by pip before 24.1, so git is told where an address that cannot exist leads
    (tmp_path / ".gitconfig").write_text(f'[url "file://{bare}"]\n\tinsteadOf = {NOWHERE}\n', encoding="utf-8")
    python, offline = environment_without_the_package(tmp_path)
    (tmp_path / "cell.ipy").write_text(set_up_source() + "\n" + BARE_FOLDER_CHECK, encoding="utf-8")
    # IPython would add the packages of the environment that VIRTUAL_ENV names, the tests' own
    hidden = ("PYTHON", "PIP_", "PYTEST", "COV_", "VIRTUAL_ENV")
    env = {k: v for k, v in os.environ.items() if not k.startswith(hidden)}
    env |= {
        "HG_HELPERS_SOURCE": f"git+{NOWHERE}",
        "HOME": str(tmp_path),
        "PIP_CACHE_DIR": str(tmp_path / "cache"),
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
        "IPYTHONDIR": str(tmp_path / "ipython"),
        **offline,
    }
    command = [str(python), "-m", "IPython", "--no-banner", "--colors=NoColor", str(tmp_path / "cell.ipy")]
    done = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, timeout=170)
    told = f"{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    assert done.returncode == 0 and "hg_helpers is ready (seed 0)" in done.stdout, told
    facts = dict(re.findall(r"^FACT (\w+) (.+)$", done.stdout, re.M))
    assert Path(facts["package"]).is_relative_to(tmp_path / "venv"), told
    assert facts["patients"] == "1000", told
    assert facts["torch"] == metadata.version("torch"), told
    assert not Path(facts["torch_file"]).is_relative_to(tmp_path / "venv"), f"torch was installed again: {told}"
    assert not list((tmp_path / "venv").rglob("torch")), "torch was installed again"
    assert not list(folder.iterdir()), "the set-up cell leaves files in the reader's folder"


NOWHERE = "https://repository.invalid/health-gym-v2"
BARE_FOLDER_CHECK = """
import torch
print("FACT package", hg.__file__)
print("FACT patients", hg.load_cohort()["PatientID"].nunique())
print("FACT torch", torch.__version__)
print("FACT torch_file", torch.__spec__.origin)
"""


def environment_without_the_package(tmp_path: Path) -> tuple[Path, dict[str, str]]:
    """A virtual environment that sees everything installed here but `hg_helpers`, and the settings for pip in it.

    Links to all that is installed, except this package and the `.pth` files that lead to a checkout, stand in a folder
    outside the environment: pip counts them as installed and touches none. Nothing has to be fetched then, not even
    setuptools, where the one that is here is new enough to build the package.
    """
    seen = tmp_path / "installed"
    seen.mkdir()
    folders = [Path(sysconfig.get_path(kind)) for kind in ("purelib", "platlib")]
    for folder in dict.fromkeys([*folders, Path(metadata.distribution("torch").locate_file(""))]):
        for entry in folder.iterdir():
            ours = re.search(r"hg[-_]helpers", entry.name, re.I)  # also `__editable__.hg_helpers-...`
            if not ours and entry.suffix != ".pth" and not (seen / entry.name).exists():
                (seen / entry.name).symlink_to(entry)
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(tmp_path / "venv")], check=True)
    python = tmp_path / "venv" / ("Scripts" if os.name == "nt" else "bin") / "python"
    ask = [str(python), "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"]
    site = subprocess.run(ask, check=True, capture_output=True, text=True).stdout.strip()
    (Path(site) / "installed.pth").write_text(f"{seen}\n", encoding="utf-8")
    try:
        new_enough = int(metadata.version("setuptools").split(".")[0]) >= 71  # builds wheels without `wheel`
    except metadata.PackageNotFoundError:
        new_enough = False
    # In the environment, pip reads the option the other way round: 0 switches the isolation off.
    return python, {"PIP_NO_BUILD_ISOLATION": "0", "PIP_NO_INDEX": "1"} if new_enough else {}


# --- how they are run -------------------------------------------------------------------------------------------------


def test_a_kernel_that_dies_while_it_starts_is_started_again_and_no_other_error_is_hidden():
    spec = importlib.util.spec_from_file_location("root_conftest", ROOT / "conftest.py")
    root = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(root)
    died, started = RuntimeError("Kernel died before replying to kernel_info"), ["manager", "client"]

    def begin(*answers):
        left = list(answers)

        def start(**asked):
            assert asked == {"cwd": "notebooks"}
            answer = left.pop(0)
            if isinstance(answer, Exception):
                raise answer
            return answer

        return lambda: (root.with_other_ports(start)(cwd="notebooks"), left)

    assert begin(died, died, started)() == (started, [])
    assert begin(started, died)() == (started, [died])
    for answers in ((died, died, died, started), (RuntimeError("timed out"), started), (OSError("no python"), started)):
        with pytest.raises(type(answers[0]), match=str(answers[0])):
            begin(*answers)()


@pytest.mark.skipif(sys.platform == "win32", reason="Windows lets two sockets share a port")
def test_nbval_starts_a_second_kernel_where_a_port_of_the_first_was_taken(tmp_path):
    nbformat.write(nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("1 + 1")]), tmp_path / "one.ipynb")
    shutil.copy(ROOT / "conftest.py", tmp_path)
    (tmp_path / "thief.py").write_text(
        "import socket, jupyter_client\n"
        "launch, taken = jupyter_client.KernelManager._async_launch_kernel, []\n"
        "async def steal(self, command, **asked):\n"
        "    if not taken:\n"
        "        taken.append(socket.create_server((self.ip, self.shell_port)))\n"
        "    return await launch(self, command, **asked)\n"
        "jupyter_client.KernelManager._async_launch_kernel = steal\n"
        "def pytest_sessionfinish(): assert taken\n"
    )
    command = [sys.executable, "-m", "pytest", "-q", "-p", "thief", "--nbval-lax", "--nbval-current-env", "one.ipynb"]
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=250)
    assert done.returncode == 0, done.stdout + done.stderr

"""What a class is given: notebooks in which no solution stands, and pages for whoever has no Python."""

from __future__ import annotations

import json
import re
import socket
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import nbformat
import pytest

from hg_helpers.__main__ import main
from hg_helpers.app.workshop import NOTEBOOKS, page, solves, source, student

SERIES = sorted(path.stem for path in NOTEBOOKS.glob("*.ipynb"))


class Page(HTMLParser):
    """The elements of a page, by name."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict]] = []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))

    def all(self, tag: str) -> list[dict]:
        return [attributes for name, attributes in self.elements if name == tag]


def notebook(path: Path) -> dict:
    return json.loads(path.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    """Both editions of the whole series, made by a machine without a network."""
    folder = tmp_path_factory.mktemp("workshop")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket.socket, "connect", lambda *_: pytest.fail("asked the network"))
        assert main(["workshop", "--out", str(folder), "--quiet"]) == 0
    return folder


def test_both_editions_hold_the_whole_series_and_are_not_written_over(made, capsys):
    assert sorted(p.name for p in (made / "student").iterdir()) == [f"{name}.ipynb" for name in SERIES]
    assert sorted(p.name for p in (made / "html").iterdir()) == [f"{name}.html" for name in SERIES]
    assert main(["workshop", "--out", str(made)]) == 1 and "--force" in capsys.readouterr().err


def test_a_folder_without_notebooks_is_named(tmp_path, capsys):
    assert main(["workshop", "--notebooks", str(tmp_path), "--out", str(tmp_path / "out")]) == 1
    said = capsys.readouterr().err
    assert str(tmp_path) in said and "--notebooks" in said and not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", SERIES)
def test_a_student_edition_has_every_task_and_check_and_no_solution(made, name):
    whole, handed_out = notebook(NOTEBOOKS / f"{name}.ipynb"), notebook(made / "student" / f"{name}.ipynb")
    nbformat.validate(nbformat.from_dict(handed_out))
    open_cells = [source(cell) for cell in whole["cells"] if not solves(cell)]
    solutions = [cell for cell in whole["cells"] if solves(cell)]
    text = "\n".join(map(source, handed_out["cells"]))
    assert len(solutions) >= 4
    for cell in solutions:  # what stands elsewhere too, such as a `return` on its own, gives nothing away
        own = [line for line in source(cell).splitlines() if not any(line in other for other in open_cells)]
        assert own and not [line for line in own if line in text]
        printed = "".join("".join(output.get("text", "")) for output in cell["outputs"])
        assert "Right: " in printed and printed.split("Right: ")[1].splitlines()[0] not in text
    code = [cell for cell in handed_out["cells"] if cell["cell_type"] == "code"]
    assert all(cell["outputs"] == [] and cell["execution_count"] is None for cell in code)
    kept = [(old, new) for old, new in zip(whole["cells"], handed_out["cells"], strict=True) if not solves(old)]
    assert all(source(old) == source(new) for old, new in kept if old["cell_type"] == "code")
    called = [check for cell in code for check in re.findall(r'exercises\.chosen\("(\w+)"', source(cell))]
    assert len(set(called)) == len(called) >= 4  # each once: a learner is told once on whose function cells run
    assert text.count("Your turn ") == "\n".join(open_cells).count("Your turn ")
    assert "colab.research" not in text  # the badge would open the solutions
    for target in re.findall(r"\]\((?!https?:|#|mailto:)([^)\s]+)\)", text):
        assert (made / "student" / target.split("#")[0]).exists(), target


def kinds(output: dict) -> set[str]:
    data = output.get("data", {})
    return {*data, *(["<img"] if "<img " in "".join(data.get("text/html", "")) else [])}


@pytest.mark.parametrize("name", SERIES)
def test_a_page_describes_every_picture_and_folds_every_solution(made, name):
    whole = notebook(NOTEBOOKS / f"{name}.ipynb")
    text = (made / "html" / f"{name}.html").read_text(encoding="utf-8")
    found = Page(text)
    outputs = [output for cell in whole["cells"] for output in cell.get("outputs", [])]
    pictures = [o for o in outputs if {"<img", "image/png"} & kinds(o)]
    images = found.all("img")
    assert len(images) == len(pictures) > 0
    for image, picture in zip(images, pictures, strict=True):
        described = picture.get("metadata", {}).get("image/png", {}).get("alt")
        assert image["alt"] == described if described else len(image["alt"].split()) >= 4
        assert image["src"].startswith("data:image/")
    assert not [script for script in found.all("script") if "src" in script] and "MathJax" not in text
    assert text.count("<details><summary>Solution</summary>") == sum(map(solves, whole["cells"]))
    links = [link["href"] for link in found.all("a") if not link.get("href", "#").startswith(("#", "http", "mailto:"))]
    assert links and all((made / "html" / link.split("#")[0]).exists() for link in links)


def test_a_picture_without_a_description_has_the_sentence_that_follows_it():
    picture = {"output_type": "display_data", "data": {"image/png": "AA=="}, "metadata": {}}
    code = {"cell_type": "code", "source": "1", "metadata": {}, "outputs": [picture], "execution_count": 1}
    said = 'The picture shows "two" hills & a <dale>.'
    prose = {"cell_type": "markdown", "metadata": {}, "source": f"Now. {said.replace('picture', '*picture*')} More."}
    made = {"cells": [code, prose], "metadata": {}, "nbformat": 4, "nbformat_minor": 4}
    assert [image["alt"] for image in Page(page(made, "hills")).all("img")] == [said]


def test_formulas_are_set_by_the_browser_and_code_keeps_its_dollars():
    prose = "Of $x_1$, `$PATH$` and\n\n$$\\frac12 \\sum_i x_i * y_i * z$$\n\n```\na = '$5 or $6'\n```\n"
    cells = [{"cell_type": "markdown", "metadata": {}, "source": prose}]
    text = page({"cells": cells, "metadata": {}, "nbformat": 4, "nbformat_minor": 4}, "sums")
    assert [formula["display"] for formula in Page(text).all("math")] == ["inline", "block"]
    assert "<code>$PATH$</code>" in text and "a = '$5 or $6'" in text.replace("&#39;", "'") and "$$" not in text
    assert "<em>" not in text  # the signs of multiplication are none of Markdown's


def test_a_crash_leaves_the_editions_that_were_there(tmp_path, monkeypatch):
    old = tmp_path / "out" / "student" / "one.ipynb"
    old.parent.mkdir(parents=True)
    old.write_text("before")
    (tmp_path / "one.ipynb").write_text('{"cells": [], "metadata": {}, "nbformat": 4, "nbformat_minor": 4}')
    monkeypatch.setattr("os.replace", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        main(["workshop", "--notebooks", str(tmp_path), "--out", str(tmp_path / "out"), "--force"])
    assert old.read_text() == "before" and [path.name for path in old.parent.iterdir()] == ["one.ipynb"]


def test_the_student_edition_of_the_first_notebook_runs_with_nothing_filled_in(tmp_path):
    handed_out = student(notebook(NOTEBOOKS / "01_preprocessing.ipynb"))
    (tmp_path / "one.ipynb").write_text(json.dumps(handed_out), encoding="utf-8")
    command = [sys.executable, "-m", "nbconvert", "--execute", "--to", "notebook", "--output", "run", "one.ipynb"]
    said = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert said.returncode == 0, said.stderr[-2000:]
    text = (tmp_path / "run.ipynb").read_text(encoding="utf-8")
    assert text.count("has not passed its check yet") >= 6

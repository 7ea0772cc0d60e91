"""What a teacher hands out: the notebooks without their solutions, and as pages for readers who have no Python.

>>> stub = {'cell_type': 'code', 'source': '_ = hg.exercises.check_scale(mine)', 'metadata': {}}
>>> solution = {**stub, 'source': 'assert hg.exercises.check_scale(scale)', 'metadata': {'tags': ['solution']}}
>>> student({'cells': [stub, solution]})['cells'][1]['source']
'scale = hg.exercises.chosen("scale", mine)'
"""

from __future__ import annotations

import io
import json
import re
from pathlib import Path
from typing import Any

from ..runtime.checkpoint import require_writable
from .files import write_text

#: The notebooks of a clone of the repository; a package that pip has installed comes without them.
NOTEBOOKS = Path(__file__).resolve().parents[2] / "notebooks"
CHECK = re.compile(r"exercises\.check_(\w+)\((\w+)\)")
CHOSEN = re.compile(r"exercises\.chosen\(\s*[\"'](\w+)")
HOME = re.compile(r"colab\.research\.google\.com/github/(\S+?/notebooks/)")
BADGE = re.compile(r"\[!\[(Open in Colab)\]\([^)]*\)\](\([^)]*\))\s*")
#: Code, which keeps its dollars, and formulas, set off or within a line.
FORMULA = re.compile(r"```.*?```|`[^`]*`|\$\$(.+?)\$\$|\$([^$\n]+?)\$", re.S)


def write_editions(notebooks: Path, folder: Path) -> int:
    """Write ``student/NAME.ipynb`` and ``html/NAME.html`` of each notebook in a folder; returns how many there are."""
    found = sorted(notebooks.glob("*.ipynb"))
    if not found:
        raise ValueError(f"no notebook in {notebooks}: name their folder in a clone of the repository by --notebooks")
    require_writable(folder / "page.html")
    for path in found:
        text = path.read_text(encoding="utf-8")
        if home := HOME.search(text):  # other pages of the repository are not handed out: they are read there
            text = re.sub(r"\]\((\.\./[^)\s]+|[\w-]+\.md[^)\s]*)\)", rf"](https://github.com/{home[1]}\1)", text)
        # read twice: both editions change what they are given
        write_text(page(json.loads(text), path.stem), folder / "html" / f"{path.stem}.html")
        handed_out = json.dumps(student(json.loads(text)), indent=1, ensure_ascii=False) + "\n"
        write_text(handed_out, folder / "student" / path.name)
    return len(found)


def student(notebook: dict[str, Any]) -> dict[str, Any]:
    """A notebook without outputs, in which the learner's own answer, or else the package's, stands for a solution."""
    open_text = "\n".join(source(cell) for cell in notebook["cells"] if not solves(cell))
    answers, chosen = dict(CHECK.findall(open_text)), CHOSEN.findall(open_text)
    for cell in notebook["cells"]:
        if solves(cell):
            names = CHECK.findall(source(cell))
            names = [(check, name) for check, name in names if check not in chosen]  # else a later cell says which
            lines = [f'{name} = hg.exercises.chosen("{check}", {answers[check]})' for check, name in names]
            cell |= {"source": "\n".join(lines) or "# here the teacher's edition has a solution", "metadata": {}}
        if cell["cell_type"] == "code":
            cell |= {"outputs": [], "execution_count": None}
        else:
            cell["source"] = BADGE.sub("", source(cell))  # Colab would open the edition with solutions
    return notebook


def page(notebook: dict[str, Any], title: str) -> str:
    """A notebook as one page of HTML; a picture without a description has the first sentence that follows it."""
    try:
        from latex2mathml.converter import convert  # browsers set MathML themselves, without a network
        from nbconvert import HTMLExporter
    except ImportError as error:
        needed = "python -m pip install 'nbconvert>=7' latex2mathml"
        raise ValueError(f"pages are made by nbconvert and latex2mathml; run: {needed}") from error

    def formula(found: re.Match) -> str:
        block, inline = found.groups()
        return convert(block or inline, display="block" if block else "inline") if block or inline else found[0]

    described = "the text below says what it shows"
    for cell in reversed(notebook["cells"]):
        if cell["cell_type"] == "markdown":
            prose = BADGE.sub(r"[\1]\2\n", source(cell))  # without an image from the network
            cell["source"] = FORMULA.sub(formula, re.sub(r"\]\(([\w-]+)\.ipynb", r"](\1.html", prose))
            plain = re.sub(r"^[#|<$].*|[*`$]", "", prose, flags=re.M).strip()
            sentences = re.split(r"(?<=[.?])\s+", plain) if plain else [described]
            described = next((s for s in sentences if re.search("picture|In words", s)), sentences[0])
        for output in cell.get("outputs", []):
            if "image/png" in output.get("data", {}):
                output["data"].pop("text/html", None)  # of the package's own figures: the same once more
                output["metadata"].setdefault("image/png", {}).setdefault("alt", described)
    exporter = HTMLExporter(raw_template=Path(__file__).with_name("page.html.j2").read_text(encoding="utf-8"))
    return exporter.from_file(io.StringIO(json.dumps(notebook)), {"metadata": {"name": title}})[0]


def solves(cell: dict[str, Any]) -> bool:
    return "solution" in cell["metadata"].get("tags", [])


def source(cell: dict[str, Any]) -> str:
    return "".join(cell["source"])

"""How long a notebook takes a learner, from its words, code lines and exercises: ``python -m tests.minutes``.

Words at 150 a minute, code lines at 10, seven minutes an exercise; imports, set-up and the hidden solutions are
not counted. Rates are a convention, to be replaced by a class's measured minutes
(notebooks/README.md has the form).
"""

from __future__ import annotations

import re
from pathlib import Path

import nbformat

WORDS, LINES, EXERCISE = 150, 10, 7  # a minute, a minute, minutes
FOLDER = Path(__file__).resolve().parents[1] / "notebooks"


def counted(notebook: nbformat.NotebookNode) -> dict[str, list]:
    """Words, lines, exercises and minutes of each section (a heading of the second order), and of all."""
    sections: dict[str, list] = {}
    name = "before section 1"
    for cell in notebook.cells:
        tags, text = cell.metadata.get("tags", []), cell.source
        for number, part in enumerate(re.split(r"^## (.+)$", text, flags=re.M)):
            if number % 2:
                name = part.strip()
                continue
            row = sections.setdefault(name, [0, 0, 0])
            if cell.cell_type == "markdown":
                row[0] += len(re.sub(r"!?\[([^\]]*)\]\([^)]*\)", r"\1", part).split())
                row[2] += len(re.findall(r"^### Your turn \d+", part, re.M))
            elif not {"setup", "solution"} & set(tags) and "exercises.check_" not in part:
                row[1] += sum(
                    bool(line.strip()) and not re.match(r"(import|from|%)", line) for line in part.split("\n")
                )
    sections.pop("Read next", None)
    sections["all"] = [sum(column) for column in zip(*sections.values(), strict=True)]
    return {
        name: [words, lines, exercises, words / WORDS + lines / LINES + EXERCISE * exercises]
        for name, (words, lines, exercises) in sections.items()
    }


def stated(minutes: float) -> int:
    """To the next five minutes."""
    return 5 * round(minutes / 5)


def main() -> None:
    for path in sorted(FOLDER.glob("*.ipynb")):
        print(f"{path.stem}\n  {'words':>6}{'lines':>7}{'turns':>7}{'minutes':>9}")
        for name, (words, lines, exercises, minutes) in counted(nbformat.read(path, as_version=4)).items():
            print(f"  {words:6}{lines:7}{exercises:7}{minutes:9.0f}  {name}")


if __name__ == "__main__":
    main()

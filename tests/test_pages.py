"""The pages that GitHub shows: links lead somewhere, commands can be run as they stand, the front page stays short."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = ("", "notebooks", "hg_helpers", "data", "data/results", "figures")
PAGES = [*(ROOT / folder / "README.md" for folder in FOLDERS), *sorted((ROOT / "notebooks").glob("[a-z]*.md"))]


def anchors(page: Path) -> set[str]:
    """What GitHub makes of the headings."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere_and_no_list_needs_what_github_cannot_show(page):
    text = page.read_text(encoding="utf-8")
    prose = re.sub(r"^```.*?^```", "", text, flags=re.M | re.S)
    assert not re.search(r"^: ", prose, re.M), "GitHub shows the colons of a definition list"
    for target in re.findall(r"\]\(([^)\s]+)\)", prose):
        if target.startswith(("http", "mailto:")):
            continue
        file, _, anchor = target.partition("#")
        leads = (page.parent / file).resolve() if file else page
        assert leads.exists(), f"{target} leads nowhere"
        if anchor:
            assert anchor in anchors(leads / "README.md" if leads.is_dir() else leads), f"{target}: no such heading"
    for alt, _ in re.findall(r"!\[([^\]]*)\]\(([^)\s]+)\)", prose):
        assert len(alt) >= 12, "a picture without words for those who cannot see it"


def test_the_front_page_has_two_commands_of_one_line_each_and_is_short():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    for name, ends in (("demo", "python -m hg_helpers demo"), ("test", "pytest -n2 --nbval-lax")):
        (command,) = re.findall(rf"<!-- {name} command -->\n```sh\n(.+)\n```\n", text)
        assert command.startswith("pip install -r requirements.txt && ") and command.endswith(ends)
        assert len(command) <= 96, "it would scroll sideways at 900 pixels"
    assert len(text.split()) <= 1300


def test_the_front_page_links_each_notebook_to_colab_at_the_address_of_the_project():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    address = re.search(r'^Repository = "https://github.com/(.+)"$', (ROOT / "pyproject.toml").read_text(), re.M)[1]
    for notebook in (ROOT / "notebooks").glob("*.ipynb"):
        assert f"(notebooks/{notebook.name})" in text
        assert f"https://colab.research.google.com/github/{address}/blob/main/notebooks/{notebook.name}" in text


def test_what_runs_under_other_instruction_sets_exists():
    named = (ROOT / ".ci" / "numerical").read_text(encoding="utf-8").split()
    left_out = [part for part in named if part.startswith("--deselect=")]  # what torch has little part in
    for option in left_out:
        named.remove(option)
        file, test = option.split("=")[1].split("::")
        assert f"def {test}(" in (ROOT / file).read_text(encoding="utf-8"), option
    assert len(named) > 10 and all((ROOT / file).is_file() for file in named)
    assert [file[10:12] for file in named if file.endswith(".ipynb")] == ["02", "03", "04"]

"""The page that `evaluate` writes: it stands alone, says everything, and shows whatever a column may be called."""

from __future__ import annotations

from collections import Counter
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest
import yaml

import hg_helpers as hg
from hg_helpers.__main__ import main
from hg_helpers.app.report import WORDS, write_page
from hg_helpers.metrics import METRICS

NAMES = {"VL": "<b>VL</b>", "CD4": 'CD4 & "more"', "Gender": "<script>alert(1)</script>"}
EMPTY = {"meta", "img", "br"}


class Page(HTMLParser):
    """What a browser would see: elements in order, text by element, and that every one that opens is closed."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict]] = []
        self.open: list[str] = []
        self.words: list[tuple[str, str]] = []
        self.tables: list[list[list[str]]] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))
        if tag == "table":
            self.tables.append([])
        if tag == "tr":
            self.tables[-1].append([])
        if tag in ("td", "th"):
            self.tables[-1][-1].append("")
        if tag not in EMPTY:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, text):
        self.words.append((self.open[-1] if self.open else "", text))
        if self.open and self.open[-1] in ("td", "th"):
            self.tables[-1][-1][-1] += text

    def all(self, tag: str) -> list[dict]:
        return [attributes for name, attributes in self.elements if name == tag]

    def text(self) -> str:
        return " ".join(words for tag, words in self.words if tag != "style")


@pytest.fixture(scope="module")
def folder(cohort, schema, tmp_path_factory, quick_report):
    """A report on tables whose columns have names that a page must not take for its own."""
    folder = tmp_path_factory.mktemp("page")
    tables = {"real": cohort, "holdout": hg.simulate_cohort(30, months=6, seed=7)}
    tables["synthetic"] = hg.simulate_cohort(24, months=6, seed=5)
    for name, part in tables.items():
        part.rename(columns=NAMES).assign(unused=1).to_csv(folder / f"{name}.csv", index=False)
    plan = schema.to_dict()
    for feature in plan["features"]:
        feature["name"] = NAMES.get(feature["name"], feature["name"])
    (folder / "six.yaml").write_text(yaml.safe_dump(plan))
    options = {f"--{name}": f"{name}.csv" for name in tables} | {"--schema": "six.yaml", "--out": "report"}
    named = [part for option, file in options.items() for part in (option, str(folder / file))]
    with pytest.MonkeyPatch.context() as patch:
        quick_report(patch)
        assert main(["evaluate", *named]) == 0
    return folder


@pytest.fixture(scope="module")
def text(folder):
    return (folder / "report" / "report.html").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def page(text):
    page = Page(text)
    assert page.open == []
    return page


def test_the_page_needs_nothing_but_itself_and_runs_nothing(page, text, folder):
    assert text.startswith("<!DOCTYPE html>") and page.all("html") == [{"lang": "en"}]
    assert page.all("meta")[0] == {"charset": "utf-8"} and page.all("title")
    tags = Counter(tag for tag, _ in page.elements)
    assert not {"script", "link", "iframe", "object", "base", "form", "a", "b", "video"} & set(tags)
    for tag, attributes in page.elements:
        assert not any(name.startswith("on") or name in ("href", "action", "srcset") for name in attributes), tag
        assert attributes.get("src", "data:image/png;base64,").startswith("data:image/png;base64,")
    assert "http" not in text and "url(" not in text and "@import" not in text
    assert not list((folder / "report").glob("*.tmp*")) and str(folder) not in text  # nor whose computer it was


def test_each_picture_but_that_of_single_patients_is_there_with_its_alternative_text(page, folder):
    drawn = {path.stem for path in (folder / "report").glob("*.png")}
    captions = {words.replace(" ", "_") for tag, words in page.words if tag == "figcaption"}
    assert "patients" in drawn and captions == drawn - {"patients"} and len(captions) >= 8
    assert len(page.all("img")) == len(captions)
    assert all(len(image["alt"]) > 40 and image["alt"].endswith(".") for image in page.all("img"))


def test_the_page_has_every_row_of_the_table_and_says_what_each_number_hides(page, folder):
    report = pd.read_csv(folder / "report" / "report.csv", keep_default_na=False, na_values=[""])
    rows = [row for part in page.tables if part[0][:3] == ["metric", "feature", "synthetic"] for row in part[1:]]
    assert [row[0] for row in rows] == report["metric"].tolist()
    shown = {(row[0], row[1]): row[2:] for row in rows}
    for row in report.itertuples():
        value, floor, *_, note = shown[row.metric, row.feature]
        for number, cell in ((row.value, value), (row.floor, floor)):
            assert cell == ("undefined" if np.isnan(number) else f"{number:.3f}")
        assert note == ("" if pd.isna(row.note) else row.note)
    hides = {row[0] for part in page.tables if part[0][-1] == "what it hides" for row in part[1:]}
    assert hides == set(report["metric"])


def test_every_metric_has_words():
    assert set(WORDS["metrics"]) == set(METRICS)
    assert set(WORDS["groups"]) == {metric.group for metric in METRICS.values()}


def test_names_are_shown_as_they_are_written(page):
    assert all(name in page.text() for name in NAMES.values())
    features = next(part for part in page.tables if part[0][0] == "feature")
    assert set(NAMES.values()) <= {row[0] for row in features}


def test_the_sizes_of_the_sets_and_what_was_left_out_are_said(page):
    sizes = next(part for part in page.tables if part[0][0] == "set")
    assert [row[:3] for row in sizes[1:]] == [
        ["training", "40", "240"],
        ["holdout", "30", "180"],
        ["synthetic", "24", "144"],
    ]
    notes = [words for tag, words in page.words if tag == "li"]
    assert sum("unused" in note for note in notes) == 1  # though each of the tables is checked twice
    assert len(notes) == len({note.split(" table: ")[-1] for note in notes})
    settings = dict(row for part in page.tables if part[0] == ["setting", "value"] for row in part[1:])
    assert settings["real"] == "real.csv" and settings["hg_helpers"] == hg.__version__ and settings["seed"] == "0"
    assert {"torch", "pandas", "numpy", "made"} <= set(settings)


def test_headings_go_down_one_step_at_a_time_and_tables_name_themselves(page):
    levels = [int(tag[1]) for tag, _ in page.elements if tag in ("h1", "h2", "h3")]
    assert levels[0] == 1 and levels.count(1) == 1 and max(np.diff(levels)) <= 1
    tags = Counter(tag for tag, _ in page.elements)
    assert tags["caption"] == tags["table"] == tags["thead"] > 8
    assert all(attributes.get("scope") in ("col", "row") for attributes in page.all("th"))
    assert all(len({len(row) for row in part}) == 1 for part in page.tables)


def test_a_crash_while_the_page_is_written_leaves_the_one_that_was_there(tmp_path, schema, cohort, monkeypatch):
    path = tmp_path / "report.html"
    path.write_text("before")
    report = pd.DataFrame([("ks", "VL", 0.1, np.nan, 0.0, np.nan, np.nan, "")])
    report.columns = ["metric", "feature", "value", "floor", "best", "low", "high", "note"]
    write_page(path, report, {"training": cohort}, schema, {}, [], {})
    assert "undefined" in path.read_text() and "Nothing." in path.read_text()
    path.write_text("before")
    monkeypatch.setattr("os.replace", lambda *_: 1 / 0)
    monkeypatch.setattr("pathlib.Path.replace", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        write_page(path, report, {"training": cohort}, schema, {}, [], {})
    assert path.read_text() == "before" and [p.name for p in tmp_path.iterdir()] == ["report.html"]


def test_what_comes_from_outside_is_escaped_wherever_it_stands(tmp_path, schema, cohort):
    path, odd = tmp_path / "report.html", '"><img src=x onerror=1>'
    report = pd.DataFrame([("ks", odd, 0.1, 0.1, 0.0, np.nan, np.nan, odd)])
    report.columns = ["metric", "feature", "value", "floor", "best", "low", "high", "note"]
    write_page(path, report, {odd: cohort}, schema, {odd: (b"", odd)}, [odd], {odd: odd})
    page = Page(path.read_text(encoding="utf-8"))
    assert page.all("img") == [{"alt": odd, "src": "data:image/png;base64,"}] and page.open == []
    assert page.text().count(odd) == 8  # a feature, a note, a set in two tables, a line, a caption, a setting's two

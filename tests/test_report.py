"""The report: everything that lies there is in it, nothing runs in it, the same files give the same page."""

import json
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from migstudy.report.page import write_report
from migstudy.runs import folder as runs
from migstudy.runs.folder import open_run

VOID = {"meta", "img", "br", "hr", "link", "input"}


class Tree(HTMLParser):
    """Checks that tags are closed in order; collects ids, links and tags."""

    def __init__(self):
        super().__init__()
        self.open, self.ids, self.links, self.tags = [], set(), set(), []

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        self.tags.append(tag)
        self.ids |= {attrs["id"]} if "id" in attrs else set()
        self.links |= {attrs["href"][1:]} if attrs.get("href", "").startswith("#") else set()
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


@pytest.fixture
def study(tmp_path, monkeypatch):
    monkeypatch.setenv("MIGSTUDY_ROOT", str(tmp_path))
    monkeypatch.delenv(runs.RUNNER, raising=False)
    folder = tmp_path / "figures"
    folder.mkdir()
    (folder / "table_a.md").write_text("Scores <of> all. Percent. Measured on: a test & more.\n\n| model | top-1 |\n|:--|--:|\n| one | 50.0 |\n")
    told = {"title": "Scores", "source": "a test", "command": "migstudy run 06_ablations", "commit": "abc", "run_ids": ["r-1", "r-2"]}
    (folder / "table_a.json").write_text(json.dumps(told))
    for name, notebook in (("late", "07_tables"), ("early", "01_dataset")):
        Image.fromarray(np.zeros((4, 4, 3), np.uint8)).save(folder / f"{name}.png")
        (folder / f"{name}.json").write_text(json.dumps({**told, "title": f"A {name} figure", "command": f"migstudy run {notebook}"}))
    run = open_run("03_train_gesture", {"profile": "smoke", "shuffle_labels": True, "seed": 0}, "f")
    run.write_json("metrics.json", {"test": {"top1": 0.5, "macro_f1": 0.25}, "source": "a toy <of> mine"})
    cells = [
        {"cell_type": "markdown", "metadata": {}, "source": ["# Train\n", "with **care**"]},
        {"cell_type": "code", "metadata": {}, "source": ["x = '<b>'"], "outputs": [
            {"output_type": "stream", "name": "stderr", "text": ["50%|###"]}, {"output_type": "stream", "name": "stdout", "text": ["a < b"]},
            {"output_type": "display_data", "data": {"text/html": ["<table><tr><td>7</td></tr></table><script>evil()</script>"]}},
        ]},
    ]  # fmt: skip
    run.path("run.ipynb").write_text(json.dumps({"cells": cells}))
    run.finish()
    return tmp_path


def test_everything_is_in_it_and_nothing_runs(study):
    page = write_report(study / "report.html", study / "figures", study / "runs").read_text()
    tree = Tree()
    tree.feed(page)
    assert tree.open == [] and {"tables", "figures", "notebooks", "runs"} <= tree.links <= tree.ids
    assert {"table_a", "late", "early"} <= tree.ids and tree.tags.count("img") == 2 and "script" not in tree.tags
    for text in ("Scores &lt;of&gt; all", "50.0", "r-1 r-2", "a &lt; b", "<strong>care</strong>", "<td>7</td>", "50.0 %", "seed=0",
                 "profile=smoke", "shuffle_labels=True", "a toy &lt;of&gt; mine"):  # fmt: skip
        assert text in page, text
    assert "50%|###" not in page and 'src="http' not in page and "<link" not in page, "it stands alone"
    assert page.index('id="early"') < page.index('id="late"'), "in the order of the notebooks"
    assert "prefers-color-scheme: dark" in page and "width=device-width" in page


def test_a_damaged_run_is_left_out_and_named(study, capsys):
    broken = open_run("03_train_gesture", {"profile": "paper", "seed": 7}, "f")
    broken.finish()
    broken.path("metrics.json").write_text('{"test"')
    page = write_report(study / "report.html", study / "figures", study / "runs").read_text()
    assert "a toy &lt;of&gt; mine" in page and broken.id not in page
    said = capsys.readouterr().err
    assert said.startswith(f"left out: {broken.path('metrics.json')} cannot be read") and said.count("\n") == 1


def test_the_notebook_behind_a_figure_is_shown_before_a_newer_one(study):
    (cited,) = runs.finished_runs()
    newer = open_run("03_train_gesture", {"profile": "paper", "seed": 0}, "f")
    newer.write_json("metrics.json", {"test": {"top1": 0.0, "macro_f1": 0.0}, "source": "one step"})
    newer.path("run.ipynb").write_text(json.dumps({"cells": [{"cell_type": "markdown", "metadata": {}, "source": ["a trial"]}]}))
    newer.finish()
    newer.write_json("env.json", {**newer.read_json("env.json"), "started": "2999-01-01T00:00:00+00:00"})
    table = study / "figures" / "table_a.json"
    for ids, shown in (([cited.id], False), ([], True)):
        table.write_text(json.dumps({**json.loads(table.read_text()), "run_ids": ids}))
        for name in ("late", "early"):
            (study / "figures" / f"{name}.json").write_text(json.dumps({"title": name}))
        page = write_report(study / "report.html", study / "figures", study / "runs").read_text()
        assert ("a trial" in page, "<strong>care</strong>" in page) == (shown, not shown)


def test_the_same_files_give_the_same_page(study):
    first = write_report(study / "a.html", study / "figures", study / "runs").read_bytes()
    assert write_report(study / "b.html", study / "figures", study / "runs").read_bytes() == first


def test_without_results_there_is_no_report(tmp_path):
    (tmp_path / "figures").mkdir()
    with pytest.raises(ValueError, match="migstudy study"):
        write_report(tmp_path / "report.html", tmp_path / "figures", tmp_path / "runs")
    assert not (tmp_path / "report.html").exists()


@pytest.mark.browser
@pytest.mark.parametrize(("width", "scheme"), [(1200, "light"), (390, "dark")])
def test_a_browser_shows_it_without_sideways_scrolling(study, width, scheme):
    import shutil

    playwright = pytest.importorskip("playwright.sync_api")
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or pytest.skip("there is no Chromium")
    path = write_report(study / "report.html", study / "figures", study / "runs")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu", "--disable-quic"])
        page = browser.new_page(viewport={"width": width, "height": 800}, color_scheme=scheme)
        page.goto(path.as_uri())
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        light = page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
        assert light == (scheme == "light")
        browser.close()

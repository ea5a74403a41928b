"""JupyterLab in a real browser: a reader opens a notebook, chooses Run All, and sees the figures."""

import contextlib
import json
import os
import re
import secrets
import shutil
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest
from projects import ROOT, wait_for

pytestmark = pytest.mark.browser
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
QUIET = ("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
         "--disable-component-update", "--disable-sync")  # fmt: skip
SETTINGS = {
    "notebook-extension/tracker": {"windowingMode": "none"},  # every cell is in the page
    "apputils-extension/notification": {"fetchNews": "false", "checkForUpdates": False},
}


@pytest.fixture(scope="module")
def page():
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    if CHROMIUM is None:
        pytest.skip("there is no Chromium on this machine")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=list(QUIET))
        yield browser.new_page(viewport={"width": 1400, "height": 1000})
        browser.close()


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    """(address, token, project): a server on a copy of the project, its notebooks set to the smoke profile by hand."""
    project = tmp_path_factory.mktemp("lab") / "project"
    shutil.copytree(ROOT / "notebooks", project / "notebooks")
    (project / "migstudy").symlink_to(ROOT / "migstudy")
    for path in (project / "notebooks").glob("*.ipynb"):
        text, changed = re.subn(r'(profile: Literal\[[^]]*\] = )\\"quick\\"', r"\1\\" + r'"smoke\\"', path.read_text())
        assert changed == 1
        path.write_text(text)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    own, token = project.parent / "jupyter", secrets.token_hex(16)
    for name, chosen in SETTINGS.items():
        path = own / "settings" / "@jupyterlab" / f"{name}.jupyterlab-settings"
        path.parent.mkdir(parents=True)
        path.write_text(json.dumps(chosen))
    env = {**os.environ, "PYTHONPATH": str(ROOT), "MIGSTUDY_CACHE": str(own / "cache"), "JUPYTERLAB_SETTINGS_DIR": str(own / "settings"),
           **{f"JUPYTER_{kind}_DIR": str(own / kind.lower()) for kind in ("CONFIG", "DATA", "RUNTIME")},
           "JUPYTERLAB_WORKSPACES_DIR": str(own / "workspaces"), "IPYTHONDIR": str(own / "ipython")}  # fmt: skip
    env.pop("MIGSTUDY_ROOT", None)  # the root must be found from the notebooks' folder, as for a reader
    log = (own / "log.txt").open("w")
    process = subprocess.Popen(
        [sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", "--ServerApp.ip=127.0.0.1",
         f"--ServerApp.port={port}", "--ServerApp.port_retries=0", f"--IdentityProvider.token={token}",
         f"--ServerApp.root_dir={project}", "--LabApp.news_url=", "--LabApp.extension_manager=readonly"],
        env=env, stdout=log, stderr=subprocess.STDOUT, cwd=project,
    )  # fmt: skip
    address = f"http://127.0.0.1:{port}"

    def answers() -> bool:
        with contextlib.suppress(OSError):
            return urllib.request.urlopen(f"{address}/api?token={token}", timeout=5).status == 200
        return False

    try:
        wait_for(answers, process, 120)
        yield address, token, project
    finally:
        process.terminate()
        process.wait(timeout=60)
        log.close()


def run_all(page, address: str, token: str, name: str) -> None:
    page.goto(f"{address}/lab/tree/notebooks/{name}.ipynb?token={token}&reset", timeout=120_000)
    page.wait_for_selector(".jp-NotebookPanel .jp-CodeCell", timeout=120_000)
    page.get_by_text("Python 3 (ipykernel) | Idle").wait_for(timeout=120_000)
    for _ in range(5):  # a kernel that is still connecting swallows the first call
        page.locator(".lm-MenuBar-itemLabel", has_text=re.compile("^Run$")).click()
        page.locator(".lm-Menu-itemLabel", has_text=re.compile("^Run All Cells$")).click()
        page.wait_for_timeout(3000)
        if set(prompts(page)) != {"[ ]:"}:
            return


def prompts(page) -> list[str]:
    """What stands before the code cells: [ ] not run, [*] running, [3] run third."""
    return page.locator(".jp-NotebookPanel .jp-CodeCell .jp-InputPrompt").all_text_contents()


def photograph(page, path: Path) -> None:
    """The whole notebook in one picture: a window as high as the notebook."""
    height = page.evaluate("document.querySelector('.jp-NotebookPanel .jp-WindowedPanel-outer').scrollHeight")
    page.set_viewport_size({"width": 1400, "height": min(int(height) + 150, 16_000)})
    page.locator(".jp-NotebookPanel .jp-Cell").first.scroll_into_view_if_needed()
    page.wait_for_timeout(1000)
    last = page.locator(".jp-NotebookPanel .jp-Cell").last.bounding_box()
    page.screenshot(path=path, clip={"x": 0, "y": 0, "width": 1400, "height": last["y"] + last["height"] + 20})
    page.set_viewport_size({"width": 1400, "height": 1000})
    if kept := os.environ.get("MIGSTUDY_SCREENSHOTS"):
        shutil.copy(path, kept)


@pytest.mark.parametrize("name", ["01_dataset", "02_representation"])
def test_run_all_shows_every_figure(lab, page, name):
    address, token, project = lab
    stored = json.loads((project / "notebooks" / f"{name}.ipynb").read_text())["cells"]
    code = ["".join(cell["source"]) for cell in stored if cell["cell_type"] == "code"]
    figures = [source for source in code if "save_figure" in source]
    run_all(page, address, token, name)
    numbers = [f"[{i + 1}]:" for i in range(len(code))]
    wait_for(lambda: prompts(page) == numbers or page.locator("[data-mime-type='application/vnd.jupyter.error']").count(), None, 180)
    assert prompts(page) == numbers, "not every cell was executed"
    outputs = page.locator(".jp-NotebookPanel .jp-OutputArea-output")
    assert page.locator("[data-mime-type='application/vnd.jupyter.error']").count() == 0
    assert "Traceback" not in " ".join(outputs.all_inner_texts())
    images = page.locator(".jp-NotebookPanel .jp-OutputArea-output img")
    assert images.count() >= len(figures) > 3
    for image in images.all():
        image.scroll_into_view_if_needed()
        assert image.is_visible() and image.evaluate("i => i.complete && i.naturalWidth > 200 && i.clientWidth > 200")
    photograph(page, project.parent / f"{name}.png")
    for source in figures:
        drawn = re.search(r'save_figure\(\w+, "(\w+)"', source)[1]
        assert (project / "figures" / f"{drawn}.png").stat().st_size > 5000
    assert not (project / "notebooks" / "figures").exists(), "the project's root was not found"

"""The README keeps its word: snippets run, files it names exist, its tables are the figures' own."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
SNIPPETS = re.findall(r"```python\n(.*?)```", README, re.S)
TABLES = re.findall(r"<!-- (table_\w+) -->\n(.*?)\n<!-- end -->", README, re.S)


@pytest.mark.parametrize("number", range(len(SNIPPETS)))
def test_snippets_run(number, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    exec(compile(SNIPPETS[number], f"README snippet {number}", "exec"), {})


def test_links_and_pictures_exist():
    linked = re.findall(r"\]\((?!http)([^)#]+)\)", README)
    assert linked and [path for path in linked if not (ROOT / path).exists()] == []


def test_every_named_figure_exists_with_pdf_and_sidecar():
    row = re.compile(r"^\| \[`0\d_\w+`\].*$", re.M)
    named = [name for line in row.findall(README) for name in re.findall(r"`(\w+)`", line.split("|")[2])]
    assert len(named) > 10
    for name in named:
        endings = (".md", ".tex", ".csv", ".json") if name.startswith("table_") else (".png", ".pdf", ".json")
        assert [e for e in endings if not (ROOT / "figures" / f"{name}{e}").exists()] == [], name


def test_tables_are_the_generated_ones():
    assert {name for name, _ in TABLES} == {
        "table_streams", "table_ablation", "table_effects", "table_recordings", "table_graphs", "table_fusion", "table_fusion_effects",
    }
    for name, text in TABLES:
        assert text.strip() == (ROOT / "figures" / f"{name}.md").read_text(encoding="utf-8").strip(), name


def test_what_a_slurm_job_would_run_plans_the_grid(tmp_path):
    """The line of the README word by word; only the cluster is missing."""
    line = shlex.split(re.search(r"^sbatch .*$", README, re.M)[0])
    job = line[line.index("--wrap") + 1]
    for name in ("grids", "notebooks"):
        (tmp_path / name).symlink_to(ROOT / name)
    places = {"MIGSTUDY_ROOT": str(tmp_path), "PYTHONPATH": str(ROOT), "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    done = subprocess.run(["sh", "-c", f"{job} --dry-run"], cwd=tmp_path, env={**os.environ, **places}, capture_output=True, text=True)
    assert done.returncode == 0 and "21 to run" in done.stdout, done.stdout + done.stderr
    assert not (tmp_path / "runs").exists() and re.fullmatch(r"--array=1-\d+", line[1])


def test_commands_named_are_commands():
    from typer.testing import CliRunner

    from migstudy.cli import app

    for command in {c.split()[0] for c in re.findall(r"migstudy ((?:run|study|figures|data|simulate|gallery|calibrate|sweep|runs|report)\b[^`\n]*)", README)}:
        assert CliRunner().invoke(app, [command, "--help"]).exit_code == 0, command

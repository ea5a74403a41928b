"""The project's own files agree with each other: dependencies, lock, conda, versions, notebooks, sizes of modules."""

from __future__ import annotations

import ast
import json
import os
import re
import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

import migstudy

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
PARAMETERISED = {"01_dataset", "02_representation", "03_train_gesture", "04_fusion", "05_train_emotion", "06_ablations", "07_paper_tables", "08_robustness"}
HEAVY = ("torchvision", "timm", "papermill", "mediapipe")
SKELETON_PATH = ("migstudy", "migstudy.skeletons", "migstudy.clips", "migstudy.temporal", "migstudy.augment",
                 "migstudy.heatmaps", "migstudy.models.posec3d", "migstudy.losses")  # fmt: skip
MACHINES = [
    {"python_version": f"3.{minor}", "python_full_version": f"3.{minor}.9", "sys_platform": system, "platform_system": name,
     "os_name": "nt" if system == "win32" else "posix", "platform_machine": machine,
     "implementation_name": "cpython", "platform_python_implementation": "CPython"}
    for minor in (11, 12)
    for system, name, machine in (("linux", "Linux", "x86_64"), ("darwin", "Darwin", "arm64"), ("win32", "Windows", "AMD64"))
]  # fmt: skip


def pins() -> list[Requirement]:
    lines = (ROOT / "requirements.lock").read_text(encoding="utf-8").splitlines()
    return [Requirement(line) for line in lines if line[:1].isalnum()]


def pinned_on(machine: dict) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for pin in pins():
        if pin.marker is None or pin.marker.evaluate(machine):
            [exact] = pin.specifier
            assert exact.operator == "==", f"{pin} is not an exact version"
            found.setdefault(canonicalize_name(pin.name), []).append(exact.version)
    return found


# -- dependencies ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("machine", MACHINES, ids=lambda m: f"{m['sys_platform']}-{m['python_version']}")
def test_lock_covers_pyproject(machine):
    locked = pinned_on(machine)
    assert {name: v for name, v in locked.items() if len(v) > 1} == {}
    for text in (*PROJECT["dependencies"], *PROJECT["optional-dependencies"]["test"]):
        wanted = Requirement(text)
        versions = locked.get(canonicalize_name(wanted.name), ["absent"])
        assert versions != ["absent"] and versions[0] in wanted.specifier, f"{text}: the lock has {versions[0]}"


def test_lock_has_a_torch_and_torchvision_that_fit():
    locked = pinned_on(MACHINES[0])
    assert {"torch", "torchvision", "timm"} <= set(locked)
    assert metadata.version("torchvision") == locked["torchvision"][0], "this environment is not the lock's; call make.py"
    [torch] = [r for r in map(Requirement, metadata.requires("torchvision")) if r.name == "torch"]
    assert locked["torch"][0] in torch.specifier
    # a pair that does not fit fails here, at `operator torchvision::nms does not exist`
    code = "import torch, torchvision; print(len(torchvision.ops.nms(torch.tensor([[0., 0, 9, 9]]), torch.ones(1), 0.5)))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "1"


def test_lock_has_the_builder_of_the_package():
    """make.py installs the package without fetching one."""
    locked = pinned_on(MACHINES[0])
    for text in tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["build-system"]["requires"]:
        assert locked[canonicalize_name(Requirement(text).name)][0] in Requirement(text).specifier


def test_environment_file_equals_pyproject():
    conda = yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))
    *_, last = conda["dependencies"]
    pip, package = last["pip"][:-1], last["pip"][-1]
    assert pip == PROJECT["dependencies"]
    assert package == "-e .[test]"
    [python] = [d for d in conda["dependencies"] if isinstance(d, str) and d.startswith("python=")]
    assert python.split("=")[1] in SpecifierSet(PROJECT["requires-python"])


def test_pythons_are_the_same_everywhere():
    supported = SpecifierSet(PROJECT["requires-python"])
    accepted = {f"3.{minor}" for minor in range(8, 16) if f"3.{minor}.1" in supported}
    named = {c.rsplit(" ", 1)[1] for c in PROJECT["classifiers"] if re.search(r"Python :: 3\.\d+$", c)}
    make = (ROOT / "make.py").read_text(encoding="utf-8")
    [line] = re.findall(r"^SUPPORTED = (.+)$", make, re.M)
    assert accepted == named == {f"{a}.{b}" for a, b in re.findall(r"\((\d), (\d+)\)", line)} == {"3.11", "3.12"}


def test_versions_agree():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert PROJECT["version"] == migstudy.__version__ == citation["version"]
    assert citation["license"] == PROJECT["license"] == "MIT"
    assert [a["name"] for a in citation["authors"]] == [a["name"] for a in PROJECT["authors"]]
    assert {i["value"] for r in citation["references"] for i in r["identifiers"]} == {"arXiv:2506.12848", "arXiv:2512.23291"}


# -- code ------------------------------------------------------------------------------------------------------------


def loaded_after(*modules: str) -> list[str]:
    code = f"import sys, {', '.join(modules)}; print(*(m for m in {HEAVY!r} if m in sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    return done.stdout.split()


def test_skeleton_path_imports_nothing_heavy():
    assert loaded_after(*SKELETON_PATH) == []


def test_figures_import_nothing_heavy():
    assert loaded_after("migstudy.figures", "migstudy.doctor.examine", "migstudy.report.published") == []


def test_the_heavy_import_check_can_fail():
    assert loaded_after("papermill") == ["papermill"]


@pytest.mark.parametrize("path", sorted((ROOT / "migstudy").rglob("*.py")), ids=lambda p: p.relative_to(ROOT).as_posix())
def test_modules_are_short(path):
    lines = path.read_text(encoding="utf-8").splitlines()
    assert len(lines) <= 350, f"{path.name} has {len(lines)} lines; split it by ideas"
    assert not lines or lines[0].startswith('"""') or path.name == "__init__.py", f"{path.name} says nothing about itself"


def sources() -> list[Path]:
    listed = subprocess.run(["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True)
    if listed.returncode:
        pytest.skip("not a git checkout")
    endings = (".py", ".md", ".toml", ".yml", ".cff", ".ipynb")
    return [ROOT / line for line in listed.stdout.splitlines() if line.endswith(endings) and (ROOT / line).exists()]


def test_nothing_is_left_to_do():
    words = re.compile(r"\b(TO" + "DO|FIX" + "ME|XX" + "X|NotImplemented" + r"Error)\b")
    found = [f"{p.relative_to(ROOT)}:{n}" for p in sources() for n, line in enumerate(p.read_text(encoding="utf-8").splitlines(), 1)
             if words.search(line)]  # fmt: skip
    assert found == []


def test_no_path_of_a_single_machine():
    home = re.compile(r"(?<![\w.])/(?:ho" + r"me|ro" + r"ot|Us" + r"ers)/[a-z]")
    found = [str(p.relative_to(ROOT)) for p in sources() if home.search(p.read_text(encoding="utf-8"))]
    assert found == []


# -- notebooks -------------------------------------------------------------------------------------------------------


def cells(path: Path, kind: str) -> list[dict]:
    return [c for c in json.loads(path.read_text(encoding="utf-8"))["cells"] if c["cell_type"] == kind]


def test_the_study_has_its_notebooks():
    assert {p.stem for p in NOTEBOOKS} >= PARAMETERISED


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
class TestNotebook:
    def test_nothing_is_stored(self, path):
        notebook = json.loads(path.read_text(encoding="utf-8"))
        for cell in cells(path, "code"):
            assert cell["outputs"] == [] and cell["execution_count"] is None
        assert not {"papermill", "widgets"} & set(notebook["metadata"])
        assert all("papermill" not in c["metadata"] and "execution" not in c["metadata"] for c in notebook["cells"])

    def test_it_starts_with_a_title_and_one_line(self, path):
        first = json.loads(path.read_text(encoding="utf-8"))["cells"][0]
        lines = "".join(first["source"]).splitlines()
        assert first["cell_type"] == "markdown" and re.match(r"# \S", lines[0])
        assert len([line for line in lines[1:] if line.strip()]) >= 1, "a line under the title says what is to be seen"
        titles = [c for c in cells(path, "markdown") if re.search(r"^# ", "".join(c["source"]), re.M)]
        assert len(titles) == 1

    def test_it_has_one_parameters_cell(self, path):
        tagged = [c for c in cells(path, "code") if "parameters" in c["metadata"].get("tags", [])]
        assert len(tagged) == (path.stem in PARAMETERISED)
        for cell in tagged:  # values derived here would go stale when a parameter is injected
            for statement in ast.parse("".join(cell["source"])).body:
                if not isinstance(statement, ast.ImportFrom):  # for the types
                    assert isinstance(statement, (ast.Assign, ast.AnnAssign))
                    ast.literal_eval(statement.value)

    def test_cells_are_short(self, path):
        for cell in cells(path, "code"):
            source = "".join(cell["source"])
            if "parameters" in cell["metadata"].get("tags", []):
                continue
            assert len(source.splitlines()) <= 25, f"{path.stem}: a cell of {len(source.splitlines())} lines"
            assert not re.search(r"^class ", source, re.M), f"{path.stem}: classes live in the package"


# -- commands --------------------------------------------------------------------------------------------------------


def test_ci_runs_the_test_command_of_the_readme():
    script, readme = (ROOT / ".ci" / "run").read_text(), (ROOT / "README.md").read_text(encoding="utf-8")
    assert "python3 make.py test" in script and "python3 make.py test" in readme and "python3 make.py study" in readme
    assert os.name == "nt" or os.access(ROOT / ".ci" / "run", os.X_OK)


def test_third_party_data_is_ignored_by_git():
    if subprocess.run(["git", "rev-parse"], cwd=ROOT, capture_output=True).returncode:
        pytest.skip("not a git checkout")
    for name in ("data/release/x.csv", "data/simulated/x.xlsx", "data/cache/x.npy", "runs/a/DONE", ".venv/x"):
        assert subprocess.run(["git", "check-ignore", "-q", name], cwd=ROOT).returncode == 0, f"{name} could be committed"
    assert subprocess.run(["git", "check-ignore", "-q", "data/README.md"], cwd=ROOT).returncode == 1

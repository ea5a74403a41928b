"""A run's id hears the sources that make its numbers, and no others."""

from __future__ import annotations

import json

import pytest

from migstudy.runs import code_version as module
from migstudy.runs.code_version import code_version, sources_of

FILES = {
    "__init__.py": "", "train.py": "from migstudy.models import create_model\ncreate_model('posec3d')\nfrom migstudy import losses",
    "losses.py": "def loss():\n    import torch\n    from migstudy.deep.inside import thing", "deep/__init__.py": "",
    "deep/inside.py": "thing = 'agcn'", "models/__init__.py": "", "models/posec3d.py": "import migstudy.models.base",
    "models/base.py": "", "models/agcn.py": "", "figures/style.py": "import migstudy.metrics", "metrics.py": "", "cli.py": "",
    "assets/words.npz": "1", "unused.py": "",
}  # fmt: skip
CELLS = ["%matplotlib inline\nimport numpy as np\nfrom migstudy import figures, train", "from migstudy.figures import style"]
BEHIND = {"__init__.py", "train.py", "losses.py", "deep/__init__.py", "deep/inside.py", "models/posec3d.py", "models/base.py",
          "assets/words.npz"}  # fmt: skip


@pytest.fixture
def package(tmp_path, monkeypatch):
    project, folder = tmp_path / "project", tmp_path / "migstudy"
    monkeypatch.setenv("MIGSTUDY_ROOT", str(project))
    for name, text in FILES.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    monkeypatch.setattr(module, "PACKAGE", folder)
    (project / "notebooks").mkdir(parents=True)
    cells = [{"cell_type": "code", "source": cell.splitlines(True), "metadata": {}} for cell in CELLS]
    (project / "notebooks" / "03_train.ipynb").write_text(json.dumps({"cells": cells}))
    module._version.cache_clear()
    yield folder
    module._version.cache_clear()


def test_what_a_notebook_imports_and_what_that_imports(package):
    assert set(sources_of("03_train")) == BEHIND
    assert set(sources_of("03_train", ("agcn", "no model"))) == BEHIND | {"models/agcn.py"}
    apart = {"figures/style.py", "cli.py", "models/__init__.py"}
    assert set(sources_of("no_such_notebook")) == set(FILES) - apart


def test_the_hash_changes_with_these_files_alone(package):
    before, heard = code_version("03_train"), set()
    for name, text in FILES.items():
        (package / name).write_text(text + "\n# other\n")
        module._version.cache_clear()
        if code_version("03_train") != before:
            heard.add(name)
        (package / name).write_text(text)
        module._version.cache_clear()
    assert heard == BEHIND and code_version("03_train") == before


def test_training_does_not_depend_on_figures_or_other_models():
    behind = sources_of("03_train_gesture")
    assert {"train.py", "losses.py", "heatmaps.py", "temporal.py", "augment.py", "models/posec3d.py", "evaluate.py"} <= set(behind)
    assert not [name for name in behind if name.startswith(("figures/", "simulate/", "models/agcn", "cli.py"))]

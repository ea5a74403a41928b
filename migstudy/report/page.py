"""The whole study as one HTML page: tables, figures, executed notebooks, and where each number comes from.

The page stands alone (pictures inside), follows the reader's light or dark setting and fits a telephone. It is written from
what lies in figures/ and runs/; the same files give the same bytes.
"""

from __future__ import annotations

import base64
import html
import json
import re
import sys
from collections.abc import Collection, Iterator
from pathlib import Path

from migstudy import paths
from migstudy.report.style import CSS, code_css
from migstudy.results import params_of
from migstudy.runs.folder import Run, damage, finished_runs

STATEMENT = (
    "Numbers marked as measured were measured by this study, on the data that each table and figure names. Published numbers"
    " are quoted from their papers. Nothing here was measured on iMiGUE unless its line says so."
)
_SHOWN_PARAMETERS = (
    "profile", "model", "stream", "topology", "sampling", "label_embedding", "loss", "fusion", "emotion_effect", "shuffle_labels",
    "seed",
)  # fmt: skip


def write_report(target: Path, figures: Path, runs: Path) -> Path:
    """Write the page; raises ValueError when there is neither a table nor a figure to show.

    Damaged runs are left out; of each a line on stderr says what is wrong.
    """
    tables, pictures = (sorted(figures.glob(kind), key=_reading_order) for kind in ("table_*.md", "*.png"))
    if not tables and not pictures:
        raise ValueError(f"{figures} holds no table and no figure; make them first: migstudy study")
    finished = []
    for run in finished_runs(runs):
        if wrong := damage(run):
            print(f"left out: {wrong}", file=sys.stderr)
        else:
            finished.append(run)
    cited = {name for path in (*tables, *pictures) for name in _sidecar(path).get("run_ids") or ()}
    sections = {
        "Tables": "".join(_table(path) for path in tables),
        "Figures": "".join(_figure(path) for path in pictures),
        "Notebooks": "".join(_notebook(run) for run in _one_a_notebook(finished, cited)),
        "Runs": _runs(finished),
    }
    return paths.write_text(target, _page({name: body for name, body in sections.items() if body}))


def _reading_order(path: Path) -> tuple[str, str]:
    """By the notebook that drew it, then by name; what no notebook drew comes last."""
    notebook = re.search(r"\b(\d\d)_\w+", str(_sidecar(path).get("command")))
    return notebook[1] if notebook else "99", path.stem


def _page(sections: dict[str, str]) -> str:
    links = "".join(f'<a href="#{name.lower()}">{name}</a>' for name in sections)
    bodies = "".join(f'<section id="{name.lower()}"><h2>{name}</h2>{body}</section>' for name, body in sections.items())
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1"><meta name="color-scheme" content="light dark">'
        f"<title>migstudy: report</title><style>{CSS}{code_css()}</style></head><body>"
        f"<header><h1>migstudy</h1><p>Micro-gestures on iMiGUE: a reproducible study.</p><nav>{links}</nav></header>"
        f'<main><p class="note">{STATEMENT}</p>{bodies}</main></body></html>\n'
    )


def _table(path: Path) -> str:
    caption, _, body = path.read_text(encoding="utf-8").partition("\n\n")
    title, _, rest = caption.partition(". ")
    return (
        f'<article id="{path.stem}"><h3>{html.escape(title)}</h3><p>{html.escape(rest)}</p>'
        f'<div class="wide">{_markdown(body)}</div>{_provenance(path)}</article>'
    )


def _figure(path: Path) -> str:
    told = _sidecar(path)
    title = html.escape(str(told.get("title", path.stem)))
    return (
        f'<article id="{path.stem}"><h3>{title}</h3><figure><img loading="lazy" alt="{title}" src="{_picture(path.read_bytes())}">'
        f"<figcaption>{html.escape(str(told.get('source', '')))}</figcaption></figure>{_provenance(path)}</article>"
    )


def _provenance(path: Path) -> str:
    told = _sidecar(path)
    rows = [(key.replace("_", " "), told.get(key)) for key in ("command", "commit", "data_fingerprint", "run_ids")]
    cells = "".join(
        f"<dt>{key}</dt><dd><code>{html.escape(' '.join(value) if isinstance(value, list) else str(value))}</code></dd>"
        for key, value in rows if value
    )  # fmt: skip
    return f"<details><summary>Where it comes from</summary><dl>{cells}</dl></details>" if cells else ""


def _sidecar(path: Path) -> dict:
    try:
        return json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}


def _one_a_notebook(finished: list[Run], cited: Collection[str]) -> Iterator[Run]:
    """The newest run of every notebook that kept its executed copy, of those behind a figure first, in the study's order."""
    newest: dict[str, Run] = {}
    for run in sorted(finished, key=lambda run: (run.id in cited, run.read_json("env.json")["started"])):
        if run.path("run.ipynb").exists():
            newest[run.read_json("params.json")["task"]] = run
    yield from (newest[task] for task in sorted(newest))


def _notebook(run: Run) -> str:
    cells = json.loads(run.path("run.ipynb").read_text(encoding="utf-8"))["cells"]
    tagged = [cell for cell in cells if "injected-parameters" not in cell["metadata"].get("tags", [])]
    title = run.read_json("params.json")["task"]
    body = "".join(_cell(cell) for cell in tagged)
    return f'<details class="notebook"><summary>{html.escape(title)} <small>{run.id}</small></summary>{body}</details>'


def _cell(cell: dict) -> str:
    source = "".join(cell["source"])
    if cell["cell_type"] == "markdown":
        return re.sub(r"<(/?)h([1-4])", lambda m: f"<{m[1]}h{int(m[2]) + 2}", _markdown(source))
    outputs = "".join(_output(output) for output in cell.get("outputs", []))
    return f"<details><summary>code</summary>{_code(source)}</details>{outputs}" if source.strip() else ""


def _output(output: dict) -> str:
    data = output.get("data", {})
    if "image/png" in data:
        return f'<figure><img loading="lazy" alt="figure" src="data:image/png;base64,{"".join(data["image/png"]).strip()}"></figure>'
    if "text/html" in data:
        table = re.sub(r"<(script|style)\b.*?</\1>", "", "".join(data["text/html"]), flags=re.S | re.I)
        return f'<div class="wide">{table}</div>'
    if output.get("name") == "stderr":  # progress bars
        return ""
    text = "".join(output.get("text", data.get("text/plain", "")))
    return f"<pre>{html.escape(text)}</pre>" if text.strip() else ""


def _runs(finished: list[Run]) -> str:
    names = ("run", "parameters", "top-1", "macro-F1", "measured on", "commit", "machine", "started")
    head = "".join(f"<th>{name}</th>" for name in names)
    rows = []
    for run in finished:
        params, env = params_of(run), run.read_json("env.json")
        metrics = run.read_json("metrics.json") if run.path("metrics.json").exists() else {}
        test, source = metrics.get("test", {}), metrics.get("source", "–")
        shown = {name: params[name] for name in _SHOWN_PARAMETERS if params.get(name) not in (None, "")}
        told = ", ".join(f"{name}={value}" for name, value in shown.items() if value is not False)
        numbers = [f"{100 * test[name]:.1f} %" if isinstance(test.get(name), float) else "–" for name in ("top1", "macro_f1")]
        machine = ", ".join(env["gpus"]) or env["cpu"]
        cells = [run.id, told, *numbers, source, str(env["commit"])[:7], machine, env["started"]]
        rows.append("<tr>" + "".join(f"<td>{html.escape(str(cell))}</td>" for cell in cells) + "</tr>")
    return f'<div class="wide"><table><thead><tr>{head}</tr></thead><tbody>{"".join(rows)}</tbody></table></div>' if rows else ""


def _markdown(text: str) -> str:
    from nbconvert.filters import markdown2html

    return markdown2html(text)


def _code(source: str) -> str:
    from pygments import highlight
    from pygments.formatters import HtmlFormatter
    from pygments.lexers import PythonLexer

    return highlight(source, PythonLexer(), HtmlFormatter())


def _picture(content: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(content).decode()}"

"""A grid of runs, read from YAML and checked to the last cell before anything runs.

    notebook: 03_train_gesture
    title: Which joints                       # optional
    base: {profile: quick, sampling: uniform_interval}
    axes:
      topology: [imigue22, imigue41]          # a parameter and its values
      labels:                                 # or named variants of several parameters
        none: {label_embedding: none}
        words: {label_embedding: sentence, label_loss: cosine}
    seeds: 3                                  # or [0, 1, 2]
    exclude: [{topology: imigue22, labels: words}]
    include: [{name: limb, stream: limb}, {name: shuffled, shuffle_labels: true, seeds: 1}]

Cells come in the file's order, seeds outermost, so that a grid stopped half way has whole seeds.
"""

from __future__ import annotations

import difflib
import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from migstudy import paths
from migstudy.config.parameters import checked, parsed
from migstudy.runs.execute import check_parameters, config_of, find_notebook, notebook_parameters
from migstudy.runs.folder import same_question

_KEYS = ("notebook", "title", "base", "axes", "seeds", "include", "exclude")
_QUOTES = "; YAML reads no, off, yes and on as truth values: put them in quotes"
Values = dict[str, Any]


@dataclass(frozen=True)
class Cell:
    """One run of a grid: the variant's name, its parameters as texts for `migstudy run -p`, and all of them, typed."""

    variant: str
    options: dict[str, str]
    params: Values

    @property
    def name(self) -> str:
        return f"{self.variant}, seed {self.params['seed']}" if "seed" in self.params else self.variant


@dataclass(frozen=True)
class Grid:
    """A checked grid. variants: name -> what it sets beside the base and the seed; seeds: those of each variant."""

    file: Path
    notebook: Path
    title: str
    variants: dict[str, Values]
    seeds: dict[str, tuple[int, ...]]
    cells: tuple[Cell, ...]

    def options(self) -> dict[str, dict[str, str]]:
        """Variant -> its parameters as texts, seeds left out: what `results.find_runs` asks for."""
        return {cell.variant: {k: v for k, v in cell.options.items() if k != "seed"} for cell in self.cells}


def find_grid(name: str) -> Path:
    """A grid's file by path, or by its name in grids/; raises ValueError listing what there is."""
    place = Path(name)
    if place.suffix in (".yaml", ".yml") and place.exists():
        return place
    known = sorted(paths.resolve("grids").glob("*.yaml"))
    for path in known:
        if path.stem == place.name.removesuffix(".yaml"):
            return path
    near = difflib.get_close_matches(place.stem, [path.stem for path in known], 1)
    hint = f"did you mean {near[0]!r}?" if near else f"there are: {', '.join(path.stem for path in known) or 'none'}"
    raise ValueError(f"no grid {name!r}; {hint}")


def read_grid(file: str | Path, overrides: Mapping[str, str] | None = None) -> Grid:
    """Read and check a grid; raises ValueError naming the file, the axis or cell, and the nearest name.

    overrides: parameters of the base from the command line, as texts; they cannot set what an axis varies.
    """
    path = find_grid(str(file))
    return _Reader(path, _load(path), overrides or {}).grid()


class _Loader(yaml.SafeLoader):
    """Plain YAML in which no key may stand twice."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict:
        seen = set()
        for key, _ in node.value:
            if key.tag == "tag:yaml.org,2002:merge":
                continue
            name = self.construct_object(key, deep=True)
            if name in seen:
                raise yaml.constructor.ConstructorError(None, None, f"{name!r} stands twice", key.start_mark)
            seen.add(name)
        return super().construct_mapping(node, deep)


def _load(path: Path) -> Values:
    try:
        content = yaml.load(path.read_text(encoding="utf-8"), _Loader)  # noqa: S506 - a SafeLoader
    except (yaml.YAMLError, UnicodeDecodeError, TypeError) as error:
        mark = getattr(error, "problem_mark", None)
        where = f", line {mark.line + 1}" if mark else ""
        raise ValueError(f"{path}{where}: {getattr(error, 'problem', None) or error}") from None
    except OSError as error:
        raise ValueError(f"{path}: {error.strerror}") from None
    if not isinstance(content, dict):
        raise ValueError(f"{path}: a grid is a mapping with {', '.join(_KEYS)}")
    return content


class _Reader:
    """Turns a file's content into a grid; every message begins with the file and the place in it."""

    def __init__(self, path: Path, content: Values, overrides: Mapping[str, str]) -> None:
        self.path, self.content = path, content
        for key in content:
            if key not in _KEYS:
                self.fail("", f"there is no key {key!r}; {_nearest(key, _KEYS)}")
        notebook = content.get("notebook")
        if not isinstance(notebook, str):
            self.fail("", "it names no notebook, as in `notebook: 03_train_gesture`")
        try:
            self.notebook = find_notebook(notebook)
            kinds, self.defaults = notebook_parameters(self.notebook)
        except ValueError as error:
            self.fail("", str(error))
        config = config_of(self.notebook.stem)
        self.kinds = config.types() if config else kinds
        self.base = self.typed("base", self.mapping("base", content.get("base")))
        for name, text in overrides.items():
            self.base |= self.typed("-p", {name: text})
        self.axes = {name: self.axis(name, given) for name, given in self.mapping("axes", content.get("axes")).items()}
        self.overridden(overrides)
        self.shared_seeds = self.seed_list("seeds", content.get("seeds"))

    def fail(self, where: str, said: str) -> None:
        raise ValueError(f"{self.path}{f', {where}' if where else ''}: {said}")

    def grid(self) -> Grid:
        variants = self.product()
        seeds = dict.fromkeys(variants, self.shared_seeds)
        for number, given in enumerate(self.listed("include"), 1):
            name, values, own = self.included(number, given)
            if name in variants:
                self.fail(f"include {number}", f"there is a variant {name!r} already; give it another name")
            variants[name], seeds[name] = values, own
        if not variants:
            self.fail("", "it has no cells")
        order = sorted({seed for own in seeds.values() for seed in own}) or [None]
        asked = [(name, seed) for seed in order for name, own in seeds.items() if seed in own or not own and seed is order[0]]
        cells = [self.cell(name, variants[name], seed if seeds[name] else None) for name, seed in asked]
        self.distinct(cells)
        return Grid(self.path, self.notebook, str(self.content.get("title") or self.path.stem), variants, seeds, tuple(cells))

    def product(self) -> dict[str, Values]:
        """Every combination of the axes that is not excluded, by name."""
        if not self.axes:
            return {} if self.content.get("include") else {"base": {}}
        excludes = [self.excluded(number, given) for number, given in enumerate(self.listed("exclude"), 1)]
        used, found, alone = set(), {}, len(self.axes) == 1
        for chosen in itertools.product(*(axis.items() for axis in self.axes.values())):
            names = dict(zip(self.axes, (name for name, _ in chosen), strict=True))
            values: Values = {}
            for axis, (_, more) in zip(self.axes, chosen, strict=True):
                if both := [name for name in more if name in values and values[name] != more[name]]:
                    self.fail(f"axis {axis}", f"another axis sets {both[0]!r} too")
                values |= more
            whole = {**self.base, **values}
            hits = {number for number, wanted in enumerate(excludes, 1) if _matches(wanted, names, whole)}
            used |= hits
            if not hits:
                named = alone and isinstance(self.content["axes"][next(iter(self.axes))], dict)
                found[next(iter(names.values())) if named else ", ".join(f"{a}={n}" for a, n in names.items())] = values
        if unused := set(range(1, len(excludes) + 1)) - used:
            self.fail(f"exclude {min(unused)}", "no cell is like that")
        return found

    def axis(self, name: str, given: Any) -> dict[str, Values]:
        where = f"axis {name}"
        if isinstance(given, dict):
            named = self.mapping(where, given)
            return {name: self.typed(f"{where}, {name}", self.mapping(where, values)) for name, values in named.items()}
        if not isinstance(given, list) or not given:
            self.fail(where, "give a list of values, or named variants, each with its parameters")
        values = [self.typed(where, {name: value}) for value in given]
        named = {_text(value[name]): value for value in values}
        if len(named) < len(values):
            self.fail(where, "a value stands twice")
        return named

    def excluded(self, number: int, given: Any) -> dict[str, Any]:
        where, wanted = f"exclude {number}", {}
        for name, value in self.mapping(where, given).items():
            if name in self.axes and str(value) in self.axes[name]:
                wanted[name] = str(value)
            elif name in self.axes and name not in self.kinds:
                self.fail(where, f"axis {name!r} has no {value!r}; {_nearest(str(value), self.axes[name])}")
            else:
                known = {**self.kinds, **dict.fromkeys(self.axes)}
                wanted |= self.typed(where, {name: value}, known)
        if not wanted:
            self.fail(where, "it is empty")
        return wanted

    def included(self, number: int, given: Any) -> tuple[str, Values, tuple[int, ...]]:
        where, given = f"include {number}", dict(self.mapping(f"include {number}", given))
        own = self.seed_list(where, given.pop("seeds")) if "seeds" in given else self.shared_seeds
        name = given.pop("name", None)
        values = self.typed(where, given)
        return str(name or ", ".join(f"{k}={_text(v)}" for k, v in values.items())), values, own

    def typed(self, where: str, values: Values, known: Iterable[str] = ()) -> Values:
        """Values of the parameters' types; texts such as 1e-3, which YAML takes for no number, are parsed."""
        result = {}
        for name, value in values.items():
            if name not in self.kinds:
                self.fail(where, f"{self.notebook.stem} has no parameter {name!r}; {_nearest(name, known or self.kinds)}")
            if name == "run_dir":
                self.fail(where, "run_dir is each run's own; a grid cannot set it")
            if name == "seed":
                self.fail(where, "give seeds in `seeds`, as in `seeds: [0, 1, 2]`")
            try:
                text = isinstance(value, str)
                result[name] = parsed(name, value, self.kinds) if text else checked(name, value, self.kinds[name])
            except ValueError as error:
                self.fail(where, f"{error}{_QUOTES if isinstance(value, bool) else ''}")
        return result

    def seed_list(self, where: str, given: Any) -> tuple[int, ...]:
        if given is None:
            return ()
        if "seed" not in self.kinds:
            self.fail(where, f"{self.notebook.stem} has no parameter 'seed'")
        seeds = list(range(given)) if type(given) is int else given
        if not isinstance(seeds, list) or not seeds or any(type(seed) is not int or seed < 0 for seed in seeds):
            self.fail(where, f"{given!r}: give how many seeds, or a list of numbers from 0 on")
        if len(set(seeds)) < len(seeds):
            self.fail(where, "a seed stands twice")
        return tuple(seeds)

    def mapping(self, where: str, given: Any) -> Values:
        if given is None:
            return {}
        if not isinstance(given, dict) or any(not isinstance(name, str) for name in given):
            self.fail(where, f"give names and values{_QUOTES}")
        return given

    def listed(self, key: str) -> Sequence[Any]:
        given = self.content.get(key) or []
        if not isinstance(given, list):
            self.fail(key, "give a list")
        return given

    def overridden(self, overrides: Mapping[str, str]) -> None:
        varied = {name for axis in self.axes.values() for values in axis.values() for name in values}
        varied |= {name for entry in self.listed("include") if isinstance(entry, dict) for name in entry}
        if both := sorted(varied & set(overrides)):
            self.fail("-p", f"the grid itself varies {both[0]!r}")

    def cell(self, variant: str, values: Values, seed: int | None) -> Cell:
        """One run; its texts must mean what the file says."""
        whole = {**self.base, **values} | ({} if seed is None else {"seed": seed})
        options = {k: _text(value) for k, value in whole.items() if value is not None or self.defaults.get(k) is not None}
        try:
            params = check_parameters(self.notebook, options)
        except (ValueError, KeyError) as error:
            self.fail(f"cell {variant}", str(error))
        for name, value in whole.items():
            if value is not None and params[name] != value:
                self.fail(f"cell {variant}", f"{name}={value!r} cannot be given as text")
        return Cell(variant, options, params)

    def distinct(self, cells: Sequence[Cell]) -> None:
        first: dict[str, Cell] = {}
        for cell in cells:
            other = first.setdefault(same_question(cell.params), cell)
            if other is not cell:
                self.fail("", f"cells {other.name!r} and {cell.name!r} are the same run; exclude one")


def _matches(wanted: Values, names: Mapping[str, str], values: Values) -> bool:
    return all(names.get(name) == value or name in values and values[name] == value for name, value in wanted.items())


def _nearest(name: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(str(name), list(known), 1)
    return f"did you mean {near[0]!r}?" if near else f"known: {', '.join(known)}"


def _text(value: Any) -> str:
    return "none" if value is None else str(value).lower() if isinstance(value, bool) else str(value)

"""Accuracy against the simulator's knobs: trained models tested where one knob is turned, light ones trained there too.

People, gestures and random streams stay the same while a knob turns, so every comparison with the trained value is paired clip
by clip (takes that fps or tempo bring below 8 frames are drawn anew). Measurements are kept, one file each, in the run's folder.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from joblib import Parallel, delayed
from tqdm import tqdm

from migstudy import results
from migstudy.clips import ClipSet
from migstudy.config.gesture import GestureConfig
from migstudy.config.robustness import RobustnessConfig
from migstudy.data import data_path, open_data
from migstudy.robustness.baselines import MeanPose, MotionLDA, emotion_features
from migstudy.robustness.cells import Cells, Question, simulator_version
from migstudy.robustness.knobs import conditions
from migstudy.runs import folder as runs
from migstudy.simulate import SimulatorConfig, simulate_clips
from migstudy.simulate.plan import make_plan
from migstudy.study import LIMB, VARIANTS

if TYPE_CHECKING:
    import pandas as pd

TASK = "08_robustness"
_WATCH = "migstudy-watch"
# a motion model sees the joints that paper A's network sees
_BASELINE_TOPOLOGY = "imigue41"
BASELINES = {"mean pose": MeanPose, "motion LDA": MotionLDA}
RECIPES: dict[str, Mapping[str, str]] = {"joint": VARIANTS["all three"], "limb": LIMB, **VARIANTS}
Shifted = dict[tuple[str, float], dict[str, list["pd.DataFrame"]]]
"""(knob, value) -> model -> its runs' score tables."""


@dataclass(frozen=True)
class TrainedData:
    """The simulated data that models were trained on: its settings and seed, its parts as they were read, what to say of it."""

    config: SimulatorConfig
    seed: int
    train: ClipSet
    test: ClipSet
    fingerprint: str
    source: str


def open_trained_data(config: RobustnessConfig, prove: bool = True) -> TrainedData:
    """The simulated release of the configuration, and a proof that this code would make its test clips again, bit for bit.

    prove: False leaves the proof out, which simulates the test clips. Raises ValueError for data that no simulator wrote, or
    that another version of it wrote.
    """
    place = data_path(config.data, config.profile)
    try:
        facts = json.loads((place / "simulation.json").read_text(encoding="utf-8"))
        simulation, seed = SimulatorConfig(**facts["config"]), int(facts["seed"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"{place} is no data of this simulator ({error}): it has no knobs to turn; give data=simulator, or a folder that"
            " `migstudy simulate` wrote"
        ) from error
    data = open_data(GestureConfig(profile=config.profile, data=config.data, topology="native"))
    if prove and not _equal(simulate_clips(simulation, seed, ("test",), _workers(config)), data.test):
        raise ValueError(
            f"{place} was written by another version of the simulator: simulated again, its test clips differ; delete the"
            " folder, train again, then turn the knobs"
        )
    return TrainedData(simulation, seed, data.train, data.test, data.fingerprint, data.source)


def open_robustness_run(config: RobustnessConfig, data: TrainedData) -> runs.Run:
    """The run folder that belongs to these parameters, data, and versions of this code and of the simulator."""
    params, code = config.resolved().to_dict(), f"{data.fingerprint} {simulator_version()}"
    folder = config.run_dir or f"{runs.RUNS}/{runs.run_id(TASK, params, code)}"
    return runs.open_run(TASK, params, data.fingerprint, folder)


def stored_run(config: RobustnessConfig) -> runs.Run | None:
    """The newest finished run of these parameters, whatever version of the code made it."""
    asked = runs.same_question(config.resolved().to_dict())
    found = [run for run in runs.finished_runs(task=TASK) if runs.same_question(results.params_of(run)) == asked]
    return max(found, key=lambda run: run.read_json("env.json")["started"], default=None)


def trained_runs(config: RobustnessConfig, data: TrainedData) -> results.Groups:
    """Recipe -> its finished training runs, one a seed; raises ValueError for an unknown recipe, none, or other data."""
    names = config.models.split(",")
    if unknown := [name for name in names if name not in RECIPES]:
        raise ValueError(f"models={config.models!r}: there is no recipe {unknown[0]!r}; known: {', '.join(RECIPES)}")
    groups = results.find_runs({name: RECIPES[name] for name in names}, config.profile, config.data)
    results.source_of(groups)
    for run in (run for found in groups.values() for run in found):
        if run.read_json("params.json")["data_fingerprint"] != data.fingerprint:
            raise ValueError(f"{run.folder} was trained on other data than {data.source!r}; delete it and train again")
    return groups


def measure_shifted(config: RobustnessConfig, data: TrainedData, groups: results.Groups, cells: Cells) -> Shifted:
    """Trained models on the test clips simulated again with one knob turned; the light classifier was fitted on `data` too.

    Raises ValueError when a knob changes which clips there are.
    """
    config = config.resolved()
    asked = conditions(config.knobs, data.config, config.values)
    models = {name: [run.id for run in found] for name, found in groups.items() if found} | {"motion LDA": ["motion LDA"]}
    folders = {run.id: run.folder for found in groups.values() for run in found}

    def question(knob: str, value: float, model: str) -> Question:
        simulation = replace(data.config, **{knob: value})
        views = 1 if model in BASELINES else config.test_clips
        return _question("shifted", simulation, data.seed, f"{knob}-{value:g}", data.config, model=model, views=views)

    wanted = {c: {who: question(*c, who) for several in models.values() for who in several} for c in asked}
    fitted: list = []  # only when it is asked

    def job(condition: tuple[str, float], missing: Mapping[str, Question]) -> Callable:
        if "motion LDA" in missing and not fitted:
            fitted.append(MotionLDA().fit(data.train.to_topology(_BASELINE_TOPOLOGY)))
        simulation = replace(data.config, **{condition[0]: condition[1]})
        who = [(q, folders.get(model, fitted[0] if fitted else None)) for model, q in missing.items()]
        views, threads = config.test_clips, _threads(config)
        return delayed(_shift)(simulation, data.config, data.seed, data.test.index, who, views, threads, cells)

    answers = _measure(wanted, job, config, cells, "shifted tests")
    return {c: {name: [answers[c][who] for who in several] for name, several in models.items()} for c in asked}


def measure_matched(config: RobustnessConfig, data: TrainedData, cells: Cells) -> Shifted:
    """Light classifiers trained and tested at every value of a few knobs, a score table for each of several simulations."""
    config = config.resolved()
    asked = conditions(config.matched_knobs, data.config, config.values)
    seeds = range(data.seed, data.seed + config.matched_seeds)
    wanted = {
        (knob, value, seed): {
            name: _question("matched", replace(data.config, **{knob: value}), seed, f"{knob}-{value:g}", data.config, model=name)
            for name in BASELINES
        }
        for knob, value in asked for seed in seeds
    }  # fmt: skip

    def job(condition: tuple[str, float, int], missing: Mapping[str, Question]) -> Callable:
        knob, value, seed = condition
        return delayed(_match)(replace(data.config, **{knob: value}), seed, missing, cells)

    answers = _measure(wanted, job, config, cells, "matched training")
    return {(k, v): {name: [answers[k, v, seed][name] for seed in seeds] for name in BASELINES} for k, v in asked}


def measure_emotion(config: RobustnessConfig, data: TrainedData, cells: Cells) -> dict[float, pd.DataFrame]:
    """Effect -> one row a video: video, subject, won, and what its clips show (f000, ...); the same people at every effect."""
    config = config.resolved()
    people, wanted = config.emotion_people, {}
    for effect in sorted(float(text) for text in config.emotion_effects.split(",")):
        simulation = replace(
            data.config, protocol=False, subjects=(people, 1, 1), videos_per_subject=2, min_clips=(0, 0, 0),
            clips=(2 * people * config.emotion_clips, 2, 2), emotion_effect=effect,
        )  # fmt: skip
        wanted[effect] = {"videos": _question("emotion", simulation, data.seed, f"{effect:g}", data.config)}

    def job(effect: float, missing: Mapping[str, Question]) -> Callable:
        question = missing["videos"]
        return delayed(_watch)(SimulatorConfig(**question["simulation"]), data.seed, question, cells)

    return {effect: found["videos"] for effect, found in _measure(wanted, job, config, cells, "win or lose").items()}


def _measure(
    wanted: Mapping[Any, Mapping[str, Question]], job: Callable, config: RobustnessConfig, cells: Cells, title: str
) -> dict[Any, dict[str, pd.DataFrame]]:
    """Every answer wanted: those kept, and those missing measured first, several conditions at a time.

    Raises ValueError for missing ones while stored runs are drawn again.
    """
    jobs, under_way = [], set()
    for condition, questions in wanted.items():
        missing = {who: q for who, q in questions.items() if cells.path(q) not in under_way and cells.read(q) is None}
        under_way |= {cells.path(q) for q in missing.values()}  # trained values are the same for every knob
        if missing:
            jobs.append((condition, missing))
    if jobs and os.environ.get(runs.DRAWING):
        raise ValueError(
            f"{len(jobs)} of {len(wanted)} conditions ({title}) are not measured for the newest runs; measured by: migstudy run 08"
            f" --profile {config.profile}"
        )
    work = Parallel(max(1, min(_workers(config), len(jobs))), return_as="generator_unordered")(
        _while_wanted(job(*each)) for each in jobs
    )
    for _ in tqdm(work, desc=title, total=len(wanted), initial=len(wanted) - len(jobs), mininterval=1, unit="condition"):
        pass
    return {condition: {who: cells.read(q) for who, q in questions.items()} for condition, questions in wanted.items()}


def _while_wanted(call: tuple) -> tuple:
    """A delayed call whose worker ends when the process that asked is gone, instead of waiting for it forever."""
    return delayed(_call)(os.getpid(), *call)


def _call(asker: int, function: Callable, arguments: tuple, named: Mapping[str, Any]) -> None:
    if os.getpid() != asker and not any(thread.name == _WATCH for thread in threading.enumerate()):
        threading.Thread(target=_end_with, args=(os.getppid(),), name=_WATCH, daemon=True).start()
    function(*arguments, **named)


def _end_with(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(1)
    os._exit(1)


def _shift(
    simulation: SimulatorConfig, trained: SimulatorConfig, seed: int, expected: pd.DataFrame,
    asked: Sequence[tuple[Question, Any]], views: int, threads: int, cells: Cells,
) -> None:  # fmt: skip
    clips = simulate_clips(simulation, seed, ("test",), 1, "clip", trained)  # the same gestures whatever people's habits
    if not all(clips.index[name].equals(expected[name]) for name in ("clip_id", "label", "subject")):
        raise ValueError(f"{asked[0][0]['name']}: this value changes which clips there are, so nothing can be paired")
    for question, model in asked:
        if isinstance(model, Path):
            cells.write(question, _answers(runs.Run(model), clips, views, threads))
        else:
            cells.write(question, model.predict_scores(clips.to_topology(_BASELINE_TOPOLOGY)))


def _answers(run: runs.Run, clips: ClipSet, views: int, threads: int) -> pd.DataFrame:
    import torch
    from accelerate import Accelerator
    from accelerate.state import AcceleratorState

    from migstudy.models import get_model_class
    from migstudy.train import predict

    torch.set_num_threads(threads)
    AcceleratorState._reset_state()  # an earlier training's precision would be refused
    accelerator, config = Accelerator(), replace(GestureConfig(**results.params_of(run)), workers=0)
    with contextlib.redirect_stdout(io.StringIO()):  # it says that it loads
        model = get_model_class(config.model).from_pretrained(run.folder)
    if not config.on_graph:
        model = model.to(memory_format=torch.channels_last_3d)
    model = accelerator.prepare_model(model, evaluation_mode=True)
    return predict(model, clips.to_topology(config.topology), config, accelerator, views)


def _match(simulation: SimulatorConfig, seed: int, asked: Mapping[str, Question], cells: Cells) -> None:
    clips = simulate_clips(simulation, seed, ("train", "test")).to_topology(_BASELINE_TOPOLOGY)
    train, test = (clips.select(split=split) for split in ("train", "test"))
    for name, question in asked.items():
        cells.write(question, BASELINES[name]().fit(train).predict_scores(test))


def _watch(simulation: SimulatorConfig, seed: int, question: Question, cells: Cells) -> None:
    import pandas as pd

    videos, features = emotion_features(simulate_clips(simulation, seed, ("train",)))
    plans = {plan.video: plan for plan in make_plan(simulation, seed)[0]}
    columns = [f"f{i:03d}" for i in range(features.shape[1])]
    keys = {"video": videos, "subject": [str(plans[v].subject) for v in videos], "won": [plans[v].won for v in videos]}
    cells.write(question, pd.concat([pd.DataFrame(keys), pd.DataFrame(features, columns=columns)], axis=1))


def _question(kind: str, simulation: SimulatorConfig, seed: int, where: str, trained: SimulatorConfig, **more) -> dict[str, Any]:
    """What a cell answers; the trained value asks the same whichever knob is turned."""
    name = "-".join([kind, "trained" if simulation == trained else where, *([more["model"]] if "model" in more else [])])
    return {"name": name.replace(" ", "_"), "kind": kind, "simulation": asdict(simulation), "seed": seed, **more}


def _equal(a: ClipSet, b: ClipSet) -> bool:
    """Whether two sets hold the same bits in the second's joints."""
    a = a.to_topology(b.topology)
    same = len(a) == len(b) and all(
        list(a.index[name]) == list(b.index[name]) for name in ("clip_id", "label", "subject", "length")
    )
    return same and all(
        np.array_equal(x.keypoints, y.keypoints) and np.array_equal(x.scores, y.scores) for x, y in zip(a, b, strict=True)
    )


def _workers(config: RobustnessConfig) -> int:
    return config.resolved().workers or os.cpu_count() or 1


def _threads(config: RobustnessConfig) -> int:
    return config.threads or max(1, (os.cpu_count() or 1) // _workers(config))

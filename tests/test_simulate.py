"""The simulator: determinism, the release layout, labels that hold the motion, anatomy, and knobs that do what they say."""

from __future__ import annotations

import csv
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from python_calamine import CalamineWorkbook

from migstudy.classes import IMIGUE_CLASSES
from migstudy.datasets.imigue import read_imigue
from migstudy.simulate import PROFILES, SimulatorConfig, simulate, simulate_clips
from migstudy.simulate.config import describe_knobs, parse_knobs
from migstudy.simulate.plan import class_counts, make_plan
from migstudy.simulate.release import FORMAT
from migstudy.simulate.sheet import write_sheet
from migstudy.simulate.video import simulate_video
from migstudy.skeletons import get_topology

SMOKE, QUICK = PROFILES["smoke"], PROFILES["quick"]
CSV_CLASSES = [gesture.csv_class for gesture in IMIGUE_CLASSES]


def digest(root: Path) -> dict[str, str]:
    return {str(p.relative_to(root)): hashlib.sha256(p.read_bytes()).hexdigest() for p in sorted(root.rglob("*")) if p.is_file()}


@pytest.fixture(scope="module")
def release(tmp_path_factory) -> Path:
    return simulate(tmp_path_factory.mktemp("sim") / "smoke", profile="smoke", seed=3, workers=2)


def rows_of(path: Path) -> list[list[int]]:
    return [[int(x) for x in row] for row in csv.reader(path.open())]


def sheet_of(path: Path) -> np.ndarray:
    return np.array(CalamineWorkbook.from_path(str(path)).get_sheet_by_index(0).to_python(), float)


# files


def test_same_seed_same_bytes_on_one_worker(release, tmp_path):
    again = simulate(tmp_path / "again", profile="smoke", seed=3, workers=1)
    assert digest(again) == digest(release)


def test_the_format_number_stands_for_this_motion():
    """Whoever changes what a seed gives, raises FORMAT and renews these numbers; else old folders are taken for new ones."""
    plan, subjects = make_plan(SMOKE, seed=3)
    video = simulate_video(plan[0], subjects[plan[0].subject], SMOKE, 3)
    assert (FORMAT, video.rows[:2], video.keypoints.shape) == (3, [(24, 4, 44), (31, 56, 90)], (871, 137, 2))
    joints = ("nose", "left_wrist", "left_hand_index_4", "face_57")
    shown = video.keypoints[video.rows[0][1] + 10, [get_topology("openpose137").joints.index(name) for name in joints]]
    np.testing.assert_allclose(shown, [[635.12, 280.06], [716.6, 546.97], [639.54, 563.54], [629.73, 307.78]], atol=0.02)


def test_another_seed_gives_other_motion():
    plan, subjects = make_plan(SMOKE, seed=3)
    first, again, other = (simulate_video(plan[0], subjects[plan[0].subject], SMOKE, seed) for seed in (3, 3, 4))
    np.testing.assert_array_equal(first.keypoints, again.keypoints)
    assert first.keypoints.shape != other.keypoints.shape or (first.keypoints != other.keypoints).mean() > 0.5


@pytest.mark.parametrize("unit", ["clip", "video"])
def test_clips_in_memory_are_those_of_the_files(release, tmp_path, unit):
    read = read_imigue(release, unit=unit, cache=tmp_path)
    made = simulate_clips(SMOKE, 3, unit=unit)
    columns = ["video", "subject", "label", "start", "end", "split", "length", "width", "height"]
    expected = read.index.set_index("clip_id")[columns].sort_index()
    assert made.index.set_index("clip_id")[columns].sort_index().equals(expected)
    assert (made.class_names, made.fps, made.topology) == (read.class_names, read.fps, read.topology)
    for clip in made:
        np.testing.assert_array_equal(clip.keypoints, read[clip.clip_id].keypoints)
        np.testing.assert_array_equal(clip.scores, read[clip.clip_id].scores)


def test_a_knob_of_the_detector_leaves_motion_and_camera_alone():
    """One stream of random numbers a purpose: curves against a knob compare the same takes."""
    plan, subjects = make_plan(SMOKE, seed=3)
    plain, noisy = (simulate_video(plan[0], subjects[plan[0].subject], replace(SMOKE, noise_px=n), 3) for n in (1.0, 3.0))
    np.testing.assert_array_equal(plain.pixels, noisy.pixels)
    assert plain.rows == noisy.rows and (plain.keypoints != noisy.keypoints).any()


def test_takes_do_not_depend_on_their_neighbours():
    plan, subjects = make_plan(SMOKE, seed=3)
    whole = simulate_video(plan[0], subjects[plan[0].subject], SMOKE, 3)
    cut = simulate_video(replace(plan[0], classes=plan[0].classes[:3]), subjects[plan[0].subject], SMOKE, 3)
    lengths = [[end - start for _, start, end in video.rows] for video in (whole, cut)]
    assert lengths[0][:3] == lengths[1]


def test_layout_columns_and_frames(release):
    folders = [p for p in release.glob("imigue_skeleton_*/*") if p.is_dir()]
    assert {p.parent.name for p in folders} == {f"imigue_skeleton_{s}" for s in ("train", "validate", "test")}
    assert len({p.name for p in folders}) == len(folders) and all(len(p.name) == 4 and p.name.isdigit() for p in folders)
    assert not list(release.rglob("*.partial*"))
    for folder in folders:
        table = sheet_of(folder / f"{folder.name}_openpose.xlsx")
        assert table.shape[1] == 411 and np.isfinite(table).all()
        points = table.reshape(len(table), 137, 3)
        assert points[..., 2].min() >= 0 and points[..., 2].max() < 1
        assert (points[points[..., 2] == 0] == 0).all()
        rows = rows_of(folder / f"{folder.name}_label.csv")
        last = -1
        for csv_class, start, end in rows:
            assert csv_class in CSV_CLASSES and last < start <= end < len(table)
            last = end
    classes = [row[0] for folder in folders for row in rows_of(folder / f"{folder.name}_label.csv")]
    assert len(set(classes)) >= 12 and 80 <= len(classes) <= 120


def test_index_subjects_and_note(release):
    with (release / "labels_20200831.csv").open() as file:
        table = list(csv.DictReader(file))
    assert list(table[0]) == ["video_id", "class", "start_frame", "end_frame", "subject_id", "win_or_lose"]
    split_of = {p.name: p.parent.name for p in release.glob("imigue_skeleton_*/*") if p.is_dir()}
    people: dict[str, set] = {}
    for row in table:
        people.setdefault(row["subject_id"], set()).add(split_of[row["video_id"]])
        assert row["win_or_lose"] in ("win", "lose")
    assert all(len(splits) == 1 for splits in people.values())
    for video, split in split_of.items():
        rows = rows_of(release / split / video / f"{video}_label.csv")
        there = [[int(r["class"]), int(r["start_frame"]), int(r["end_frame"])] for r in table if r["video_id"] == video]
        assert rows == there
    facts = json.loads((release / "simulation.json").read_text())
    assert facts["seed"] == 3 and "not iMiGUE" in facts["what"] and facts["config"]["fps"] == 25.0
    assert facts["clips"] == {"train": 64, "validate": 16, "test": 24}
    assert "not iMiGUE" in (release / "SOURCE.txt").read_text()
    assert "real" in (release / "imigue_skeleton_test" / "README.txt").read_text()


def test_the_study_reads_it_without_special_case(release):
    from migstudy.datasets import open_dataset

    clips = open_dataset(release)
    assert len(clips) == 104 and clips.topology.name == "openpose137" and "not iMiGUE" in clips.source
    assert dict(clips.index["split"].value_counts()) == {"train": 64, "val": 16, "test": 24}


def test_light_hand_is_the_same_motion_in_35_points(release, tmp_path):
    light = simulate(tmp_path / "light", profile="smoke", seed=3, workers=1, shape="light_hand")
    video = next(p for p in sorted(light.glob("imigue_skeleton_train/*")))
    table = np.loadtxt(video / f"{video.name}_light_hand.csv", delimiter=",")
    full = sheet_of(release / video.parent.name / video.name / f"{video.name}_openpose.xlsx").reshape(-1, 137, 3)
    assert table.shape[1] == 1 + 35 * 3 and (table[:, 0] == np.arange(len(table))).all()
    np.testing.assert_array_equal(table[:, 1:].reshape(-1, 35, 3), full[:, list(get_topology("light35").openpose137)])


def test_killed_run_resumes_to_the_same_bytes(tmp_path):
    whole = simulate(tmp_path / "whole", profile="smoke", seed=5, workers=1)
    broken = tmp_path / "broken"
    code = f"from migstudy.simulate import simulate; simulate({str(broken)!r}, profile='smoke', seed=5, workers=1)"
    process = subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.DEVNULL, start_new_session=True,
                               cwd=Path(__file__).parents[1])  # fmt: skip
    deadline = time.time() + 60
    while not list(broken.glob("imigue_skeleton_*/[0-9][0-9][0-9][0-9]")) and time.time() < deadline:
        time.sleep(0.005)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    done = {p: p.stat().st_mtime_ns for p in broken.glob("imigue_skeleton_*/[0-9][0-9][0-9][0-9]/*")}
    assert done and not (broken / "simulation.json").exists()
    (broken / "imigue_skeleton_train" / "0002.partial-1").mkdir(exist_ok=True)
    simulate(broken, profile="smoke", seed=5, workers=1)
    assert digest(broken) == digest(whole)
    assert all(p.stat().st_mtime_ns == t for p, t in done.items())


def test_finished_release_is_left_alone_and_a_foreign_one_refused(release, tmp_path):
    before = {p: p.stat().st_mtime_ns for p in release.rglob("*")}
    assert simulate(release, profile="smoke", seed=3) == release
    assert before == {p: p.stat().st_mtime_ns for p in release.rglob("*")}
    with pytest.raises(ValueError, match="another seed"):
        simulate(release, profile="smoke", seed=4)
    with pytest.raises(ValueError, match="another config"):
        simulate(release, profile="smoke", seed=3, amplitude=2.0)
    (tmp_path / "mine.txt").write_text("keep me")
    with pytest.raises(ValueError, match="neither empty nor"):
        simulate(tmp_path, profile="smoke")
    assert [p.name for p in tmp_path.iterdir()] == ["mine.txt"]


def test_what_was_lost_from_a_finished_release_is_made_again(release, tmp_path):
    again = Path(shutil.copytree(release, tmp_path / "again"))
    before = digest(again)
    shutil.rmtree(next(again.glob("imigue_skeleton_train/[0-9]*")))
    next(again.glob("truth/*.npz")).unlink()
    (again / "truth" / "0001.npz.partial-1").write_bytes(b"of a killed run")
    simulate(again, profile="smoke", seed=3, workers=1)
    assert digest(again) == before


def test_a_damaged_marker_and_a_file_in_the_way_are_named(tmp_path):
    (tmp_path / "simulation.json").write_text('{"what":')
    with pytest.raises(ValueError, match="simulation.json is damaged .* simulate again"):
        simulate(tmp_path, profile="smoke")
    (tmp_path / "file").touch()
    with pytest.raises(ValueError, match="file is neither empty nor a simulated release"):
        simulate(tmp_path / "file", profile="smoke")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"profile": "huge"}, "smoke, quick, paper"), ({"shape": "csv"}, "openpose or light_hand"),
        ({"amplitud": 1}, "unknown knob 'amplitud'"), ({"noise_px": -1}, "noise_px"), ({"class_overlap": 1.5}, "class_overlap=1.5 must be between 0 and 1"),
        ({"subjects": (1, 0, 1)}, "1 or more"), ({"fps": 0}, "above 0"), ({"noise_px": float("nan")}, "noise_px"),
        ({"clips": (10, 2)}, "three numbers"), ({"extras": ("films",)}, "unknown extra 'films'"),
    ],
)  # fmt: skip
def test_wrong_settings_are_refused(tmp_path, arguments, message):
    with pytest.raises(ValueError, match=message):
        simulate(tmp_path / "x", **({"profile": "smoke"} | arguments))
    assert not (tmp_path / "x").exists()


@given(table=arrays(np.float64, st.tuples(st.integers(1, 5), st.integers(1, 60)), elements=st.floats(-1e6, 1e6, width=32)))
@settings(max_examples=25, deadline=None)
def test_sheet_round_trip(tmp_path_factory, table):
    path = tmp_path_factory.mktemp("sheet") / "a.xlsx"
    write_sheet(path, table)
    np.testing.assert_allclose(sheet_of(path), [[float(f"{x:.6g}") for x in row] for row in table])


# plan


@pytest.mark.parametrize("total", [40, 390, 1150, 4562, 12893])
@pytest.mark.parametrize("least", [0, 1])
def test_class_counts_follow_the_published_tail(total, least):
    counts = class_counts(total, "test", least)
    shares = np.array([g.train + g.val for g in IMIGUE_CLASSES], float)
    assert counts.sum() == total and counts.min() >= least
    if least == 0:
        assert np.abs(counts - total * shares / shares.sum()).max() <= 1


def test_quick_plan(tmp_path):
    plan, subjects = make_plan(QUICK, seed=0)
    split_people = {s: {p.subject for p in plan if p.split == s} for s in ("train", "validate", "test")}
    assert sum(map(len, split_people.values())) == len(set.union(*split_people.values())) == len(subjects) >= 20
    clips = {s: Counter(c for p in plan if p.split == s for c in p.classes) for s in split_people}
    assert {s: c.total() for s, c in clips.items()} == {"train": 1150, "validate": 240, "test": 390}
    assert min(clips["train"][c] for c in CSV_CLASSES) >= 3 and min(clips["test"][c] for c in CSV_CLASSES) >= 1
    assert [c for c, _ in clips["train"].most_common(3)] == [99, 31, 29]
    assert {p.won for p in plan} == {True, False}


def test_paper_plan_is_the_official_protocol():
    plan, subjects = make_plan(PROFILES["paper"], seed=0)
    clips = {s: Counter(c for p in plan if p.split == s for c in p.classes) for s in ("train", "validate", "test")}
    assert {s: c.total() for s, c in clips.items()} == {"train": 12893, "validate": 777, "test": 4562}
    assert len(plan) == 355 and len({p.video for p in plan}) == 355 and len(subjects) == 72
    assert all(clips["train"][g.csv_class] == g.train and clips["validate"][g.csv_class] == g.val for g in IMIGUE_CLASSES)
    assert len(next(p for p in plan if p.video == "0012").classes) == 52


def test_emotion_shifts_the_rates_only_when_asked():
    def lip_share(effect: float) -> list[float]:
        config = replace(QUICK, emotion_effect=effect, subject_style=0.0, clips=(12000, 30, 30), min_clips=(0, 0, 0))
        plan, _ = make_plan(config, seed=1)
        counts = {won: Counter(c for p in plan if p.split == "train" and p.won == won for c in p.classes) for won in (0, 1)}
        return [counts[won][29] / counts[won].total() for won in (0, 1)]

    lost, won = lip_share(2.0)
    assert lost > 1.5 * won
    lost, won = lip_share(0.0)
    assert abs(lost - won) < 0.02


def test_every_knob_says_what_it_is_and_in_which_unit():
    listed = describe_knobs("quick").splitlines()
    assert [line.split()[0] for line in listed] == [f.name for f in fields(SimulatorConfig)]
    for item in fields(SimulatorConfig):
        assert item.metadata["says"] and (item.metadata["unit"] or item.type == "bool"), item.name


def test_knobs_from_texts():
    assert parse_knobs({"amplitude": "1.5", "subjects": "2,1,1", "protocol": "true"}) == {
        "amplitude": 1.5, "subjects": (2, 1, 1), "protocol": True,
    }  # fmt: skip
    for options, message in (({"amplitud": "1"}, "'amplitude'"), ({"clips": "1,x,2"}, "14,3,7"), ({"fps": "fast"}, "fps")):
        with pytest.raises(ValueError, match=message):
            parse_knobs(options)

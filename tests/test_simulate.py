"""The simulator: determinism, the release layout, labels that hold the motion, anatomy, and knobs that do what they say."""

from __future__ import annotations

import csv
import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from python_calamine import CalamineWorkbook

from migstudy.classes import IMIGUE_CLASSES
from migstudy.simulate import PROFILES, SimulatorConfig, simulate
from migstudy.simulate.body import LEFT, NUM_JOINTS, RIGHT, TRUNK, Hands, Proportions, pose_arms, pose_trunk
from migstudy.simulate.camera import draw_camera, visibility
from migstudy.simulate.detector import detect
from migstudy.simulate.face import ACTION_UNITS, TEMPLATE, face_points
from migstudy.simulate.hand import INDEX_TIP, SHAPE_NAMES, hand_joints, shape_weights
from migstudy.simulate.kinematics import ease, rotation, two_bone_ik
from migstudy.simulate.motion import perform
from migstudy.simulate.places import FRAMES, PLACES
from migstudy.simulate.plan import class_counts, make_plan
from migstudy.simulate.programmes import PROGRAMMES
from migstudy.simulate.release import simulate_video
from migstudy.simulate.sheet import write_sheet
from migstudy.simulate.subject import draw_subject
from migstudy.simulate.takes import draw_take
from migstudy.skeletons import BODY25_JOINTS, FACE, FACE_PARTS, HAND_EDGES, LEFT_HAND, RIGHT_HAND, get_topology

SMOKE, QUICK = PROFILES["smoke"], PROFILES["quick"]
CSV_CLASSES = [gesture.csv_class for gesture in IMIGUE_CLASSES]


def digest(root: Path) -> dict[str, str]:
    return {str(p.relative_to(root)): hashlib.sha256(p.read_bytes()).hexdigest() for p in sorted(root.rglob("*")) if p.is_file()}


def joint(name: str) -> int:
    return BODY25_JOINTS.index(name)


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


def test_another_seed_gives_other_motion():
    plan, subjects = make_plan(SMOKE, seed=3)
    first, again, other = (simulate_video(plan[0], subjects[plan[0].subject], SMOKE, seed) for seed in (3, 3, 4))
    np.testing.assert_array_equal(first[1][0], again[1][0])
    assert first[1][0].shape != other[1][0].shape or (first[1][0] != other[1][0]).mean() > 0.5


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


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"profile": "huge"}, "smoke, quick, paper"), ({"shape": "csv"}, "openpose or light_hand"),
        ({"amplitud": 1}, "unknown knob 'amplitud'"), ({"noise_px": -1}, "noise_px"), ({"class_overlap": 1.5}, "0 to 1"),
        ({"subjects": (1, 0, 1)}, "1 or more"), ({"fps": 0}, "above 0"), ({"noise_px": float("nan")}, "noise_px"),
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


# anatomy

points = arrays(np.float64, (3,), elements=st.floats(-1.5, 1.5))


@given(root=points, target=points, pole=points, upper=st.floats(0.1, 0.5), lower=st.floats(0.1, 0.5))
@settings(max_examples=300, deadline=None)
def test_two_bone_ik_reaches_or_stretches(root, target, pole, upper, lower):
    elbow, hand = two_bone_ik(root, target, upper, lower, pole)
    assert abs(np.linalg.norm(elbow - root) - upper) < 1e-7 and abs(np.linalg.norm(hand - elbow) - lower) < 1e-7
    distance = np.linalg.norm(target - root)
    if abs(upper - lower) + 1e-5 < distance < upper + lower - 1e-5:
        assert np.linalg.norm(hand - target) < 1e-7
    else:
        end = np.clip(distance, abs(upper - lower), upper + lower)
        assert abs(np.linalg.norm(hand - root) - end) < 1e-5
        assert np.linalg.norm(np.cross(hand - root, target - root)) < 1e-6 or distance < 1e-8


@given(
    at=arrays(np.float64, (2, 3), elements=st.floats(-0.6, 0.6)), tip=st.floats(0, 1), shape=st.sampled_from(SHAPE_NAMES),
    fingers=points, palm=points,
)  # fmt: skip
@settings(max_examples=100, deadline=None)
def test_hand_touches_its_target_or_the_arm_is_at_its_limit(at, tip, shape, fingers, palm):
    size, hands = Proportions(), Hands.empty(1)
    trunk = pose_trunk({name: np.zeros(1) for name in TRUNK}, size)
    hands.at[0], hands.tip[:], hands.shape[:] = trunk.neck[0] + at, tip, shape_weights(shape)
    hands.fingers[:], hands.palm[:], hands.elbow[:] = fingers, palm, (0.1, -1, 0)
    elbows, wrists, joints = pose_arms(trunk, hands, size)
    palm_joints = [HAND_EDGES[0][0], HAND_EDGES[4][1], HAND_EDGES[16][1]]  # root, first index joint, first little joint
    for side in (RIGHT, LEFT):
        contact = tip * joints[0, side, INDEX_TIP] + (1 - tip) * joints[0, side, palm_joints].mean(0)
        reach = np.linalg.norm(wrists[0, side] - trunk.shoulders[0, side])
        least, most = abs(size.upper_arm - size.forearm), size.upper_arm + size.forearm
        touches = np.linalg.norm(contact - hands.at[0, side]) < 1e-6
        assert touches or abs(reach - most) < 1e-5 or abs(reach - least) < 1e-5


def test_every_place_is_within_reach_of_the_average_adult():
    size = Proportions()
    trunk = pose_trunk({name: np.zeros(1) for name in TRUNK}, size)
    for name, place in PLACES.items():
        assert place.frame in FRAMES
        if place.frame in ("forearm", "upper_arm"):
            continue
        origin, axes = {"head": (trunk.head, trunk.head_axes), "torso": (trunk.neck, trunk.torso_axes),
                        "room": (np.zeros((1, 3)), np.eye(3)[None])}[place.frame]  # fmt: skip
        hands = Hands.empty(1)
        hands.at[:], hands.tip[:] = (origin + axes @ np.array(place.at))[:, None], place.tip
        hands.shape[:] = shape_weights("relaxed")
        hands.fingers[:], hands.palm[:], hands.elbow[:] = place.fingers, place.palm, place.elbow
        _, wrists, joints = pose_arms(trunk, hands, size)
        arm = np.linalg.norm(wrists[0, RIGHT] - trunk.shoulders[0, RIGHT])
        assert arm < size.upper_arm + size.forearm - 1e-4, name


@given(weights=arrays(np.float64, (4, len(SHAPE_NAMES)), elements=st.floats(0, 1)), size=st.floats(0.8, 1.2))
@settings(max_examples=50, deadline=None)
def test_finger_bones_keep_their_length(weights, size):
    joints = hand_joints(weights, size)
    bones = np.array([np.linalg.norm(joints[:, a] - joints[:, b], axis=-1) for a, b in HAND_EDGES])
    np.testing.assert_allclose(bones, np.repeat(bones[:, :1], 4, 1), atol=1e-12)
    assert (bones > 0.01).all() and (bones < 0.13).all()


def test_bone_lengths_hold_through_a_whole_video():
    joints, subject, _, _ = performance(CSV_CLASSES)
    for side in ("left", "right"):
        shoulder, elbow, wrist = (joints[:, joint(f"{side}_{name}")] for name in ("shoulder", "elbow", "wrist"))
        np.testing.assert_allclose(np.linalg.norm(elbow - shoulder, axis=-1), subject.size.upper_arm, atol=1e-7)
        np.testing.assert_allclose(np.linalg.norm(wrist - elbow, axis=-1), subject.size.forearm, atol=1e-7)
        root = {"left": LEFT_HAND, "right": RIGHT_HAND}[side]
        np.testing.assert_allclose(joints[:, root], wrist, atol=1e-9)
        hand = joints[:, root : root + 21]
        bones = np.linalg.norm(hand[:, [a for a, _ in HAND_EDGES]] - hand[:, [b for _, b in HAND_EDGES]], axis=-1)
        np.testing.assert_allclose(bones, bones[:1].repeat(len(bones), 0), atol=1e-9)
    # smooth: no joint of the true motion jumps
    assert np.linalg.norm(np.diff(joints, axis=0), axis=-1).max() < 0.25


def test_mirrored_pose_gives_the_mirrored_arms():
    rng, size = np.random.default_rng(0), Proportions()
    trunk = pose_trunk({name: np.zeros(5) for name in TRUNK}, size)
    hands, flip = Hands.empty(5), np.array([-1.0, 1.0, 1.0])
    for held in (hands.at, hands.fingers, hands.palm, hands.elbow):
        held[:, RIGHT] = rng.normal(0, 0.3, (5, 3))
        held[:, LEFT] = held[:, RIGHT] * flip
    hands.shape[:] = rng.dirichlet(np.ones(len(SHAPE_NAMES)), 5)[:, None]
    for part in pose_arms(trunk, hands, size):
        np.testing.assert_allclose(part[:, LEFT], part[:, RIGHT] * flip, atol=1e-12)


def test_face_lies_within_the_head_and_units_move_what_they_name():
    def face(**units):
        return face_points({name: np.array([value]) for name, value in units.items()})[0]

    assert TEMPLATE.shape == (70, 3) and np.abs(TEMPLATE[:, 0]).max() < 0.08
    whole = get_topology("openpose137")
    mirror = [whole.mirror[FACE + i] - FACE for i in range(70)]
    np.testing.assert_allclose(TEMPLATE[mirror] * [-1, 1, 1], TEMPLATE, atol=1e-12)
    lips = list(FACE_PARTS["lips"])
    pressed, opened = face(lip_press=1.0), face(mouth_open=1.0)
    height = lambda points: np.ptp(points[lips, 1])  # noqa: E731
    assert height(pressed) < 0.6 * height(TEMPLATE) < 0.5 * height(opened)
    others = [i for i in range(70) if i not in lips and i not in FACE_PARTS["jaw"]]
    np.testing.assert_array_equal(pressed[others], TEMPLATE[others])
    for unit in ACTION_UNITS:
        moved = np.abs(face(**{unit: 1.0}) - TEMPLATE).max()
        assert 0.002 < moved < 0.03, unit
    with pytest.raises(KeyError, match="smirk"):
        face(smirk=1.0)


def test_rotations_turn_as_documented():
    forward, up = np.array([0, 0, 1.0]), np.array([0, 1.0, 0])
    quarter, zero = np.array([0.3]), np.zeros(1)
    assert (rotation(quarter, zero, zero)[0] @ up)[2] > 0  # lean bows to the camera
    assert (rotation(zero, quarter, zero)[0] @ forward)[0] > 0  # turn faces the subject's left
    assert (rotation(zero, zero, quarter)[0] @ up)[0] < 0  # tilt drops to the subject's right
    np.testing.assert_allclose(ease(np.array([-1, 0, 0.5, 1, 2])), [0, 0, 0.5, 1, 1])


# gestures


def performance(classes, seed=0, config=replace(QUICK, subject_style=0.5), emptied=False):
    """True joints, subject, takes and label rows; `emptied` keeps the timing and drops what the gestures do."""
    subject = draw_subject(np.random.default_rng(seed), config, len(IMIGUE_CLASSES))
    rng = np.random.default_rng(seed + 1)
    takes = [draw_take(c, subject, config, rng) for c in classes]
    shown = [replace(t, moves={}, hands={}) for t in takes] if emptied else takes
    motion = perform(shown, [5] * (len(takes) + 1), subject, config, np.random.default_rng(seed + 2))
    rows = [(t.csv_class, s, s + t.frames - 1) for t, s in zip(takes, motion.starts)]
    return motion.joints, subject, takes, rows


@pytest.mark.parametrize("seed", [0, 1])
def test_labels_hold_the_motion_and_nothing_else_does(seed):
    shown, _, takes, rows = performance(CSV_CLASSES, seed)
    empty, _, _, again = performance(CSV_CLASSES, seed, emptied=True)
    assert rows == again
    change = np.linalg.norm(shown - empty, axis=-1).max(1)
    outside = np.ones(len(change), bool)
    for (csv_class, start, end), take in zip(rows, takes):
        outside[start : end + 1] = False
        part = change[start : end + 1]
        assert part.max() > 0.004, f"class {csv_class} does not move"
        first, last = take.slack[0], len(part) - 1 - take.slack[1]
        assert part[: first + 1].max() < 1e-9 and part[last:].max() < 1e-9
    assert change[outside].max() == 0


def test_every_class_has_a_programme_and_a_partner():
    assert sorted(PROGRAMMES) == sorted(CSV_CLASSES)
    for programme in PROGRAMMES.values():
        assert programme.partner in PROGRAMMES and programme.partner != programme.csv_class
        assert programme.moves or programme.reach
        assert programme.reach is None or set(programme.reach.places) <= set(PLACES)
        assert {m.channel for m in programme.moves} <= {*TRUNK, *ACTION_UNITS, "raise", "forward"}


def test_face_only_classes_differ_on_the_face():
    config = replace(QUICK, class_overlap=0.0, clutter=0.0, background=0.0, subject_style=0.0)
    body = [joint(n) for n in ("neck", "right_shoulder", "left_shoulder", "right_wrist", "left_wrist")]
    for seed in range(4):
        shown, _, _, rows = performance([29], seed, config)
        empty = performance([29], seed, config, emptied=True)[0]
        change = np.linalg.norm(shown - empty, axis=-1)[rows[0][1] : rows[0][2]]
        assert change[:, body].max() < 1e-9 and change[:, FACE : FACE + 70].max() > 0.004


@pytest.mark.parametrize(
    ("csv_class", "target", "close"),
    [(8, "face", 0.09), (11, "chin", 0.12), (9, "ear", 0.06), (4, "head", 0.20), (12, "neck", 0.14)],
)
def test_hands_go_where_the_class_says(csv_class, target, close):
    config = replace(QUICK, class_overlap=0.0, clutter=0.0)
    for seed in range(6):
        joints, _, takes, rows = performance([csv_class], seed, config)
        middle = (rows[0][1] + rows[0][2]) // 2
        tips = [root + INDEX_TIP for side, root in ((RIGHT, RIGHT_HAND), (LEFT, LEFT_HAND)) if side in takes[0].hands]
        jaw = FACE + list(FACE_PARTS["jaw"])[8]
        goal = {"face": [joint("nose")], "chin": [jaw], "ear": [joint("left_ear"), joint("right_ear")],
                "head": [joint("left_ear"), joint("right_ear")], "neck": [joint("neck")]}[target]  # fmt: skip
        gap = min(np.linalg.norm(joints[middle, t] - joints[middle, g]) for t in tips for g in goal)
        assert gap < close, (csv_class, seed, gap)


def test_amplitude_tempo_and_duration_knobs():
    def size(**knobs):
        config = replace(QUICK, clutter=0.0, **knobs)
        shown, _, _, rows = performance([31, 20, 28] * 4, 3, config)
        empty = performance([31, 20, 28] * 4, 3, config, emptied=True)[0]
        return np.linalg.norm(shown - empty, axis=-1).max(), np.mean([e - s + 1 for _, s, e in rows])

    small, normal, large = (size(amplitude=a)[0] for a in (0.3, 1.0, 2.0))
    assert small < 0.5 * normal < 0.7 * large
    assert size(tempo=2.0)[1] < 0.6 * size()[1] < 0.4 * size(clip_seconds=2.0)[1]
    assert abs(size(fps=50.0)[1] / size()[1] - 2) < 0.1


# detector


def detected(**knobs):
    config = replace(QUICK, **knobs)
    joints = performance([99, 31, 29, 20, 23, 8] * 4, 0)[0]
    camera = draw_camera(config, np.random.default_rng(5))
    pixels = camera.project(joints)
    visible = visibility(joints, pixels, camera, config)
    keypoints, scores = detect(pixels, visible, config, np.random.default_rng(6))
    return pixels, keypoints, scores, visible


def error(**knobs):
    pixels, keypoints, scores, _ = detected(swaps=0.0, mistakes=0.0, **knobs)
    distance = np.linalg.norm(keypoints - pixels, axis=-1)
    return np.array([np.median(distance[:, p][scores[:, p] > 0.3]) for p in (slice(0, 8), slice(FACE, LEFT_HAND),
                                                                            slice(LEFT_HAND, NUM_JOINTS))])  # fmt: skip


def test_noise_grows_with_its_knob_and_as_confidence_falls():
    quiet, normal, loud = error(noise_px=0.0), error(), error(noise_px=3.0)
    assert (quiet < 1e-9).all() and (normal > 0.2).all() and (normal < 4).all() and (loud > 2.5 * normal).all()
    pixels, keypoints, scores, _ = detected(swaps=0.0, mistakes=0.0)
    distance = np.linalg.norm(keypoints - pixels, axis=-1)[:, RIGHT_HAND:]
    sure = scores[:, RIGHT_HAND:]
    assert np.median(distance[sure > 0.6]) < np.median(distance[(sure > 0.06) & (sure < 0.4)])


def test_missing_rate_loses_hands_most():
    shares = []
    for rate in (0.0, 0.1, 0.5, 1.0):
        _, keypoints, scores, visible = detected(missing_rate=rate)
        seen = visible > 0.99
        lost = (scores == 0) & seen
        shares.append([lost[:, p].sum() / seen[:, p].sum() for p in (slice(FACE, LEFT_HAND), slice(LEFT_HAND, NUM_JOINTS))])
        assert (keypoints[scores == 0] == 0).all()
    face, hands = np.array(shares).T
    assert hands[0] < 0.02 and (np.diff(hands) > 0.05).all() and hands[-1] == 1.0
    assert abs(hands[2] - 0.5) < 0.2 and face[1] < hands[1]


def test_swaps_and_mistakes_happen_at_their_rate():
    wrists = [joint("left_wrist"), joint("right_wrist")]
    clean = dict(noise_px=0.0, missing_rate=0.0)
    pixels, keypoints, _, _ = detected(swaps=0.0, mistakes=0.0, **clean)
    seen = (keypoints != 0).any(-1)
    np.testing.assert_allclose(keypoints[seen], pixels[seen], atol=1e-9)
    pixels, keypoints, _, _ = detected(swaps=30.0, mistakes=0.0, **clean)
    exact = np.isclose(keypoints[:, wrists], pixels[:, wrists[::-1]]).all(-1).any(-1)
    assert 0.05 < exact.mean() < 0.9
    pixels, keypoints, scores, _ = detected(swaps=0.0, mistakes=30.0, **clean)
    hand = slice(LEFT_HAND, RIGHT_HAND)
    wrong = (np.linalg.norm(keypoints[:, hand] - pixels[:, hand], axis=-1) > 5) & (scores[:, hand] > 0.3)
    assert 0.02 < wrong.any(1).mean() < 0.8


def test_lap_is_hidden_below_the_table_and_the_head_is_not():
    plan, subjects = make_plan(SMOKE, seed=0)
    for p in plan[:3]:
        _, (keypoints, scores), _ = simulate_video(p, subjects[p.subject], SMOKE, 0)
        knees = scores[:, [joint("left_knee"), joint("right_knee")]]
        assert (scores[:, joint("nose")] > 0.5).mean() > 0.8 and (knees > 0.3).mean() < 0.3
        size = np.array([SMOKE.width, SMOKE.height])
        head = keypoints[:, joint("nose")][scores[:, joint("nose")] > 0]
        assert ((head > 0.02 * size) & (head < 0.98 * size)).all()


def test_overlap_makes_partners_alike():
    """The contact heights of two partners move together as class_overlap grows."""

    def gap(overlap: float) -> float:
        config = replace(QUICK, class_overlap=overlap, clutter=0.0, subject_style=0.0, take_variation=0.0)
        subject = draw_subject(np.random.default_rng(0), config, 32)
        means = []
        for csv_class in (8, 11):
            takes = [draw_take(csv_class, subject, config, np.random.default_rng(s)) for s in range(150)]
            means.append(np.mean([part.at[1] for t in takes for part in t.hands.values()]))
        return abs(means[0] - means[1])

    assert gap(0.0) > 1.3 * gap(0.5) > 1.5 * gap(1.0)


def test_config_documents_every_knob():
    text = SimulatorConfig.__doc__
    missing = [name for name in SimulatorConfig.__dataclass_fields__ if name not in text]
    assert not missing

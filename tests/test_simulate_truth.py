"""Ground truth: what a video knows about itself, and the file that keeps it."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import numpy as np
import pytest
from simulated import CSV_CLASSES, QUICK, SMOKE, performed

from migstudy.simulate import simulate_video
from migstudy.simulate.body import pose_trunk
from migstudy.simulate.hand import INDEX_TIP, PALM
from migstudy.simulate.motion import APEX, OFFSET, ONSET, PHASES, REST
from migstudy.simulate.places import CONTACTS, PLACES, mirrored
from migstudy.simulate.plan import make_plan
from migstudy.simulate.takes import SECONDS, draw_gaps
from migstudy.simulate.truth import JOINT_STEP, VISIBLE_STEP, load_truth, save_truth
from migstudy.skeletons import LEFT_HAND, RIGHT_HAND

SMALL = replace(SMOKE, cuts=6.0, camera_drift=3.0)


@pytest.fixture(scope="module")
def video():
    plan, subjects = make_plan(SMALL, seed=1)
    return simulate_video(plan[0], subjects[plan[0].subject], SMALL, 1)


def test_what_is_saved_comes_back_within_its_quantisation(video, tmp_path):
    truth = load_truth(save_truth(tmp_path / "new" / "a.npz", video))
    motion = video.motion
    assert np.abs(truth.joints - motion.joints).max() <= 0.51 * JOINT_STEP and truth.joints.dtype == np.float32
    assert np.abs(truth.visible - video.visible).max() <= 0.51 * VISIBLE_STEP
    assert list(truth.channels) == list(motion.channels)
    for name, values in truth.channels.items():
        np.testing.assert_allclose(values, motion.channels[name], rtol=1e-3, atol=1e-6)
    for name in ("phases", "gesture", "contacts"):
        np.testing.assert_array_equal(getattr(truth, name), getattr(motion, name))
        assert getattr(truth, name).dtype == getattr(motion, name).dtype
    np.testing.assert_allclose(truth.talking, motion.talking, atol=1e-3)
    assert [tuple(row) for row in truth.rows] == video.rows
    assert truth.video == video.plan.video and truth.split == video.plan.split and truth.won == video.plan.won
    assert truth.fps == 25.0 and truth.size == (SMALL.width, SMALL.height)
    assert truth.mood == pytest.approx(motion.mood.amounts())
    assert truth.traits["tempo"] == video.subject.tempo and truth.traits["left_handed"] == video.subject.left_handed
    assert len(truth.traits["habits"]) == 32 and truth.traits["size"]["forearm"] == video.subject.size.forearm
    np.testing.assert_allclose(truth.face, video.subject.size.face, atol=1e-7)
    assert truth.phase_names == PHASES and truth.contact_names == CONTACTS
    # the cameras are whole: true pixels can be computed again (in a close-up 0.05 mm are up to a tenth of a pixel)
    assert len(truth.shots.cameras) > 1
    np.testing.assert_allclose(truth.shots.project(truth.joints), video.pixels, atol=0.1)


def test_same_video_same_bytes_and_no_rest(video, tmp_path):
    paths = [save_truth(tmp_path / name, video) for name in ("a.npz", "b.npz")]
    digests = {hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}
    assert len(digests) == 1 and sorted(p.name for p in tmp_path.iterdir()) == ["a.npz", "b.npz"]
    assert paths[0].stat().st_size < 1200 * len(video.pixels)


def test_damaged_or_foreign_files_are_named(video, tmp_path):
    whole = save_truth(tmp_path / "a.npz", video).read_bytes()
    (tmp_path / "short.npz").write_bytes(whole[: len(whole) // 2])
    np.savez(tmp_path / "foreign.npz", x=np.zeros(3))
    np.save(tmp_path / "object.npy", np.array([{}], object), allow_pickle=True)
    (tmp_path / "object.npy").rename(tmp_path / "object.npz")
    for name in ("short.npz", "foreign.npz", "object.npz"):
        with pytest.raises(ValueError, match=f"{name}.*simulate again"):
            load_truth(tmp_path / name)
    with pytest.raises(FileNotFoundError):
        load_truth(tmp_path / "none.npz")


@pytest.mark.parametrize("seed", [0, 1])
def test_phases_follow_the_envelopes(seed):
    motion, _, takes = performed(CSV_CLASSES, seed)
    covered = np.full(len(motion.joints), -1)
    for i, (start, take, shown) in enumerate(zip(motion.starts, takes, motion.envelopes)):
        span = slice(start, start + take.frames)
        covered[span] = i
        phases = motion.phases[span]
        order = phases[phases != REST]
        assert (np.diff(order) >= 0).all() and set(order) >= {ONSET, APEX, OFFSET} - ({APEX} if take.frames < 8 else set())
        np.testing.assert_array_equal(phases != REST, shown > 0)
        assert shown[phases == APEX].min(initial=1.0) > 0.999
        assert (np.diff(shown)[phases[1:] == ONSET] > 0).all() and (np.diff(shown)[phases[1:] == OFFSET] < 0).all()
    np.testing.assert_array_equal(motion.gesture, covered)
    assert (motion.phases[covered < 0] == REST).all() and 0 <= motion.talking.min() <= motion.talking.max() <= 1


@pytest.mark.parametrize("overlap", [0.0, 1.0])
@pytest.mark.parametrize("seed", [0, 1])
def test_contacts_name_the_place_that_is_touched(seed, overlap):
    """Whatever was aimed at: the hand is within 5 cm of the named place, and no other place of that body part is nearer."""
    config = replace(QUICK, clutter=0.0, class_overlap=overlap)
    motion, subject, takes = performed(CSV_CLASSES, seed, config, left_handed=False)
    trunk, aimed = pose_trunk(motion.channels, subject.size), []
    frames = {"head": (trunk.head, trunk.head_axes), "torso": (trunk.neck, trunk.torso_axes),
              "room": (np.zeros_like(trunk.neck), np.broadcast_to(np.eye(3), trunk.head_axes.shape))}  # fmt: skip
    for start, take in zip(motion.starts, takes):
        held = start + np.flatnonzero(motion.phases[start : start + take.frames] == APEX)
        for side in (0, 1):
            there = motion.contacts[held, side]
            if side not in take.hands:
                assert {CONTACTS[i] for i in there if i >= 0} <= {"table", "table_near", "table_far", "lap"}
                continue
            part = take.hands[side]
            aimed.append(np.mean([i >= 0 and CONTACTS[i] == part.place for i in there]))
            if part.frame not in frames:
                continue
            hand = motion.joints[held, (RIGHT_HAND, LEFT_HAND)[side] :][:, :21]
            touch = part.tip * hand[:, INDEX_TIP] + (1 - part.tip) * hand[:, list(PALM)].mean(1)
            origin, axes = (array[held] for array in frames[part.frame])
            names = [name for name in CONTACTS if PLACES[name].frame == part.frame]
            far = np.stack([np.linalg.norm(origin + axes @ mirrored(PLACES[n].at, side == 1) - touch, axis=-1) for n in names])
            seen = np.array([names.index(CONTACTS[i]) if i >= 0 else -1 for i in there])
            ok = seen >= 0
            if ok.any():
                assert (far[seen, np.arange(len(seen))][ok] < 0.055).all()
                assert (far[:, ok].argmin(0) == seen[ok]).mean() > 0.9
    if overlap == 0:
        assert np.mean(np.array(aimed) > 0.5) > 0.6  # the person's manner may lead to a neighbour
    assert set(CONTACTS) < set(PLACES) and (motion.contacts >= -1).all()
    assert (motion.contacts[motion.gesture < 0] >= 0).mean() > 0.5  # hands return to rest


def test_a_beating_hand_does_not_touch_the_table():
    motion, _, _ = performed([99] * 6, 1, replace(QUICK, clutter=0.0), left_handed=False)
    hands = motion.joints[:, [RIGHT_HAND, LEFT_HAND]][..., 1]
    table = np.isin(motion.contacts, [CONTACTS.index(name) for name in ("table", "table_near", "table_far")])
    assert table.any() and hands[table].max() < 0.25 and np.median(hands[table]) < np.median(hands[~table])


@pytest.mark.parametrize("config", [SMOKE, QUICK], ids=["smoke", "quick"])
def test_videos_last_20_to_120_seconds(config):
    plan, subjects = make_plan(config, seed=0)
    from migstudy.simulate.takes import draw_take

    for p in plan:
        rng = np.random.default_rng(p.number)
        takes = [draw_take(c, subjects[p.subject], config, rng) for c in p.classes]
        gaps = draw_gaps(takes, config, rng)
        seconds = (sum(gaps) + sum(take.frames for take in takes)) / config.fps
        assert SECONDS[0] <= seconds <= SECONDS[1] and min(gaps) >= 2 and len(gaps) == len(takes) + 1


def test_pauses_have_their_mean_and_an_empty_video_its_length():
    config = replace(QUICK, gap_seconds=0.5)
    takes = [t for s in range(2) for t in performed(CSV_CLASSES[:15], s)[2]]
    gaps = [g for s in range(60) for g in draw_gaps(takes, config, np.random.default_rng(s))[1:-1]]
    assert abs(np.mean(gaps) / config.fps - 0.5 - 2 / config.fps) < 0.05
    assert 20 * 25 <= sum(draw_gaps([], config, np.random.default_rng(0))) <= 22 * 25

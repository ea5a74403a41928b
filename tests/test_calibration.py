"""Statistics of keypoint tracks on tracks whose answers are known, recordings read as they are, and the simulator beside them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from migstudy.calibration import compare as calibration
from migstudy.calibration.compare import as_track, compare, largest_mismatches, readable, simulated_videos
from migstudy.calibration.recordings import Track, evenly_sampled, load_recordings
from migstudy.calibration.track_statistics import (
    band_rms,
    group_joints,
    jitter,
    limb_variation,
    missing_spells,
    samples,
    second_differences,
    spectrum,
    speeds,
    statistics,
)  # fmt: skip
from migstudy.figures.calibration import calibrate
from migstudy.simulate import PROFILES
from migstudy.skeletons import BODY25_JOINTS

JOINTS = ("nose", "neck", "left_shoulder", "right_shoulder", "left_wrist", "left_hand_root", "left_hand_index_1", "face_3")


def track(xy, scores=None, fps=25.0, starts=(0,), joints=JOINTS) -> Track:
    return Track("made up", "one", np.asarray(xy, float), scores, joints[: np.shape(xy)[1]], fps, starts=starts)


def noisy(sd: float, frames: int = 4000, seed: int = 0) -> np.ndarray:
    return sd * np.random.default_rng(seed).standard_normal((frames, len(JOINTS), 2))


# statistics


def test_groups_hold_the_joints_of_their_name():
    groups = {name: [JOINTS[i] for i in columns] for name, columns in group_joints(JOINTS).items()}
    assert groups == {"head": ["nose"], "shoulders": ["left_shoulder", "right_shoulder"], "wrists": ["left_wrist"],
                      "fingers": ["left_hand_index_1"], "face": ["face_3"]}  # fmt: skip
    assert group_joints(("mid_hip", "left_ankle")) == {}


@pytest.mark.parametrize("sd", [0.001, 0.02])
def test_jitter_is_the_white_noise_whatever_the_slow_motion(sd):
    slow = 0.5 * np.sin(2 * np.pi * 0.05 * np.arange(4000) / 25)[:, None, None]
    assert jitter(track(noisy(sd)), [0, 1, 2]) == pytest.approx(sd, rel=0.03)
    assert jitter(track(noisy(sd) + slow), [0, 1, 2]) == pytest.approx(sd, rel=0.06)


def test_unsure_joints_and_cuts_do_not_count():
    xy, scores = noisy(0.001, 400), np.ones((400, len(JOINTS)))
    xy[200:] += 3.0
    xy[50], scores[50] = 9.0, 0.1
    whole, parted = second_differences(track(xy), [0]), second_differences(track(xy, scores, starts=(0, 200)), [0])
    assert np.abs(whole).max() > 2 and np.abs(parted).max() < 0.01
    assert len(whole) == 2 * 398 and len(parted) == 2 * (398 - 3 - 2)
    assert speeds(track(xy, scores, starts=(0, 200)), [0]).max() < 0.1


def test_spectrum_of_white_noise_and_of_a_tone():
    hertz, density = spectrum(track(noisy(0.01)), [0, 1, 2])
    assert hertz[-1] == 12.5
    np.testing.assert_allclose(density[3:-1], 2 * 0.01**2 / 25, rtol=0.2)  # one-sided: its sum is the variance
    assert band_rms(hertz, density, 0, 12.5) == pytest.approx(0.01, rel=0.1)
    tone = 0.1 * np.sin(2 * np.pi * 5 * np.arange(4000) / 25)[:, None, None] + noisy(0.0001)
    hertz, density = spectrum(track(tone), [0])
    assert hertz[density.argmax()] == pytest.approx(5, abs=0.4) and band_rms(hertz, density, 8, 12) < 0.001
    short = spectrum(track(noisy(0.01, 30)), [0])[1]
    assert np.isnan(short).all()


def test_speed_of_steady_motion():
    xy = np.zeros((100, len(JOINTS), 2))
    xy[..., 0], xy[..., 1] = 0.03 * np.arange(100)[:, None], 0.04 * np.arange(100)[:, None]
    np.testing.assert_allclose(speeds(track(xy, fps=30.0), [0, 4]), 0.05 * 30)


@given(st.floats(0.01, 0.3), st.floats(0.1, 10))
def test_limb_variation_is_sd_over_mean(variation, length):
    xy = np.zeros((400, len(JOINTS), 2))
    xy[:, 1] = [0, 5]
    xy[:, 0, 1] = 5 + length * (1 + variation * np.sqrt(2) * np.sin(2 * np.pi * np.arange(400) / 40))
    assert limb_variation(track(xy), "neck to nose") == pytest.approx(variation, rel=1e-6)
    assert np.isnan(limb_variation(track(xy), "forearms"))


@given(st.lists(st.booleans(), min_size=1, max_size=60), st.integers(1, 59))
def test_spells_are_the_runs_and_end_at_cuts(lost, cut):
    cut = min(cut, len(lost))
    expected = []
    for piece in (lost[:cut], lost[cut:]):
        runs = "".join("x" if value else " " for value in piece).split()
        expected += [len(run) for run in runs]
    found = missing_spells(np.array(lost)[:, None], (0, cut))
    assert sorted(found) == sorted(expected) and found.sum() == sum(lost)


def test_statistics_table_counts_what_is_missing():
    scores = np.full((250, len(JOINTS)), 0.8)
    scores[100:150, 4] = 0.0
    table = statistics(track(noisy(0.01, 250), scores)).set_index(["group", "statistic"])["value"]
    assert table["wrists", "not found"] == pytest.approx(20) and table["wrists", "spell not found"] == pytest.approx(2.0)
    assert table["head", "not found"] == 0 and ("head", "spell not found") not in table.index
    assert table["head", "confidence"] == 0.8 and table["head", "jitter"] == pytest.approx(10, rel=0.15)
    timeless = statistics(track(noisy(0.01, 250), fps=np.nan))
    assert set(timeless["statistic"]) == {"length variation"}
    assert len(samples(track(noisy(0.01), scores=None), "head", "confidence")) == 0


# recordings


@given(st.floats(10, 60), st.integers(0, 1000))
@settings(max_examples=30)
def test_even_sampling_keeps_straight_lines_and_parts_at_gaps(rate, seed):
    rng = np.random.default_rng(seed)
    time = np.cumsum(rng.uniform(0.02, 0.06, 200))
    time[120:] += 5.0
    values = np.stack([3 * time, 1 - time], -1)
    xy, starts = evenly_sampled(values, time, rate, 0.15)
    assert len(starts) == 2 and starts[0] == 0
    inner = np.diff(xy[:, 0])
    np.testing.assert_allclose(np.delete(inner, starts[1] - 1), 3 / rate, rtol=1e-6)
    assert inner[starts[1] - 1] > 3 * 4.9
    with pytest.raises(ValueError, match="no stretch of a second"):
        evenly_sampled(values, np.arange(200.0), rate, 0.15)


def recording_files(folder):
    rng = np.random.default_rng(0)
    hands = [f"hand{h}_{k}" for h in (0, 1) for k in range(21)]
    joints = ["nose", "neck", "right_shoulder", "right_elbow", "right_wrist", "left_shoulder", "left_elbow", "left_wrist", *hands]
    rest = rng.uniform(0, 1, (len(joints), 2))
    rest[2], rest[5] = [0.3, 0.5], [0.7, 0.5]
    xy = rest + 0.002 * rng.standard_normal((400, len(joints), 2))
    frames = np.concatenate([xy, np.ones((400, len(joints), 1))], -1).astype(np.float32)
    np.savez(folder / "echomimic_halfbody_dwpose.npz", frames=frames, offsets=[0, 200, 400], ids=["a", "b"], joint_names=joints)
    six = ["hand_left", "hand_right", "head", "spine", "wrist_left", "wrist_right"]
    body = np.tile(rng.uniform(0, 5, (6, 3)), (300, 1, 1)) + 0.01 * rng.standard_normal((300, 6, 3))
    np.savez(folder / "gesture_phase_seg.npz", frames=body, offsets=[0, 300], ids=["a1"], joint_names=six,
             timestamp_ms=33 * np.arange(300))  # fmt: skip
    clips = rng.uniform(0, 300, (25, 2)) + rng.standard_normal((3, 92, 25, 2))
    np.savez(folder / "dbcsp_ar_openpose25.npz", keypoints=clips)


def test_recordings_are_read_in_body_units(tmp_path):
    recording_files(tmp_path)
    real = load_recordings(tmp_path)
    assert {name: len(tracks) for name, tracks in real.items()} == {
        "half-body speakers": 2, "seated storytellers": 1, "interaction clips": 3}  # fmt: skip
    speaker, teller, clip = (tracks[0] for tracks in real.values())
    assert "left_hand_index_4" in speaker.joints and speaker.xy.shape == (200, 50, 2)
    shoulders = [speaker.joints.index(f"{side}_shoulder") for side in ("left", "right")]
    assert np.linalg.norm(np.diff(speaker.xy[:, shoulders], axis=1), axis=-1).mean() == pytest.approx(1, abs=0.01)
    assert jitter(speaker, shoulders) == pytest.approx(0.002 / 0.4, rel=0.15)
    assert teller.unit == "head to spine" and teller.joints[0] == "left_hand" and teller.fps == 25
    assert clip.scores is None and clip.joints == tuple(BODY25_JOINTS) and np.isnan(clip.fps)


def test_absent_files_are_left_out_and_an_empty_folder_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="holds no recordings: looked for echomimic"):
        load_recordings(tmp_path)
    recording_files(tmp_path)
    (tmp_path / "gesture_phase_seg.npz").unlink()
    assert list(load_recordings(tmp_path)) == ["half-body speakers", "interaction clips"]
    np.savez(tmp_path / "dbcsp_ar_openpose25.npz", other=np.zeros(3))
    with pytest.raises(ValueError, match="has no array 'keypoints'"):
        load_recordings(tmp_path)


# the simulator beside recordings


@pytest.fixture(scope="module")
def videos():
    return simulated_videos(replace(PROFILES["smoke"], cuts=4.0), 3)


def test_the_simulator_agrees_with_itself_and_noise_shows(videos):
    like = track(noisy(1.0, 10), joints=("left_shoulder", "right_shoulder", "nose", "left_wrist"))
    table = compare({"itself": [as_track(video, like) for video in videos]}, videos)
    assert (table["ratio"].dropna() == 1).all() and (table["ks"].dropna() == 0).all() and not table["outside"].any()
    loud = simulated_videos(replace(PROFILES["smoke"], cuts=4.0, noise_px=3.0), 3)
    table = compare({"itself": [as_track(video, like) for video in videos]}, loud)
    worst = largest_mismatches(table)
    jitters = table[table["statistic"] == "jitter"]
    assert (jitters["ratio"] > 4).all() and (jitters["ks"] > 0.4).all() and jitters["outside"].all()
    assert list(worst["rank"]) == list(range(1, len(worst) + 1)) and worst["log_ratio"].abs().is_monotonic_decreasing
    assert "▲ 1" in set(readable(table)["mismatch"])


def test_simulated_tracks_know_their_shots_and_units(videos):
    video = max(videos, key=lambda v: len(v.shots.starts))
    assert len(video.shots.starts) > 1
    shown = as_track(video, track(noisy(1.0, 10)))
    assert shown.starts == tuple(video.shots.starts) and shown.joints == JOINTS
    widths = np.linalg.norm(shown.xy[:, 2] - shown.xy[:, 3], axis=-1)
    for span in video.shots.spans:
        assert np.median(widths[span]) == pytest.approx(1, abs=0.03)
    six = replace(track(noisy(1.0, 10), joints=("left_hand", "head", "spine")), unit="head to spine")
    assert as_track(video, six).joints == six.joints


def test_figure_and_table_are_written(tmp_path, monkeypatch):
    recording_files(tmp_path)
    written = calibrate(tmp_path, tmp_path / "figures", PROFILES["smoke"], videos=2)
    assert {path.name for path in written} == {
        f"{name}.{ending}" for name, endings in (("real_vs_simulated", "png pdf json"), ("table_calibration", "md csv json"))
        for ending in endings.split()}  # fmt: skip
    table = pd.read_csv(tmp_path / "figures" / "table_calibration.csv")
    assert set(table["source"]) == {"half-body speakers", "seated storytellers", "interaction clips"}
    assert table.loc[table["note"].notna(), "rank"].isna().all() and table["rank"].max() >= calibration.LARGEST


def test_the_default_detector_jitters_as_real_ones_do(recordings_dir):
    real = load_recordings(recordings_dir)
    table = compare({"half-body speakers": real["half-body speakers"]}, simulated_videos(videos=4))
    jitters = table[table["statistic"] == "jitter"]
    assert len(jitters) == 5
    assert (jitters["simulated"] < 1.2 * jitters["real_high"]).all() and (jitters["simulated"] > jitters["real_low"]).all()

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from migstudy.temporal import SAMPLERS, interval_positions, segment_positions, take_frames, zero_pad

lengths = st.integers(1, 400)
clip_lengths = st.integers(1, 64)
clips = st.integers(1, 12)


def a_clip(frames, joints=3, dims=2, persons=(), seed=0):
    rng = np.random.default_rng(seed)
    keypoints = rng.normal(100, 20, (*persons, frames, joints, dims)).astype(np.float32)
    return keypoints, rng.uniform(0.1, 1, (*persons, frames, joints)).astype(np.float32)


def line(frames, joints=1):
    """A joint that moves one pixel a frame: its coordinate is its position."""
    keypoints = np.repeat(np.arange(frames, dtype=np.float32)[:, None, None], joints, axis=1).repeat(2, axis=2)
    return keypoints, np.ones((frames, joints), np.float32)


# -- uniform segments: parity and properties -----------------------------------------------------------------------------


def test_segments_equal_pyskl_draw_for_draw(fixtures_dir):
    with np.load(fixtures_dir / "pose_sampling_pyskl.npz") as data:
        cases = dict(data)
    assert len(cases) > 200
    for name, expected in cases.items():
        mode, _, case = name.partition("/")
        clip_len, num_clips, frames = (int(part[1:]) for part in case.split("_"))
        rng = np.random.RandomState(int(mode.removeprefix("train_seed"))) if mode.startswith("train") else None
        np.testing.assert_array_equal(segment_positions(frames, clip_len, num_clips, rng), expected, err_msg=name)


@pytest.mark.parametrize("frames", [7, 48, 60, 95, 96, 143, 300])
def test_mmaction2_draws_one_number_less_per_clip(frames):
    ahead, behind = np.random.RandomState(3), np.random.RandomState(3)
    ahead.random()
    ours = segment_positions(frames, 48, 1, ahead, variant="mmaction2")
    np.testing.assert_array_equal(ours, segment_positions(frames, 48, 1, behind))
    test_mode = segment_positions(frames, 48, 10, variant="mmaction2")
    assert np.array_equal(test_mode, segment_positions(frames, 48, 10)) == (frames <= 48)


@settings(deadline=None)
@given(lengths, clip_lengths, clips, st.sampled_from(["test", "generator", "legacy"]), st.integers(0, 2**31))
def test_each_frame_comes_from_its_own_segment(frames, clip_len, num_clips, mode, seed):
    rng = {"test": None, "generator": np.random.default_rng(seed), "legacy": np.random.RandomState(seed)}[mode]
    drawn = segment_positions(frames, clip_len, num_clips, rng).reshape(num_clips, clip_len)
    assert drawn.dtype == np.int64
    for positions in drawn:
        assert positions.min() >= 0 and positions.max() < frames
        if frames < clip_len:
            np.testing.assert_array_equal(positions, (positions[0] + np.arange(clip_len)) % frames)
        elif frames < 2 * clip_len:
            assert (np.diff(positions) >= 1).all() and (np.diff(positions) <= 1 + frames - clip_len).all()
        else:
            bounds = np.array([i * frames // clip_len for i in range(clip_len + 1)])
            assert (positions >= bounds[:-1]).all() and (positions < bounds[1:]).all()


def test_short_test_clips_start_evenly_and_wrap():
    starts = segment_positions(25, 48, 10).reshape(10, 48)[:, 0]
    np.testing.assert_array_equal(starts, [0, 2, 5, 7, 10, 12, 15, 17, 20, 22])
    starts = segment_positions(4, 48, 10).reshape(10, 48)[:, 0]
    np.testing.assert_array_equal(starts, [0, 1, 2, 3, 0, 1, 2, 3, 0, 1])


# -- uniform intervals -------------------------------------------------------------------------------------------------


@settings(deadline=None)
@given(lengths, clip_lengths, clips, st.sampled_from([None, "phase", "interval"]), st.integers(0, 2**31))
def test_interval_positions_run_over_the_whole_clip(frames, clip_len, num_clips, jitter, seed):
    rng = None if jitter is None else np.random.default_rng(seed)
    drawn = interval_positions(frames, clip_len, num_clips, rng, jitter or "phase").reshape(num_clips, clip_len)
    step = frames / clip_len
    for positions in drawn:
        assert positions.min() >= 0 and positions.max() <= frames - 1
        assert (np.diff(positions) >= 0).all()
        # each lies in its own interval, up to the half frame at either end
        assert (np.abs(positions + 0.5 - (np.arange(clip_len) + 0.5) * step) <= step / 2 + 0.5 + 1e-9).all()
        inner = positions[(positions > 0) & (positions < frames - 1)]
        if jitter != "interval" and len(inner) > 1:
            np.testing.assert_allclose(np.diff(inner), step, rtol=1e-9)


def test_test_views_differ_by_phase_only():
    views = interval_positions(300, 48, 10).reshape(10, 48)
    np.testing.assert_allclose(np.diff(views[:, 5:-5], axis=0), 300 / 48 / 10)
    np.testing.assert_array_equal(interval_positions(300, 48, 10).ravel(), views.ravel())
    assert not np.allclose(interval_positions(300, 48, 1, np.random.default_rng(0)),
                           interval_positions(300, 48, 1, np.random.default_rng(1)))  # fmt: skip


@settings(deadline=None)
@given(st.integers(1, 100), st.integers(0, 99))
def test_a_clip_of_the_right_length_is_unchanged(frames, seed):
    keypoints, scores = a_clip(frames, seed=seed)
    sampled = SAMPLERS["uniform_interval"](keypoints, scores, frames)
    np.testing.assert_array_equal(sampled[0], keypoints)
    np.testing.assert_array_equal(sampled[1], scores)


@settings(deadline=None)
@given(st.integers(2, 47))
def test_a_short_clip_is_stretched_along_straight_lines(frames):
    keypoints, scores = SAMPLERS["uniform_interval"](*line(frames), 48)
    expected = np.clip((np.arange(48) + 0.5) * frames / 48 - 0.5, 0, frames - 1)
    np.testing.assert_allclose(keypoints[:, 0, 0], expected, atol=1e-5)
    np.testing.assert_allclose(scores, 1, atol=1e-6)
    assert (np.diff(keypoints[:, 0, 0]) >= 0).all()  # no wrap: a wrapped clip would jump back


# -- the gather --------------------------------------------------------------------------------------------------------


def test_whole_frames_equal_pyskls_decoding(fixtures_dir):
    with np.load(fixtures_dir / "pose_decode.npz") as data:
        keypoints, scores = take_frames(data["kp_in"], data["sc_in"], data["inds_in"][0])
        np.testing.assert_array_equal(keypoints, data["kp_out"])
        np.testing.assert_array_equal(scores, data["sc_out"])
        shifted, _ = take_frames(data["kp_in"], data["sc_in"], np.array([0, 5]) + 2)
        np.testing.assert_array_equal(shifted, data["off_kp_out"])


def test_fractions_blend_and_never_cross_a_missing_joint():
    keypoints = np.array([[[10, 20], [10, 20], [0, 0], [0, 0]], [[30, 60], [0, 0], [30, 60], [0, 0]]], np.float32)
    scores = np.array([[0.8, 0.8, 0, 0], [0.4, 0, 0.4, 0]], np.float32)
    sampled, confidence = take_frames(keypoints, scores, np.array([0.25]))
    np.testing.assert_allclose(sampled[0], [[15, 30], [10, 20], [30, 60], [0, 0]])
    np.testing.assert_allclose(confidence[0], [0.7, 0.6, 0.1, 0], atol=1e-7)


@settings(deadline=None)
@given(st.integers(0, 2**31), st.integers(2, 12), st.sampled_from([(), (2,)]), st.integers(2, 3))
def test_interpolation_stays_between_present_neighbours(seed, frames, persons, dims):
    rng = np.random.default_rng(seed)
    keypoints, scores = a_clip(frames, 4, dims, persons, seed)
    scores *= rng.random(scores.shape) > 0.4
    keypoints[scores == 0] = 0
    positions = rng.uniform(0, frames - 1, 20)
    sampled, confidence = take_frames(keypoints, scores, positions)
    low = np.floor(positions).astype(int)
    pairs = np.stack([np.take(keypoints, low, -3), np.take(keypoints, low + 1, -3)])
    shown = np.stack([np.take(scores, low, -2), np.take(scores, low + 1, -2)])
    here = (shown > 0)[..., None]
    smallest, largest = np.where(here, pairs, np.inf).min(0), np.where(here, pairs, -np.inf).max(0)
    anywhere = here.any(0)
    assert ((sampled >= smallest - 1e-3) & (sampled <= largest + 1e-3) | ~anywhere).all()
    assert (sampled[~np.broadcast_to(anywhere, sampled.shape)] == 0).all()
    assert ((confidence == 0) == ~anywhere[..., 0]).all()
    assert (confidence <= shown.max(0) + 1e-6).all()


def test_positions_outside_the_clip_are_refused():
    keypoints, scores = a_clip(5)
    with pytest.raises(ValueError, match="positions leave the clip of 5 frames"):
        take_frames(keypoints, scores, np.array([4.5]))
    with pytest.raises(ValueError, match="positions leave"):
        take_frames(keypoints, scores, np.array([np.nan]))
    with pytest.raises(ValueError, match="do not fit"):
        take_frames(keypoints, scores[:4], np.array([0]))


# -- zero padding ------------------------------------------------------------------------------------------------------


def test_zero_pad_samples_over_the_empty_frames_too():
    keypoints, scores = a_clip(30)
    sampled, confidence = zero_pad(keypoints, scores, 48)
    positions = segment_positions(90, 48)
    empty = positions >= 30
    assert 20 < empty.sum() < 48
    assert (confidence[empty] == 0).all() and (sampled[empty] == 0).all()
    np.testing.assert_array_equal(sampled[~empty], keypoints[positions[~empty]])


def test_zero_pad_keeps_the_last_frames_of_a_long_clip():
    sampled, _ = zero_pad(*line(200), 48)
    np.testing.assert_array_equal(sampled[:, 0, 0], 110 + segment_positions(90, 48))


# -- the contract of all samplers --------------------------------------------------------------------------------------


@pytest.mark.parametrize("sample", SAMPLERS.values(), ids=SAMPLERS)
@pytest.mark.parametrize(("persons", "dims"), [((), 2), ((), 3), ((2,), 2)])
@pytest.mark.parametrize("frames", [1, 13, 48, 90, 200])
def test_samplers_share_one_contract(sample, persons, dims, frames):
    keypoints, scores = a_clip(frames, 5, dims, persons)
    before = keypoints.copy(), scores.copy()
    keypoints.flags.writeable = scores.flags.writeable = False
    one = sample(keypoints, scores, 16, 3)
    assert one[0].shape == (*persons, 48, 5, dims) and one[1].shape == (*persons, 48, 5)
    assert one[0].dtype == one[1].dtype == np.float32
    for first, again in zip(one, sample(keypoints, scores, 16, 3), strict=True):
        np.testing.assert_array_equal(first, again)
    train = [sample(keypoints, scores, 16, 3, np.random.default_rng(seed)) for seed in (1, 1, 2)]
    np.testing.assert_array_equal(train[0][0], train[1][0])
    if frames > 1:
        assert not np.array_equal(train[0][0], train[2][0])
    np.testing.assert_array_equal(before[0], keypoints)
    np.testing.assert_array_equal(before[1], scores)
    one[0][:] = 0  # the result is the caller's own


@pytest.mark.parametrize("sample", SAMPLERS.values(), ids=SAMPLERS)
def test_an_empty_clip_is_refused(sample):
    with pytest.raises(ValueError, match="without frames"):
        sample(*a_clip(0), 16)


def test_unknown_options_are_named():
    with pytest.raises(ValueError, match="'pyskl' or 'mmaction2'"):
        segment_positions(10, 5, variant="x")
    with pytest.raises(ValueError, match="'phase' or 'interval'"):
        interval_positions(10, 5, jitter="x")
    with pytest.raises(ValueError, match="at least 1"):
        segment_positions(10, 0)

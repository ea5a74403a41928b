import json
import random

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from migstudy import augment, heatmaps
from migstudy.skeletons import get_topology
from migstudy.temporal import segment_positions, uniform_segments

# the mirror that ships with the PYSKL configurations; for 22 joints the 2023 entry's, which is not iMiGUE's anatomy
COCO_PAIRS = [(1, 2), (3, 4), (5, 6), (7, 8), (9, 10), (11, 12), (13, 14), (15, 16)]
FULL_HD = (1920, 1080)
seeds = st.integers(0, 2**31)


def swap(count, pairs):
    order = list(range(count))
    for left, right in pairs:
        order[left], order[right] = int(right), int(left)
    return order


def a_clip(seed=0, frames=6, joints=5, image_size=FULL_HD, missing=0.2):
    rng = np.random.default_rng(seed)
    keypoints = rng.uniform(1, np.array(image_size) - 1, (frames, joints, 2)).astype(np.float32)
    scores = rng.uniform(0.1, 1, (frames, joints)).astype(np.float32) * (rng.random((frames, joints)) > missing)
    return keypoints * (scores > 0)[..., None], scores.astype(np.float32)


# -- parity with PYSKL, step by step -----------------------------------------------------------------------------------

COMPACT_CASES = ("typical missing near_border too_small nan all_zero x_zero_y_not no_ratio no_imgpad ratio_range "
                 "small_img").split()  # fmt: skip


@pytest.mark.parametrize("case", COMPACT_CASES)
def test_compact_resize_and_center_crop_equal_pyskl(fixtures_dir, case):
    with np.load(fixtures_dir / "pose_compact_resize.npz") as data:
        case = {key.partition("/")[2]: data[key] for key in data if key.startswith(case + "/")}
    options = {"hw_ratio": None, **json.loads(str(case["compact_args"]))}
    if isinstance(options["hw_ratio"], list):
        options["hw_ratio"] = tuple(options["hw_ratio"])
    image_size = tuple(int(side) for side in case["img_shape_in"][::-1])
    given_keypoints = case["kp_in"].copy()
    keypoints, size = augment.pose_compact(case["kp_in"], image_size, **options)
    np.testing.assert_array_equal(case["kp_in"], given_keypoints)  # the input is left alone
    np.testing.assert_array_equal(keypoints, case["kp_compact"])
    assert size == tuple(case["img_shape_compact"][::-1])
    box = augment.compact_box(case["kp_in"], image_size, **options)
    if "crop_quadruple" in case:
        (w, h), (x0, y0, x1, y1) = image_size, box
        np.testing.assert_allclose([x0 / w, y0 / h, (x1 - x0) / w, (y1 - y0) / h], case["crop_quadruple"], rtol=1e-12)
    else:
        assert box is None and size == image_size
    for side in (56, 64):
        resized, resized_size = augment.resize(keypoints, size, (side, side))
        np.testing.assert_array_equal(resized, case[f"kp_resize{side}"])
        assert resized_size == (side, side)
    kept, kept_size = augment.resize(keypoints, size, 64)
    np.testing.assert_array_equal(kept, case["kp_keepratio64"])
    assert kept_size == tuple(case["shape_keepratio64"][::-1])
    x0, y0, x1, y1 = (int(v) for v in case["center_bbox"])
    cropped, cropped_size = augment.center_crop(kept, kept_size, 64)
    np.testing.assert_array_equal(cropped, case["kp_keepratio64_center"])
    np.testing.assert_array_equal(cropped, augment.crop(kept, (x0, y0, x1, y1))[0])
    assert cropped_size == (64, 64)


def test_flip_equals_pyskl(fixtures_dir):
    with np.load(fixtures_dir / "pose_flip.npz") as data:
        keypoints, scores = augment.flip(data["kp_in"], data["sc_in"], 56, swap(17, COCO_PAIRS))
        np.testing.assert_array_equal(keypoints, data["kp_out"])
        np.testing.assert_array_equal(scores, data["sc_out"])


PIPELINES = [
    *(("val_kp", case) for case in ("val48_17", "val48_22", "val48_17_2persons_centercrop")),
    *(("val_limb", case) for case in ("val16_17", "val16_22", "val16_17_2persons_centercrop")),
    ("test_kp", "test10x2_L4_22"),
    *(("train_kp", f"train16_22_seed{seed}") for seed in range(3)),
]


@pytest.mark.parametrize(("file", "case"), PIPELINES)
def test_whole_pipelines_equal_pyskl(fixtures_dir, file, case):
    with np.load(fixtures_dir / "pose_heatmaps.npz") as data:
        skeletons = {count: data[f"skeletons{count}"] for count in (17, 22)}
        mirrors = {17: swap(17, COCO_PAIRS), 22: swap(22, zip(data["left22"], data["right22"], strict=True))}
    with np.load(fixtures_dir / f"pose_pipeline_{file}.npz") as data:
        source = case if f"{case}/kp_in" in data else "train16_22_seed0"
        keypoints, scores, images = data[f"{source}/kp_in"], data[f"{source}/sc_in"], data[f"{case}/imgs"]
        frames = data[f"{case}/frame_inds"]
    joints, clip_len, side = keypoints.shape[-2], *images.shape[2:4]
    mirror, num_clips = mirrors[joints], 10 if file == "test_kp" else 1
    if file == "train_kp":
        seed = int(case[-1])
        rng, offsets = np.random.RandomState(seed), random.Random(seed)
        positions = segment_positions(keypoints.shape[1], clip_len, rng=np.random.RandomState(seed))
        sampled = uniform_segments(keypoints, scores, clip_len, rng=rng)
        coordinates = augment.train_coordinates(*sampled, FULL_HD, mirror, rng, side, offsets=offsets)
    else:
        positions = segment_positions(keypoints.shape[1], clip_len, num_clips)
        sampled = uniform_segments(keypoints, scores, clip_len, num_clips)
        coordinates = augment.eval_coordinates(*sampled, FULL_HD, side, keep_ratio="centercrop" in case)
    np.testing.assert_array_equal(positions, frames)
    views = heatmaps.render_views(
        *(torch.from_numpy(array)[None] for array in coordinates), side, num_clips=num_clips,
        edges=skeletons[joints].tolist() if file == "val_limb" else None,
        permutation=mirror if file == "test_kp" else None,
    )  # fmt: skip
    assert images.max() > 0.3
    np.testing.assert_allclose(views[0].numpy(), images, atol=2e-5, rtol=0)


def test_random_crop_equals_pyskl(fixtures_dir):
    """The chain up to the crop, redone by hand, so that a wrong box cannot hide behind the rendering."""
    with np.load(fixtures_dir / "pose_pipeline_train_kp.npz") as data:
        keypoints, scores = data["train16_22_seed0/kp_in"], data["train16_22_seed0/sc_in"]
        expected = {seed: (data[f"train16_22_seed{seed}/crop_bbox"], bool(data[f"train16_22_seed{seed}/flip"]))
                    for seed in range(3)}  # fmt: skip
    for seed, (box, flipped) in expected.items():
        rng = np.random.RandomState(seed)
        sampled, _ = uniform_segments(keypoints, scores, 16, rng=rng)
        resized = augment.resize(*augment.pose_compact(sampled, FULL_HD), 64)
        assert augment.random_crop_box(resized[1], rng, offsets=random.Random(seed)) == tuple(box)
        assert (rng.random() < 0.5) == flipped


# -- properties --------------------------------------------------------------------------------------------------------


@settings(deadline=None)
@given(seeds, st.integers(2, 1920), st.integers(2, 1080), st.booleans())
def test_random_crops_lie_inside_and_keep_to_their_ranges(seed, width, height, legacy):
    rng = np.random.RandomState(seed) if legacy else np.random.default_rng(seed)
    x0, y0, x1, y1 = augment.random_crop_box((width, height), rng)
    assert 0 <= x0 < x1 <= width and 0 <= y0 < y1 <= height
    w, h = x1 - x0, y1 - y0
    if min(width, height) > 100 and (w, h) != (min(width, height),) * 2:
        assert 0.55 <= w * h / (width * height) <= 1.0
        assert 0.73 <= w / h <= 1.36


def test_a_crop_that_cannot_fit_falls_back_to_the_central_square():
    rng = np.random.default_rng(0)
    assert augment.random_crop_box((1000, 20), rng, area_range=(1.0, 1.0)) == (490, 0, 510, 20)


@settings(deadline=None)
@given(seeds, st.sampled_from(["imigue22", "imigue41", "coco17"]))
def test_flipping_twice_changes_nothing(seed, name):
    mirror = get_topology(name).mirror
    keypoints, scores = a_clip(seed, joints=len(mirror), image_size=(640, 360))
    once = augment.flip(keypoints, scores, 640, mirror)
    twice = augment.flip(*once, 640, mirror)
    np.testing.assert_allclose(twice[0], keypoints, atol=1e-3)
    np.testing.assert_array_equal(twice[1], scores)
    assert ((once[0] == 0).all(-1) == (once[1] == 0)).all()  # missing joints stay missing
    np.testing.assert_array_equal(once[0][..., 1], keypoints[..., mirror, 1])


@settings(deadline=None)
@given(seeds)
def test_compact_forgets_where_the_person_sat(seed):
    keypoints, scores = a_clip(seed, image_size=(400, 300))
    shifted = np.where((scores > 0)[..., None], keypoints + np.float32([512, 256]), 0)
    here, size = augment.pose_compact(keypoints, (400, 300))
    there, shifted_size = augment.pose_compact(shifted, FULL_HD)
    # truncation towards zero may move a negative corner by a pixel
    assert np.abs(np.subtract(size, shifted_size)).max() <= 1
    assert np.abs(here - there).max() <= 1.01
    assert ((here == 0).all(-1) == (scores == 0)).all()


@settings(deadline=None)
@given(seeds)
def test_both_chains_keep_the_batch_contract(seed):
    keypoints, scores = a_clip(seed)
    before = keypoints.copy(), scores.copy()
    mirror = (0, 2, 1, 4, 3)
    chains = {
        "eval": augment.eval_coordinates(keypoints, scores, FULL_HD, 56),
        "mmaction2": augment.eval_coordinates(keypoints, scores, FULL_HD, 56, keep_ratio=True),
        "train": augment.train_coordinates(keypoints, scores, FULL_HD, mirror, np.random.default_rng(seed)),
        "more": augment.train_coordinates(keypoints, scores, FULL_HD, mirror, np.random.default_rng(seed),
                                          degrees=20, zoom=0.2, noise=0.5),
    }  # fmt: skip
    for name, (moved, confidence) in chains.items():
        assert moved.dtype == confidence.dtype == np.float32, name
        assert moved.shape == keypoints.shape and confidence.shape == scores.shape, name
        assert np.isfinite(moved).all() and (moved[confidence == 0] == 0).all(), name
        assert sorted(confidence.sum(0).tolist()) == sorted(scores.sum(0).tolist()), name
    inside = chains["eval"][0][chains["eval"][1] > 0]
    assert inside.min() >= 0 and inside.max() <= 56  # the padded box holds every joint
    np.testing.assert_array_equal(before[0], keypoints)
    np.testing.assert_array_equal(before[1], scores)


def test_training_is_reproducible_and_random():
    keypoints, scores = a_clip()
    one, again, other = (
        augment.train_coordinates(keypoints, scores, FULL_HD, range(5), np.random.default_rng(seed))[0]
        for seed in (1, 1, 2)
    )
    np.testing.assert_array_equal(one, again)
    assert not np.allclose(one, other)


@settings(deadline=None)
@given(seeds)
def test_rotation_and_scale_keep_shape_and_missing_joints(seed):
    keypoints, scores = a_clip(seed)
    rng = np.random.default_rng(seed)
    turned = augment.rotate(keypoints, FULL_HD, rng, 30)
    scaled = augment.scale(keypoints, FULL_HD, rng, 0.5, 0.5)
    present = scores > 0
    for moved in (turned, scaled):
        assert (moved[~present] == 0).all() and moved.dtype == np.float32

    def distances(points):
        points = points[present].astype(np.float64)
        return np.linalg.norm(points[:, None] - points[None], axis=-1)

    np.testing.assert_allclose(distances(turned), distances(keypoints), atol=2e-2)
    np.testing.assert_allclose(distances(scaled), distances(keypoints) / 2, atol=2e-2)


def test_jitter_moves_present_joints_by_sigma():
    keypoints, scores = a_clip(frames=2000)
    moved = augment.jitter(keypoints, np.random.default_rng(0), 1.5)
    assert (moved[scores == 0] == 0).all()
    assert np.std((moved - keypoints)[scores > 0]) == pytest.approx(1.5, rel=0.03)


# -- projection --------------------------------------------------------------------------------------------------------


def test_projection_keeps_up_up_and_the_ratio():
    # head 2 m above the feet, one hand 1 m to the side and half a metre in front
    person = np.array([[[0, 2, 0], [0, 0, 0], [1, 1, 0.5], [9, 9, 9]]], np.float64)
    scores = np.array([[1, 1, 1, 0]], np.float32)
    front, size = augment.project(person, scores, "xy", size=200, margin=0.1)
    assert size == (200, 200) and front.dtype == np.float32
    np.testing.assert_allclose(front[0], [[60, 20], [60, 180], [140, 100], [0, 0]], atol=1e-4)
    side, _ = augment.project(person, scores, "zy", size=200, margin=0.1)
    np.testing.assert_allclose(side[0], [[80, 20], [80, 180], [120, 100], [0, 0]], atol=1e-4)
    below, _ = augment.project(person, scores, "xy", size=200, margin=0.1, y_up=False)
    np.testing.assert_allclose(below[0, :3, 1], [180, 20, 100], atol=1e-4)


@settings(deadline=None)
@given(seeds, st.floats(1e-3, 1e3))
def test_projection_fits_any_clip_into_the_image(seed, unit):
    rng = np.random.default_rng(seed)
    keypoints = (rng.normal(size=(5, 4, 3)) * unit).astype(np.float32)
    scores = (rng.random((5, 4)) > 0.3).astype(np.float32)
    for plane in ("xy", "zy"):
        pixels, _ = augment.project(keypoints, scores, plane)
        shown = pixels[scores > 0]
        assert ((shown > 12) & (shown < 244)).all()
        if len(shown) > 1:
            assert np.ptp(shown, axis=0).max() == pytest.approx(256 * 0.9, rel=1e-3)
        assert (pixels[scores == 0] == 0).all()


def test_projection_of_nothing_and_of_a_point():
    keypoints = np.full((2, 3, 3), 0.1, np.float32)
    assert (augment.project(keypoints, np.zeros((2, 3)))[0] == 0).all()
    assert (augment.project(keypoints, np.ones((2, 3)))[0] == 128).all()
    with pytest.raises(ValueError, match="'xy' or 'zy'"):
        augment.project(keypoints, np.ones((2, 3)), "xz")
    with pytest.raises(ValueError, match="give"):
        augment.project(keypoints[..., :2], np.ones((2, 3)))

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from migstudy import heatmaps
from migstudy.heatmaps import EPS_MMACTION2, EPS_PYSKL, mirror_heatmaps, render_joints, render_limbs, render_views

# -- a slow reference: one pixel at a time, straight from the definition -----------------------------------------------


def pixels_from(low, high, sigma, length):
    """The window of a blob that reaches from `low` to `high`: int() truncates towards zero, so -0.3 becomes 0."""
    return range(max(int(low - 3 * sigma), 0), min(int(high + 3 * sigma) + 1, length))


def slow_joint(image, joint, score, sigma, eps):
    if score < eps:
        return
    x, y = (float(v) for v in joint)
    for row in pixels_from(y, y, sigma, image.shape[0]):
        for column in pixels_from(x, x, sigma, image.shape[1]):
            value = score * math.exp(-((column - x) ** 2 + (row - y) ** 2) / 2 / sigma**2)
            image[row, column] = max(image[row, column], value)


def slow_limb(image, start, end, start_score, end_score, sigma, eps):
    score = min(start_score, end_score)
    if score < eps:
        return
    dx, dy = (float(v) for v in end - start)  # subtracted in the input's float32, as the original does
    if dx**2 + dy**2 < 1:
        slow_joint(image, start, start_score, sigma, eps)
        return
    (ax, ay), (bx, by) = ([float(v) for v in point] for point in (start, end))
    for row in pixels_from(min(ay, by), max(ay, by), sigma, image.shape[0]):
        for column in pixels_from(min(ax, bx), max(ax, bx), sigma, image.shape[1]):
            along = ((column - ax) * (bx - ax) + (row - ay) * (by - ay)) / ((bx - ax) ** 2 + (by - ay) ** 2)
            along = min(max(along, 0.0), 1.0)
            distance = math.hypot(column - ax - along * (bx - ax), row - ay - along * (by - ay))
            image[row, column] = max(image[row, column], score * math.exp(-(distance**2) / 2 / sigma**2))


def slow(keypoints, scores, size, sigma, eps, edges=None):
    """(N, M, T, V, 2) -> (N, V or E, T, H, W)."""
    batch, persons, frames, joints = scores.shape
    out = np.zeros((batch, joints if edges is None else len(edges), frames, *size))
    for n in range(batch):
        for m in range(persons):
            for t in range(frames):
                points, values = keypoints[n, m, t], [float(v) for v in scores[n, m, t]]
                for c in range(out.shape[1]):
                    if edges is None:
                        slow_joint(out[n, c, t], points[c], values[c], sigma, eps)
                    else:
                        a, b = edges[c]
                        slow_limb(out[n, c, t], points[a], points[b], values[a], values[b], sigma, eps)
    return out


# coordinates inside, on whole pixels, on window edges and far outside; scores at the thresholds, 0 and above 1
coordinates = st.one_of(
    st.floats(-6, 26, width=32), st.integers(-4, 24).map(float), st.sampled_from([0.0, 1.8, -1.8, 3.2, -3.0, 1e4, -1e4])
)
confidences = st.one_of(
    st.floats(0, 3, width=32), st.sampled_from([0.0, 1.0, *(float(np.float32(e)) for e in (1e-3, 1e-4, 9.99e-4))])
)


@st.composite
def skeletons(draw):
    batch, persons, frames, joints = (draw(st.integers(1, high)) for high in (2, 2, 2, 3))
    count = batch * persons * frames * joints
    keypoints = np.array(draw(st.lists(coordinates, min_size=2 * count, max_size=2 * count)), np.float32)
    scores = np.array(draw(st.lists(confidences, min_size=count, max_size=count)), np.float32)
    return keypoints.reshape(batch, persons, frames, joints, 2), scores.reshape(batch, persons, frames, joints)


sizes = st.tuples(st.integers(4, 22), st.integers(4, 22))
sigmas = st.sampled_from([0.6, 1.0, 2.0])
thresholds = st.sampled_from([EPS_PYSKL, EPS_MMACTION2])


@settings(deadline=None, max_examples=60)
@given(skeletons(), sizes, sigmas, thresholds)
def test_joints_equal_the_slow_reference(skeleton, size, sigma, eps):
    keypoints, scores = skeleton
    fast = render_joints(torch.from_numpy(keypoints), torch.from_numpy(scores), size, sigma, eps=eps)
    np.testing.assert_allclose(fast.numpy(), slow(keypoints, scores, size, sigma, eps), atol=1e-6)


@settings(deadline=None, max_examples=60)
@given(skeletons(), sizes, sigmas, thresholds, st.data())
def test_limbs_equal_the_slow_reference(skeleton, size, sigma, eps, data):
    keypoints, scores = skeleton
    joint = st.integers(0, scores.shape[-1] - 1)
    edges = data.draw(st.lists(st.tuples(joint, joint), max_size=3))
    fast = render_limbs(torch.from_numpy(keypoints), torch.from_numpy(scores), edges, size, sigma, eps=eps)
    np.testing.assert_allclose(fast.numpy(), slow(keypoints, scores, size, sigma, eps, edges), atol=1e-6)


# -- parity with PYSKL -------------------------------------------------------------------------------------------------


def parity_cases(fixtures_dir):
    """(name, keypoints, scores, size, sigma, edges or None, mirror or None, expected) for every stored output."""
    with np.load(fixtures_dir / "pose_heatmaps.npz") as file:
        data = dict(file)
    for name, expected in data.items():
        case, _, output = name.partition("/")
        if not output.startswith("out_"):
            continue
        keypoints, size, sigma = data[f"{case}/in_kp"], tuple(int(v) for v in data[f"{case}/img_shape"]), 0.6
        scores = None if "noscore" in output else data.get(f"{case}/in_score")
        if "sigma" in output:
            sigma = float(output.rpartition("sigma")[2])
        if "scaling" in output:
            scaling = float(output.rpartition("scaling")[2])
            keypoints, size = keypoints * np.float32(scaling), tuple(int(v * scaling + 0.5) for v in size)
        joints, limbs = keypoints.shape[-2], "limb" in output
        edges = data.get(f"{case}/skeletons", data.get(f"skeletons{joints}")).tolist() if limbs else None
        mirror = None
        if "double" in output:
            names = [f"{side}{'_limb' if limbs else '_kp'}17" for side in ("left", "right")] if joints == 17 else \
                ["left22", "right22"]  # fmt: skip
            mirror = list(range(expected.shape[1]))
            for left, right in zip(*(data[n].tolist() for n in names), strict=True):
                mirror[left], mirror[right] = right, left
        yield name, keypoints, scores, size, sigma, edges, mirror, expected


def test_every_stored_volume_equals_pyskls(fixtures_dir):
    worst = {}
    for name, keypoints, scores, size, sigma, edges, mirror, expected in parity_cases(fixtures_dir):
        views = render_views(
            torch.from_numpy(keypoints)[None], None if scores is None else torch.from_numpy(scores)[None], size, sigma,
            edges=edges, permutation=mirror,
        )[0]  # fmt: skip
        frames_first = views.transpose(1, 2).flatten(0, 1)  # PYSKL lays the mirrored frames behind the plain ones
        assert frames_first.shape == expected.shape, name
        worst[name] = np.abs(frames_first.numpy() - expected).max()
        assert expected.max() > 0, name
    assert len(worst) > 30
    assert max(worst.values()) < 2e-5, {name: error for name, error in worst.items() if error >= 2e-5}


# -- particular traps --------------------------------------------------------------------------------------------------


def one(x, y, score=1.0, **options):
    keypoints = torch.tensor([x, y], dtype=torch.float32).reshape(1, 1, 1, 2)
    return render_joints(keypoints, torch.full((1, 1, 1), score), 20, **options)[0, 0, 0]


def test_the_window_is_wider_on_the_left_and_top():
    drawn = one(10.1, 10.0).nonzero()
    assert drawn.min(0).values.tolist() == [8, 8] and drawn.max(0).values.tolist() == [11, 11]
    # a joint outside still draws the edge column, up to 2.8 px away on either side
    assert one(-2.7, 10).nonzero()[:, 1].unique().tolist() == [0] and not one(-2.9, 10).any()
    assert one(21.7, 10).nonzero()[:, 1].unique().tolist() == [19] and not one(21.9, 10).any()


def test_scores_scale_the_peak_and_are_never_clipped():
    assert one(10, 10, 2.5).max() == 2.5
    assert one(10, 10, 9.9e-4).max() == 0 and one(10, 10, 9.9e-4, eps=EPS_MMACTION2).max() > 0
    assert one(0, 0, 0.7)[0, 0] == pytest.approx(0.7)  # a joint at the origin with a score is drawn


def test_short_limbs_take_the_first_joints_score_and_long_ones_the_smaller():
    edges = [(0, 1)]
    scores = torch.tensor([[[0.9, 0.3]]])
    short = render_limbs(torch.tensor([[[[5.0, 5.0], [5.5, 5.0]]]]), scores, edges, 12)
    assert short.max() == pytest.approx(0.9)
    long = render_limbs(torch.tensor([[[[3.0, 5.0], [8.0, 5.0]]]]), scores, edges, 12)
    np.testing.assert_allclose(long[0, 0, 0, 5, 3:9].numpy(), 0.3, rtol=1e-6)
    just_one_pixel = render_limbs(torch.tensor([[[[5.0, 5.0], [5.0, 6.0]]]]), scores, edges, 12)
    assert just_one_pixel.max() == pytest.approx(0.3)
    assert not render_limbs(torch.tensor([[[[5.0, 5.0], [5.5, 5.0]]]]), scores * 1e-3, edges, 12).any()


def test_persons_merge_by_the_maximum():
    rng = np.random.default_rng(0)
    keypoints = torch.from_numpy(rng.uniform(0, 30, (2, 3, 4, 5, 2)).astype(np.float32))
    scores = torch.from_numpy(rng.random((2, 3, 4, 5)).astype(np.float32))
    for render, extra in ((render_joints, ()), (render_limbs, ([(0, 1), (3, 2)],))):
        together = render(keypoints, scores, *extra, 30)
        apart = torch.stack([render(keypoints[:, m], scores[:, m], *extra, 30) for m in range(3)])
        torch.testing.assert_close(together, apart.amax(0))


def test_mirroring_pixels_and_channels():
    volume = torch.arange(2 * 3 * 1 * 1 * 4.0).reshape(2, 3, 1, 1, 4)
    mirrored = mirror_heatmaps(volume, (0, 2, 1))
    assert mirrored[0, 1, 0, 0].tolist() == [11, 10, 9, 8]
    torch.testing.assert_close(mirror_heatmaps(mirrored, (0, 2, 1)), volume)


def test_views_lie_in_pyskls_order():
    generator = torch.Generator().manual_seed(0)
    keypoints, scores = torch.rand(2, 12, 3, 2, generator=generator) * 16, torch.rand(2, 12, 3, generator=generator)
    views = render_views(keypoints, scores, 16, num_clips=3, permutation=(1, 0, 2))
    assert views.shape == (2, 6, 3, 4, 16, 16)
    for clip in range(3):
        part = slice(4 * clip, 4 * clip + 4)
        plain = render_joints(keypoints[:, part], scores[:, part], 16)
        torch.testing.assert_close(views[:, clip], plain)
        torch.testing.assert_close(views[:, 3 + clip], mirror_heatmaps(plain, (1, 0, 2)))
    assert render_views(keypoints, scores, 16, num_clips=3).shape == (2, 3, 3, 4, 16, 16)
    with pytest.raises(ValueError, match="cannot be cut"):
        render_views(keypoints, scores, 16, num_clips=5)


@settings(deadline=None, max_examples=40)
@given(skeletons(), sizes, sigmas, thresholds)
def test_compiled_kernels_draw_what_torch_draws(skeleton, size, sigma, eps):
    keypoints, scores = map(torch.from_numpy, skeleton)
    joints = scores.shape[-1]
    edges, mirror = [(0, joints - 1), (joints - 1, 0)], [1, 0]
    views = [
        (dict(edges=None, permutation=[*range(joints)][::-1]), 0),
        (dict(edges=edges, permutation=mirror), 1e-8 * max(1.0, float(scores.max()))),  # what lies beyond REACH is left out
    ]
    for how, tolerance in views:
        drawn = render_views(keypoints, scores, size, sigma, num_clips=1, eps=eps, **how)
        learned = render_views(keypoints.clone().requires_grad_(), scores, size, sigma, num_clips=1, eps=eps, **how)
        assert learned.requires_grad and not drawn.requires_grad
        torch.testing.assert_close(drawn, learned.detach(), rtol=2e-7, atol=tolerance)


def test_coordinates_that_are_no_numbers_draw_nothing():
    keypoints = torch.tensor([[[[float("nan"), 5.0], [float("inf"), 5.0], [5.0, 5.0]]]])
    drawn = render_joints(keypoints, None, 12)
    assert not drawn[:, :2].any() and drawn[:, 2].max() == 1
    assert not render_limbs(keypoints, None, [(0, 1), (0, 2), (2, 1)], 12).any()


def test_chunks_do_not_show(monkeypatch):
    """Of the torch path, which draws what gradients are asked of."""
    generator = torch.Generator().manual_seed(1)
    keypoints, scores = torch.rand(2, 6, 5, 2, generator=generator) * 40, torch.rand(2, 6, 5, generator=generator)
    edges = [(0, 1), (1, 2), (2, 3), (4, 0)]
    monkeypatch.setattr(heatmaps, "_compiled", lambda *_: False)
    whole = render_limbs(keypoints, scores, edges, 40)
    for pixels in (1, 50, 777):
        monkeypatch.setattr(heatmaps, "_PIXELS_AT_ONCE", pixels)
        torch.testing.assert_close(render_limbs(keypoints, scores, edges, 40), whole, rtol=0, atol=0)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_one_rounding_away(dtype):
    generator = torch.Generator().manual_seed(2)
    keypoints, scores = torch.rand(1, 4, 3, 2, generator=generator) * 20, torch.rand(1, 4, 3, generator=generator)
    for render, extra in ((render_joints, ()), (render_limbs, ([(0, 1)],))):
        half = render(keypoints, scores, *extra, 20, dtype=dtype)
        assert half.dtype == dtype
        torch.testing.assert_close(half, render(keypoints, scores, *extra, 20).to(dtype), rtol=0, atol=0)


def test_threads_do_not_change_a_bit():
    generator = torch.Generator().manual_seed(4)
    keypoints, scores = torch.rand(2, 6, 5, 2, generator=generator) * 24, torch.rand(2, 6, 5, generator=generator)
    before, found = torch.get_num_threads(), []
    try:
        for threads in (1, 3):
            torch.set_num_threads(threads)
            found.append(render_views(keypoints, scores, 24, num_clips=2, edges=[(0, 1), (2, 3)], permutation=(1, 0)))
    finally:
        torch.set_num_threads(before)
    assert torch.equal(*found)


def test_gradients_reach_coordinates_and_scores():
    keypoints = torch.tensor([[[[5.2, 5.7], [9.1, 6.3], [9.3, 6.4]]]], requires_grad=True)
    scores = torch.tensor([[[0.9, 0.8, 0.7]]], requires_grad=True)
    total = render_joints(keypoints, scores, 16).square().sum()
    total = total + render_limbs(keypoints, scores, [(0, 1), (1, 2)], 16).square().sum()
    for gradient in torch.autograd.grad(total, (keypoints, scores)):
        assert torch.isfinite(gradient).all() and gradient.abs().min() > 0


def test_nothing_to_draw():
    keypoints, scores = torch.zeros(1, 2, 3, 2), torch.zeros(1, 2, 3)
    assert not render_joints(keypoints, scores, 8).any()
    assert not render_limbs(keypoints, scores, [(0, 1)], 8).any()
    assert render_limbs(keypoints, scores, [], 8).shape == (1, 0, 2, 8, 8)
    assert render_limbs(keypoints[:0], scores[:0], [(0, 1)], 8).shape == (0, 1, 2, 8, 8)
    assert render_joints(keypoints[:0], scores[:0], 8).shape == (0, 3, 2, 8, 8)


def test_shapes_that_do_not_fit_are_named():
    with pytest.raises(ValueError, match=r"\(2, 3, 2\)"):
        render_joints(torch.zeros(2, 3, 2), torch.zeros(2, 3), 8)
    with pytest.raises(ValueError, match="expected"):
        render_limbs(torch.zeros(1, 2, 3, 2), torch.zeros(1, 2, 4), [(0, 1)], 8)
    with pytest.raises(ValueError, match="expected"):
        render_joints(torch.zeros(1, 2, 3, 3), torch.zeros(1, 2, 3), 8)

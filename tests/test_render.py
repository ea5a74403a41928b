"""The rasteriser against slow references: exact rays, depth order, outlines where the camera projects them."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from migstudy.simulate.camera import draw_camera
from migstudy.simulate.config import SimulatorConfig

pytest.importorskip("numba")
raster = pytest.importorskip("migstudy.simulate.render.raster")

WIDTH, HEIGHT = 160, 90
CONFIG = SimulatorConfig(width=WIDTH, height=HEIGHT)
FLAT = raster.Light(key_colour=(0, 0, 0), fill_colour=(0, 0, 0), ambient=(1, 1, 1), shadow=0.0)
seeds = st.integers(0, 2**32 - 1)


def _camera(rng):
    return draw_camera(CONFIG, rng)


def _drawn(shapes, camera, light=FLAT):
    """Depth of the first sample and the picture, over black."""
    canvas = raster.Canvas(WIDTH, HEIGHT)
    black = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    picture = raster.render(shapes, camera, (WIDTH, HEIGHT), black, light, canvas=canvas)
    return canvas.depth[0].copy(), picture


def _rays(camera):
    """(h, w, 3) directions in the room of the first sample of every pixel, one unit deep."""
    from migstudy.simulate.render.kernels import SAMPLES_AT

    x, y = np.meshgrid(np.arange(WIDTH) + SAMPLES_AT[0, 0], np.arange(HEIGHT) + SAMPLES_AT[0, 1])
    local = np.stack([(x - camera.center[0]) / camera.focal, (y - camera.center[1]) / camera.focal, np.ones_like(x)], -1)
    return local @ camera.axes


def _hit_sphere(camera, center, radius):
    way, at = _rays(camera), camera.position - center
    a, b, c = (way**2).sum(-1), way @ at, at @ at - radius**2
    square = b**2 - a * c
    return np.where(square > 0, (-b - np.sqrt(np.maximum(square, 0))) / a, np.inf)


def _agree(depth, truth, tolerance=2e-4):
    """Same depths but for rays that graze the outline."""
    seen, should = np.isfinite(depth), np.isfinite(truth)
    assert (seen != should).mean() < 2e-3
    both = seen & should
    assert both.any()
    assert np.quantile(np.abs(depth[both] - truth[both]), 0.99) < tolerance


@settings(max_examples=20, deadline=None)
@given(seeds)
def test_ball_as_cone_and_as_ellipsoid_lies_where_the_ray_meets_the_sphere(seed):
    rng = np.random.default_rng(seed)
    camera, center, radius = _camera(rng), rng.uniform([-0.3, 0.2, -0.2], [0.3, 0.6, 0.3]), rng.uniform(0.05, 0.2)
    truth = _hit_sphere(camera, center, radius)
    ball, capsule = raster.Primitives(), raster.Primitives()
    turn, _ = np.linalg.qr(rng.standard_normal((3, 3)))
    ball.ellipsoid(center, radius * turn, (1, 0, 0))
    capsule.cone(center, center, radius, radius, (1, 0, 0))
    for shapes in (ball, capsule):
        _agree(_drawn(shapes, camera)[0], truth)


@settings(max_examples=15, deadline=None)
@given(seeds)
def test_round_cone_is_the_hull_of_the_spheres_between_its_ends(seed):
    rng = np.random.default_rng(seed)
    camera = _camera(rng)
    a, b = (rng.uniform([-0.3, 0.2, -0.2], [0.3, 0.6, 0.3]) for _ in range(2))
    ra, rb = rng.uniform(0.03, 0.15, 2)
    shapes = raster.Primitives()
    shapes.cone(a, b, ra, rb, (1, 0, 0))
    steps = np.linspace(0, 1, 150)
    truth = np.min([_hit_sphere(camera, a + s * (b - a), ra + s * (rb - ra)) for s in steps], axis=0)
    _agree(_drawn(shapes, camera)[0], truth, tolerance=1e-3)


@settings(max_examples=15, deadline=None)
@given(seeds)
def test_ellipsoid_lies_where_the_ray_meets_it(seed):
    rng = np.random.default_rng(seed)
    camera, center = _camera(rng), rng.uniform([-0.2, 0.2, -0.2], [0.2, 0.6, 0.3])
    axes = np.linalg.qr(rng.standard_normal((3, 3)))[0] * rng.uniform(0.04, 0.2, 3)
    shapes = raster.Primitives()
    shapes.ellipsoid(center, axes, (1, 0, 0))
    inverse = np.linalg.inv(axes)
    way, at = _rays(camera) @ inverse.T, inverse @ (camera.position - center)
    a, b, c = (way**2).sum(-1), way @ at, at @ at - 1
    square = b**2 - a * c
    _agree(_drawn(shapes, camera)[0], np.where(square > 0, (-b - np.sqrt(np.maximum(square, 0))) / a, np.inf))


@settings(max_examples=15, deadline=None)
@given(seeds)
def test_triangles_lie_in_their_plane_and_within_their_projected_corners(seed):
    rng = np.random.default_rng(seed)
    camera, corners = _camera(rng), rng.uniform([-0.4, 0.1, -0.3], [0.4, 0.8, 0.4], (3, 3))
    shapes = raster.Primitives()
    shapes.triangles(corners, [[0, 1, 2]], (1, 0, 0))
    depth, _ = _drawn(shapes, camera)
    normal, way = np.cross(corners[1] - corners[0], corners[2] - corners[0]), _rays(camera)
    with np.errstate(divide="ignore"):
        plane = ((corners[0] - camera.position) @ normal) / (way @ normal)
    at = (camera.position + plane[..., None] * way - corners[0])[..., None]
    share = np.linalg.solve(np.stack([*(corners[1:] - corners[0]), normal], 1), at)
    inside = (share[..., 0, 0] >= 0) & (share[..., 1, 0] >= 0) & (share[..., 0, 0] + share[..., 1, 0] <= 1)
    seen = np.isfinite(depth)
    assert (seen != inside).mean() < 2e-3
    assert np.allclose(depth[seen & inside], plane[seen & inside], atol=2e-3)


def test_neighbouring_triangles_leave_no_seam():
    rng = np.random.default_rng(0)
    camera = _camera(rng)
    x, y = np.meshgrid(np.linspace(-0.4, 0.4, 23), np.linspace(0.1, 0.8, 19))
    from migstudy.simulate.render.meshes import grid_faces

    whole, parts = raster.Primitives(), raster.Primitives()
    corners = np.array([[-0.4, 0.1, 0], [0.4, 0.1, 0], [0.4, 0.8, 0], [-0.4, 0.8, 0.0]])
    whole.triangles(corners, [[0, 1, 2], [0, 2, 3]], (1, 0, 0))
    parts.triangles(np.stack([x, y, 0 * x], -1).reshape(-1, 3), grid_faces(19, 23, closed=False), (1, 0, 0))
    assert np.array_equal(np.isfinite(_drawn(whole, camera)[0]), np.isfinite(_drawn(parts, camera)[0]))


def test_the_nearer_one_is_seen_whatever_was_drawn_first():
    camera = _camera(np.random.default_rng(3))
    towards = (camera.position - [0, 0.4, 0]) / np.linalg.norm(camera.position - [0, 0.4, 0])
    red, green = np.array([1.0, 0, 0]), np.array([0, 1.0, 0])
    near, far = np.array([0, 0.4, 0]) + 0.3 * towards, np.array([0, 0.4, 0])
    middle = tuple(int(v) for v in camera.project(far))

    def kinds(shapes, at, colour):
        yield lambda: shapes.cone(at, at, 0.05, 0.05, colour)
        yield lambda: shapes.ellipsoid(at, 0.05 * np.eye(3), colour)
        sheet = at + 0.06 * np.array([[-1, -1, 0], [1, -1, 0], [1, 1, 0], [-1, 1, 0]])
        yield lambda: shapes.triangles(sheet, [[0, 1, 2], [0, 2, 3]], colour)

    for i in range(3):
        for j in range(3):
            for swap in (False, True):
                shapes = raster.Primitives()
                draws = [list(kinds(shapes, near, red))[i], list(kinds(shapes, far, green))[j]]
                for draw in draws[::-1] if swap else draws:
                    draw()
                r, g, _ = _drawn(shapes, camera)[1][middle[1], middle[0]]
                assert r > 200 and g == 0


@settings(max_examples=15, deadline=None)
@given(seeds)
def test_small_things_appear_where_the_camera_projects_them(seed):
    rng = np.random.default_rng(seed)
    camera, at = _camera(rng), rng.uniform([-0.2, 0.3, -0.2], [0.2, 0.55, 0.3])
    shapes = raster.Primitives()
    shapes.cone(at, at, 0.03, 0.03, (1, 1, 1))
    grey = _drawn(shapes, camera)[1][..., 0].astype(float) ** 2
    rows, columns = np.indices(grey.shape) + 0.5
    centre = np.array([(grey * columns).sum(), (grey * rows).sum()]) / grey.sum()
    assert np.abs(centre - camera.project(at)).max() < 0.3  # px; four samples a pixel


def test_a_window_is_a_part_of_the_whole_picture():
    rng = np.random.default_rng(5)
    camera, shapes = _camera(rng), raster.Primitives()
    for _ in range(12):
        a = rng.uniform([-0.4, 0.1, -0.2], [0.4, 0.8, 0.3])
        shapes.cone(a, a + rng.uniform(-0.2, 0.2, 3), *rng.uniform(0.01, 0.08, 2), rng.random(3))
    black = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    light = raster.Light(shadow=0.0)
    whole = raster.render(shapes, camera, (WIDTH, HEIGHT), black, light)
    part = raster.render(shapes, camera, (40, 30), black[:30, :40], light, window=(60.0, 20.0, 100.0, 50.0))
    assert np.abs(whole[20:50, 60:100].astype(int) - part).mean() < 0.1
    # half as large: the mean of each 2 x 2 px, but for the light at outlines
    half = raster.render(shapes, camera, (WIDTH // 2, HEIGHT // 2), black[::2, ::2], light, window=(0.0, 0.0, WIDTH, HEIGHT))
    mean = whole.reshape(HEIGHT // 2, 2, WIDTH // 2, 2, 3).astype(float).mean((1, 3))
    assert np.abs(half - mean).mean() < 2.0


def test_light_comes_from_its_side_and_colours_keep():
    camera, shapes = _camera(np.random.default_rng(7)), raster.Primitives()
    shapes.ellipsoid([0, 0.4, 0], 0.2 * np.eye(3), (0.8, 0.4, 0.2))
    _, flat = _drawn(shapes, camera)
    x, y = (int(v) for v in camera.project(np.array([0, 0.4, 0])))
    seen = flat[y, x] / 255
    assert np.allclose(seen / seen[0], [1.0, 0.5, 0.25], atol=0.02) and 0.68 < seen[0] < 0.82
    lit = _drawn(shapes, camera, raster.Light(key=(1, 0, 0), fill_colour=(0, 0, 0), ambient=(0, 0, 0), shadow=0.0))[1].sum(-1)
    left, right = (camera.project(np.array([side * 0.15, 0.4, 0.1])).astype(int) for side in (-1, 1))
    assert lit[right[1], right[0]] > 100 + lit[left[1], left[0]]


def test_contact_shadow_darkens_what_lies_close_behind_and_nothing_else():
    camera = _camera(np.random.default_rng(11))
    forward = camera.axes[2]

    def brightness(gap):
        shapes, centre = raster.Primitives(), np.array([0, 0.4, 0.0])
        corners = 0.4 * np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]])
        sheet = centre + corners @ camera.axes[:2]
        shapes.triangles(sheet, [[0, 1, 2], [0, 2, 3]], (0.5, 0.5, 0.5))
        ball = centre - forward * (gap + 0.05)
        shapes.cone(ball, ball, 0.05, 0.05, (0.5, 0.5, 0.5))
        light = raster.Light(key_colour=(0, 0, 0), fill_colour=(0, 0, 0), ambient=(1, 1, 1), shadow=1.0)
        picture = _drawn(shapes, camera, light)[1].astype(int)[..., 1]
        beside = camera.project(ball + 0.062 * camera.axes[0]).astype(int)
        away = camera.project(centre + 0.3 * camera.axes[0]).astype(int)
        return picture[beside[1], beside[0]], picture[away[1], away[0]]

    close, open_ = brightness(0.0)
    assert close < open_ - 15
    assert brightness(0.5)[0] > close + 10


def test_a_layer_hides_and_is_hidden_as_if_all_were_drawn_at_once():
    rng = np.random.default_rng(13)
    camera, still, moving, both = _camera(rng), *(raster.Primitives() for _ in range(3))
    for shapes in (still, moving) * 6:
        a = rng.uniform([-0.3, 0.1, -0.2], [0.3, 0.7, 0.3])
        shapes.cone(a, a + rng.uniform(-0.2, 0.2, 3), *rng.uniform(0.02, 0.08, 2), rng.random(3))
    both.extend(still)
    both.extend(moving)
    layer = raster.render_layer(still, camera, (WIDTH, HEIGHT), None, FLAT)
    apart = raster.render(moving, camera, (WIDTH, HEIGHT), layer, FLAT).astype(int)
    once = raster.render(both, camera, (WIDTH, HEIGHT), None, FLAT)
    assert (np.abs(apart - once).max(-1) > 3).mean() < 0.05  # outlines of still things behind moving ones
    assert np.abs(apart - once).mean() < 1.0


def test_what_reaches_behind_the_camera_and_wrong_sizes():
    camera, shapes = _camera(np.random.default_rng(1)), raster.Primitives()
    shapes.cone(camera.position, camera.position - camera.axes[2], 0.1, 0.1, (1, 0, 0))
    shapes.triangles(camera.position + np.eye(3), [[0, 1, 2]], (1, 0, 0))
    shapes.ellipsoid(camera.position, 0.1 * np.eye(3), (1, 0, 0))
    assert np.isinf(_drawn(shapes, camera)[0]).all()
    with pytest.raises(ValueError, match="size"):
        raster.render(shapes, camera, (WIDTH, HEIGHT), np.zeros((5, 5, 3), np.uint8))


def test_kernels_compile_where_no_cache_can_be_kept(monkeypatch):
    from migstudy.simulate.render import kernels

    def njit(cache=False, **options):
        if cache:
            raise RuntimeError("no locator available")
        return lambda function: ("compiled", function, options)

    monkeypatch.setattr(kernels, "njit", njit)
    assert kernels.compiled(abs) == ("compiled", abs, {"error_model": "numpy"})

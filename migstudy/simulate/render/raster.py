"""A software rasteriser: exact rays against round cones and ellipsoids, smooth triangles, one z-buffer, four samples a pixel."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from migstudy.simulate.camera import Camera
from migstudy.simulate.render.kernels import SAMPLES, draw_cones, draw_ellipsoids, draw_triangles
from migstudy.simulate.render.shading import occlusion, resolve

NEAR = 0.05  # m; what reaches nearer to the camera than this is left out
_RADIUS = 0.018  # m, half the width of the blur that finds contact shadows


@dataclass(frozen=True)
class Light:
    """A key light, a weaker fill light from the other side and light from all around.

    key, fill: (3,) directions towards the light in the room, any length. key_colour, fill_colour, ambient: (3,) linear strength
    of red, green and blue. shadow: 0 none to 1 full contact shadows, found in the depth buffer.
    """

    key: tuple[float, float, float] = (0.5, 0.9, 0.8)
    fill: tuple[float, float, float] = (-0.8, 0.3, 0.9)
    key_colour: tuple[float, float, float] = (0.72, 0.70, 0.66)
    fill_colour: tuple[float, float, float] = (0.18, 0.19, 0.22)
    ambient: tuple[float, float, float] = (0.30, 0.30, 0.32)
    shadow: float = 0.75


@dataclass
class Primitives:
    """Everything to be drawn, in the room's coordinates, m; colours are sRGB 0..1, gloss 0 (cloth) to 1 (polished)."""

    _cones: list[np.ndarray] = field(default_factory=list)  # a, b, radii, colour, gloss
    _ellipsoids: list[np.ndarray] = field(default_factory=list)  # centre, axes, colour, gloss
    _triangles: list[tuple] = field(default_factory=list)  # vertices, faces, colours, normals, gloss, closed

    def cone(self, a, b, radius_a: float, radius_b: float, colour, gloss: float = 0.0) -> None:
        """The hull of two spheres: a, b (3,) m with their radii in m; equal radii make a capsule, a == b a sphere."""
        self.cones(np.asarray(a)[None], np.asarray(b)[None], radius_a, radius_b, colour, gloss)

    def cones(self, a, b, radius_a, radius_b, colour, gloss=0.0) -> None:
        """Many at once: a, b (n, 3); radii and gloss scalar or (n,); colour (3,) or (n, 3)."""
        record = np.empty((len(a), 12))
        record[:, :3], record[:, 3:6], record[:, 6], record[:, 7], record[:, 8:11], record[:, 11] = (
            a, b, radius_a, radius_b, colour, gloss,
        )  # fmt: skip
        self._cones.append(record)

    def ellipsoid(self, center, axes, colour, gloss: float = 0.0) -> None:
        """center (3,) m; axes (3, 3) whose columns are the semi-axes in m, at right angles to each other or not."""
        self.ellipsoids(np.asarray(center)[None], np.asarray(axes)[None], colour, gloss)

    def ellipsoids(self, center, axes, colour, gloss=0.0) -> None:
        """Many at once: center (n, 3), axes (n, 3, 3), colour (3,) or (n, 3), gloss scalar or (n,)."""
        record = np.empty((len(center), 16))
        record[:, :3], record[:, 3:12], record[:, 12:15] = center, np.reshape(axes, (-1, 9)), colour
        record[:, 15] = gloss
        self._ellipsoids.append(record)

    def triangles(self, vertices, faces, colours, normals=None, gloss=0.0, closed: bool = False) -> None:
        """A mesh: vertices (n, 3) m, faces (m, 3) int, colours (3,) or (n, 3), normals (n, 3) or None for smooth ones.

        Both sides of a face are drawn and lit, unless it is closed: then its normals point outwards, and what they turn away
        from the camera is left out. gloss: scalar or (n,).
        """
        vertices, faces = np.asarray(vertices, float), np.asarray(faces, np.int64)
        normals = smooth_normals(vertices, faces) if normals is None else np.asarray(normals, float)
        colours = np.broadcast_to(np.asarray(colours, float), vertices.shape)
        self._triangles.append((vertices, faces, colours, normals, np.broadcast_to(gloss, len(vertices)), closed))

    def extend(self, other: Primitives) -> None:
        """Adds everything of `other`."""
        self._cones += other._cones
        self._ellipsoids += other._ellipsoids
        self._triangles += other._triangles

    def arrays(self) -> tuple[np.ndarray, ...]:
        """cones (n, 12), ellipsoids (n, 16), vertices (n, 11: place, normal, colour, gloss, closed), faces (n, 3),
        and each face's sheet (n,): the number of its mesh if that is closed, else 0."""
        cones = np.concatenate([np.empty((0, 12)), *self._cones])
        ellipsoids = np.concatenate([np.empty((0, 16)), *self._ellipsoids])
        vertices, faces, sheets, first = [np.empty((0, 11))], [np.empty((0, 3), np.int64)], [np.empty(0, np.int64)], 0
        for number, (place, face, colour, normal, gloss, closed) in enumerate(self._triangles, 1):
            vertices.append(np.concatenate([place, normal, colour, gloss[:, None], np.full((len(place), 1), float(closed))], 1))
            faces.append(face + first)
            sheets.append(np.full(len(face), number * closed))
            first += len(place)
        return cones, ellipsoids, np.concatenate(vertices), np.concatenate(faces), np.concatenate(sheets)


class Canvas:
    """Sample buffers of one picture size, to be reused from frame to frame."""

    def __init__(self, width: int, height: int) -> None:
        self.size = (width, height)
        self.depth = np.empty((SAMPLES, height, width), np.float32)
        self.ident = np.empty((SAMPLES, height, width), np.int32)
        self.shade = np.empty((height, width), np.float32)


@dataclass(frozen=True)
class Layer:
    """picture: (h, w, 3) uint8; depth: (samples, h, w) m, infinite where there is only background."""

    picture: np.ndarray
    depth: np.ndarray


def smooth_normals(vertices: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """(n, 3) unit normals of a mesh's vertices, each the area-weighted mean of its faces'."""
    a, b, c = (vertices[faces[:, i]] for i in range(3))
    across = np.cross(b - a, c - a)
    normals = np.stack([sum(np.bincount(faces[:, i], across[:, k], len(vertices)) for i in range(3)) for k in range(3)], 1)
    return normals / np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-12)


def render(
    primitives: Primitives, camera: Camera, size: tuple[int, int], background: np.ndarray | Layer | None = None,
    light: Light | None = None, window: tuple[float, float, float, float] | None = None, canvas: Canvas | None = None,
) -> np.ndarray:  # fmt: skip
    """A picture (h, w, 3) uint8 sRGB of what the camera sees.

    size: (w, h) px of the picture. background: (h, w, 3) uint8 shown where nothing is drawn, a Layer (drawn before by the same
    camera, which may also hide things), or None for grey. window: (x0, y0, x1, y1) px of the camera's image that fill the
    picture, None for the first `size` px; a pixel i covers [i, i + 1). canvas: buffers of that size to reuse. Raises
    ValueError if background or canvas have another size.
    """
    width, height = size
    light = light or Light()
    canvas = canvas or Canvas(width, height)
    under = background.picture if isinstance(background, Layer) else background
    if under is None:
        under = np.full((height, width, 3), 128, np.uint8)
    if canvas.size != (width, height) or under.shape != (height, width, 3):
        raise ValueError(f"render: background {under.shape} and canvas {canvas.size} must fit the picture's size {size}")
    x0, y0, x1, y1 = window or (0.0, 0.0, float(width), float(height))
    # picture px -> ray (x, y, 1): x = left + column * step
    step = np.array([(x1 - x0) / width, (y1 - y0) / height]) / camera.focal
    left = (np.array([x0, y0]) - camera.center) / camera.focal
    view = np.array([*left, *step], np.float32)
    cones, ellipsoids, vertices, faces, sheets = primitives.arrays()
    _into_view(cones, ellipsoids, vertices, camera)
    cones, cone_boxes = _visible_cones(cones, left, step, size)
    ellipsoids, ellipsoid_boxes = _visible_ellipsoids(ellipsoids, left, step, size)
    depth = vertices[:, 2]
    columns = np.empty((len(vertices), 3))
    columns[:, :2] = (vertices[:, :2] / np.maximum(depth, NEAR)[:, None] - left) / step
    columns[:, 2] = np.where(depth > NEAR, 1 / np.maximum(depth, NEAR), 0.0)
    away = (vertices[:, 10] > 0) & ((vertices[:, :3] * vertices[:, 3:6]).sum(1) > 0)
    canvas.depth[:] = background.depth if isinstance(background, Layer) else np.inf
    canvas.ident.fill(-1)
    draw_triangles(canvas.depth, canvas.ident, columns, away, faces, len(cones) + len(ellipsoids))
    draw_ellipsoids(canvas.depth, canvas.ident, ellipsoids, ellipsoid_boxes, view, len(cones))
    draw_cones(canvas.depth, canvas.ident, cones, cone_boxes, view)
    canvas.shade.fill(0)
    if light.shadow > 0:
        occlusion(canvas.depth[0], canvas.ident[0], np.float32(_RADIUS / step[0]), canvas.shade)
        canvas.shade *= np.float32(light.shadow)
    picture = np.empty((height, width, 3), np.uint8)
    resolve(picture, canvas.depth, canvas.ident, under, cones, ellipsoids, vertices.astype(np.float32), columns, faces, sheets,
            view, _lamps(light, camera), canvas.shade)  # fmt: skip
    return picture


def render_layer(
    primitives: Primitives, camera: Camera, size: tuple[int, int], background: np.ndarray | None = None,
    light: Light | None = None, window: tuple[float, float, float, float] | None = None,
) -> Layer:  # fmt: skip
    """What does not move, drawn once for `render` to draw over; arguments as there."""
    canvas = Canvas(*size)
    picture = render(primitives, camera, size, background, light, window, canvas)
    return Layer(picture, canvas.depth)


def _lamps(light: Light, camera: Camera) -> np.ndarray:
    """(6, 3) float32: key direction and colour, fill direction and colour, ambient, up; directions as the camera sees them."""
    key, fill = (camera.axes @ (np.array(d) / np.linalg.norm(d)) for d in (light.key, light.fill))
    up = camera.axes @ np.array([0.0, 1.0, 0.0])
    return np.array([key, light.key_colour, fill, light.fill_colour, light.ambient, up], np.float32)


def _into_view(cones: np.ndarray, ellipsoids: np.ndarray, vertices: np.ndarray, camera: Camera) -> None:
    """Turns the arrays of `Primitives.arrays`, in place, to camera coordinates and linear colour."""
    axes, place = camera.axes, camera.position
    for record in (cones[:, :3], cones[:, 3:6], ellipsoids[:, :3], vertices[:, :3]):
        record[:] = (record - place) @ axes.T
    vertices[:, 3:6] = vertices[:, 3:6] @ axes.T
    ellipsoids[:, 3:12] = (axes @ ellipsoids[:, 3:12].reshape(-1, 3, 3)).reshape(-1, 9)
    # light adds up in linear colour
    for colour in (cones[:, 8:11], ellipsoids[:, 12:15], vertices[:, 6:9]):
        colour[:] = np.clip(colour, 0, 1) ** 2


def _extent(center: np.ndarray, spread: np.ndarray, left: np.ndarray, step: np.ndarray) -> np.ndarray:
    """(n, 4) columns and rows x0, y0, x1, y1 that bound the outline of ellipsoids center (n, 3), spread = axes axes^T (n, 3, 3).

    From the dual of the outline's conic, spread - center center^T (Hartley and Zisserman, Multiple View Geometry, 8.3).
    """
    dual = spread - center[:, :, None] * center[:, None, :]
    bounds = []
    for k in range(2):
        half = np.sqrt(np.maximum(dual[:, k, 2] ** 2 - dual[:, k, k] * dual[:, 2, 2], 0))
        ends = np.stack([dual[:, k, 2] + half, dual[:, k, 2] - half]) / dual[:, 2, 2]
        bounds.append((np.sort(ends, 0) - left[k]) / step[k])
    return np.stack([bounds[0][0], bounds[1][0], bounds[0][1], bounds[1][1]], 1)


def _boxes(extent: np.ndarray, size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Whole pixels (n, 4) within the picture, and which boxes are not empty."""
    limit = np.array([*size, *size])
    boxes = np.clip(np.stack([*np.floor(extent[:, :2]).T, *np.ceil(extent[:, 2:]).T], 1), 0, limit).astype(np.int64)
    return boxes, (boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1])


def _visible_cones(cones: np.ndarray, left: np.ndarray, step: np.ndarray, size: tuple[int, int]) -> tuple:
    """Records (n, 13) float32 for the kernel (a, axis, length, slope, radius, colour, gloss, radius of b) and boxes (n, 4)."""
    a, b, ra, rb = cones[:, :3], cones[:, 3:6], cones[:, 6], cones[:, 7]
    front = np.minimum(a[:, 2] - ra, b[:, 2] - rb) > NEAR
    cones, a, b, ra, rb = (x[front] for x in (cones, a, b, ra, rb))
    length = np.linalg.norm(b - a, axis=1)
    # one ball within the other: the larger alone
    swallowed = length <= np.abs(ra - rb) + 1e-6
    first = np.where((rb > ra)[:, None] & swallowed[:, None], b, a)
    radius = np.where(swallowed, np.maximum(ra, rb), ra)
    axis = np.where(swallowed[:, None], [0.0, 0.0, 1.0], (b - a) / np.maximum(length, 1e-9)[:, None])
    slope = np.where(swallowed, 0.0, (ra - rb) / np.maximum(length, 1e-9))
    record = np.concatenate(
        [first, axis, np.where(swallowed, 0.0, length)[:, None], slope[:, None], radius[:, None], cones[:, 8:12],
         np.where(swallowed, radius, rb)[:, None]], 1,
    )  # fmt: skip
    eye = np.eye(3)
    at_a, at_b = (_extent(c, (r**2)[:, None, None] * eye, left, step) for c, r in ((a, ra), (b, rb)))
    extent = np.concatenate([np.minimum(at_a[:, :2], at_b[:, :2]), np.maximum(at_a[:, 2:], at_b[:, 2:])], 1)
    boxes, keep = _boxes(extent, size)
    return record[keep].astype(np.float32), boxes[keep]


def _visible_ellipsoids(ellipsoids: np.ndarray, left: np.ndarray, step: np.ndarray, size: tuple[int, int]) -> tuple:
    """Records (n, 16) float32 for the kernel (centre, inverse axes, colour, gloss) and boxes (n, 4)."""
    axes = ellipsoids[:, 3:12].reshape(-1, 3, 3)
    front = ellipsoids[:, 2] - np.linalg.norm(axes[:, 2], axis=-1) > NEAR
    ellipsoids, axes = ellipsoids[front], axes[front]
    record = np.concatenate([ellipsoids[:, :3], np.linalg.inv(axes).reshape(-1, 9), ellipsoids[:, 12:16]], 1)
    boxes, keep = _boxes(_extent(ellipsoids[:, :3], axes @ axes.transpose(0, 2, 1), left, step), size)
    return record[keep].astype(np.float32), boxes[keep]

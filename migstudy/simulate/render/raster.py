"""A software rasteriser: exact rays against round cones and ellipsoids, smooth triangles, one z-buffer, four samples a pixel."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from migstudy.simulate.camera import Camera
from migstudy.simulate.render.kernels import SAMPLES, draw_cones, draw_ellipsoids, draw_triangles
from migstudy.simulate.render.project import bounding_box, vertex_normals, view_cones, view_ellipsoids, view_vertices
from migstudy.simulate.render.shading import light_vertices, occlusion, resolve

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
    _triangles: list[tuple] = field(default_factory=list)  # vertices, faces, colours, normals, gloss, closed, fine

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

    def triangles(self, vertices, faces, colours, normals=None, gloss=0.0, closed=False, fine=False) -> None:
        """A mesh: vertices (n, 3) m, faces (m, 3) int, colours (3,) or (n, 3), normals (n, 3) or None for smooth ones.

        Both sides of a face are drawn and lit, unless it is closed: then its normals point outwards, and what they turn away
        from the camera is left out. fine: its faces are about as small as pixels, so that light at its vertices will do.
        gloss: scalar or (n,).
        """
        vertices, faces = np.asarray(vertices, float), np.asarray(faces, np.int64)
        normals = smooth_normals(vertices, faces) if normals is None else np.asarray(normals, float)
        colours = np.broadcast_to(np.asarray(colours, float), vertices.shape)
        self._triangles.append((vertices, faces, colours, normals, np.broadcast_to(gloss, len(vertices)), closed, fine))

    def extend(self, other: Primitives) -> None:
        """Adds everything of `other`."""
        self._cones += other._cones
        self._ellipsoids += other._ellipsoids
        self._triangles += other._triangles

    def arrays(self) -> tuple[np.ndarray, ...]:
        """cones (n, 12), ellipsoids (n, 16), vertices (n, 12: place, normal, colour, gloss, closed, fine), faces (n, 3),
        and each face's sheet (n,): the number of its mesh if that is closed, else 0."""
        cones = np.concatenate([np.empty((0, 12)), *self._cones])
        ellipsoids = np.concatenate([np.empty((0, 16)), *self._ellipsoids])
        vertices = np.empty((sum(len(mesh[0]) for mesh in self._triangles), 12))
        faces = np.empty((sum(len(mesh[1]) for mesh in self._triangles), 3), np.int64)
        sheets, first, done = np.empty(len(faces), np.int64), 0, 0
        for number, (place, face, colour, normal, gloss, closed, fine) in enumerate(self._triangles, 1):
            rows, used = slice(first, first + len(place)), slice(done, done + len(face))
            vertices[rows, :3], vertices[rows, 3:6], vertices[rows, 6:9] = place, normal, colour
            vertices[rows, 9], vertices[rows, 10], vertices[rows, 11] = gloss, closed, fine
            np.add(face, first, out=faces[used])
            sheets[used] = number * closed
            first, done = rows.stop, used.stop
        return cones, ellipsoids, vertices, faces, sheets


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
    return vertex_normals(np.ascontiguousarray(vertices, float), np.ascontiguousarray(faces, np.int64))


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
    seen = (np.ascontiguousarray(camera.axes, float), np.asarray(camera.position, float), left, step)
    cones, cone_bounds = view_cones(cones, *seen, width, height)
    ellipsoids, ellipsoid_boxes = view_ellipsoids(ellipsoids, *seen, width, height)
    columns, surface, away = view_vertices(vertices, *seen)
    lamps = _lamps(light, camera)
    light_vertices(surface, columns, vertices[:, 11], view, lamps)
    canvas.depth[:] = background.depth if isinstance(background, Layer) else np.inf
    canvas.ident.fill(-1)
    draw_triangles(canvas.depth, canvas.ident, columns, away, faces, len(cones) + len(ellipsoids))
    draw_ellipsoids(canvas.depth, canvas.ident, ellipsoids, ellipsoid_boxes, view, len(cones))
    draw_cones(canvas.depth, canvas.ident, cones, cone_bounds, view)
    box = bounding_box(columns, cone_bounds, ellipsoid_boxes, width, height)
    canvas.shade.fill(0)
    if light.shadow > 0:
        box = occlusion(canvas.depth[0], canvas.ident[0], np.float32(_RADIUS / step[0]), canvas.shade, box)
        canvas.shade *= np.float32(light.shadow)
    picture = np.array(under, np.uint8, order="C")
    resolve(picture, canvas.depth, canvas.ident, under, cones, ellipsoids, surface, columns, faces, sheets,
            view, lamps, canvas.shade, box)  # fmt: skip
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

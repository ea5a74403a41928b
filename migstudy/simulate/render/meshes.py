"""Small triangle meshes made once and moved rigidly from frame to frame."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from migstudy.simulate.render.raster import Primitives, smooth_normals


@dataclass(frozen=True)
class Mesh:
    """vertices (n, 3) m in its own frame, faces (m, 3), colours (n, 3) sRGB, normals (n, 3) outwards, gloss; closed: whether its
    inside is never seen."""

    vertices: np.ndarray
    faces: np.ndarray
    colours: np.ndarray
    normals: np.ndarray
    gloss: float = 0.0
    closed: bool = False

    def add(self, primitives: Primitives, origin: np.ndarray, axes: np.ndarray, stretch: float = 1.0) -> None:
        """Draws it at origin (3,) with axes (3, 3) as columns; stretch: factor along its own y, small enough for its normals."""
        vertices = self.vertices * np.array([1.0, stretch, 1.0])
        primitives.triangles(
            origin + vertices @ axes.T, self.faces, self.colours, self.normals @ axes.T, self.gloss, self.closed
        )


def grid_faces(rows: int, columns: int, closed: bool) -> np.ndarray:
    """(m, 3) triangles of a grid of vertices numbered row by row; closed: the last column meets the first."""
    row, column = np.meshgrid(np.arange(rows - 1), np.arange(columns if closed else columns - 1), indexing="ij")
    here, beside = row * columns + column, row * columns + (column + 1) % columns
    quads = np.stack([here, beside, beside + columns, here + columns], -1).reshape(-1, 4)
    return np.concatenate([quads[:, [0, 1, 2]], quads[:, [0, 2, 3]]])


def grid_mesh(points: np.ndarray, colours: np.ndarray, ring: bool = True, gloss: float = 0.0, solid: bool = False) -> Mesh:
    """A sheet through points (rows, columns, 3); colours (rows, columns, 3) or one (3,).

    ring: each row is a closed line. solid: only its outside is ever seen; its normals then point away from its middle.
    """
    vertices = points.reshape(-1, 3)
    faces = grid_faces(*points.shape[:2], ring)
    colours = np.broadcast_to(colours, points.shape).reshape(-1, 3)
    normals = smooth_normals(vertices, faces)
    if solid and (normals * (vertices - vertices.mean(0))).sum() < 0:
        normals = -normals
    return Mesh(vertices, faces, np.array(colours, float), normals, gloss, solid)


def plate(center, half_width: float, half_depth: float) -> np.ndarray:
    """(4, 3) corners of a level rectangle around center, m."""
    x, z = half_width, half_depth
    return np.asarray(center) + np.array([[-x, 0, -z], [x, 0, -z], [x, 0, z], [-x, 0, z]])

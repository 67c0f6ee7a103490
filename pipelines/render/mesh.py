"""Triangle meshes before they are drawn: normals, and which triangles a view may show."""

import numpy as np
from scipy import sparse

MESHES = 32  # people whose mesh is remembered
FIRST_HAND_ID = 2  # mask ids from here on are hands, whose surface is closed


def vertex_normals(vertices, faces, weld):
    """Area-weighted normals, (R, 3) float32; weld (R,) maps vertices split at texture seams to one group."""
    x, y, z = np.ascontiguousarray(vertices.T, np.float32)
    a, b, c = faces.T
    ux, uy, uz = x[b] - x[a], y[b] - y[a], z[b] - z[a]
    vx, vy, vz = x[c] - x[a], y[c] - y[a], z[c] - z[a]
    normal = np.stack([uy * vz - uz * vy, uz * vx - ux * vz, ux * vy - uy * vx], 1)
    total = _corners(faces, weld) @ normal
    total /= np.maximum(np.sqrt((total * total).sum(1, keepdims=True)), 1e-20)
    return total[weld]


_incidence = []  # (faces, weld, matrix), the latest last


def _corners(faces, weld):
    """(groups, F) sparse float32, 1 where a face has a corner in a group; kept for the meshes in use."""
    for known in _incidence:
        if known[0] is faces and known[1] is weld:
            return known[2]
    rows, columns = weld[faces].ravel(), np.repeat(np.arange(len(faces)), 3)
    ones = np.ones(len(rows), np.float32)
    matrix = sparse.csr_matrix((ones, (rows, columns)), shape=(int(weld.max()) + 1, len(faces)))
    _incidence.append((faces, weld, matrix))
    del _incidence[:-MESHES]
    return matrix


def seen_faces(vertices, faces, part, matrix):
    """Indices of the faces that a clip matrix (4, 4) may show; vertices (R, 3), faces (F, 3), part (F,).

    Left out: faces beyond one side of the view, and the far side of the hands, which their near side hides.
    """
    clip = vertices @ matrix[:, :3].T + matrix[:, 3]
    x, y, z, w = clip.T
    code = np.zeros(len(clip), np.uint8)
    for bit, outside in enumerate((x < -w, x > w, y < -w, y > w, z < -w, z > w)):
        code |= outside.astype(np.uint8) << bit
    a, b, c = code[faces.T]
    seen = np.flatnonzero((a & b & c) == 0)
    hands = np.flatnonzero(part[seen] >= FIRST_HAND_ID)
    (ax, ay, aw), (bx, by, bw), (cx, cy, cw) = np.moveaxis(clip[:, [0, 1, 3]][faces[seen[hands]]], 0, 2)
    area = aw * (bx * cy - by * cx) + bw * (cx * ay - cy * ax) + cw * (ax * by - ay * bx)
    kept = np.ones(len(seen), bool)
    kept[hands] = area < 0
    return seen[kept]

"""One Catmull-Clark step on part of a quad mesh, as a sparse matrix; the rest is only triangulated."""

import numpy as np
from scipy import sparse


def subdivide_region(quads, corners, refine, texture, count):
    """Refine the quads of `refine`; split vertices at texture seams.

    Args:
        quads: (Q, 4) int, vertices of each quad.  corners: (Q, 4) int, rows of `texture`.
        refine: (Q,) bool.  texture: (T, 2) float.  count: number of vertices.
    Returns:
        dict with matrix (R, count) csr that takes the quads' vertices to the render vertices, uv (R, 2),
        faces (F, 3) int, source (F,) int: the quad each triangle comes from.
    Vertices and edges on the rim of the region stay straight, and the triangles outside take up the new
    midpoints, so there is no crack.
    """
    builder = _Rows(count)
    inside = np.flatnonzero(refine)
    edges, sides = {}, {}
    for q in range(len(quads)):
        for k in range(4):
            key = _edge(quads[q, k], quads[q, (k + 1) % 4])
            sides.setdefault(key, []).append(q)
    for q in inside:
        for k in range(4):
            edges.setdefault(_edge(quads[q, k], quads[q, (k + 1) % 4]), None)
    face_point = {q: dict.fromkeys(quads[q], 0.25) for q in inside}
    smooth = {key: len(sides[key]) == 2 and all(refine[q] for q in sides[key]) for key in edges}
    edge_point = {}
    for key in edges:
        row = {}
        if smooth[key]:
            _add(row, {key[0]: 1, key[1]: 1}, 0.25)
            for q in sides[key]:
                _add(row, face_point[q], 0.25)
        else:
            row = {key[0]: 0.5, key[1]: 0.5}
        edge_point[key] = row
    at_vertex = {}
    for q in inside:
        for v in quads[q]:
            at_vertex.setdefault(v, []).append(q)
    vertex_edges = {}
    for key in edges:
        for v in key:
            vertex_edges.setdefault(v, []).append(key)
    vertex_point = {}
    for v, around in at_vertex.items():
        if all(smooth[key] for key in vertex_edges[v]):
            n, row = len(around), {}
            for q in around:
                _add(row, face_point[q], 1 / n / n)
            for key in vertex_edges[v]:
                _add(row, {key[0]: 0.5, key[1]: 0.5}, 2 / n / n)
            _add(row, {v: 1}, (n - 3) / n)
            vertex_point[v] = row
        else:
            vertex_point[v] = {v: 1.0}

    faces, source = [], []
    for q in range(len(quads)):
        vs, ts = quads[q], corners[q]
        uvs = texture[ts]
        ring = []
        for k in range(4):
            v, w = vs[k], vs[(k + 1) % 4]
            ring.append(builder.point(("v", v), vertex_point.get(v, {v: 1.0}), uvs[k]))
            if _edge(v, w) in edge_point:
                ring.append(
                    builder.point(
                        ("e", _edge(v, w)), edge_point[_edge(v, w)], (uvs[k] + uvs[(k + 1) % 4]) / 2
                    )
                )
        if refine[q]:
            centre = builder.point(("f", q), face_point[q], uvs.mean(0))
            for k in range(4):
                a, b, c = ring[2 * k - 1], ring[2 * k], ring[2 * k + 1]
                faces += [(a, b, c), (a, c, centre)]
                source += [q, q]
        else:
            # fan from a corner; midpoints of a refined neighbour are taken up as they come
            start = 1 if len(ring) > 4 and len(ring) % 2 else 0
            ring = ring[start:] + ring[:start]
            for k in range(1, len(ring) - 1):
                faces.append((ring[0], ring[k], ring[k + 1]))
                source.append(q)
    return {
        "matrix": builder.matrix(),
        "uv": np.array(builder.uv),
        "faces": np.array(faces),
        "source": np.array(source),
    }


def _edge(a, b):
    return (int(a), int(b)) if a < b else (int(b), int(a))


def _add(row, other, factor):
    for key, value in other.items():
        row[key] = row.get(key, 0.0) + factor * value


class _Rows:
    """Render vertices as they are met: one per (point, texture coordinate)."""

    def __init__(self, count):
        self.count, self.index, self.rows, self.uv = count, {}, [], []

    def point(self, name, row, uv):
        key = (name, round(float(uv[0]), 6), round(float(uv[1]), 6))
        if key not in self.index:
            self.index[key] = len(self.rows)
            self.rows.append(row)
            self.uv.append(uv)
        return self.index[key]

    def matrix(self):
        lengths = [len(row) for row in self.rows]
        indices = [int(k) for row in self.rows for k in row]
        data = [value for row in self.rows for value in row.values()]
        indptr = np.concatenate([[0], np.cumsum(lengths)])
        return sparse.csr_matrix((data, indices, indptr), shape=(len(self.rows), self.count))

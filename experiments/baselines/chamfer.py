"""[6] Athitsos & Sclaroff: the hand's pose is that of the synthetic picture with the most similar edges.

1. database: edge maps of >= 100,000 rendered views with known poses (`experiments.baselines.views`);
2. query: the crop is scaled to the hand's box; its edges are the mask's border and Canny's inside it;
3. distance of two edge maps A and B: the symmetric Chamfer distance, the mean over the pixels of A of the
   distance to the nearest pixel of B (a look-up in B's distance transform, at most `FARTHEST`), plus the same
   from B to A;
4. search, coarse to fine: the same distance on cells of `CELL` x `CELL` pixels is a scalar product of
   [edges of A, transform of A] with [transform of B, edges of B], so one matrix product ranks all views; the
   best `SHORTLIST` are compared pixel by pixel.
"""

import io
import os
import subprocess
import sys

import keras
import numpy as np
from scipy import ndimage

from experiments.baselines.interface import Baseline, Prediction
from experiments.baselines.views import REACH, TILE, read_views
from hand3d import crops
from hand3d.files import write_atomic

VIEWS = 100_000
SIZES = (1000, 3000, 10_000, 30_000)  # of the plot, and the whole database
CELL = 4  # pixels of a tile
FARTHEST = 10.0  # pixels: no edge is farther than that
SHORTLIST = 200
NEAREST = 10  # views that a search gives
SKIN = 128.0  # mean grey value that each hand is brought to
STRONG, WEAK = 14.0, 7.0  # grey values a pixel: Canny's thresholds
BLUR = 1.0  # pixels, standard deviation
RIM = 2  # pixels beside the mask's border where its own edge stands for all
CHUNK = 8192
COARSE = "coarse.npy"


def distances(edges):
    """(N, T, T) bool -> (N, T, T) float32: pixels to the nearest edge of the same map, at most `FARTHEST`."""
    apart = 4 * FARTHEST  # from map to map: so far that none sees another's edges
    return np.minimum(
        ndimage.distance_transform_edt(~edges, sampling=(apart, 1, 1)), FARTHEST, dtype=np.float32
    )


def coarse(edges):
    """(N, T, T) bool -> share of the edges (N, C) and distance to them (N, C) of each cell, float32."""
    count, cells = len(edges), edges.shape[1] // CELL
    pooled = edges.reshape(count, cells, CELL, cells, CELL).sum((2, 4), dtype=np.float32)
    apart = np.minimum(
        CELL * ndimage.distance_transform_edt(pooled == 0, sampling=(100, 1, 1)), FARTHEST, dtype=np.float32
    )
    pooled /= np.maximum(pooled.sum((1, 2), keepdims=True), 1)
    return pooled.reshape(count, -1), apart.reshape(count, -1)


def chamfer(one, others):
    """Symmetric Chamfer distances in pixels of an edge map (T, T) bool to others (N, T, T): (N,) float32."""
    there = distances(one[None])[0]
    back = distances(others)
    forth = np.einsum("nij,ij->n", others, there) / np.maximum(others.sum((1, 2)), 1)
    return forth + back[:, one].sum(1) / max(one.sum(), 1)


def canny(grey, strong=STRONG, weak=WEAK):
    """(N, T, T) float -> (N, T, T) bool: ridges of the slope above `weak` that touch one above `strong`."""
    blur = (0, BLUR, BLUR)
    v, u = (ndimage.gaussian_filter(grey, blur, order=order) for order in ((0, 1, 0), (0, 0, 1)))
    slope = np.hypot(u, v)
    padded = np.pad(slope, ((0, 0), (1, 1), (1, 1)))
    steps = (
        np.round(np.arctan2(v, u) / (np.pi / 4)).astype(int) % 4
    )  # across the edge: 0, 45, 90, 135 degrees
    ridge = np.zeros(grey.shape, bool)
    for number, (du, dv) in enumerate(((1, 0), (1, 1), (0, 1), (-1, 1))):
        ahead, behind = (
            padded[:, 1 + k * dv : 1 + k * dv + grey.shape[1], 1 + k * du : 1 + k * du + grey.shape[2]]
            for k in (1, -1)
        )
        ridge |= (steps == number) & (slope >= ahead) & (slope > behind)
    ridge &= slope > weak
    flat = np.zeros((3, 3, 3), bool)
    flat[1] = True
    labels, _ = ndimage.label(ridge, flat)
    return ridge & np.isin(labels, np.unique(labels[ridge & (slope > strong)]))


def query_edges(image, cover, tile=TILE):
    """Edges of crops: (N, S, S, 3) and (N, S, S) uint8 -> edges (N, T, T) bool, window (N, 3) float32.

    window: centre u, v and side of the tile in pixels of the crop.
    """
    mask = cover > 127
    low, high = [], []
    for axis in (1, 2):  # columns, rows
        line = mask.any(axis)
        low.append(line.argmax(-1))
        high.append(line.shape[1] - 1 - line[:, ::-1].argmax(-1))
    low, high = np.stack(low, -1), np.stack(high, -1)
    centre, side = (low + high) / 2, REACH * ((high - low).max(-1) + 1)
    layers = np.concatenate([image, cover[..., None]], -1)
    cut = keras.ops.convert_to_numpy(crops.crop_and_resize(layers, centre, side, tile))
    mask = cut[..., 3] > 127
    inside = ndimage.binary_erosion(mask, np.ones((1, 3, 3)))
    deep = ndimage.binary_erosion(inside, np.ones((1, 3, 3)), iterations=RIM - 1) if RIM > 1 else inside
    grey = cut[..., :3].mean(-1)
    skin = (grey * mask).sum((1, 2)) / np.maximum(mask.sum((1, 2)), 1)
    edges = (mask & ~inside) | (canny(grey * (SKIN / np.maximum(skin, 1))[:, None, None]) & deep)
    return edges, np.concatenate([centre, side[:, None]], -1).astype(np.float32)


def unpacked(edges):
    """Packed bits (N, T * T / 8) uint8 -> (N, T, T) bool."""
    bits = np.unpackbits(edges, axis=1).astype(bool)
    return bits.reshape(len(bits), *2 * [int(np.sqrt(bits.shape[1]))])


def coarse_views(edges):
    """`coarse` of packed edge maps (N, T * T / 8): (N, 2 C) float16."""
    parts = [coarse(unpacked(edges[k : k + CHUNK])) for k in range(0, len(edges), CHUNK)]
    return np.concatenate([np.concatenate(part, 1).astype(np.float16) for part in parts])


class Database:
    """Edge maps of views with their poses, in random order, ready to be searched."""

    def __init__(self, views, coarse_maps=None, seed=0):
        """views: of `read_views`; coarse_maps: (N, 2 C), `coarse` of them if that is known already."""
        if coarse_maps is None:
            coarse_maps = coarse_views(views["edges"])
        order = np.random.default_rng(seed).permutation(len(views["edges"]))
        self.edges, self.uv, self.xyz = (views[key][order] for key in ("edges", "uv", "xyz"))
        self.coarse = coarse_maps[order].astype(np.float32)
        self.tile = int(np.sqrt(8 * self.edges.shape[1]))

    def __len__(self):
        return len(self.edges)

    def unpacked(self, index):
        return unpacked(self.edges[index])

    def search(self, edges, count=None):
        """Edge maps (N, T, T) bool -> indices of the nearest views, the nearest first, and their distances.

        Both (N, K), K at most `NEAREST`; Chamfer distances in pixels.
        """
        share, apart = coarse(edges)
        costs = np.concatenate([apart, share], 1) @ self.coarse[:count].T
        short = min(SHORTLIST, costs.shape[1])
        found, least = [], []
        for number, one in enumerate(edges):
            best = np.argpartition(costs[number], short - 1)[:short]
            exact = chamfer(one, self.unpacked(best))
            order = exact.argsort()[:NEAREST]
            found.append(best[order])
            least.append(exact[order])
        return np.stack(found), np.stack(least)


class ChamferSearch(Baseline):
    """Nearest rendered view by the Chamfer distance of edges."""

    name = "Athitsos & Sclaroff, Chamfer search"
    reference = "[6] V. Athitsos, S. Sclaroff, Estimating 3D hand pose from a cluttered image, CVPR 2003"
    simplifications = (
        "The hand's true mask takes the place of skin colour; no line matching after the Chamfer distance; "
        "the views are those of this project's cameras, without the arm, instead of a grid of directions."
    )
    learns_from = ()
    last = (None, None)

    def train(self, training, run):
        views = max(1, int(VIEWS * training.effort))
        command = [sys.executable, "-m", "experiments.baselines.views", "--out", run]
        # OpenGL in software and TensorFlow do not live in one process
        subprocess.run([*command, "--views", str(views), "--seed", str(training.seed)], check=True)
        content = io.BytesIO()
        np.save(content, coarse_views(read_views(run)["edges"]))
        write_atomic(os.path.join(run, COARSE), content.getbuffer())

    def load(self, run):
        self.database = Database(read_views(run), np.load(os.path.join(run, COARSE)))

    def predict(self, hands, count=None):
        found, window = self._search(hands, count)
        return self._poses(hands, found[:, 0], window)

    def variants(self, hands):
        """The most typical of the nearest views: that with the least distance in 3D to the others."""
        found, window = self._search(hands)
        xyz = self.database.xyz[found]
        apart = np.linalg.norm(xyz[:, :, None] - xyz[:, None], axis=-1).mean(-1).sum(-1)
        typical = found[np.arange(len(found)), apart.argmin(1)]
        return {f", most typical of {found.shape[1]}": self._poses(hands, typical, window)}

    def _search(self, hands, count=None, batch=16):
        """Nearest views (N, K) and windows (N, 3); those of the hands asked for last are kept."""
        if self.last[0] is not hands or self.last[1] != count:
            left = hands.as_left()
            edges, window = query_edges(left.image, left.cover)
            parts = [
                self.database.search(edges[k : k + batch], count)[0] for k in range(0, len(edges), batch)
            ]
            self.last = hands, count, np.concatenate(parts), window
        return self.last[2:]

    def _poses(self, hands, found, window):
        uv = crops.crop_to_image(self.database.uv[found], window[:, :2], window[:, 2], self.database.tile)
        uv = keras.ops.convert_to_numpy(uv)
        return Prediction(uv, self.database.xyz[found]).mirrored_back(hands.side, hands.size)

    def by_size(self, hands):
        whole = len(self.database)
        return {count: self.predict(hands, count) for count in (*SIZES, whole) if count <= whole}

    @property
    def parameters(self):
        return self.database.edges.size * 8 + self.database.xyz.size + self.database.uv.size

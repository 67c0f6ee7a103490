"""Views of posed hands as edge maps: the database of `experiments.baselines.chamfer`.

    python -m experiments.baselines.views --out FOLDER --views 100000 [--seed 0] [--workers 2]

People and cameras are drawn as `pipelines.render` draws those of its training split.  Each hand is looked at
by `CAMERAS` cameras and `TURNS` times a little beside each; all these views are drawn at once, as instances
of one mesh with a matrix each, into the tiles of one picture.  Only depth is drawn.  Edges are where the hand
ends or its depth jumps.

FOLDER/views-00012.npz holds the views of a few people: edges (N, T * T / 8) uint8, packed bits of T x T
pixels; uv (N, 21, 2) float32, pixels of the tile; xyz (N, 21, 3) float32, relative to the palm, in units of
the scale bone, camera axes.  Right hands are stored mirrored, as left ones.  Only numpy and OpenGL: no
TensorFlow may be in this process (`pipelines.render.context`).
"""

import argparse
import functools
import io
import multiprocessing
import os
import sys

import numpy as np

from hand3d.files import write_atomic
from hand3d.skeleton import HAND_SLICES, SCALE_BONE, SIDES
from pipelines.progress import Progress
from pipelines.rules import HAND_IDS

TILE = 64  # pixels a side
REACH = 1.12  # side of a tile by the hand's larger extent
CAMERAS, TURNS = 10, 8
TURN = 0.35  # radians, standard deviation of each component of a turn beside a camera
PEOPLE = 16  # a file
VIEWS_A_PERSON = len(SIDES) * CAMERAS * TURNS
CELL = 0.005  # metres: vertices of one part in one such cell become one
JUMP = 0.008  # metres: a step in depth that is an edge
FRAME = 320
COMMAND = "python -m experiments.baselines.views"

VERTEX = """
#version 330
in vec3 a_position;
in vec4 a_row0; in vec4 a_row1; in vec4 a_row3;   // clip coordinates x, y and w of this view
out float v_depth;
void main() {
    vec4 at = vec4(a_position, 1.0);
    float depth = dot(a_row3, at);
    gl_Position = vec4(dot(a_row0, at), dot(a_row1, at), (depth - 1.0) * 0.3 * depth, depth);
    v_depth = depth;
}
"""
FRAGMENT = """
#version 330
in float v_depth;
out float o_depth;
void main() { o_depth = v_depth; }
"""


class Tiles:
    """Draws one mesh from many cameras: an OpenGL context with a picture of `columns` x `rows` tiles."""

    def __init__(self, columns=CAMERAS, rows=TURNS, tile=TILE, device="auto"):
        from pipelines.render.context import create_context

        self.columns, self.rows, self.tile = columns, rows, tile
        self.ctx = ctx = create_context(device)
        self.program = ctx.program(vertex_shader=VERTEX, fragment_shader=FRAGMENT)
        size = columns * tile, rows * tile
        self.target = ctx.framebuffer(ctx.texture(size, 1, dtype="f4"), ctx.depth_renderbuffer(size))

    def draw(self, vertices, faces, matrices):
        """vertices (V, 3) world; faces (F, 3); matrices (C * R, 3, 4): rows u, v and depth of each view in
        pixels of its tile -> depth (C * R, T, T) float32 metres, 0 where nothing is."""
        ctx, tile = self.ctx, self.tile
        view = np.arange(len(matrices))
        corner = np.stack([view % self.columns, view // self.columns], -1) * tile + 0.5
        size = np.array([self.columns, self.rows]) * tile
        # pixel (u + corner) of the whole picture -> clip coordinates, times the depth that OpenGL divides by
        clip = matrices.copy()
        clip[:, :2] = 2 * (matrices[:, :2] + corner[:, :, None] * matrices[:, 2:]) / size[:, None]
        clip[:, :2] -= matrices[:, 2:]
        buffers = [
            ctx.buffer(np.ascontiguousarray(part, kind).tobytes())
            for part, kind in ((vertices, np.float32), (clip, np.float32), (faces, np.int32))
        ]
        content = [(buffers[0], "3f", "a_position"), (buffers[1], "4f 4f 4f/i", "a_row0", "a_row1", "a_row3")]
        array = ctx.vertex_array(self.program, content, buffers[2], index_element_size=4)
        ctx.enable_only(ctx.DEPTH_TEST | ctx.CULL_FACE)  # the open wrist is a hole: there the arm would be
        ctx.front_face = "cw"
        self.target.use()
        self.target.clear()
        array.render(instances=len(matrices))
        depth = np.frombuffer(self.target.read(components=1, dtype="f4"), np.float32)
        for part in (array, *buffers):
            part.release()
        depth = depth.reshape(self.rows, tile, self.columns, tile).transpose(0, 2, 1, 3)
        return depth.reshape(-1, tile, tile)[: len(matrices)]


def tile_matrices(vertices, rotations, translations, tile=TILE, reach=REACH):
    """Cameras whose tiles the vertices fill: (N, 3, 4), [u z, v z, z] = matrix @ [x, y, z, 1].

    vertices (V, 3); x_camera = rotation @ x + translation, (N, 3, 3) and (N, 3).  The tile is a square of
    `reach` times the larger extent of the vertices, around the middle of their box.
    """
    seen = rotations.astype(np.float32) @ vertices.T.astype(np.float32)  # (N, 3, V)
    seen += translations[..., None].astype(np.float32)
    at = seen[:, :2] / seen[:, 2:]
    low, high = at.min(-1), at.max(-1)
    factor = tile / (reach * (high - low).max(-1))
    pose = np.concatenate([rotations, translations[..., None]], -1)
    matrices = pose.copy()
    shift = (tile - 1) / 2 - factor[:, None] * (low + high) / 2
    matrices[:, :2] = factor[:, None, None] * pose[:, :2] + shift[:, :, None] * pose[:, 2:]
    return matrices


def depth_edges(depth, jump=JUMP):
    """(N, T, T) metres, 0 = nothing -> (N, T, T) bool: hand pixels beside nothing or something deeper."""
    padded = np.pad(np.where(depth > 0, depth, np.inf), ((0, 0), (1, 1), (1, 1)), constant_values=np.inf)
    middle = padded[:, 1:-1, 1:-1]
    edges = np.zeros(depth.shape, bool)
    for beside in (padded[:, :-2, 1:-1], padded[:, 2:, 1:-1], padded[:, 1:-1, :-2], padded[:, 1:-1, 2:]):
        edges |= beside > middle + jump
    return edges & (depth > 0)


@functools.lru_cache(maxsize=len(SIDES))
def hand_mesh(side):
    """(corner vertices (V,), faces (F, 3) into these): a hand with vertices of one cell and part made one."""
    from pipelines.render.body import load_body

    body = load_body()
    low, high = HAND_IDS[side]
    mine = (body.part >= low) & (body.part <= high)
    faces, part = body.faces[mine], body.part[mine]
    vertices, rest = np.unique(faces), body.refine @ body.base[: body.num_control]
    owner = np.zeros(len(rest), int)
    owner[faces] = part[:, None]
    cells = np.column_stack([np.floor(rest[vertices] / CELL).astype(int), owner[vertices]])
    _, first, group = np.unique(cells, axis=0, return_index=True, return_inverse=True)
    place = np.full(len(rest), -1)
    place[vertices] = group.reshape(-1)
    merged = place[faces]
    a, b, c = merged.T
    return vertices[first], merged[(a != b) & (b != c) & (c != a)]


def random_turns(rng, count, deviation):
    """(count, 3, 3) rotations by normal axis-angle vectors; the first of each `TURNS` is none."""
    from scipy.spatial.transform import Rotation

    vectors = rng.normal(0, deviation, (count, 3))
    vectors[::TURNS] = 0
    return Rotation.from_rotvec(vectors).as_matrix()


def draw_person(tiles, split, seed, number):
    """The views of both hands of person `number`: dict of edges, uv and xyz as in the module's docstring."""
    from pipelines.poses import _character, character_seed
    from pipelines.render.actions import sample_actions
    from pipelines.render.camera import sample_camera
    from pipelines.render.posing import pose_person

    rng = np.random.default_rng([seed, ("training", "evaluation").index(split), number, 6143])
    character = _character(character_seed(split, seed, number))
    posed = pose_person(character, *sample_actions(rng, split), rng)
    eyes = character.heads[character.body.bone("head")] + (0.0, 0.1, 0.1)
    found = {"edges": [], "uv": [], "xyz": []}
    for side, part in enumerate(HAND_SLICES.values()):
        hand = posed.keypoints[part].astype(np.float64)
        cameras = [sample_camera(rng, hand, eyes, FRAME) for _ in range(CAMERAS)]
        turns = random_turns(rng, CAMERAS * TURNS, TURN)
        rotations = turns @ np.repeat([camera.rotation for camera in cameras], TURNS, 0)
        middle = np.repeat(
            [camera.rotation @ hand.mean(0) + camera.translation for camera in cameras], TURNS, 0
        )
        translations = middle - rotations @ hand.mean(0)
        corners, faces = hand_mesh(side)
        matrices = tile_matrices(posed.vertices[corners], rotations, translations)
        edges = depth_edges(tiles.draw(posed.vertices[corners], faces, matrices))
        hand[0] = (hand[0] + hand[12]) / 2  # the palm
        xyz = (hand - hand[0]) @ rotations.transpose(0, 2, 1)
        xyz = xyz / np.linalg.norm(hand[SCALE_BONE[1]] - hand[SCALE_BONE[0]])
        uv = np.einsum("nij,kj->nki", matrices, np.column_stack([hand, np.ones(len(hand))]))
        uv = uv[..., :2] / uv[..., 2:]
        if side == SIDES.index("right"):
            edges, xyz = edges[:, :, ::-1], xyz * [-1, 1, 1]
            uv = np.stack([tiles.tile - 1 - uv[..., 0], uv[..., 1]], -1)
        for key, value in zip(found, (edges, uv, xyz), strict=True):
            found[key].append(value)
    return {key: np.concatenate(value) for key, value in found.items()}


def write_part(task):
    """One file: (folder, split, seed, number).  A file that is there already is kept."""
    folder, split, seed, number = task
    path = part_path(folder, number)
    if os.path.exists(path):
        return
    tiles = _tiles()
    people = [draw_person(tiles, split, seed, PEOPLE * number + k) for k in range(PEOPLE)]
    joined = {key: np.concatenate([person[key] for person in people]) for key in people[0]}
    content = io.BytesIO()
    edges = np.packbits(joined["edges"].reshape(len(joined["edges"]), -1), axis=1)
    np.savez(content, edges=edges, uv=joined["uv"].astype(np.float32), xyz=joined["xyz"].astype(np.float32))
    write_atomic(path, content.getbuffer())


@functools.lru_cache(maxsize=1)
def _tiles():
    return Tiles()


def part_path(folder, number):
    return os.path.join(folder, f"views-{number:05d}.npz")


def parts_for(views):
    """Number of files that hold at least so many views."""
    return -(-views // (PEOPLE * VIEWS_A_PERSON))


def read_views(folder):
    """All views of a folder: dict of edges (packed), uv and xyz.  FileNotFoundError where it has none."""
    parts = []
    while os.path.exists(part_path(folder, len(parts))):
        with np.load(part_path(folder, len(parts))) as archive:
            parts.append({key: archive[key] for key in archive.files})
    if not parts:
        raise FileNotFoundError(f"{part_path(folder, 0)} does not exist; write it with {COMMAND}")
    return {key: np.concatenate([part[key] for part in parts]) for key in parts[0]}


def main(argv=None):
    parser = argparse.ArgumentParser(
        prog=COMMAND,
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--out", required=True, help="folder to write to; what is there already is kept")
    parser.add_argument("--views", type=int, default=100_000)
    parser.add_argument("--split", choices=("training", "evaluation"), default="training")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=2, help="processes")
    arguments = parser.parse_args(argv)
    if arguments.views < 1 or arguments.workers < 1:
        parser.error(f"--views and --workers must be at least 1, got {arguments.views}, {arguments.workers}")
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):  # small matrices: threads only get in the way
        os.environ.setdefault(name, "1")
    try:
        os.makedirs(arguments.out, exist_ok=True)
        count = parts_for(arguments.views)
        tasks = [(arguments.out, arguments.split, arguments.seed, number) for number in range(count)]
        with (
            multiprocessing.get_context("spawn").Pool(min(arguments.workers, count)) as pool,
            Progress(count * PEOPLE * VIEWS_A_PERSON, sys.stderr, unit="views") as progress,
        ):
            for done, _ in enumerate(pool.imap_unordered(write_part, tasks), 1):
                progress.show(done * PEOPLE * VIEWS_A_PERSON)
    except (OSError, ValueError, RuntimeError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

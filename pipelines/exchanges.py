"""Which pictures changed places, from how well labels fit pictures: NumPy only, no network.

A fit is a number, higher where picture and label belong together (`pipelines.fits`).  A network errs on
unusual hands, so a label that does not fit its own picture proves nothing.  What proves an exchange is that
the labels fit each other's pictures, well and clearly better than their own.
"""

import numpy as np

GAIN = 0.8  # by which an exchange has to fit better, for every label of it
GOOD = -3.0  # least fit of a picture that may belong to a label; see `pipelines.fits` for what is usual
TRY = -2.2  # labels that fit their own picture better are not tried on others
SUSPECT = -3.3  # hardly a true picture fits worse
LONGEST = 6  # samples of an exchange in a ring
RUN = 6  # hits more than misses that prove a shift


def fits_better(own, other):
    """Whether labels of fit `own` fit another picture well and clearly better; False for NaN."""
    with np.errstate(invalid="ignore"):
        return (other >= GOOD) & (other - own >= GAIN)


def exchanges(own, tried):
    """Rings of samples whose pictures changed places, most often pairs.

    own: (N,) fit of each label with its own picture.  tried: (N, N) fit of label i with picture j, NaN where
    it was not tried.  Returns a list of tuples of indices: the label of each fits the picture of the next,
    that of the last the first one's.  No index occurs twice.
    """
    own, tried = np.asarray(own, np.float64), np.array(tried, np.float64)
    gain = np.where(fits_better(own[:, None], tried), tried - own[:, None], -np.inf)
    np.fill_diagonal(gain, -np.inf)
    found = []
    both = np.minimum(gain, gain.T)
    while both.size and np.isfinite(both.max()):  # the clearest pair first
        pair = np.unravel_index(both.argmax(), both.shape)
        found.append(tuple(sorted(int(index) for index in pair)))
        for matrix in (gain, both):
            matrix[list(pair)] = matrix[:, list(pair)] = -np.inf
    best = gain.argmax(1) if len(own) else []
    follows = {i: int(j) for i, j in enumerate(best) if np.isfinite(gain[i, j])}
    for start in sorted(follows):
        ring = [start]
        while follows.get(ring[-1]) is not None and len(ring) <= LONGEST:
            if follows[ring[-1]] == start:
                found.append(tuple(ring))
                for index in ring:
                    del follows[index]
                break
            ring.append(follows[ring[-1]])
    return found


def shift(own, moved):
    """First and last index of a run of labels that fit the picture at a fixed distance, or None.

    own: (N,) fit of each label with its own picture, in the order of the set, NaN where there is none.
    moved: (N,) fit with the picture so many places on, NaN where it was not tried.  Within the run at least
    `RUN` more labels fit the other picture than do not.
    """
    own, moved = np.asarray(own, np.float64), np.asarray(moved, np.float64)
    hit = fits_better(own, moved)
    tried = np.isfinite(moved) | (own >= TRY)  # what fits well in its place need not be tried
    value = np.where(hit, 1, np.where(tried, -1, 0))
    total = np.concatenate([[0], np.cumsum(value)])
    lowest = np.minimum.accumulate(total)
    end = int((total - lowest).argmax())
    if total[end] - lowest[end] < RUN:
        return None
    start = int(np.flatnonzero(total[:end] == lowest[end])[-1])
    return start, end - 1


def candidates(distance, count):
    """The `count` nearest pictures of each label: (N, M) distances, infinite where a picture shows no hand ->
    set of (label, picture)."""
    nearest = np.argsort(distance, 1)[:, :count]
    return {
        (i, int(j)) for i, row in enumerate(nearest) for j in row if j != i and np.isfinite(distance[i, j])
    }

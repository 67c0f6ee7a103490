"""Keypoint metrics (PAPER.md 5.1) in numpy.

A metric's key carries its unit and, for 3D, the alignment: `epe_px`, `auc_20_50mm/procrustes`.
Errors are (N, 21) arrays in pixels or millimetres; a hand that was not found has infinite errors, and
keypoints that do not count are left out by `valid`.
"""

import numpy as np

from hand3d import skeleton

THRESHOLDS = 20  # points on a PCK curve


def keypoint_errors(prediction, truth, found=None):
    """Euclidean distances, (N, 21, D) and (N, 21, D) -> (N, 21) float64.

    `found` (N,) bool: hands that are missing get infinite errors, whatever stands in `prediction`.
    """
    prediction, truth = np.asarray(prediction, np.float64), np.asarray(truth, np.float64)
    if prediction.shape != truth.shape:
        raise ValueError(f"prediction: shape {truth.shape} of truth expected, got {prediction.shape}")
    errors = np.linalg.norm(prediction - truth, axis=-1)
    errors[~np.isfinite(errors)] = np.inf
    if found is not None:
        errors[~np.asarray(found, bool)] = np.inf
    return errors


def align(prediction, truth, alignment, root=skeleton.ROOT, keypoints=None):
    """Move each predicted hand onto the true one as far as the protocol allows.

    Args:
        prediction: (N, 21, 3); in units of the scale bone for "root_scale", any unit otherwise.
        truth: (N, 21, 3) millimetres.
        alignment: "root_scale" multiplies by the true hand's scale bone and shifts the root, the paper's
            protocol; "scale" shifts the root and takes the least-squares scale; "procrustes" takes the
            best rotation, scale and shift, without mirroring.
        root: keypoint brought to agreement by the first two.
        keypoints: indices that determine scale and rotation, all by default.

    Returns:
        (N, 21, 3) float64 in the unit and place of truth.
    """
    prediction, truth = np.asarray(prediction, np.float64), np.asarray(truth, np.float64)
    picked = np.arange(truth.shape[1]) if keypoints is None else np.asarray(keypoints)
    if alignment == "procrustes":
        return np.stack([_procrustes(p, t, picked) for p, t in zip(prediction, truth, strict=True)])
    origin = truth[:, root : root + 1]
    relative = prediction - prediction[:, root : root + 1]
    if alignment == "root_scale":
        start, end = skeleton.SCALE_BONE
        scale = np.linalg.norm(truth[:, end] - truth[:, start], axis=-1)
    elif alignment == "scale":
        p, t = relative[:, picked], (truth - origin)[:, picked]
        scale = (p * t).sum((1, 2)) / np.maximum((p * p).sum((1, 2)), 1e-12)
    else:
        raise ValueError(f'alignment: "root_scale", "scale" or "procrustes" expected, got {alignment!r}')
    return relative * scale[:, None, None] + origin


def epe(errors, valid=None):
    """End-point errors over the hands that were found.

    Args:
        errors: (N, 21).
        valid: (N, 21) bool, which keypoints count (visible ones in 2D); all by default.

    Returns:
        dict: `mean` and `median` as in the paper (per keypoint, then the mean over keypoints), and
        `pooled_mean`, `pooled_median` over all counted errors.  NaN where nothing was found.
    """
    errors, valid = _errors_and_valid(errors, valid)
    valid = valid & np.isfinite(errors)
    columns = [errors[valid[:, k], k] for k in range(errors.shape[1]) if valid[:, k].any()]
    if not columns:
        return dict.fromkeys(("mean", "median", "pooled_mean", "pooled_median"), float("nan"))
    pooled = np.concatenate(columns)
    return {
        "mean": float(np.mean([column.mean() for column in columns])),
        "median": float(np.mean([np.median(column) for column in columns])),
        "pooled_mean": float(pooled.mean()),
        "pooled_median": float(np.median(pooled)),
    }


def pck(errors, thresholds, valid=None):
    """Share of keypoints with error <= threshold, per keypoint and then averaged; (T,) float64."""
    errors, valid = _errors_and_valid(errors, valid)
    thresholds = np.asarray(thresholds, np.float64)
    curves = [
        (errors[valid[:, k], k][:, None] <= thresholds).mean(0)
        for k in range(errors.shape[1])
        if valid[:, k].any()
    ]
    return np.mean(curves, axis=0) if curves else np.full(thresholds.shape, np.nan)


def auc(thresholds, curve):
    """Area under a PCK curve by the trapezoid rule, divided by the range of its thresholds."""
    thresholds, curve = np.asarray(thresholds, np.float64), np.asarray(curve, np.float64)
    area = ((curve[1:] + curve[:-1]) / 2 * np.diff(thresholds)).sum()
    return float(area / (thresholds[-1] - thresholds[0]))


def summary_2d(errors, valid=None):
    """Metrics of 2D errors in pixels, (N, 21) -> dict of floats.

    EPEs are over the hands found (their share is `hands_found`); in `auc_0_30px` missing ones are errors.
    """
    curve_px = np.linspace(0, 30, THRESHOLDS)
    return {
        **_epe_keys(errors, valid, "px"),
        "auc_0_30px": auc(curve_px, pck(errors, curve_px, valid)),
    }


def summary_3d(errors, alignment, valid=None):
    """Metrics of 3D errors in millimetres, (N, 21) -> dict of floats, keys ending in /alignment.

    `auc_21_50mm` is what the released code prints as 20-50: the last 12 of 20 thresholds over 0-50 mm
    (PAPER.md, fact T6); `auc_20_50mm` has 20 thresholds over the true range.
    """
    whole, true_range = np.linspace(0, 50, THRESHOLDS), np.linspace(20, 50, THRESHOLDS)
    curve = pck(errors, whole, valid)
    metrics = {
        **_epe_keys(errors, valid, "mm"),
        "auc_0_50mm": auc(whole, curve),
        "auc_21_50mm": auc(whole[8:], curve[8:]),
        "auc_20_50mm": auc(true_range, pck(errors, true_range, valid)),
    }
    return {key if key == "hands_found" else f"{key}/{alignment}": value for key, value in metrics.items()}


def mask_iou(prediction, truth):
    """Intersection over union of boolean masks, mean over images; (N, H, W) each.  Two empty masks give 1."""
    prediction, truth = np.asarray(prediction, bool), np.asarray(truth, bool)
    both = (prediction & truth).sum((1, 2))
    either = (prediction | truth).sum((1, 2))
    return float(np.mean(np.where(either == 0, 1.0, both / np.maximum(either, 1))))


def _epe_keys(errors, valid, unit):
    values = epe(errors, valid)
    return {
        f"epe_{unit}": values["mean"],
        f"epe_median_{unit}": values["median"],
        f"epe_pooled_{unit}": values["pooled_mean"],
        f"epe_pooled_median_{unit}": values["pooled_median"],
        "hands_found": float(np.isfinite(np.asarray(errors)).any(1).mean()),
    }


def _errors_and_valid(errors, valid):
    errors = np.asarray(errors, np.float64)
    valid = np.ones(errors.shape, bool) if valid is None else np.asarray(valid).astype(bool)
    if valid.shape != errors.shape:
        raise ValueError(f"valid: shape {errors.shape} of errors expected, got {valid.shape}")
    return errors, valid


def _procrustes(prediction, truth, picked):
    """(21, 3), (21, 3) -> the prediction after the similarity that fits the picked keypoints best."""
    p, t = prediction[picked], truth[picked]
    if not np.isfinite(p).all():
        return prediction
    p_mean, t_mean = p.mean(0), t.mean(0)
    u, spread, vt = np.linalg.svd((p - p_mean).T @ (t - t_mean))
    turn = np.array([1.0, 1.0, np.sign(np.linalg.det(u @ vt))])
    scale = (spread * turn).sum() / max(((p - p_mean) ** 2).sum(), 1e-12)
    return (prediction - p_mean) @ ((u * turn) @ vt) * scale + t_mean

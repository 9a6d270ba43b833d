"""Multilabel metrics and thresholds of seeded sets: python tests/golden/golden_sets.py > tests/golden/sets.json (scikit-learn, NumPy)"""

import json

import numpy as np
import sklearn
from sklearn import metrics
from sklearn.calibration import calibration_curve

rng = np.random.default_rng(7)


def ece(y, p):
    share, confidence = calibration_curve(y.ravel(), p.ravel(), n_bins=15, strategy="uniform")
    counts = np.bincount(np.searchsorted(np.linspace(0, 1, 16)[1:-1], p.ravel()), minlength=15)
    counts = counts[counts > 0]
    return float((counts * abs(share - confidence)).sum() / counts.sum())


def metrics_of(y, given, p):
    columns = range(y.shape[1])
    found = [metrics.average_precision_score(y[:, k], p[:, k]) for k in columns if y[:, k].any()]
    return {
        "micro_f1": metrics.f1_score(y, given, average="micro", zero_division=0),
        "macro_f1": metrics.f1_score(y, given, average="macro", zero_division=np.nan),
        "subset_accuracy": metrics.accuracy_score(y, given),
        "hamming_loss": metrics.hamming_loss(y, given),
        "average_precision": float(np.mean(found)),
        "log_loss": float(np.mean([metrics.log_loss(y[:, k], p[:, k], labels=[0, 1]) for k in columns])),
        "brier": float(np.mean([((y[:, k] - p[:, k]) ** 2).mean() for k in columns])),
        "ece": ece(y, p),
    }


def threshold(y, p, target):
    """Of the best by F1, or by recall among those that reach the target: 0.5 or the middle between two probabilities, whichever is nearest to 0.5."""
    precision, recall, at = metrics.precision_recall_curve(y, p)
    precision, recall = precision[:-1], recall[:-1]
    with np.errstate(all="ignore"):
        worth = 2 * precision * recall / (precision + recall) if target is None else np.where(precision >= target, recall, 0)
    worth = np.nan_to_num(worth).round(12)
    if worth.max() <= 0:
        return None if target is not None else 0.5
    places = []
    for j in np.flatnonzero(worth == worth.max())[::-1]:
        low = at[j - 1] if j else 0.0
        places.append(0.5 if low < 0.5 <= at[j] else float(low + at[j]) / 2)
    return min(places, key=lambda place: abs(place - 0.5))


def case(name, y, p):
    given = (p >= 0.5).astype(int)
    rows = len(y)
    draws = [rng.integers(0, rows, rows) for _ in range(4)]
    scores = metrics.precision_recall_fscore_support(y, given, zero_division=0)
    columns = range(y.shape[1])
    return {
        "name": name,
        "truth": y.tolist(),
        "probabilities": p.tolist(),
        "metrics": metrics_of(y, given, p),
        "resamples": [{"rows": draw.tolist(), "metrics": metrics_of(y[draw], given[draw], p[draw])} for draw in draws],
        "labels": {key: [float(v) for v in values] for key, values in zip(["precision", "recall", "f1", "support"], scores)},
        "average_precision": [
            float(metrics.average_precision_score(y[:, k], p[:, k])) if y[:, k].any() else None for k in columns
        ],
        "thresholds": {
            "f1": [threshold(y[:, k], p[:, k], None) if y[:, k].any() else 0.5 for k in columns],
            "precision": [threshold(y[:, k], p[:, k], 0.75) if y[:, k].any() else None for k in columns],
            "all": {"f1": threshold(y.ravel(), p.ravel(), None), "precision": threshold(y.ravel(), p.ravel(), 0.75)},
        },
    }


def drawn(rows, shares, sharpness, digits):
    y = (rng.random((rows, len(shares))) < shares).astype(int)
    p = 1 / (1 + np.exp(-(sharpness * (2 * y - 1) + rng.normal(0, 1.5, y.shape) + np.log(shares) / 2)))
    return y, p.round(digits)


near = drawn(60, [0.5, 0.3, 0.1], 1.5, 6)
tied = drawn(80, [0.4, 0.2, 0.15, 0.05], 0.8, 1)
bare_y, bare_p = drawn(30, [0.5, 0.4, 0.3], 1.0, 3)
bare_y[:, 2] = 0  # a label that no answer has and one row is given
bare_p[:, 2] = np.where(np.arange(30) == 4, 0.75, 0.125)
certain = (np.array([[1, 0], [0, 1], [0, 0], [1, 1]]), np.array([[1.0, 0.0], [1.0, 0.0], [0.25, 0.0], [0.5, 1.0]]))
cases = [
    case("three labels", *near),
    case("many equal probabilities", *tied),
    case("a label without answers", bare_y, bare_p),
    case("certain and wrong", *certain),
]
print(json.dumps({"scikit-learn": sklearn.__version__, "cases": cases}, separators=(",", ":")))

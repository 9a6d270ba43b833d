"""Writes audit.json: what Fairlearn, scikit-learn, SciPy, statsmodels and pandas say about the groups of seeded rows.

    python3 -m venv /tmp/golden
    /tmp/golden/bin/pip install numpy==2.4.6 scipy==1.17.1 scikit-learn==1.9.1 fairlearn==0.15.0 statsmodels==0.15.0 pandas==3.1.1
    /tmp/golden/bin/python tests/golden/golden_audit.py
"""

import json
import os

import fairlearn.metrics as fair
import numpy as np
import pandas as pd
from scipy import stats
from scipy.optimize import brentq
from sklearn.metrics import accuracy_score, mean_absolute_error, root_mean_squared_error
from statsmodels.stats.contingency_tables import Table2x2
from statsmodels.stats.proportion import confint_proportions_2indep, score_test_proportions_2indep

HERE = os.path.dirname(os.path.abspath(__file__))


def expected_to_observed(group, expected, observed):
    """E/O by group, and the lowest by the highest; its interval by resampling both groups, widened for the number of pairs."""
    sums = pd.DataFrame({"group": group, "expected": expected, "observed": observed}).groupby("group").sum()
    by_group = sums["expected"] / sums["observed"]
    r = np.random.default_rng(9)
    def draws(g):
        e, o = expected[group == g], observed[group == g]
        at = r.integers(0, len(e), (20000, len(e)))
        return e[at].sum(1) / o[at].sum(1)
    low, high = by_group.idxmin(), by_group.idxmax()
    tail = 0.025 / (len(by_group) * (len(by_group) - 1) / 2)
    return {
        "groups": {f"g{g}": float(value) for g, value in by_group.items()},
        "between": [f"g{high}", f"g{low}"],
        "ratio": float(by_group[low] / by_group[high]),
        "interval": np.quantile(draws(low) / draws(high), [tail, 1 - tail]).tolist(),
    }


def case(name, seed, groups, rows):
    r = np.random.default_rng(seed)
    group = r.integers(0, groups, rows)
    y = (r.random(rows) < 0.35 + 0.1 * group).astype(int)
    p = np.clip(0.3 + 0.35 * y + 0.08 * group + r.normal(0, 0.2, rows), 0.01, 0.99)
    predicted = (p > 0.5).astype(int)
    frame = fair.MetricFrame(
        metrics={
            "selection_rate": fair.selection_rate,
            "true_positive_rate": fair.true_positive_rate,
            "false_positive_rate": fair.false_positive_rate,
            "accuracy": accuracy_score,
        },
        y_true=y, y_pred=predicted, sensitive_features=group)
    both = lambda metric: {
        "difference": float(getattr(fair, f"{metric}_difference")(y, predicted, sensitive_features=group)),
        "ratio": float(getattr(fair, f"{metric}_ratio")(y, predicted, sensitive_features=group)),
    }
    table = pd.DataFrame({"group": group, "gap": p - y, "y": y}).groupby("group").mean()
    return {
        "name": name,
        "group": [f"g{g}" for g in group],
        "answers": y.tolist(),
        "predictions": predicted.tolist(),
        "probabilities": p.tolist(),
        "groups": {
            f"g{g}": {**{k: float(v) for k, v in row.items()}, "calibration": float(table["gap"][g]), "base_rate": float(table["y"][g])}
            for g, row in frame.by_group.iterrows()
        },
        "demographic_parity": both("demographic_parity"),
        "equal_opportunity": both("equal_opportunity"),
        "equalized_odds": both("equalized_odds"),
        "accuracy": {"difference": float(frame.difference()["accuracy"]), "ratio": float(frame.ratio()["accuracy"])},
        "calibration": float(table["gap"].max() - table["gap"].min()),
        "expected_to_observed": expected_to_observed(group, p, y),
    }


def sets(seed, rows):
    """Sets of two labels, each a decision of its own: Fairlearn's metrics label by label."""
    r = np.random.default_rng(seed)
    group = r.integers(0, 3, rows)
    truth = r.random((rows, 2)) < np.stack([0.3 + 0.15 * group, 0.6 - 0.1 * group], 1)
    p = np.clip(0.25 + 0.45 * truth + 0.05 * group[:, None] + r.normal(0, 0.2, (rows, 2)), 0.01, 0.99)
    predicted = p > 0.5
    both = lambda metric, label: {
        name: float(getattr(fair, f"{metric}_{name}")(truth[:, label], predicted[:, label], sensitive_features=group))
        for name in ("difference", "ratio")
    }
    return {
        "group": [f"g{g}" for g in group],
        "answers": truth.astype(int).tolist(),
        "predictions": predicted.astype(int).tolist(),
        "probabilities": p.tolist(),
        "labels": [
            {
                **{metric: both(metric, label) for metric in ("demographic_parity", "equal_opportunity", "equalized_odds")},
                "expected_to_observed": expected_to_observed(group, p[:, label], truth[:, label]),
            }
            for label in (0, 1)
        ],
    }


def numbers(name, seed, groups, rows, low):
    r = np.random.default_rng(seed)
    group = r.integers(0, groups, rows)
    y = low + 3 * r.random(rows) + 0.2 * group
    predicted = y + r.normal(0.1 * group, 0.3 + 0.1 * group, rows)
    frame = fair.MetricFrame(
        metrics={
            "mean_target": lambda y_true, y_pred: float(np.mean(y_true)),
            "mean_prediction": fair.mean_prediction,
            "mae": mean_absolute_error,
            "rmse": root_mean_squared_error,
            "signed_error": lambda y_true, y_pred: float(np.mean(y_pred - y_true)),
        },
        y_true=y, y_pred=predicted, sensitive_features=group)
    return {
        "name": name,
        "group": [f"g{g}" for g in group],
        "targets": y.tolist(),
        "predictions": predicted.tolist(),
        "groups": {f"g{g}": {k: float(v) for k, v in row.items()} for g, row in frame.by_group.iterrows()},
        "difference": {k: float(v) for k, v in frame.difference().items()},
        "ratio": {k: float(v) for k, v in frame.ratio().items()},
        # Of values of either sign there is none.
        "expected_to_observed": expected_to_observed(group, predicted, y) if min(y.min(), predicted.min()) >= 0 else None,
    }


def score_interval(a, n, b, m):
    """The ratios a / n by b / m whose score test has |z| below 1.96: statsmodels has the test for all counts, its own interval fails where all rows are hits."""
    limit = stats.norm.ppf(0.975)
    z = lambda log: score_test_proportions_2indep(a, n, b, m, value=np.exp(log), compare="ratio").statistic
    # Without a hit no ratio is too small.
    low = 0.0 if a == 0 else float(np.exp(brentq(lambda log: z(log) - limit, -12, np.log(a / n / (b / m)) - 1e-4, xtol=1e-13)))
    start = np.log(a / n / (b / m)) + 1e-4 if a > 0 else -12
    return [low, float(np.exp(brentq(lambda log: z(log) + limit, start, 12, xtol=1e-13)))]


def proportions():
    for a, n, b, m in [(30, 100, 20, 90), (5, 5, 0, 7), (1, 400, 0, 380), (60, 60, 55, 60), (700, 1000, 640, 1000), (3, 10, 3, 10), (12, 12, 12, 12), (10, 10, 11, 12)]:
        yield {
            "counts": [a, n, b, m],
            "fisher": float(stats.fisher_exact([[a, n - a], [b, m - b]]).pvalue),
            "difference": list(map(float, confint_proportions_2indep(a, n, b, m, method="newcomb", compare="diff"))),
            "ratio": score_interval(b, m, a, n),
        }


def ties():
    """Rows with a word and a label, rows with the word, rows with the label, all rows."""
    for hits, held, total, rows in [(12, 14, 30, 90), (10, 10, 25, 60), (40, 60, 50, 200), (19, 20, 500, 1000)]:
        counts = np.array([[hits, held - hits], [total - hits, rows - held - total + hits]])
        table = Table2x2(counts + 0.5, shift_zeros=False)
        yield {
            "counts": [hits, held, total, rows],
            "log_odds": [float(table.log_oddsratio), *map(float, table.log_oddsratio_confint())],
            "p": float(table.log_oddsratio_pvalue()),
        }


def means():
    r = np.random.default_rng(4)
    # As many and as scattered, fewer and less scattered, few that are all alike.
    for a, b in [
        (r.normal(0, 1, 40), r.normal(0, 2, 25)),
        (r.normal(0.5, 1, 40), r.normal(0, 2, 25)),
        (np.full(10, 0.8), r.normal(0, 1, 60)),
        (r.normal(1, 3, 12), r.normal(0, 0.5, 200)),
    ]:
        if a.mean() < b.mean():
            a, b = b, a
        welch = stats.ttest_ind(a, b, equal_var=False)
        interval = welch.confidence_interval(0.95)
        yield {"high": a.tolist(), "low": b.tolist(), "p": float(max(welch.pvalue, stats.ttest_ind(a, b).pvalue)),
               "interval": [float(interval.low), float(interval.high)]}


with open(os.path.join(HERE, "audit.json"), "w") as out:
    json.dump(
        {
            "cases": [case("two groups", 1, 2, 200), case("four groups", 2, 4, 400)],
            "sets": sets(5, 300),
            "numbers": [numbers("two groups", 6, 2, 200, 1), numbers("four groups", 7, 4, 400, 1), numbers("of either sign", 8, 2, 150, -2)],
            "students": [[t, df, float(stats.t.sf(t, df))] for t in (0.1, 1.5, 4, 12) for df in (1, 2.5, 9, 60, 5000)],
            "proportions": list(proportions()),
            "means": list(means()),
            "ties": list(ties()),
            "quantiles": [[q, float(stats.norm.ppf(q))] for q in (0.5, 0.9, 0.975, 1 - 0.025 / 45, 1 - 1e-9)],
        },
        out,
        separators=(",", ":"),
    )

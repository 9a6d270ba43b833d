"""Writes statistics.json: what scikit-learn, SciPy, rouge-score, statsmodels and SQuAD's script say about seeded inputs.

    python3 -m venv /tmp/golden
    /tmp/golden/bin/pip install numpy==2.4.6 scipy==1.17.1 scikit-learn==1.9.1 rouge-score==0.1.2 \
        statsmodels==0.15.0
    /tmp/golden/bin/python tests/golden/golden_statistics.py
"""

import collections
import json
import os
import re
import string

import numpy as np
from scipy import stats
from rouge_score import rouge_scorer
from sklearn import metrics
from sklearn.calibration import calibration_curve
from statsmodels.stats.multitest import multipletests

HERE = os.path.dirname(os.path.abspath(__file__))
M64 = (1 << 64) - 1
M32 = (1 << 32) - 1


class Random:
    """The twin of src/support/random.ts."""

    def __init__(self, seed, stream=0):
        start = self.splitmix64(seed, 1) ^ stream
        first, second = self.splitmix64(start, 1), self.splitmix64(start, 2)
        self.s = [first & M32, first >> 32, second & M32, second >> 32]

    @staticmethod
    def splitmix64(state, n):
        z = (state + n * 0x9E3779B97F4A7C15) & M64
        z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & M64
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & M64
        return z ^ (z >> 31)

    def bits(self):
        s = self.s
        rotate = lambda x, k: ((x << k) | (x >> (32 - k))) & M32
        result = (rotate((s[1] * 5) & M32, 7) * 9) & M32
        t = (s[1] << 9) & M32
        s[2] ^= s[0]
        s[3] ^= s[1]
        s[1] ^= s[2]
        s[0] ^= s[3]
        s[2] ^= t
        s[3] = rotate(s[3], 11)
        return result

    def float(self):
        high = self.bits() >> 5
        return (high * 2**26 + (self.bits() >> 6)) / 2**53

    def below(self, n):
        limit = 2**32 - 2**32 % n
        while True:
            draw = self.bits()
            if draw < limit:
                return draw % n

    def shuffle(self, items):
        for last in range(len(items) - 1, 0, -1):
            chosen = self.below(last + 1)
            items[last], items[chosen] = items[chosen], items[last]
        return items


class OurDraws(np.random.Generator):
    """Lets scipy.stats.bootstrap draw its resamples from Random."""

    def __init__(self, seed):
        super().__init__(np.random.PCG64(0))
        self.ours = Random(seed)

    def integers(self, low, high=None, size=None, **_):
        assert low == 0
        return np.array([self.ours.below(high) for _ in range(int(np.prod(size)))]).reshape(size)


def random_cases():
    for seed, stream in [(0, 0), (1, 0), (1, 1), (42, 7), (2**53 - 1, 2**40)]:
        r = Random(seed, stream)
        yield {
            "seed": seed,
            "stream": stream,
            "bits": [r.bits() for _ in range(8)],
            "floats": [r.float() for _ in range(4)],
            "below": {"n": 1000003, "values": [r.below(1000003) for _ in range(8)]},
            "shuffled": r.shuffle(list(range(12))),
        }


def classification(name, labels, truth, predicted, probabilities, seed):
    per_class = metrics.precision_recall_fscore_support(truth, predicted, labels=labels, zero_division=0)
    macro = lambda t, p: metrics.f1_score(t, p, average="macro", zero_division=0)
    right = np.array([a == b for a, b in zip(truth, predicted)], dtype=float)
    interval = lambda statistic, *data: list(
        map(
            float,
            stats.bootstrap(data, statistic, n_resamples=400, method="percentile", vectorized=False, paired=True,
                            batch=1, rng=OurDraws(seed)).confidence_interval,
        )
    )
    p = np.array(probabilities)
    top, confidence = p.argmax(axis=1), p.max(axis=1)
    correct = np.array([labels[t] == a for t, a in zip(top, truth)], dtype=int)
    bin_accuracy, bin_confidence = calibration_curve(correct, confidence, n_bins=15, strategy="uniform")
    # calibration_curve does not tell the rows of its bins: as it counts them, after its source
    ids = np.searchsorted(np.linspace(0.0, 1.0, 16)[1:-1], confidence)
    bin_rows = np.bincount(ids, minlength=15)
    bin_rows = bin_rows[bin_rows > 0]
    return {
        "name": name,
        "weightedF1": metrics.f1_score(truth, predicted, average="weighted", zero_division=0),
        "brier": float(metrics.brier_score_loss(truth, y_proba=p[:, 1] if len(labels) == 2 else p, labels=labels,
                                                **({"pos_label": labels[1]} if len(labels) == 2 else {}))),
        "ece": float((bin_rows * abs(bin_accuracy - bin_confidence)).sum() / bin_rows.sum()),
        "bins": {"accuracy": bin_accuracy.tolist(), "confidence": bin_confidence.tolist()},
        "labels": labels,
        "answers": truth,
        "predictions": predicted,
        "probabilities": probabilities,
        "accuracy": metrics.accuracy_score(truth, predicted),
        "macroF1": macro(truth, predicted),
        "classes": {
            key: [float(v) for v in values]
            for key, values in zip(["precision", "recall", "f1", "support"], per_class)
        },
        "confusion": metrics.confusion_matrix(truth, predicted, labels=labels).tolist(),
        "logLoss": float(metrics.log_loss(truth, y_proba=np.array(probabilities), labels=labels)),
        "bootstrap": {
            "seed": seed,
            "resamples": 400,
            "accuracy": interval(np.mean, right) if 0 < right.sum() < len(right) else None,
            "macroF1": interval(lambda i: macro(np.array(truth)[i], np.array(predicted)[i]), np.arange(len(truth))),
        },
    }


def classification_cases():
    for name, count, rows, skip_predicted, only in [
        ("two labels", 2, 40, None, None),
        ("five labels", 5, 120, None, None),
        ("a class that is never predicted", 4, 60, 2, None),
        ("answers of a single class", 3, 25, None, 1),
    ]:
        r = Random(len(name))
        labels = [f"label {chr(97 + i)}" for i in range(count)]
        truth, predicted, probabilities = [], [], []
        for _ in range(rows):
            answer = only if only is not None else r.below(count)
            weights = [r.float() + (0.6 if i == answer else 0) for i in range(count)]
            if skip_predicted is not None:
                weights[skip_predicted] = 0.0
            p = [w / sum(weights) for w in weights]
            truth.append(labels[answer])
            predicted.append(labels[int(np.argmax(p))])
            probabilities.append(p)
        yield classification(name, labels, truth, predicted, probabilities, 11)
    # probabilities of exactly 0 and 1: clipped to eps
    yield classification("certain and wrong", ["a", "b"], ["a", "b", "a", "b"], ["a", "a", "b", "b"],
                         [[1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [0.25, 0.75]], 5)


def regression_metrics(y, p):
    with np.errstate(all="ignore"):
        pearson, spearman = stats.pearsonr(y, p).statistic, stats.spearmanr(y, p).statistic
    return {
        "mae": float(metrics.mean_absolute_error(y, p)),
        "rmse": float(metrics.root_mean_squared_error(y, p)),
        "pearson": float(pearson),
        "spearman": float(spearman),
        "r2": float(metrics.r2_score(y, p)),
    }


def regression_cases():
    r = Random(3)
    smooth = [4 * r.float() + 1 for _ in range(60)]
    near = [y + r.float() - 0.4 for y in smooth]
    steps = [float(r.below(5)) for _ in range(80)]  # many ties
    guessed = [float(r.below(4)) + y for y in steps]
    large = [1e9 + y for y in smooth]
    for name, y, p, drawn in [
        ("near", smooth, near, True),
        ("with ties", steps, guessed, True),
        ("far from zero", large, [v + 1e9 for v in near], False),
        ("reversed", smooth, [-y for y in smooth], False),
        ("perfect", smooth, smooth, False),
    ]:
        intervals = None
        if drawn:
            ours = Random(7)
            values = []
            for _ in range(2000):
                i = [ours.below(len(y)) for _ in y]
                values.append(regression_metrics(np.array(y)[i], np.array(p)[i]))
            intervals = {k: [float(np.quantile([v[k] for v in values], q)) for q in (0.025, 0.975)] for k in values[0]}
        yield {"name": name, "targets": y, "predictions": p, "metrics": regression_metrics(y, p), "intervals": intervals}


def normalize_answer(s):  # SQuAD's evaluate-v2.0.py (Rajpurkar et al. 2018)
    s = "".join(ch for ch in s.lower() if ch not in set(string.punctuation))
    return " ".join(re.sub(re.compile(r"\b(a|an|the)\b", re.UNICODE), " ", s).split())


def token_f1(gold, given):
    g, p = normalize_answer(gold).split(), normalize_answer(given).split()
    if not g or not p:
        return int(g == p)
    same = sum((collections.Counter(g) & collections.Counter(p)).values())
    if same == 0:
        return 0
    precision, recall = same / len(p), same / len(g)
    return 2 * precision * recall / (precision + recall)


def text_cases():
    pairs = [
        ("drupe", "Drupe."), ("a drupe", "the  drupe"), ("an aggregate of drupelets", "aggregate fruit"),
        ("", ""), ("the", "a"), ("the", "pome"), ("pome", ""), ("red red apple", "red apple apple red"),
        ("theatre", "the atre"), ("it's", "its"), ("semi-drupe", "semi drupe"), ("à la carte", "la carte"), ("the cat sat on the mat", "on the mat the cat sat down"),
        ("aé", "é"), ("éa", "é"), ("a\u00a0pome\u2003nut", "pome nut"), ("x\u0085y", "x y"), ("x\ufeffy", "x y"), ("x\x1cy", "x y"),
        ("ÉTÉ", "été"), ("$5.00", "500"), ("under_score a_b", "underscore ab"), ("«noix»", "noix"), ("1 a 2", "1 2"),
        ("the_", "the"), ("ΟΔΟΣ", "οδος"), ("İ", "i"),
    ]
    rouge = rouge_scorer.RougeScorer(["rougeL"], use_stemmer=False)
    for gold, given in pairs:
        yield {
            "answer": gold,
            "prediction": given,
            "normalised": [normalize_answer(gold), normalize_answer(given)],
            "exactMatch": int(normalize_answer(gold) == normalize_answer(given)),
            "tokenF1": token_f1(gold, given),
            "rougeL": rouge.score(gold, given)["rougeL"].fmeasure,
        }


def mcnemar_cases():
    for only_first, only_second in [(0, 0), (1, 0), (5, 5), (3, 12), (40, 22), (300, 200), (1100, 900), (0, 60), (6000, 5000)]:
        n = only_first + only_second
        corrected = max(0, abs(only_first - only_second) - 1) ** 2 / n if n else 0.0
        yield {
            "onlyFirst": only_first,
            "onlySecond": only_second,
            "exact": float(stats.binomtest(only_first, n, 0.5).pvalue) if n else 1.0,
            "statistic": corrected,
            "pValue": float(stats.chi2.sf(corrected, 1)),
        }


def permutation_cases():
    """Few rows: SciPy then looks at every one of the 2^n deals, as we do."""
    r = Random(9)
    for name, rows, shift in [("alike", 8, 0.0), ("apart", 10, 0.6), ("equal", 6, None)]:
        first = [r.float() for _ in range(rows)]
        second = list(first) if shift is None else [r.float() - shift for _ in range(rows)]
        test = lambda statistic: float(
            stats.permutation_test((first, second), statistic, permutation_type="samples", n_resamples=np.inf,
                                   vectorized=False).pvalue)
        yield {
            "name": name,
            "first": first,
            "second": second,
            "mean": test(lambda a, b: np.mean(a) - np.mean(b)),
            "root": test(lambda a, b: np.sqrt(np.mean(np.square(a))) - np.sqrt(np.mean(np.square(b)))),
        }


def holm_cases():
    r = Random(10)
    for p in [[0.01, 0.04, 0.03], [0.5], [0.9, 0.9], [r.float() ** 3 for _ in range(12)], [0.0, 1.0, 0.02, 0.02]]:
        yield {"given": p, "corrected": multipletests(p, method="holm")[1].tolist()}


def wilson_cases():
    for k, n in [(0, 1), (1, 1), (0, 20), (20, 20), (9, 10), (776, 872), (1, 100000)]:
        low, high = stats.binomtest(k, n).proportion_ci(0.95, method="wilson")
        yield {"successes": k, "rows": n, "low": float(low), "high": float(high)}


with open(os.path.join(HERE, "statistics.json"), "w") as out:
    json.dump(
        {
            "random": list(random_cases()),
            "classification": list(classification_cases()),
            "regression": list(regression_cases()),
            "text": list(text_cases()),
            "mcnemar": list(mcnemar_cases()),
            "permutation": list(permutation_cases()),
            "holm": list(holm_cases()),
            "wilson": list(wilson_cases()),
        },
        out,
        separators=(",", ":"),
    )

"""Writes tango.json: Tango's score interval (1998) of a difference of paired shares, from its definition.

    python3 -m venv /tmp/golden
    /tmp/golden/bin/pip install numpy==2.4.6 scipy==1.17.1
    /tmp/golden/bin/python tests/golden/golden_tango.py

Of n rows only the first has b, only the second c. For a difference d the likeliest share q of rows that only the second has maximises the multinomial likelihood, here by
search and not by Tango's closed form; the interval holds each d whose score |b - c - n d| / sqrt(n (2 q + d (1 - d))) is at most z.
"""

import json
import os

import numpy as np
from scipy import optimize, stats

HERE = os.path.dirname(os.path.abspath(__file__))
Z = stats.norm.ppf(0.975)


def likeliest(b, c, n, d):
    # Shares (q + d, q, 1 - 2 q - d) lie in [0, 1].
    low, high = max(0.0, -d), (1 - d) / 2

    def loss(q):
        shares = np.clip([q + d, q, 1 - 2 * q - d], 1e-300, 1)
        counts = np.array([b, c, n - b - c])
        return -np.sum(np.where(counts > 0, counts * np.log(shares), 0))

    found = optimize.minimize_scalar(loss, bounds=(low, high), method="bounded", options={"xatol": 1e-14})
    return min([low, high, found.x], key=loss)


def score(b, c, n, d):
    q = likeliest(b, c, n, d)
    return (b - c - n * d) / np.sqrt(n * max(2 * q + d * (1 - d), 1e-300))


def tango(b, c, n):
    d = (b - c) / n
    low = -1.0 if d == -1 else optimize.brentq(lambda x: score(b, c, n, x) - Z, -1 + 1e-12, d - 1e-12, xtol=1e-13)
    high = 1.0 if d == 1 else optimize.brentq(lambda x: score(b, c, n, x) + Z, d + 1e-12, 1 - 1e-12, xtol=1e-13)
    return low, high


def main():
    # What the tests of R's contingencytables have for 6 and 16 of 161 pairs.
    assert np.round(tango(6, 16, 161), 4).tolist() == [-0.1240, -0.0054]
    cases = [
        {"difference": (b - c) // n, "rows": n, "interval": tango(b, c, n)}
        for n in [1, 2, 3, 5, 10, 20, 100, 872]
        for b, c in [(0, 0), (n, 0), (0, n)]
    ]
    with open(os.path.join(HERE, "tango.json"), "w") as file:
        json.dump(cases, file, separators=(",", ":"))
        file.write("\n")


if __name__ == "__main__":
    main()

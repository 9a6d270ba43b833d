"""Isotonic regression and split conformal radii: python tests/golden/calibration.py > tests/golden/calibration.json (scikit-learn, NumPy)"""

import json
import math

import numpy as np
import sklearn
from sklearn.isotonic import IsotonicRegression

rng = np.random.default_rng(5)


def isotonic(name, places, right, asked):
    line = IsotonicRegression(out_of_bounds="clip").fit(places, right)
    return {"name": name, "places": places, "right": right, "asked": asked, "heights": line.predict(asked).tolist()}


def conformal(errors, coverage):
    # The smallest error that at least (n + 1) coverage / n of them do not exceed.
    level = min(1.0, math.ceil((len(errors) + 1) * coverage) / len(errors))
    return {"errors": errors, "coverage": coverage, "radius": float(np.quantile(errors, level, method="inverted_cdf"))}


noisy = np.sort(rng.random(60)).round(3).tolist()
asked = np.linspace(0, 1, 41).tolist()
print(
    json.dumps(
        {
            "scikit-learn": sklearn.__version__,
            "isotonic": [
                isotonic("by hand", [0.1, 0.2, 0.3, 0.4, 0.6], [0, 1, 0, 1, 1], [0.0, 0.1, 0.15, 0.25, 0.3, 0.5, 0.9]),
                isotonic("places that come twice", [0.2, 0.2, 0.4, 0.4, 0.8, 0.8], [0, 1, 0, 0, 1, 1], asked),
                isotonic("noisy", noisy, [int(rng.random() < p) for p in noisy], asked),
            ],
            "conformal": [
                conformal([0.5, 0.1, 0.4, 0.2, 0.3], 0.5),
                conformal([0.5, 0.1, 0.4, 0.2, 0.3], 0.9),
                conformal(rng.random(101).tolist(), 0.9),
            ],
        },
        indent=1,
    )
)

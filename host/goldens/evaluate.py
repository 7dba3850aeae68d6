"""Goldens for the measuring code, from scikit-learn, SciPy and NumPy.

    pip install numpy scipy scikit-learn
    python host/goldens/evaluate.py

writes interval.json, metrics.json, probe.json and gauges.json beside this file.
"""

import json
from pathlib import Path

import numpy as np
from scipy import stats
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, confusion_matrix, f1_score
from sklearn.preprocessing import StandardScaler

HERE = Path(__file__).parent


def write(name, value):
    (HERE / name).write_text(json.dumps(value) + "\n")


def interval():
    quantiles = [
        (p, freedom, float(stats.t.ppf(p, freedom)))
        for freedom in (1, 2, 3, 4, 5, 9, 10, 29, 100, 1000, 100000)
        for p in (0.975, 0.95, 0.6, 0.5, 0.025, 0.9995, 0.99999999)
    ]
    values = [0.713, 0.698, 0.725, 0.731, 0.702]
    low, high = stats.t.interval(0.95, len(values) - 1, loc=np.mean(values), scale=stats.sem(values))
    golden = {"values": values, "mean": float(np.mean(values)), "low": float(low), "high": float(high)}
    write("interval.json", {"quantiles": quantiles, "interval": golden})


def metrics():
    rng = np.random.default_rng(1)
    cases = []
    for classes, absent in ((2, None), (5, None), (6, 3)):
        truth = rng.integers(0, classes, 60)
        guesses = np.where(rng.random(60) < 0.6, truth, rng.integers(0, classes, 60))
        if absent is not None:
            truth[truth == absent], guesses[guesses == absent] = 0, 1
        cases.append(
            {
                "classes": classes,
                "truth": truth.tolist(),
                "predictions": guesses.tolist(),
                "accuracy": float(accuracy_score(truth, guesses)),
                "macro_f1": float(f1_score(truth, guesses, average="macro")),
                "confusion": confusion_matrix(truth, guesses, labels=range(classes)).tolist(),
            }
        )
    write("metrics.json", cases)


def probe():
    rng = np.random.default_rng(2)
    n, d, classes, held_out = 150, 6, 4, 60
    centres = rng.normal(size=(classes, d))
    labels = rng.integers(0, classes, n + held_out)
    scales = np.array([1, 10, 0.1, 3, 1, 100])
    features = (centres[labels] + 0.9 * rng.normal(size=(n + held_out, d))) * scales + 5 * scales
    features = features.astype(np.float32).round(4).astype(np.float32)
    train, test = features[:n], features[n:]
    scaler = StandardScaler().fit(train.astype(np.float64))
    fits = []
    for penalty in (1.0, 1e-2, 1e-4):
        model = LogisticRegression(C=1 / (penalty * n), tol=1e-12, max_iter=100_000)
        model.fit(scaler.transform(train.astype(np.float64)), labels[:n])
        fits.append(
            {
                "lambda": penalty,
                "weights": model.coef_.T.tolist(),
                "predictions": model.predict(scaler.transform(test.astype(np.float64))).tolist(),
            }
        )
    rows = lambda array: [[round(float(x), 4) for x in row] for row in array]
    write(
        "probe.json",
        {"train": rows(train), "labels": labels[:n].tolist(), "test": rows(test), "fits": fits},
    )


def gauges():
    rng = np.random.default_rng(3)
    n, d = 40, 8
    features = (rng.normal(size=(n, 3)) @ rng.normal(size=(3, d)) + 0.1 * rng.normal(size=(n, d)) + 0.5)
    features = features.astype(np.float32).round(4).astype(np.float32)
    others = (features + 0.3 * rng.normal(size=(n, d))).astype(np.float32).round(4).astype(np.float32)
    unit = lambda x: (x.astype(np.float64).T / np.linalg.norm(x.astype(np.float64), axis=1)).T
    a, b = unit(features), unit(others)
    singular = np.linalg.svd(features.astype(np.float64), compute_uv=False)
    share = singular / singular.sum() + 1e-7
    squared = ((a[:, None] - a[None]) ** 2).sum(-1)[np.triu_indices(n, 1)]
    rows = lambda array: [[round(float(x), 4) for x in row] for row in array]
    write(
        "gauges.json",
        {
            "features": rows(features),
            "others": rows(others),
            "relative_std": float(a.std(0).mean() * np.sqrt(d)),
            "effective_rank": float(np.exp(-(share * np.log(share)).sum())),
            "alignment": float(((a - b) ** 2).sum(1).mean()),
            "uniformity": float(np.log(np.exp(-2 * squared).mean())),
        },
    )


if __name__ == "__main__":
    interval()
    metrics()
    probe()
    gauges()

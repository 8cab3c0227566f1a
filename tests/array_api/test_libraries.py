"""Functions of SciPy and scikit-learn on tensors give what they give for NumPy arrays, as tensors."""

from __future__ import annotations

import os
import subprocess
import sys

# SciPy looks at the variable when it is imported; so all of them run in a process of their own.
CHILD = """
import numpy as np, scipy.cluster.vq, scipy.integrate, scipy.special, scipy.stats, sklearn
from sklearn.decomposition import PCA
from sklearn.linear_model import Ridge
from sklearn.metrics import accuracy_score, mean_squared_error
from sklearn.metrics.pairwise import rbf_kernel
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import StandardScaler
from tengen import Tensor

sklearn.set_config(array_api_dispatch=True)
rng = np.random.default_rng(0)
x = rng.normal(size=(20, 4))
y = x @ np.array([1.0, 2.0, -1.0, 0.5]) + 0.1
c = (y > 0).astype(np.int32)

CASES = [
    (lambda a: scipy.special.softmax(a, axis=1), x),
    (lambda a: scipy.stats.zscore(a), x),
    (lambda a: scipy.stats.skew(a), x),
    (lambda a: tuple(scipy.stats.ttest_1samp(a, 0.1)), x),
    (lambda a, b: tuple(scipy.stats.pearsonr(a, b)), x[:, 0], y),
    (lambda a: scipy.integrate.trapezoid(a, axis=0), x),
    (lambda a, b: scipy.cluster.vq.vq(a, b), x, x[:3]),
    (lambda a: StandardScaler().fit_transform(a), x),
    (lambda a: rbf_kernel(a), x),
    (lambda a: PCA(2, svd_solver="full").fit_transform(a), x),
    (lambda a, b: Ridge(solver="svd").fit(a, b).predict(a), x, y),
    (lambda a, b: tuple(train_test_split(a, b, random_state=0)), x, y),
    (lambda a, b: accuracy_score(a, b), c, 1 - c),
    (lambda a, b: mean_squared_error(a, b), y, x[:, 0]),
]
for number, (function, *arrays) in enumerate(CASES):
    got = function(*(Tensor(array, dtype=array.dtype) for array in arrays))
    want = function(*arrays)
    for a, b in zip(got, want) if isinstance(want, tuple) else [(got, want)]:
        if not isinstance(a, float):
            assert isinstance(a, Tensor), (number, type(a))
            assert a.shape == np.shape(b), (number, a.shape)
        assert np.allclose(np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64), rtol=1e-9), (number, a, b)
print(len(CASES), "are equal")
"""


def test_scipy_and_scikit_learn():
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", CHILD],
        env=os.environ | {"SCIPY_ARRAY_API": "1"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.stdout == "14 are equal\n", done.stderr[-3000:]

"""The demonstration: two models fitted on real data with compiled gradients.

A logistic regression on scikit-learn's breast cancer data (569 patients, 30 measurements) and a
small tanh network on its digits data (1797 images of 8×8 pixels). SciPy's L-BFGS does the
fitting. The losses are plain NumPy, with no tracegrad name in them.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

import tracegrad as tg
from tracegrad.inspect.colour import highlight, wants_colour

HIDDEN = 32
CLASSES = 10


def logistic_loss(w: np.ndarray, X: np.ndarray, y: np.ndarray) -> Any:
    z = X @ w[:-1] + w[-1]
    return np.mean(np.log1p(np.exp(-y * z))) + 1e-3 * np.sum(w * w)


def network_logits(params: np.ndarray, X: np.ndarray) -> Any:
    pixels = X.shape[1]
    split = pixels * HIDDEN
    W1 = params[:split].reshape(pixels, HIDDEN)
    b1 = params[split : split + HIDDEN]
    rest = params[split + HIDDEN :]
    W2 = rest[: HIDDEN * CLASSES].reshape(HIDDEN, CLASSES)
    b2 = rest[HIDDEN * CLASSES :]
    hidden = np.tanh(X @ W1 + b1)
    return hidden @ W2 + b2


def network_loss(params: np.ndarray, X: np.ndarray, onehot: np.ndarray) -> Any:
    logits = network_logits(params, X)
    shifted = logits - np.max(logits, axis=1, keepdims=True)
    log_total = np.log(np.sum(np.exp(shifted), axis=1))
    nll = np.mean(log_total - np.sum(shifted * onehot, axis=1))
    return nll + 1e-4 * np.sum(params**2)


@dataclass
class Problem:
    """One model on one data set."""

    title: str
    loss: Callable[..., Any]
    start: np.ndarray
    data: tuple[np.ndarray, np.ndarray]
    accuracy: Callable[[np.ndarray], float]


def run(*, show_source: bool = True, iterations: int = 100) -> int:
    """Fit both models, show and check the gradients, and print the table of times."""
    try:
        problems = [breast_cancer(), digits()]
    except ImportError:
        print("The demonstration needs scikit-learn: pip install 'tracegrad[demo]'")
        return 1
    rows = []
    for problem in problems:
        print(f"\n== {problem.title}")
        gradient = tg.value_and_grad(problem.loss)
        started = time.perf_counter()
        gradient(problem.start, *problem.data)
        print(f"first call (trace, compile or load, run): {time.perf_counter() - started:.2f} s")
        fitted = fit(problem, gradient, iterations)
        error = directional_error(problem, gradient, fitted)
        print(f"gradient against central differences, five directions: relative error {error:.1e}")
        if show_source:
            source = gradient.inspect_source()
            print(f"\nthe generated gradient of {problem.loss.__name__}:\n")
            print(highlight(source) if wants_colour() else source)
        rows.append((problem.title, *times(problem, gradient, fitted)))
    print_table(rows)
    return 0


def breast_cancer() -> Problem:
    """Logistic regression: malignant or benign."""
    from sklearn.datasets import load_breast_cancer

    data = load_breast_cancer()
    X = (data.data - data.data.mean(axis=0)) / data.data.std(axis=0)
    y = np.where(data.target == 1, 1.0, -1.0)

    def accuracy(w: np.ndarray) -> float:
        return float(np.mean(np.sign(X @ w[:-1] + w[-1]) == y))

    title = f"logistic regression, breast cancer data {X.shape[0]}×{X.shape[1]}"
    return Problem(title, logistic_loss, np.zeros(X.shape[1] + 1), (X, y), accuracy)


def digits() -> Problem:
    """A tanh network with one hidden layer: which digit is it?"""
    from sklearn.datasets import load_digits

    data = load_digits()
    X = data.data / 16.0
    onehot = np.eye(CLASSES)[data.target]
    pixels = X.shape[1]
    rng = np.random.default_rng(0)
    start = np.concatenate(
        [
            rng.normal(size=pixels * HIDDEN) / np.sqrt(pixels),
            np.zeros(HIDDEN),
            rng.normal(size=HIDDEN * CLASSES) / np.sqrt(HIDDEN),
            np.zeros(CLASSES),
        ]
    )

    def accuracy(params: np.ndarray) -> float:
        return float(np.mean(np.argmax(network_logits(params, X), axis=1) == data.target))

    title = f"tanh network {pixels}-{HIDDEN}-{CLASSES}, digits data {X.shape[0]}×{pixels}"
    return Problem(title, network_loss, start, (X, onehot), accuracy)


def fit(problem: Problem, gradient: Callable[..., Any], iterations: int) -> np.ndarray:
    """Minimise the loss by L-BFGS, showing progress; the parameters found."""
    from scipy.optimize import OptimizeResult, minimize

    count = 0

    def progress(intermediate_result: OptimizeResult) -> None:
        nonlocal count
        count += 1
        if count in (1, 2, 5) or count % 10 == 0:
            print(f"  iteration {count:4d}   loss {float(intermediate_result.fun):.6f}")

    started = time.perf_counter()
    result = minimize(
        gradient,
        problem.start,
        args=problem.data,
        jac=True,
        method="L-BFGS-B",
        callback=progress,
        options={"maxiter": iterations},
    )
    elapsed = time.perf_counter() - started
    print(
        f"  {result.nit} iterations, {result.nfev} gradients, {elapsed:.2f} s: "
        f"loss {float(result.fun):.6f}, accuracy {100 * problem.accuracy(result.x):.1f} %"
    )
    return np.asarray(result.x)


def directional_error(
    problem: Problem, gradient: Callable[..., Any], at: np.ndarray, step: float = 1e-5
) -> float:
    """The largest relative error of ⟨gradient, direction⟩ over five random directions."""
    rng = np.random.default_rng(1)
    point = at + 0.1 * rng.normal(size=at.size)  # away from the optimum, where it is near 0
    _, bar = gradient(point, *problem.data)
    worst = 0.0
    for _ in range(5):
        direction = rng.normal(size=at.size)
        above = problem.loss(point + step * direction, *problem.data)
        below = problem.loss(point - step * direction, *problem.data)
        difference = (above - below) / (2 * step)
        worst = max(worst, abs(bar @ direction - difference) / abs(difference))
    return worst


def times(
    problem: Problem, gradient: Callable[..., Any], at: np.ndarray
) -> tuple[float, float, float]:
    """Seconds per compiled gradient, per NumPy primal, and per gradient by differences."""

    def differences() -> None:
        for i in range(at.size):
            shifted = at.copy()
            shifted[i] += 1e-6
            problem.loss(shifted, *problem.data)

    compiled = median_time(lambda: gradient(at, *problem.data))
    primal = median_time(lambda: problem.loss(at, *problem.data))
    return compiled, primal, median_time(differences, repeats=1)


def median_time(call: Callable[[], Any], repeats: int = 30) -> float:
    """The median of ``repeats`` timings of one call, in seconds."""
    taken = []
    for _ in range(repeats):
        started = time.perf_counter()
        call()
        taken.append(time.perf_counter() - started)
    return float(np.median(taken))


def print_table(rows: list[tuple[str, float, float, float]]) -> None:
    """Times per gradient, against the primal and against finite differences."""
    print("\n== time per call")
    head = ("", "gradient", "NumPy primal", "gradient/primal", "by differences", "speed-up")
    width = max(len(title) for title, *_ in rows)
    print(f"{head[0]:<{width}}  " + "  ".join(f"{h:>15}" for h in head[1:]))
    for title, compiled, primal, differences in rows:
        cells = (
            f"{compiled * 1e6:.0f} µs",
            f"{primal * 1e6:.0f} µs",
            f"{compiled / primal:.2f}",
            f"{differences * 1e3:.1f} ms",
            f"{differences / compiled:.0f}×",
        )
        print(f"{title:<{width}}  " + "  ".join(f"{c:>15}" for c in cells))

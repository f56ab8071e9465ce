"""Test problems of the optimiser: value and gradient at a float64 array."""

import numpy as np


def rosenbrock(x):
    odd, even = x[0::2], x[1::2]
    valley = even - odd**2
    grad = np.empty_like(x)
    grad[0::2] = -400 * odd * valley - 2 * (1 - odd)
    grad[1::2] = 200 * valley
    return np.sum(100 * valley**2 + (1 - odd) ** 2), grad


def powell_singular(x):
    a, b = x[0] + 10 * x[1], x[2] - x[3]
    c, d = x[1] - 2 * x[2], x[0] - x[3]
    grad = np.array(
        [
            2 * a + 40 * d**3,
            20 * a + 4 * c**3,
            10 * b - 8 * c**3,
            -10 * b - 40 * d**3,
        ]
    )
    return a**2 + 5 * b**2 + c**4 + 10 * d**4, grad


def wood(x):
    a, b = x[1] - x[0] ** 2, x[3] - x[2] ** 2
    c, d = x[1] - 1, x[3] - 1
    value = 100 * a**2 + (1 - x[0]) ** 2 + 90 * b**2 + (1 - x[2]) ** 2
    value += 10.1 * (c**2 + d**2) + 19.8 * c * d
    grad = np.array(
        [
            -400 * x[0] * a - 2 * (1 - x[0]),
            200 * a + 20.2 * c + 19.8 * d,
            -360 * x[2] * b - 2 * (1 - x[2]),
            180 * b + 20.2 * d + 19.8 * c,
        ]
    )
    return value, grad


def beale(x):
    power = np.arange(1, 4)
    rest = np.array([1.5, 2.25, 2.625]) - x[0] * (1 - x[1] ** power)
    grad = np.array(
        [
            np.sum(-2 * rest * (1 - x[1] ** power)),
            np.sum(2 * rest * x[0] * power * x[1] ** (power - 1)),
        ]
    )
    return np.sum(rest**2), grad


def helical_valley(x):
    angle = np.arctan(x[1] / x[0]) / (2 * np.pi) + (0.5 if x[0] < 0 else 0.0)
    square = x[0] ** 2 + x[1] ** 2
    radius = np.sqrt(square)
    height = x[2] - 10 * angle
    turn = np.array([-x[1], x[0]]) / square / (2 * np.pi)
    grad = np.empty(3)
    grad[:2] = 200 * height * -10 * turn + 200 * (radius - 1) * x[:2] / radius
    grad[2] = 200 * height + 2 * x[2]
    return 100 * (height**2 + (radius - 1) ** 2) + x[2] ** 2, grad


def ill_quadratic(data):
    curvature = np.array(data["a"])

    def objective(x):
        return np.sum(curvature * x**2 / 2) - np.sum(x), curvature * x - 1

    return objective


def mlogit(data):
    inputs = np.array(data["X_rowmajor"]).reshape(data["X_shape"])
    labels, ridge = np.array(data["y"]).ravel().astype(int), data["lambda"]
    chosen = np.eye(3)[labels][:, 1:]

    def objective(x):
        weights = x.reshape(2, -1)
        logits = inputs @ weights.T
        total = 1 + np.exp(logits).sum(1)
        error = np.exp(logits) / total[:, None] - chosen
        value = np.mean(np.log(total) - np.sum(chosen * logits, 1))
        grad = (error.T @ inputs).ravel() / len(inputs) + ridge * x
        return value + ridge / 2 * x @ x, grad

    return objective


def barrier(data):
    scale, center, weight = (np.array(data[name]) for name in ("a", "c", "mu"))

    def objective(x):
        if np.any(np.abs(x) >= 1):
            return np.inf, np.full(3, np.inf)
        inside = 1 - x**2
        value = np.sum(scale * (x - center) ** 2 / 2) - weight * np.log(inside).sum()
        return value, scale * (x - center) + 2 * weight * x / inside

    return objective


def constant_value(x):
    return 0.0, np.array([1.0, -0.5])


def smooth_inconsistent(strength):
    """A value and a gradient that do not belong together."""
    difference = np.diff(np.eye(6), axis=0)
    penalty = difference.T @ difference

    def objective(x):
        rough = penalty @ x
        value = np.sum((x - 1) ** 2) / 2 + strength**2 / 4 * rough @ rough
        return value, (x - 1) + strength * rough

    return objective


def linear_unbounded(x):
    with np.errstate(over="ignore"):
        return -np.sum(x), -np.ones_like(x)


PLAIN = {
    "rosenbrock2": rosenbrock,
    "powell_singular": powell_singular,
    "wood": wood,
    "beale": beale,
    "helical_valley": helical_valley,
    "const_value": constant_value,
    "linear_unbounded": linear_unbounded,
}
WITH_DATA = {"ill_quadratic50": ill_quadratic, "mlogit": mlogit, "barrier": barrier}


def objective_of(run, problem_data):
    """The objective of a run of the reference traces."""
    name = run["problem"]
    if name == "smooth_inconsistent":
        return smooth_inconsistent(run["lambda"])
    if name in WITH_DATA:
        return WITH_DATA[name](problem_data[name])
    return PLAIN[name]


def solve(objective, problem):
    """Run a coroutine to its result."""
    point = next(problem)
    try:
        while True:
            value, grad = objective(point)
            point = problem.send((float(value), np.array(grad, dtype=float)))
    except StopIteration as end:
        return end.value

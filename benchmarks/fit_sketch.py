"""What is attainable, as a mark: L-BFGS on the marginal likelihood around a pass in C.

Not a product: one fused float64 pass (sketch.c: softmaxes, scaled forward-backward,
residuals) between two matrix products, and scipy's L-BFGS around it. Needs a C compiler
(cc). One snapshot is one evaluation of value and gradient.
"""

import ctypes
import hashlib
import pathlib
import subprocess
import tempfile

import numpy as np
from record import Done, Recorder, arguments, leaving
from scipy.optimize import minimize
from scipy.special import softmax

SOURCE = pathlib.Path(__file__).with_name("sketch.c")


def compiled(states, classes):
    """The C function for these sizes."""
    digest = hashlib.sha256(SOURCE.read_bytes()).hexdigest()[:8]
    name = f"glmhmm_sketch_{states}_{classes}_{digest}.so"
    path = pathlib.Path(tempfile.gettempdir()) / name
    if not path.exists():
        flags = "-O3 -march=native -fno-math-errno -shared -fPIC".split()
        sizes = [f"-DK={states}", f"-DC={classes}"]
        command = ["cc", *flags, *sizes, "-o", path, SOURCE, "-lm"]
        subprocess.run(command, check=True)
    function = ctypes.CDLL(str(path)).evaluate
    function.restype = ctypes.c_double
    return function


def pointer(array):
    return array.ctypes.data_as(ctypes.c_void_p)


class Objective:
    """Minus the log-likelihood per step, and its gradient.

    A point holds emission weights, transition weights (intercepts alone where the
    transitions are stationary) and the logits of the initial probabilities.
    """

    def __init__(self, w):
        self.K, self.C, self.D = (int(w[name]) for name in "KCD")
        self.X = np.ascontiguousarray(w["X"])
        self.y, self.lengths = w["y"].astype(np.int64), w["lengths"].astype(int)
        self.stationary = bool(w["stationary"])
        self.num_emission = self.K * (self.C - 1)
        self.num_moves = self.K * (self.K - 1)
        columns = self.num_emission + self.num_moves
        self.scores = np.empty((len(self.y), columns))
        self.residuals = np.empty_like(self.scores)
        longest = self.lengths.max()
        shapes = [(longest, self.K), (longest, self.K, self.K), (longest, self.K)]
        self.memory = [np.empty(shape) for shape in [*shapes, (longest,)]]
        self.function = compiled(self.K, self.C)

    def start(self, w):
        """The workload's starting weights as a point."""
        emissions = w["init_W_em"][:, 1:] - w["init_W_em"][:, :1]
        moves = leaving(w["init_W_tr"])
        moves = moves[..., -1] if self.stationary else moves
        return np.concatenate([emissions.ravel(), moves.ravel(), np.log(w["init_pi0"])])

    def parts(self, point):
        """Emission and transition weights, and initial logits, of a point."""
        split = [self.num_emission * self.D, len(point) - self.K]
        return np.split(point, split)

    def __call__(self, point):
        """Value and gradient."""
        emissions, moves, logits = self.parts(point)
        if self.stationary:
            weights = emissions.reshape(-1, self.D)
            self.scores[:, : self.num_emission] = self.X @ weights.T
            self.scores[:, self.num_emission :] = moves
        else:
            weights = np.concatenate([emissions, moves]).reshape(-1, self.D)
            np.dot(self.X, weights.T, out=self.scores)
        initial, first, total, start = softmax(logits), np.zeros(self.K), 0.0, 0
        for steps in self.lengths:
            rows = (self.scores[start:], self.y[start:])
            given = [pointer(a) for a in (*rows, initial, first)]
            used = [pointer(a) for a in (self.residuals[start:], *self.memory)]
            total += self.function(ctypes.c_size_t(steps), *given, *used)
            start += steps
        if self.stationary:
            gradient = [self.residuals[:, : self.num_emission].T @ self.X]
            gradient.append(self.residuals[:, self.num_emission :].sum(0))
        else:
            gradient = [self.residuals.T @ self.X]
        gradient.append(first - len(self.lengths) * initial)
        gradient = np.concatenate([piece.ravel() for piece in gradient])
        return -total / len(self.y), -gradient / len(self.y)

    def canonical(self, point):
        """The recorder's weights."""
        emissions, moves, logits = self.parts(point)
        W_em = np.zeros((self.K, self.C, self.D))
        W_em[:, 1:] = emissions.reshape(self.K, self.C - 1, self.D)
        W_tr = np.zeros((self.K, self.K, self.D))
        away = ~np.eye(self.K, dtype=bool)
        if self.stationary:
            W_tr[away, -1] = moves
        else:
            W_tr[away] = moves.reshape(self.num_moves, self.D)
        return W_em, W_tr, softmax(logits)


def main():
    """Fit, note every evaluation, write."""
    args = arguments()
    w = dict(np.load(args.workload))
    objective = Objective(w)
    start = objective.start(w)
    objective(start)
    recorder = Recorder("attainable", args)

    def recorded(point):
        result = objective(point)
        if recorder.snap(*objective.canonical(point)):
            raise Done
        return result

    status = "stopped at the cap"
    try:
        options = dict(maxiter=10**5, maxfun=10**6, maxcor=30, ftol=1e-15, gtol=1e-9)
        found = minimize(recorded, start, jac=True, method="L-BFGS-B", options=options)
        status = str(found.message)
    except Done:
        pass
    recorder.write(status=status)


if __name__ == "__main__":
    main()

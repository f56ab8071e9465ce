"""The benchmarks of speed: `make bench`. Prints ratios measured in this run.

Everything runs on one core, one system after another, and is timed in CPU seconds
without imports and compilation. Log-likelihoods are those of one independent forward
algorithm (oracle.py) at the weights that a system had at the time.

    python benchmarks/run.py                    EM, MAP, and what is attainable
    python benchmarks/run.py --rivals           dynamax beside it (makes an environment)
    python benchmarks/run.py --only W3 estep    a part of it

By themselves: asd.py (smooth filters), calibration.py (draws), potentials.py (NUTS).
"""

import argparse
import json
import os
import pathlib
import subprocess
import sys
import venv

import numpy as np
import workloads
from oracle import loglik_many

HERE = pathlib.Path(__file__).resolve().parent

# CPU seconds of an EM iteration of pyGLMHMM on W1s, measured on a two-core machine; it
# does not install beside current libraries.
PYGLMHMM_SECONDS = (3.9, 5.3)

# Best log-likelihoods known, in nats.
BEST = {"W2": -20392.5735, "W3": -85788.074}

# Label, script and options; the sketch is a mark, no product.
OURS = (
    ("EM", "fit_ours.py", "--method", "em"),
    ("MAP", "fit_ours.py", "--method", "map"),
    ("attainable", "fit_sketch.py"),
)

RIVALS = {
    "dynamax": "dynamax==1.0.3",
    "numpyro": "numpyro==0.21.0",
    "psytrack": "psytrack==2.0.2",
}
CAPS = {"W1": 20.0, "W1s": 20.0, "W2": 20.0, "W2e": 10.0, "W3": 40.0}
RIVAL_CAPS = {"W2e": 20.0, "W3": 130.0}


SCRIPTS = ("startup", "estep")
PARTS = [*SCRIPTS, *CAPS]


def main(argv=None):
    """Run what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rivals", action="store_true", help="run dynamax as well")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--folder", default=str(HERE / "results"))
    args = parser.parse_args(argv)
    for name in args.only:
        if name in SCRIPTS:
            script = HERE / f"{name}.py"
            subprocess.run([sys.executable, script], check=True, env=one_thread())
        else:
            compare(name, args)


def compare(name, args):
    """One workload: every system from the same start, then the table."""
    path = workloads.make(name, args.folder)
    runs = {}
    for label, script, *extra in OURS:
        runs[label] = fit(script, sys.executable, path, args, CAPS[name], extra)
    if args.rivals and name in RIVAL_CAPS:
        python = environment("dynamax", args.folder)
        for label, extra in (("dynamax float32", []), ("dynamax float64", ["--x64"])):
            cap = RIVAL_CAPS[name]
            runs[label] = fit("fit_dynamax.py", python, path, args, cap, extra)
    w = np.load(path)
    for run in runs.values():
        run["loglik"] = judge(w, run)
    report(name, len(w["y"]), runs)


def fit(script, python, workload, args, seconds, extra=()):
    """Run one system in a process of its own; what it recorded."""
    stem = os.path.splitext(os.path.basename(workload))[0]
    label = script.removesuffix(".py") + "".join(extra)
    out = os.path.join(args.folder, f"{stem}_{label}")
    command = [python, HERE / script, workload, out, "--max-seconds", str(seconds)]
    subprocess.run([*command, *extra], check=True, env=one_thread())
    with open(out + ".json") as file:
        facts = json.load(file)
    return {**facts, **np.load(out + ".npz")}


def judge(w, run):
    """Log-likelihood of every iteration's weights, by the oracle."""
    weights = (run["W_em"], run["W_tr"], run["pi0"])
    return loglik_many(w["X"], w["y"], w["lengths"], *weights)


def report(name, steps, runs):
    """Seconds per iteration (MAP, attainable: evaluation) and to the best; ratios."""
    finite = [run["loglik"][np.isfinite(run["loglik"])] for run in runs.values()]
    best = max(BEST.get(name, -np.inf), max(ll.max() for ll in finite))
    print(f"\n{name}: {steps} steps, best log-likelihood {best:.4f}")
    print(f"  {'':18} {'s/iter':>8} {'to 1e-4':>9} {'to 1e-6':>9} {'final gap':>10}")
    times = {}
    for label, run in runs.items():
        seconds, gaps = run["seconds"], (best - run["loglik"]) / steps
        times[label] = [first(seconds, gaps <= gap) for gap in (1e-4, 1e-6)]
        each = np.median(np.diff(seconds)) if len(seconds) > 1 else seconds[0]
        shown = [f"{t:9.2f}" if t is not None else f"{'-':>9}" for t in times[label]]
        end = gaps[-1] if np.isfinite(gaps[-1]) else np.nan
        print(f"  {label:18} {each:8.4f} {shown[0]} {shown[1]} {end:10.2e}", end="")
        print(f"  {run['peak_mb']:.0f} MB, {run['status']}")
        if label == "EM" and name in ("W1", "W1s"):
            low, high = (s / each for s in PYGLMHMM_SECONDS)
            print(
                f"  an iteration of pyGLMHMM costs {low:.0f} to {high:.0f} times that"
            )
    for own in ("EM", "MAP"):
        ratios = [
            f"{label} {theirs / times[own][0]:.2f}"
            for label, (theirs, _) in times.items()
            if label != own and theirs and times[own][0]
        ]
        if ratios:
            print(f"  time to 1e-4 over that of {own}: {', '.join(ratios)}")


def first(seconds, reached):
    """Seconds at the first iteration that got there, or None."""
    return float(seconds[np.argmax(reached)]) if reached.any() else None


def environment(name, folder):
    """Python of an environment that holds one rival, made at the first call."""
    path = pathlib.Path(folder) / f"env-{name}"
    python = path / "bin" / "python"
    if not python.exists():
        venv.create(path, with_pip=True)
        subprocess.run([python, "-m", "pip", "install", "-q", RIVALS[name]], check=True)
    return str(python)


def one_thread():
    """Environment variables that keep numerical libraries to one thread."""
    names = ("OMP", "OPENBLAS", "MKL", "NUMBA")
    return {**os.environ, **{f"{n}_NUM_THREADS": "1" for n in names}}


if __name__ == "__main__":
    main()

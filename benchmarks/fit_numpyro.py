"""A GLM-HMM written in NumPyro: gradients and NUTS (an environment of its own).

    python benchmarks/fit_numpyro.py PROBLEM.npz OUT.npz gradient
    python benchmarks/fit_numpyro.py PROBLEM.npz OUT.npz nuts --draws 500 --seed 0

The forward recursion is a lax.scan over time, all sessions side by side, in double
precision; of ragged sessions the short ones are padded. PROBLEM is made by
against_numpyro.py: X (sessions, time, features), y and seen (sessions, time), the
numbers of states and classes, values of all sites to begin at.
"""

import argparse
import os
import statistics
import time

os.environ["JAX_ENABLE_X64"] = "1"
os.environ["XLA_FLAGS"] = (
    "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"
)

import jax  # noqa: E402
import jax.numpy as jnp  # noqa: E402
import numpy as np  # noqa: E402
import numpyro  # noqa: E402
import numpyro.distributions as dist  # noqa: E402
from jax.scipy.special import logsumexp  # noqa: E402
from numpyro.infer import MCMC, NUTS, init_to_value, util  # noqa: E402

TURNS, PER_TURN = 15, 10


def glmhmm(x, y, seen, states, classes, driven):
    """Log-joint of a GLM-HMM with the priors that against_numpyro.py gives ours."""
    features = x.shape[-1]
    first = numpyro.sample("initial.probs", dist.Dirichlet(jnp.ones(states)))
    if driven:
        shape = (states, states - 1, features)
        weights = numpyro.sample(
            "transitions.weights", dist.Normal(0.0, 2.0).expand(shape).to_event(3)
        )
        # Weights of leaving; that of staying is 0.
        others = np.array([[j for j in range(states) if j != i] for i in range(states)])
        rows = np.arange(states)[:, None]
        full = jnp.zeros((states, states, features)).at[rows, others].set(weights)
        moves = jax.nn.log_softmax(jnp.einsum("stf,ijf->tsij", x, full), axis=-1)
    else:
        sticky = 2.0 + 6.0 * jnp.eye(states)
        probs = numpyro.sample("transitions.probs", dist.Dirichlet(sticky).to_event(1))
        moves = jnp.log(probs)
    shape = (states, classes - 1, features)
    weights = numpyro.sample(
        "emissions.weights", dist.Normal(0.0, 2.0).expand(shape).to_event(3)
    )
    scores = jnp.einsum("stf,kcf->tskc", x, weights)
    scores = jnp.pad(scores, ((0, 0), (0, 0), (0, 0), (1, 0)))
    logs = jax.nn.log_softmax(scores, axis=-1)
    labels = jnp.broadcast_to(y.T[:, :, None, None], logs.shape[:3] + (1,))
    emitted = jnp.take_along_axis(logs, labels, axis=-1)[..., 0]

    def step(alpha, given):
        emission, move, present = given
        move = moves if move is None else move
        moved = logsumexp(alpha[:, :, None] + move, axis=1) + emission
        return jnp.where(present[:, None], moved, alpha), None

    given = emitted[1:], moves[1:] if driven else None, seen.T[1:]
    alpha, _ = jax.lax.scan(step, jnp.log(first) + emitted[0], given)
    numpyro.factor("emissions", logsumexp(alpha, axis=-1).sum())


def gradient(model, given, values):
    """Log-joint at the values, and CPU seconds of a value with its gradient."""
    log_joint, _ = util.log_density(model, given, {}, values)
    start = util.initialize_model(
        jax.random.PRNGKey(0), model, model_args=given, init_strategy=init_to_value
    )
    point = util.unconstrain_fn(model, given, {}, values)
    evaluate = jax.jit(jax.value_and_grad(start.potential_fn))
    jax.block_until_ready(evaluate(point))
    times = []
    for _ in range(TURNS):
        before = time.process_time()
        for _ in range(PER_TURN):
            jax.block_until_ready(evaluate(point))
        times.append((time.process_time() - before) / PER_TURN)
    return {"log_joint": float(log_joint), "seconds": statistics.median(times)}


def nuts(model, given, values, draws, seed):
    """Draws of two chains by site, and CPU seconds of all without compilation."""
    kernel = NUTS(model, init_strategy=init_to_value(values=values))
    sampler = MCMC(
        kernel,
        num_warmup=draws,
        num_samples=draws,
        num_chains=2,
        chain_method="sequential",
        progress_bar=False,
    )
    # Compiles; the second run begins anew.
    sampler.run(jax.random.PRNGKey(10_000 + seed), *given)
    before = time.process_time()
    sampler.run(jax.random.PRNGKey(seed), *given)
    jax.block_until_ready(sampler.get_samples())
    seconds = time.process_time() - before
    samples = sampler.get_samples(group_by_chain=True)
    return {"seconds": seconds} | samples


def main():
    """Measure, write."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("problem")
    parser.add_argument("out")
    parser.add_argument("what", choices=["gradient", "nuts"])
    parser.add_argument("--draws", type=int, default=500)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    problem = dict(np.load(args.problem))
    values = {n: jnp.asarray(v) for n, v in problem.items() if "." in n}
    given = tuple(jnp.asarray(problem[name]) for name in ("x", "y", "seen"))
    states, classes, driven = (
        int(problem[name]) for name in ("states", "classes", "driven")
    )

    def model(x, y, seen):
        glmhmm(x, y, seen, states, classes, bool(driven))

    if args.what == "gradient":
        found = gradient(model, given, values)
    else:
        found = nuts(model, given, values, args.draws, args.seed)
    np.savez(args.out, **found)


if __name__ == "__main__":
    main()

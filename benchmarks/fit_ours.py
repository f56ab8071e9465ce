"""glmhmm_pyro's EM or MAP on a workload, from its starting weights."""

import numpy as np
import torch
from record import Done, Recorder, arguments, leaving

import glmhmm_pyro as gh
from glmhmm_pyro.inference.kinds.glmhmm_program import GLMHMMProgram
from glmhmm_pyro.inference.search.runs import Run


def start(w):
    """The workload's starting weights as values of the sites."""
    emissions = w["init_W_em"][:, 1:] - w["init_W_em"][:, :1]
    params = {
        "initial.probs": torch.tensor(w["init_pi0"]),
        "emissions.weights": torch.tensor(emissions),
    }
    if w["stationary"]:
        odds = np.exp(w["init_W_tr"][..., -1])
        probs = odds / odds.sum(1, keepdims=True)
        params["transitions.probs"] = torch.tensor(probs)
    else:
        params["transitions.weights"] = torch.tensor(leaving(w["init_W_tr"]))
    return params


def canonical(model, params, num_features):
    """Values of the sites as the recorder's weights."""
    shown = {
        name: model.components[name.split(".")[0]].display(name.split(".")[1], value)[0]
        for name, value in params.items()
    }
    transitions = shown.get("transitions.weights")
    if transitions is None:
        states = model.num_states
        transitions = np.zeros((states, states, num_features))
        transitions[..., -1] = shown["transitions.probs"].log()
    return shown["emissions.weights"], transitions, shown["initial.probs"]


class Recorded(GLMHMMProgram):
    """A program that notes every point whose value and gradient have been computed."""

    def __init__(self, model, data, note):
        super().__init__(model, data)
        self.note = note

    def evaluated(self, vector, jacobian):
        """As the program's; notes the point."""
        found = super().evaluated(vector, jacobian)
        self.note(found.params)
        return found


def expectation_maximisation(model, data, params, note, num_iters):
    """EM; its last parameters and status."""

    def callback(iteration, runs):
        note(runs[0].params)

    (run,) = gh.EM(num_iters=num_iters).run(model, data, [params], callback)
    return run


def maximum(model, data, params, note, num_iters):
    """MAP, as ``method="map"`` does it: some EM, then quasi-Newton steps."""
    program = Recorded(model, data, note)
    engine = gh.MAP(num_iters=num_iters)
    run = Run(params)
    if engine.em_iters_of(program):
        iterations = engine.em_iters_of(program)
        run = expectation_maximisation(model, data, params, note, iterations)
    engine.climb(program, run)
    return run


METHODS = {"em": expectation_maximisation, "map": maximum}


def main():
    """Fit, note every iteration, write."""
    args = arguments(("--method", {"choices": METHODS, "default": "em"}))
    torch.set_num_threads(1)
    w = dict(np.load(args.workload))
    states, classes, features = int(w["K"]), int(w["C"]), int(w["D"])
    data = gh.Sequences(w["y"], w["X"], lengths=w["lengths"])
    transitions = gh.Stationary() if w["stationary"] else gh.InputDriven()
    model = gh.GLMHMM(states, gh.Categorical(classes), transitions)
    model.bind(data)
    params, method = start(w), METHODS[args.method]
    # Compiles, or reads what is compiled.
    gh.chain.warm_up([states])
    method(model, data, params, lambda params: None, 1)

    recorder = Recorder("glmhmm_pyro", args)

    def note(params):
        if recorder.snap(*canonical(model, params, features)):
            raise Done

    status = "stopped at the cap"
    try:
        run = method(model, data, params, note, args.max_iters)
        status = run.status.name
    except Done:
        pass
    recorder.write(status=status)


if __name__ == "__main__":
    main()

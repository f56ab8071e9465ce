"""glmhmm_pyro's EM on a workload, from its starting weights."""

import numpy as np
import torch
from record import Recorder, arguments

import glmhmm_pyro as gh


def leaving(weights):
    """Transition weights against staying: (origins, destinations - 1, features)."""
    states = len(weights)
    against = weights - weights[np.arange(states), np.arange(states)][:, None]
    return np.stack([np.delete(against[i], i, 0) for i in range(states)])


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


class Done(Exception):
    """Ends a run from its callback."""


def main():
    """Fit, note every iteration, write."""
    args = arguments()
    torch.set_num_threads(1)
    w = dict(np.load(args.workload))
    states, classes, features = int(w["K"]), int(w["C"]), int(w["D"])
    data = gh.Sequences(w["y"], w["X"], lengths=w["lengths"])
    transitions = gh.Stationary() if w["stationary"] else gh.InputDriven()
    model = gh.GLMHMM(states, gh.Categorical(classes), transitions)
    model.bind(data)
    params = start(w)
    gh.EM(num_iters=1).run(model, data, [params])  # compiles, or reads what is compiled

    recorder = Recorder("glmhmm_pyro", args)

    def callback(iteration, runs):
        if recorder.snap(*canonical(model, runs[0].params, features)):
            raise Done

    status = "stopped at the cap"
    try:
        runs = gh.EM(num_iters=args.max_iters).run(model, data, [params], callback)
        status = runs[0].status.name
    except Done:
        pass
    recorder.write(status=status)


if __name__ == "__main__":
    main()

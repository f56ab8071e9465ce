"""What is said of emissions that a family cannot speak of."""

from torch import Tensor

from glmhmm_pyro.sequences import Sequences


def check_labels(data: Sequences, num_classes: int, family: str) -> None:
    """A sentence for labels that are no classes of the family."""
    labels = data.emissions if data.mask is None else data.emissions[data.mask]
    smallest, largest = labels.aminmax() if labels.numel() else (0, 0)
    whole = not labels.is_floating_point() or bool((labels == labels.round()).all())
    if smallest < 0 or largest >= num_classes or not whole:
        wrong = (labels < 0) | (labels >= num_classes) | (labels != labels.round())
        raise ValueError(
            f"emissions must be labels 0 to {num_classes - 1} for {family}, got "
            f"{labels[wrong][0].item()}; {_advice_on_labels(labels, num_classes)}"
        )


def _advice_on_labels(labels: Tensor, num_classes: int) -> str:
    """What to do about labels that are not 0 to the number of classes, less one."""
    found = labels.unique().tolist()
    if 1 < len(found) <= num_classes:
        coded = ", ".join(f"{label:g} as {i}" for i, label in enumerate(found))
        return f"give {coded}, or mask steps of which one means that there was none"
    return (
        "mask steps without an emission, or take Categorical(num_classes) with as many "
        "as there are"
    )


def refuse_labels(data: Sequences, family: str) -> None:
    """Error message for labels, where a family speaks of numbers."""
    names = data.class_names
    if names is not None:
        raise ValueError(
            f"emissions must be numbers for {family}, got labels "
            f"({', '.join(names[:8])}); take gh.Categorical(num_classes={len(names)})"
            f"{', or gh.Bernoulli()' if len(names) == 2 else ''}, or give numbers "
            "without class_names"
        )


def check_outputs(data: Sequences, num_outputs: int | None, family: str) -> None:
    """A sentence for emissions of another number of outputs.

    Args:
        data: the data set.
        num_outputs: of the family; ``None`` for emissions (steps,).
        family: name of its class.
    """
    found = tuple(data.emissions.shape[1:])
    if found == (() if num_outputs is None else (num_outputs,)):
        return
    wanted = "(steps,)" if num_outputs is None else f"(steps, {num_outputs})"
    given = "" if num_outputs is None else f"num_outputs={num_outputs}"
    fix = f"{family}(num_outputs={found[0]})" if found else "no num_outputs"
    raise ValueError(
        f"emissions must have shape {wanted} for {family}({given}), got "
        f"{tuple(data.emissions.shape)}; give {fix}, or gh.Outputs for outputs of "
        "several families"
    )

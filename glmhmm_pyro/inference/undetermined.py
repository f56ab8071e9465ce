"""Weights that neither data nor priors determine, refused before anything is fitted."""

from glmhmm_pyro.inference.program import Program
from glmhmm_pyro.model import GLMHMM


def refuse_two_constants(program: Program) -> None:
    """Refuse two constant columns that share one flat prior.

    Only the sum of their effects is determined, so that any weights are as good.

    Raises:
        ValueError: names the columns.
    """
    model, flat = program.model, program.improper
    if not isinstance(model, GLMHMM):
        return
    for name, component, attribute in model.site_names():
        by_covariate = component.sites[attribute].axes[-1:] == ("covariate",)
        if not by_covariate or name not in flat:
            continue
        design = component.design(component.view(program.data))
        constant = (design == design[0]).all(0) & (design[0] != 0)
        names = component.covariate_names or tuple(map(str, range(len(constant))))
        found = [column for column, is_one in zip(names, constant.tolist()) if is_one]
        if len(design) > 1 and len(found) > 1:
            raise ValueError(
                f"{component.covariates_of} must have one constant column at most, for "
                f"{name} have a flat prior, got {', '.join(found)}, of whose weights "
                "only the sum is determined; leave all but one out, or give a prior, "
                "such as gh.priors.Ridge(1.0)"
            )

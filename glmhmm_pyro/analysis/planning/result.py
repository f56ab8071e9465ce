"""What simulated sessions say of designs of an experiment, as tables."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from glmhmm_pyro.arguments import suggests_all_names

if TYPE_CHECKING:
    import pandas as pd

# What tells designs of an experiment apart, in every table.
DESIGN = ["num_sessions", "num_trials"]


@suggests_all_names
@dataclass(frozen=True, repr=False)
class Power:
    """Fits to simulated sessions, for several numbers of sessions and trials.

    Attributes:
        replicates: a row for every simulated data set, by ``num_sessions``,
            ``num_trials`` and ``replicate``: how its fit ended (``ending``), whether
            that was well (``is_success``), the share of observed steps whose most
            probable state is the true one (``accuracy``), the same at the true
            parameters (``accuracy_of_truth``), and the number of states chosen
            (``chosen``, where several were fitted).
        estimates: a row for every parameter in each of them: its name and those of its
            axes, ``truth``, ``estimate``, ``standard_error``, ``lower`` and ``upper``
            (95 %), and whether it is ``found``: a weight that is not 0, by Wald's test.
        level: of the test.
        num_states: the true number.
        complete: whether there are as many as were asked for; an interrupt leaves
            fewer.

    Example:
        >>> import glmhmm_pyro as gh
        >>> data = gh.datasets.load_rat().subset(range(4))
        >>> model = gh.GLMHMM(1, gh.Bernoulli(gh.priors.Ridge(2.0)))
        >>> fit = gh.fit(model, data, method="map", progress=False)
        >>> quick = {"num_replicates": 2, "method": "map", "progress": False}
        >>> found = gh.analysis.power(fit, data, [2, 4], **quick)
        >>> "power" in found.effects().columns
        True
    """

    replicates: "pd.DataFrame"
    estimates: "pd.DataFrame"
    level: float
    num_states: int
    complete: bool = True

    def __repr__(self) -> str:
        designs = self.replicates.groupby(DESIGN).ngroups
        return (
            f"Power of {designs} designs, {len(self.replicates)} simulated data sets, "
            f"of which {int(self.replicates['is_success'].sum())} were fitted well"
        )

    def table(self) -> "pd.DataFrame":
        """A row for every design, each figure with its Monte Carlo error (``_error``).

        ``weights_rmse`` is the root mean squared error over all weights, ``coverage``
        how often 95 % intervals of theirs hold the truth, ``accuracy`` of decoding with
        what the true parameters would decode, ``right_num_states`` how often as many
        states as there are were chosen, and ``converged`` how often the fit ended well.
        All but the last are of fits that did.
        """
        import pandas as pd

        rows, weights = {}, self.estimates[self.estimates["found"].notna()]
        by_design = dict(list(weights.groupby(DESIGN)))
        for design, frame in self.replicates.groupby(DESIGN):
            good = frame[frame["is_success"]]
            row = _share("converged", frame["is_success"])
            row |= _mean("accuracy", good["accuracy"])
            row |= _mean("accuracy_of_truth", good["accuracy_of_truth"])
            if "chosen" in frame:
                right = frame["chosen"] == self.num_states
                row |= _share("right_num_states", right)
            own = by_design.get(design, weights.iloc[:0])
            row |= _rmse("weights_rmse", own)
            row |= _share_by_set("coverage", _covered(own))
            rows[design] = row
        found = pd.DataFrame.from_dict(rows, orient="index")
        found.index = pd.MultiIndex.from_tuples(found.index, names=DESIGN)
        return found

    def effects(self, parameter: str | None = None) -> "pd.DataFrame":
        """A row for every parameter and design, figures with Monte Carlo errors.

        ``bias`` and ``rmse`` of the estimates, ``coverage`` of 95 % intervals, and for
        weights ``power``: the share of data sets in which it was found to differ from 0
        at ``level``; of a weight that is 0 in truth, the rate of false alarms. A data
        set whose fit failed has found nothing.

        Args:
            parameter: name of a site, such as ``"emissions.weights"``; all by default.
        """
        import pandas as pd

        frame = self.estimates
        if parameter is not None:
            known = frame["parameter"].unique().tolist()
            if parameter not in known:
                raise ValueError(
                    f"parameter must be one of {', '.join(known)}, got {parameter!r}; "
                    "name one of these"
                )
            frame = frame[frame["parameter"] == parameter]
        keys = [*DESIGN, *_names_of(frame)]
        wanted = self.replicates.groupby(DESIGN).size()
        rows, index = [], []
        for key, group in frame.groupby(keys, sort=False, dropna=False):
            error = group["estimate"] - group["truth"]
            row = {"truth": group["truth"].iloc[0]} | _mean("bias", error)
            row |= _rmse("rmse", group) | _share("coverage", _covered(group))
            if group["found"].notna().any():
                missed = wanted.loc[key[: len(DESIGN)]] - len(group)
                found = [*group["found"].astype(bool), *[False] * missed]
                row |= _share("power", pd.Series(found))
            rows.append(row)
            index.append(key)
        return pd.DataFrame(rows, pd.MultiIndex.from_tuples(index, names=keys))


def _names_of(frame: "pd.DataFrame") -> list[str]:
    """The columns that say which parameter a row is of, those that say anything."""
    columns = list(frame.columns)
    return [c for c in columns[: columns.index("truth")] if (frame[c] != "").any()]


def _covered(frame: "pd.DataFrame") -> "pd.Series":
    """Whether an interval holds the truth, where there is one."""
    known = frame[frame["lower"].notna() & frame["upper"].notna()]
    return known["truth"].between(known["lower"], known["upper"])


def _mean(name: str, values: "pd.Series") -> dict[str, float]:
    number = max(len(values), 1)
    error = values.std(ddof=1) / np.sqrt(number)
    return {name: values.mean(), f"{name}_error": error}


def _share(name: str, hits: "pd.Series") -> dict[str, float]:
    """A share of independent cases; its error is not 0 where all are hits, or none."""
    number = len(hits)
    if number == 0:
        return {name: np.nan, f"{name}_error": np.nan}
    # Two more cases, one a hit (Agresti & Coull 1998).
    near = (hits.sum() + 1) / (number + 2)
    error = np.sqrt(near * (1 - near) / (number + 2))
    return {name: hits.mean(), f"{name}_error": error}


def _share_by_set(name: str, hits: "pd.Series") -> dict[str, float]:
    """A share of cases of which several are of one data set, and so not independent."""
    by_set = hits.groupby(level="replicate").mean()
    if by_set.nunique() < 2:
        return _share(name, by_set)
    return _mean(name, by_set)


def _rmse(name: str, frame: "pd.DataFrame") -> dict[str, float]:
    """Root mean squared error over data sets, its error by the delta method."""
    squares = (frame["estimate"] - frame["truth"]) ** 2
    by_set = squares.groupby(level="replicate").mean()
    mean = by_set.mean()
    spread = by_set.std(ddof=1) / np.sqrt(max(len(by_set), 1))
    root = np.sqrt(mean)
    return {name: root, f"{name}_error": spread / (2 * root) if root > 0 else 0.0}

"""What every component is: one conditional distribution, with declared parameters.

A component is a recipe. ``GLMHMM`` binds the number of states on a copy of it, the
first data set binds the number of covariates; only then do its parameters have shapes.
Parameters are declared as a :class:`Site` each, one with an entry for every session or
group by its outermost axis, "session" or "group". Beside them a component

============  =================================  =======================================
must write                                       and gets for it
============  =================================  =======================================
GLMEmission   distribution(predictor)            every method; all steps by one product
Emission      forward(state, covariates)         every method, decoding, simulation
Transitions   forward(state, covariates)         every method, decoding, simulation
InitialState  logits(data)                       every method, decoding, simulation
============  =================================  =======================================

============  =================================  =======================================
may write                                        and gets for it
============  =================================  =======================================
Component     blocks                             an M-step of small independent problems
Component     batched                            restarts and folds in one batch
Component     bind(data)                         to refuse data that it can't speak of
Component     sizes()                            parameters with axes of its own
Component     design(data)                       covariates other than those given
Component     view(data)                         a part of the data alone
Component     parts                              components that it consists of
Component     bind_states(num_states)            to tell its parts of the states
Component     widen(axis, size)                  fast moves by slow state otherwise made
Component     closed_form(counts, data, params)  the exact M-step
Component     whitening(counts, data)            moves of one size in a joint M-step
Component     block_objective(data)              an M-step by derivatives of its own
Component     log_table(data)                    slopes without a graph, for MAP, NUTS
Component     start(data)                        optimisers that set out nearer the end
Component     start_noise(name, data)            starts apart in its parameters' units
Component     limits(data), limit(data)          scales, and parts', that don't run to 0
Component     display(name, value)               reference rows shown to users
Component     permuted(name, value, order)       states renumbered where one is lacking
Component     is_linear                          designs of any form
Component     has_own_units                      units of a fit's own:
Component     own_maps(columns)                  the weights at covariates,
Component     columns_together                   some of which have a site of their own,
Component     takes_centres                      means taken out of covariates
Component     own_gains(columns)                 by what takes them up,
Component     law_in_units(columns)              weights by a law,
Component     own_outputs(columns, data)         outputs
Component     counted(counts, data)              steps left out that were not observed
Component     held_columns                       weights that vary over no units
Component     kept_columns                       columns that no unit of a fit changes
Component     check_varies(data)                 constant outputs, or columns, refused
Component     names_along(axis)                  names along axes of its own
Component     random_effects                     weights by a law that are no parameters
Component     carry(data, fitted, params)        its latents at data that go on
Component     forget_sessions()                  a new fit of a model bound before
Component     is_numbered, renumber(order)       states that it knows by number
Component     nested(), spread_out(params)       starts from a fit without latents,
Component     unlinked(data, params)             or from one of latents without a law
Component     has_fixed_priors                   priors that read other parameters
Component     equations(), reference             true lines in model.explain()
Component     reads_covariates                   whether these lines name covariates
Emission      table(design)                      all steps and states at once
Emission      collapsed(values, start)           a status where the density is infinite
Emission      has_log_rate                       large weights of counts named
Emission      guesses(params)                    those beside lapses named
Emission      step_law()                         experiments followed online in numpy
Emission      covariate_free(), marginal(data)   the baseline of scores in bits
Transitions   logits(data)                       all steps and origins at once
Transitions   moves(data)                        a chain that moves by half-steps
Transitions   emits                              a chain of more states than the model's
Transitions   decides_first                      sessions that begin in any chain state,
Transitions   enter(log_probs)                   such as these,
Transitions   separate()                         and a search without that
Transitions   goes_on(data)                      sessions that go on from one another,
Transitions   cross(state, covariates, entered)  by these moves,
Transitions   check_moves(data)                  refused where none does
InitialState  follow(transitions)                a first state that follows from them
============  =================================  =======================================
"""

from collections.abc import Mapping
from typing import Any, ClassVar, NamedTuple

import torch
from pyro.nn import PyroModule, PyroSample
from torch import Tensor
from torch.distributions import Distribution

from glmhmm_pyro.components.block_sites import HasBlocks
from glmhmm_pyro.components.explaining import ExplainsItself
from glmhmm_pyro.components.latents import HasLatents
from glmhmm_pyro.components.limits import Bounds, Within
from glmhmm_pyro.components.objectives import BlockObjective
from glmhmm_pyro.components.own_states import HasOwnStates
from glmhmm_pyro.components.reader import CovariateReader
from glmhmm_pyro.components.rescaling import ColumnUnits, Gain, OutputUnits, Together
from glmhmm_pyro.components.site import STATE_AXES, Site
from glmhmm_pyro.components.tables import LogTable
from glmhmm_pyro.priors.affine import Affine
from glmhmm_pyro.priors.filling import fill, recipe_of
from glmhmm_pyro.priors.recipe import Place
from glmhmm_pyro.sequences import Sequences
from glmhmm_pyro.sequences.changes import Selection
from glmhmm_pyro.sequences.members import Members


class Component(
    ExplainsItself, CovariateReader, HasOwnStates, HasBlocks, HasLatents, PyroModule
):
    """One conditional distribution of the model, with its parameters.

    A parameter is declared by assigning a :class:`Site` in ``__init__``. Reading the
    attribute inside a model call then gives its value: drawn from the prior, or put
    there by an inference method.

    Attributes:
        num_states: number of hidden states, bound by the model.
        num_features, covariate_names: of covariates, bound by the first data set.
        members: whose entries its parameters have along sessions or groups, if any do.
        bounds: of its values in a fit, by attribute; see :meth:`limit`.
        blocks: name of the outermost axis over which the M-step separates, ``"state"``
            or ``"origin"``, or of several; ``None`` for one joint problem.
        batched: whether parameters may have an axis of sets; see :meth:`takes_sets`.
        counts_of: the expected counts of an E-step that its M-step reads.
        has_fixed_priors: whether no prior of a site reads another site; recipes that
            sample hyperparameters are known to.

    Example:
        >>> import glmhmm_pyro as gh
        >>> isinstance(gh.Bernoulli(), gh.components.Component)
        True
    """

    has_fixed_priors: ClassVar[bool] = True
    batched: ClassVar[bool] = False
    counts_of: ClassVar[str]

    def __init__(self) -> None:
        super().__init__()
        self.num_states: int | None = None
        self.num_features: int | None = None
        self.covariate_names: tuple[str, ...] | None = None
        self.selection: Selection | None = None
        self.bounds: dict[str, Bounds] = {}
        self.members: Members | None = None

    def __setattr__(self, name: str, value: Any) -> None:
        if isinstance(value, Site):
            self.__dict__.setdefault("_declared", {})[name] = value
            value = PyroSample(_Prior(name))
        super().__setattr__(name, value)

    @property
    def sites(self) -> dict[str, Site]:
        """The declared parameters, by attribute name."""
        return dict(self.__dict__.get("_declared", {}))

    @property
    def hyperparameters(self) -> dict[str, tuple[str, ...]]:
        """Axes of the hyperparameters that recipes sample, by the ends of their names.

        A prior that is a function may sample others.
        """
        return {
            f"{name}_{end}": axes
            for name, site in self.sites.items()
            for end, axes in recipe_of(site.prior).hyperparameters(site.axes).items()
        }

    @property
    def parts(self) -> "dict[str, Component]":
        """Components that this one consists of, by name; itself, without a name."""
        return {"": self}

    def bind_states(self, num_states: int) -> None:
        """Record the number of hidden states."""
        self.num_states, self.own_states = num_states, None

    def sizes(self) -> dict[str, int | None]:
        """Size of every named axis, ``None`` where not bound yet."""
        return {
            "state": self.num_states,
            "origin": self.num_states,
            "covariate": self.num_features,
            **self.member_sizes(),
        }

    def shape(self, name: str) -> torch.Size:
        """Shape of the parameter ``name``; an error where a size is not bound yet."""
        site = self.sites[name]
        sizes = {**self.sizes(), **site.sizes}
        missing = [axis for axis in site.axes if sizes.get(axis) is None]
        if missing:
            raise ValueError(
                f"the size of axis {missing[0]!r} of {type(self).__name__}.{name} must "
                f"be bound before use, it is unknown; call model.bind(data) first"
            )
        return torch.Size([sizes[axis] for axis in site.axes])  # type: ignore[misc]

    def filled(self, name: str) -> Any:
        """The prior of the parameter ``name`` over its shape, without its bounds."""
        site, above, own = self.sites[name], self._pyro_name, f"{name}_prior"
        place = Place(
            f"{above}.{name}" if above else name,
            site.axes,
            *self.columns_of(site),
            argument=own if own in vars(self) else "prior",
        )
        return fill(site.prior, self.shape(name), site.support, place)

    def takes_sets(self) -> bool:
        """Whether parameters may carry a leading axis of parameter sets."""
        return self.batched and all(
            recipe_of(site.prior).takes_sets for site in self.sites.values()
        )

    def all_states(self, device: torch.device) -> Tensor:
        """The numbers of all states."""
        if self.num_states is None:
            raise ValueError(
                f"num_states of {type(self).__name__} must be bound before use, it is "
                "None; give the component to a GLMHMM"
            )
        return torch.arange(self.num_states, device=device)

    def bind(self, data: Sequences) -> None:
        """Record the number of covariates, or check it against the one recorded."""
        design = self.operator(data)
        found = design.shape[-1]
        if self.num_features is None:
            self.num_features = found
        if self.num_features != found:
            raise ValueError(
                f"{self.covariates_of} must have {self.num_features} columns, as in "
                f"the data that {type(self).__name__} was bound to, got {found}"
                "; give those columns"
            )
        if self.covariate_names is None:
            self.covariate_names = design.names

    def limits(self, data: Sequences) -> dict[str, Bounds]:
        """Bounds that keep a density finite while it is fitted, by attribute."""
        return {}

    def limit(self, data: Sequences) -> None:
        """Keep the values of a fit to ``data`` within their bounds."""
        self.bounds = self.limits(data)

    def own_maps(self, columns: ColumnUnits) -> dict[str, Affine]:
        """Parameters at covariates in a fit's own units to those at the user's.

        Args:
            columns: units of the covariates that it reads.

        Returns:
            By attribute; parameters that are the same in both are left out.
        """
        weights = self.sites.get("weights")
        if weights is None or weights.axes[-1:] != ("covariate",):
            return {}
        return {} if columns.are_as_given else {"weights": columns.affine()}

    @property
    def columns_together(self) -> list[Together | None]:
        """Numbers, among the columns it reads, of those by the site of their weights.

        A constant column takes up the means of those beside it; ``None`` keeps all.
        """
        return [Together.alone(range(self.num_features or 0))]

    @property
    def is_numbered(self) -> bool:
        """Whether it knows states by their numbers, and has ``renumber(order)``."""
        return False

    @property
    def takes_centres(self) -> bool:
        """Whether it takes up the means of covariates without a constant column."""
        return False

    def own_gains(self, columns: ColumnUnits) -> dict[str, Gain]:
        """What parameters gain where covariates are centred; see ``takes_centres``.

        Args:
            columns: units of the covariates that it reads.

        Returns:
            By attribute; only if the prior of what gains is flat.
        """
        return {}

    def own_outputs(self, columns: ColumnUnits, data: Sequences) -> OutputUnits | None:
        """Units in which a fit may have the emissions, if it may.

        Args:
            columns: units of the covariates that it reads.
            data: what it reads of the data set, in the user's units.
        """
        return None

    def log_probs(self, data: Sequences) -> Tensor:
        """Normalised log-probabilities that the chain sums over."""
        raise NotImplementedError

    @property
    def kept_columns(self) -> tuple[str, ...]:
        """Columns that it reads as they are, not by weights, which have no units."""
        return ()

    def check_varies(self, data: Sequences) -> None:
        """Raise a ValueError for data to be fitted in which something is constant."""

    def counted(self, counts: Tensor, data: Sequences) -> Tensor:
        """Expected counts without those of what was not observed."""
        return counts

    def closed_form(
        self, counts: Tensor, data: Sequences, params: Mapping[str, Tensor]
    ) -> dict[str, Tensor] | None:
        """The exact M-step from expected counts, where the maths gives one.

        Where it gives one of some parameters given the others, or of what was not
        observed, a step that raises the expected log-joint will do: EM goes on from it.
        Parameters that are left out are found by the optimiser, given the rest.

        Args:
            counts: with a leading axis of sets.
            data: the data set.
            params: present values (sets, *shape), by attribute.
        """
        return None

    def start(self, data: Sequences) -> dict[str, Tensor]:
        """Values from which an optimiser may set out, where the middle is too far.

        Parameters left out start in the middle of their support.
        """
        return {}

    def start_noise(self, name: str, data: Sequences) -> Tensor | float:
        """How far apart starts may stand in unconstrained numbers of a parameter.

        One over the root mean square of the covariate of a weight, which broadcasts to
        the parameter; 1 for all others.
        """
        if name not in self.sites or self.sites[name].axes[-1:] != ("covariate",):
            return 1.0
        size = self.operator(data).means(power=2).sqrt()
        return 1 / torch.where(size > 0, size, 1.0)

    @property
    def is_plain(self) -> bool:
        """Whether predictors are all there is to it, alike in all sessions."""
        return self.is_linear and not self.varies_over

    def log_table(self, data: Sequences) -> LogTable | None:
        """The chain's potentials with slopes made by hand, if there is such a table."""
        return None

    def block_objective(self, data: Sequences) -> BlockObjective | None:
        """A faster M-step objective than automatic differentiation, if there is one."""
        return None

    def display(self, name: str, value: Tensor) -> tuple[Tensor, tuple[str, ...]]:
        """A parameter as users see it, reference rows in place, with its axes."""
        return value, self.sites[name].axes

    def permuted(self, name: str, value: Tensor, order: Tensor) -> Tensor:
        """A parameter with the states renumbered: state k is what was ``order[k]``.

        The axes that a :class:`Site` calls ``"state"``, ``"origin"`` and
        ``"destination"`` are put in order. A component whose states are not all there,
        because one is the reference, overrides this.

        Args:
            name: of the parameter.
            value: shape (*batch, *shape).
            order: shape (states,).
        """
        axes = self.sites[name].axes
        for position, axis in enumerate(axes, -len(axes)):
            if axis in STATE_AXES:
                if value.shape[position] != len(order):
                    raise ValueError(
                        f"axis {axis!r} of {type(self).__name__}.{name} must hold all "
                        f"{len(order)} states to be renumbered, got "
                        f"{value.shape[position]}; override permuted(name, value, "
                        "order) in the component"
                    )
                value = value.index_select(position, order)
        return value


class _Prior(NamedTuple):
    """Prior of a declared site, built when the sizes are known."""

    name: str

    def __call__(self, component: Component) -> Distribution:
        filled = component.filled(self.name)
        bounds = component.bounds.get(self.name)
        return filled if bounds is None else Within(filled, bounds)

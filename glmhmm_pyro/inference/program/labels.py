"""Names of states, classes and covariates, on the axes of numbers users see."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from glmhmm_pyro.components.base import STATE_AXES, Component
from glmhmm_pyro.components.levels import Levels
from glmhmm_pyro.distributions import HiddenMarkov
from glmhmm_pyro.inference.program.by_site import BySite
from glmhmm_pyro.inference.program.program import Data, Program
from glmhmm_pyro.masking import count_observed
from glmhmm_pyro.sequences import Sequences
from glmhmm_pyro.sequences.construction import DESIGNS, names_of
from glmhmm_pyro.sequences.layout import Layout
from glmhmm_pyro.sequences.members import MEMBER_AXES, Members
from glmhmm_pyro.sequences.naming import Names
from glmhmm_pyro.sequences.sessions import Session

if TYPE_CHECKING:
    import xarray as xr


@dataclass(frozen=True)
class Labels:
    """The names that a fit remembers of the data it was fitted to.

    Attributes:
        covariates: names of the columns that each component reads, by component.
        classes: names of the emission classes, if they have any.
        sessions: names of the sessions.
        num_steps: number of steps of all sessions.
        num_observed: number of observed steps, each as often as its session counts.
        layout: by which later data are laid out alike, where the data are a
            ``Sequences``.
        latents: names of the sites that belong to these sessions alone.
        num_states: number of states, where all that is observed has the same.
        states: names that the user gave to the states, in their order.
        levels: numbers of slow and of fast states, where states are pairs of these.
        level_names: names that the user gave to slow or fast states, by level.
        state_axes: axes along which states stand in sites of a model of the user's own,
            where they were named with the states.
    """

    covariates: dict[str, tuple[str, ...]]
    classes: tuple[str, ...] | None
    sessions: tuple[str, ...]
    num_steps: int
    num_observed: float
    layout: Layout | None = None
    latents: tuple[str, ...] = ()
    num_states: int | None = None
    states: tuple[str, ...] | None = None
    state_axes: dict[str, tuple[int, ...]] = field(default_factory=dict)
    levels: tuple[int, int] | None = None
    level_names: dict[str, tuple[str, ...]] = field(default_factory=dict)

    @classmethod
    def of(cls, data: Sequences) -> "Labels":
        """Names of a data set."""
        counted = (data.mask, data.lengths, data.session_weights)
        return cls(
            covariates={
                "initial": tuple(data.initial_covariate_names or ()),
                "transitions": tuple(data.transition_covariate_names),
                "emissions": tuple(data.covariate_names),
            },
            classes=None if data.class_names is None else tuple(data.class_names),
            sessions=tuple(data.session_names),
            num_steps=data.num_steps,
            num_observed=count_observed(*counted),
            layout=Layout.of(data),
        )

    @classmethod
    def of_program(cls, program: Program) -> "Labels":
        """Names of a program's data; a model of the user's own names no axes."""
        if program.components:
            named = cls.of(program.data)
            named = replace(
                named,
                num_steps=program.ranks.total(named.num_steps),
                num_observed=program.ranks.total(named.num_observed),
                layout=program.layout,
                latents=program.latents,
                num_states=program.model.num_states,
                levels=as_pair(program.model.levels),
            )
            for name, component in program.components.items():
                if component.covariate_names is not None:
                    named.covariates[name] = component.covariate_names
            return named
        # Sizes alone are asked for, so that any values of the parameters will do.
        start = torch.zeros(program.coordinates.size, dtype=torch.float64)
        sites = program.observed(program.coordinates.unpack(start)).values()
        states = {site.hidden.num_states for site in sites}
        return cls(
            layout=program.layout,
            latents=program.latents,
            covariates={},
            classes=None,
            sessions=(),
            num_steps=sum(site.hidden.event_shape[0] for site in sites),
            num_observed=sum(site.hidden.num_observed for site in sites),
            num_states=states.pop() if len(states) == 1 else None,
        )

    def restore_layout(self, model: Callable[..., Any]) -> None:
        """Restore the layout of the fitted data in a model read from a file."""
        layout = self.layout or self._guessed_layout()
        Program.kind_of(model).restore_layout(model, layout)

    def _guessed_layout(self) -> Layout:
        """Layout from an older file, which does not say which names were made up."""
        guessed = {}
        for design, prefix in zip(DESIGNS, ("emissions", "transitions", "initial")):
            names = self.covariates.get(prefix, ())
            numbered = [f"{DESIGNS[design]}{i}" for i in range(len(names))]
            if names:
                made_up = tuple(n for n, g in zip(names, numbered) if n == g)
                guessed[names_of(design)] = Names(names, made_up)
        numbered = [str(i) for i in range(len(self.sessions))]
        source = "older file" if list(self.sessions) == numbered else ""
        known = tuple((name, Session(name, source)) for name in self.sessions)
        return Layout(guessed, self.classes, known)

    def lack_latents(self, data: Any) -> bool:
        """Whether data need new latents, as they are not the sessions fitted."""
        if not self.latents or not isinstance(data, Sequences) or not self.layout:
            return False
        fitted = [session for _, session in self.layout.sessions]
        grouped = all(o.group is not None for o in (*fitted, *data.session_origins))
        same = [o.key(grouped) for o in fitted] == [
            o.key(grouped) for o in data.session_origins
        ]
        return not same or self.num_steps != data.num_steps

    def as_fitted(self, model: Callable[[Data], Any], data: Data) -> Data:
        """Data laid out as the model knows those fitted; see :meth:`Fit.as_fitted`.

        Args:
            model: that of the fit; a ``GLMHMM`` knows itself what it reads, one of the
                user's own is taken to read everything.
            data: as the model takes it.
        """
        if not isinstance(data, Sequences):
            return data
        return Program.kind_of(model).laid_out(model, data, self.layout)

    def coords(
        self, prefix: str, dims: tuple[str, ...], shape: tuple[int, ...]
    ) -> dict:
        """Names along every axis of a parameter of component ``prefix``."""
        coords = {}
        members = Members(self.layout.sessions if self.layout else ())
        for dim, size in zip(dims, shape):
            names: Any = np.arange(size)
            if dim in STATE_AXES:
                names = self.of_states(size)
            elif dim.partition("_")[0] in self.level_names:
                names = list(self.level_names[dim.partition("_")[0]])
            elif dim == "covariate" and len(self.covariates.get(prefix, ())) == size:
                names = list(self.covariates[prefix])
            elif dim == "class" and self.classes and len(self.classes) == size:
                names = list(self.classes)
            elif dim in MEMBER_AXES and len(members.names(dim)) == size:
                names = list(members.names(dim))
            elif dim == "session" and len(self.sessions) == size:
                names = list(self.sessions)
            coords[dim] = names
        groups = self._groups_of(list(coords.get("session", ())))
        if groups and "group" not in dims:
            coords["group"] = ("session", groups)
        return coords

    def of_states(self, size: int) -> Any:
        """Names along an axis of states; numbers where they have none.

        Those of a chain that has more states than the model are numbers.
        """
        names = self.state_names
        return list(names) if len(names) == size else np.arange(size)

    @property
    def state_names(self) -> tuple[str, ...]:
        """Names of the states; of pairs without any, those of both levels, 'slow.fast'.

        Empty where they have none.
        """
        if self.states is not None or self.levels is None:
            return self.states or ()
        slow, fast = (self.of_level(level) for level in ("slow", "fast"))
        return tuple(f"{s}.{z}" for s in slow for z in fast)

    def of_level(self, level: str) -> tuple[str, ...]:
        """Names of the states of a level; their numbers where they have none."""
        number = (self.levels or (0, 0))[level == "fast"]
        return self.level_names.get(level, tuple(map(str, range(number))))

    def renumbered(self, order: Sequence[int]) -> "Labels":
        """The labels with states renumbered: state k is what was ``order[k]``."""
        found = self
        if self.states is not None:
            found = replace(found, states=tuple(self.states[k] for k in order))
        if self.level_names and self.levels is not None:
            orders = Levels(*self.levels).parts(torch.as_tensor(order))
            known = dict(zip(("slow", "fast"), (own.tolist() for own in orders)))
            names = {
                level: tuple(names[k] for k in known[level])
                for level, names in self.level_names.items()
            }
            found = replace(found, level_names=names)
        return found

    def axes_of(self, name: str, number: int) -> tuple[str, ...]:
        """Axes of a site that no component knows, by what the user said of states."""
        axes = [f"axis_{i}" for i in range(number)]
        of_states = self.state_axes.get(name, ())
        called = {1: ("state",), 2: ("origin", "destination")}
        for place, dim in zip(of_states, called.get(len(of_states), ())):
            axes[place] = dim
        return tuple(axes)

    def _groups_of(self, sessions: list[str]) -> list[str]:
        """The groups of sessions by their names, if they are known and have groups."""
        known = self.layout.sessions if self.layout else ()
        groups = {name: o.group for name, o in known if o.group is not None}
        found = [groups[name] for name in sessions if name in groups]
        return found if len(found) == len(sessions) else []


def as_pair(levels: Levels | None) -> tuple[int, int] | None:
    """Numbers of slow and of fast states, if there are two levels."""
    return None if levels is None else (levels.slow, levels.fast)


def named_parameters(
    model: Callable[..., Any], params: dict[str, Tensor], labels: Labels
) -> "dict[str, xr.DataArray]":
    """Parameters with reference rows in place and names on every axis."""
    single = {name: value[None, None] for name, value in params.items()}
    named = named_draws(model, single, labels)
    return BySite(
        (name, array[0, 0].drop_vars(["chain", "draw"]))
        for name, array in named.items()
    )


def named_draws(
    model: Callable[..., Any], draws: dict[str, Tensor], labels: Labels
) -> "dict[str, xr.DataArray]":
    """Draws (chains, draws, *shape), named likewise, with axes chain and draw."""
    import xarray as xr

    named = {}
    components = Program.kind_of(model).components_of(model)
    for name, values in draws.items():
        prefix, component, attribute = _place(components, name)
        dims = labels.axes_of(name, values.dim() - 2)
        if component is not None and attribute in component.sites:
            # One by one: a component need not know leading axes.
            shown = [component.display(attribute, v) for v in values.flatten(0, 1)]
            dims = component.shown_axes(shown[0][1])
            values = torch.stack([v for v, _ in shown]).unflatten(0, values.shape[:2])
        elif component is not None and attribute in component.hyperparameters:
            dims = _named_axes(component, attribute, tuple(values.shape[2:]))
        coords = labels.coords(prefix, dims, tuple(values.shape[2:]))
        own = {} if component is None else {d: component.names_along(d) for d in dims}
        coords |= {d: list(names) for d, names in own.items() if names is not None}
        coords |= {"chain": np.arange(len(values)), "draw": np.arange(values.shape[1])}
        array = values.detach().cpu().numpy()
        dims = ("chain", "draw", *dims)
        named[name] = xr.DataArray(array, coords=coords, dims=dims, name=name)
    return named


def _place(
    components: dict[str, Component], name: str
) -> tuple[str, Component | None, str]:
    """The component that a site belongs to, with its name, and the site's own."""
    for prefix, component in components.items():
        if name.startswith(f"{prefix}."):
            return prefix, component, name.removeprefix(f"{prefix}.")
    return "", None, name


def session_coords(hidden: HiddenMarkov, data: Any) -> dict[str, np.ndarray]:
    """``session``, names of the sessions, and ``group`` where the data have groups.

    Numbers are names where the data are not of these sessions.
    """
    number = len(hidden.lengths)
    known = isinstance(data, Sequences) and data.num_sessions == number
    names = data.session_names if known else [str(i) for i in range(number)]
    coords = {"session": np.array(names, dtype=object)}
    if known and data.groups is not None:
        coords["group"] = np.array(data.groups, dtype=object)
    return coords


def by_step_dataset(
    hidden: HiddenMarkov, data: Any, labels: Labels, **variables: Any
) -> "xr.Dataset":
    """Variables with a step axis, each step labelled with its session."""
    import xarray as xr

    lengths = hidden.lengths.cpu().numpy()
    arrays = {k: (dims, v.cpu().numpy()) for k, (dims, v) in variables.items()}
    coords: dict[str, Any] = {
        name: ("step", np.repeat(values, lengths))
        for name, values in session_coords(hidden, data).items()
    }
    for dims, values in arrays.values():
        known = labels.coords("", dims, values.shape)
        coords |= {dim: known[dim] for dim in ("state", "slow", "fast") if dim in known}
    return xr.Dataset(arrays, coords=coords).assign_coords(
        step=np.arange(int(lengths.sum()))
    )


def _named_axes(
    component: Component, name: str, shape: tuple[int, ...]
) -> tuple[str, ...]:
    """Names of a hyperparameter's axes; those without the reference row say 'free'."""
    whole = {"state": component.num_states, "origin": component.num_states}
    if component.own_states is not None:
        whole |= {"slow": component.own_states.sizes["slow"]}
    named = tuple(
        axis if axis == "covariate" or whole.get(axis) == size else f"free_{axis}"
        for axis, size in zip(component.hyperparameters[name], shape)
    )
    return component.shown_axes(named)

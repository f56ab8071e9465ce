"""How components read: as the calls that make them, and as lines of an explanation."""

import inspect
from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar

from torch import Tensor
from torch.distributions import Distribution

from glmhmm_pyro.priors.recipe import PriorRecipe
from glmhmm_pyro.priors.wording import in_words

if TYPE_CHECKING:
    from glmhmm_pyro.components.own_states import OwnStates

# What is drawn by a component of each kind, and what that may depend on.
_EQUATIONS = {
    "initial": ("{z}[0]", "", "v"),
    "transition": ("{z}[t]", "{z}[t-1]", "u[t]"),
    "emission": ("y[t]", "{z}[t]", "x[t]"),
}


class ExplainsItself:
    """Mixin of components: how they show themselves, with defaults for all.

    Attributes:
        called: what users call, where it is not the class.
    """

    called: ClassVar[str] = ""
    counts_of: ClassVar[str]
    counted_from: str
    own_states: "OwnStates | None"
    columns_read: "tuple[str, ...] | None"

    @property
    def reads_covariates(self) -> bool:
        """Whether covariates have a part in it."""
        return True

    @property
    def reference(self) -> str:
        """What has weights of 0, against which others are measured, if any has."""
        return ""

    def equations(self) -> list[str]:
        """Its lines in the explanation of a model, such as "z[0] ~ Initial"."""
        return [f"{self.drawn} ~ {self.right_side()}"]

    @property
    def drawn(self) -> str:
        """What it is the distribution of."""
        return self.symbols()[0]

    @property
    def named(self) -> str:
        """Its name in an equation."""
        return type(self).__name__

    def right_side(self) -> str:
        """Its name in an equation, with what it depends on."""
        _, state, read = self.symbols()
        given = [state] * bool(state) + [read] * self.reads_covariates
        return f"{self.named}({', '.join(given)})" if given else self.named

    def symbols(self) -> tuple[str, str, str]:
        """What is drawn, the state it depends on, and the covariates that it reads."""
        z = "z" if self.own_states is None else self.own_states.letter
        drawn, state, _ = _EQUATIONS[self.counts_of]
        read = _EQUATIONS[self.counted_from][2]
        if self.columns_read is not None:
            read = f"{', '.join(self.columns_read)} of {read}"
        return drawn.format(z=z), state.format(z=z), read

    def __repr__(self) -> str:
        names = inspect.signature(type(self)).parameters
        given = {name: getattr(self, name) for name in names if hasattr(self, name)}
        return as_call(type(self), given, self.called)


def as_call(kind: type, given: Mapping[str, object], called: str = "") -> str:
    """The call that makes an object, without the arguments that have their defaults.

    Args:
        kind: class of the object.
        given: arguments by name.
        called: what is called, if not the class.
    """
    shown = []
    for name, parameter in inspect.signature(kind).parameters.items():
        if name not in given:
            continue
        value, default = given[name], parameter.default
        if parameter.kind is parameter.VAR_KEYWORD and isinstance(value, Mapping):
            shown += [f"{key}={_short(part)}" for key, part in value.items()]
        elif default is parameter.empty:
            shown.append(_short(value))
        elif not _is_default(value, default):
            shown.append(f"{name}={_short(value)}")
    return f"{called or kind.__name__}({', '.join(shown)})"


def _is_default(value: object, default: object) -> bool:
    """Whether an argument need not be given; an empty one is as good as none."""
    if default is None and isinstance(value, Mapping):
        return not value
    return value is default or (type(value) is type(default) and value == default)


def _short(value: object) -> str:
    """An argument, tensors by their numbers or shapes."""
    if isinstance(value, Tensor | Distribution | PriorRecipe) or inspect.isroutine(
        value
    ):
        return in_words(value)
    if isinstance(value, Mapping):
        return f"{{{', '.join(f'{k!r}: {_short(v)}' for k, v in value.items())}}}"
    return repr(list(value) if isinstance(value, tuple) else value)

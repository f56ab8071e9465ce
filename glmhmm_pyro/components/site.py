"""What a component declares of a parameter: its axes, its prior and its support."""

from torch.distributions import constraints

from glmhmm_pyro.arguments import suggests_names
from glmhmm_pyro.priors.filling import Prior, recipe_of

# Names of axes along which hidden states stand.
STATE_AXES = ("state", "origin", "destination")


@suggests_names
class Site:
    """Declaration of one parameter: its axes, its prior and its support.

    Args:
        axes: names of its axes, outermost first. A name is one that the component
            knows the size of (``"state"``, ``"covariate"``, ``"session"``, ...), or a
            pair of a name and a size.
        prior: ``None`` for flat, a distribution that broadcasts to the parameter's
            shape, a recipe of ``gh.priors``, or a function from that shape to a
            distribution. Hyperparameters that a function samples are named after the
            component: ``"scale"`` becomes ``"emissions.scale"``.
        support: where the parameter lives; used by a flat prior.
        latent: whether its shape follows the data (steps, sessions). Other data then
            have values of their own, drawn from the prior; it counts as no parameter.

    Example:
        >>> import glmhmm_pyro as gh
        >>> site = gh.Site("state", ("way", 2), prior=gh.priors.Ridge(1.0))
        >>> site.axes, site.sizes
        (('state', 'way'), {'way': 2})
    """

    def __init__(
        self,
        *axes: str | tuple[str, int],
        prior: Prior = None,
        support: constraints.Constraint = constraints.real,
        latent: bool = False,
    ):
        self.latent = latent
        self.axes = tuple(a if isinstance(a, str) else a[0] for a in axes)
        self.sizes = {a[0]: a[1] for a in axes if not isinstance(a, str)}
        self.prior = prior
        self.support = support

    @property
    def declared(self) -> tuple[str | tuple[str, int], ...]:
        """Its axes as they were given, with their sizes where these were."""
        return tuple((a, self.sizes[a]) if a in self.sizes else a for a in self.axes)

    def widened(self, axis: str, size: int) -> "Site":
        """The same with an axis more, before its own."""
        own = (axis, size), *self.declared
        return Site(*own, prior=self.prior, support=self.support, latent=self.latent)

    def is_product_over(self, axes: int) -> bool:
        """Whether the prior is declared to be a product over so many outermost axes.

        It is one given its hyperparameters, where it has any.
        """
        return recipe_of(self.prior).event_dim <= len(self.axes) - axes


def block_axes(blocks: str | tuple[str, ...] | None) -> tuple[str, ...]:
    """Names of the axes over which an M-step separates."""
    if blocks is None:
        return ()
    return (blocks,) if isinstance(blocks, str) else blocks

"""GLMHMMEstimator: the scikit-learn estimator with pyGLMHMM's parameters."""

from dataclasses import dataclass, fields
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted
from torch import Tensor

from glmhmm_pyro.callers import warn_caller
from glmhmm_pyro.distributions import HiddenMarkov, expected_emission
from glmhmm_pyro.estimator.original import WEIGHTS, Original, Weights
from glmhmm_pyro.estimator.parameters import RandomState, checked, generator_of
from glmhmm_pyro.estimator.plan import fit_trials
from glmhmm_pyro.estimator.starting_weights import starting_weights
from glmhmm_pyro.estimator.trials import (
    Known,
    PerTrial,
    as_sequences,
    check_fittable,
    num_outputs_to_fit,
)
from glmhmm_pyro.inference.status import ConvergenceWarning, Status
from glmhmm_pyro.sequences import Sequences

# One array for every trial.
Arrays: TypeAlias = list[np.ndarray]


@dataclass(eq=False, repr=False)
class GLMHMMEstimator(BaseEstimator):
    """GLM-HMM of labelled behaviour, with the call and the EM of the predecessors.

    It computes what the MATLAB program of Calhoun, Pillow & Murthy (2019) computes, and
    takes the parameters of its translation pyGLMHMM by their names. For anything new,
    :class:`glmhmm_pyro.GLMHMM` and :func:`glmhmm_pyro.fit` are the better choice: other
    emissions and priors, restarts, named results, and a tighter stopping rule.

    Covariates of bin t drive the emission at t and the transition from t-1 INTO t.
    Label 0 is the reference of the emissions, staying that of the transitions. Where
    the predecessors are wrong this says what is done here. Parameters that would do
    nothing, or contradict each other, are refused by :meth:`fit`, which names them.

    Args:
        random_state: seed (or numpy Generator or RandomState) of the starting weights,
            trials held out and labels generated; ``None`` for others in every fit.
        tol: relative change of ``loglik`` below which an iteration stalls; two such
            iterations in a row end the fit.
        max_iter: largest number of EM iterations.
        num_samples: number of trials, for the predecessor's call; that of X counts.
        num_states: number of hidden states.
        num_emissions: number of labels, the reference included.
        num_feedbacks: number of cues.
        num_filter_bins: number of bins of a cue's filter.
        num_steps: must be 1. The original's objective of several steps adds the
            log-likelihood of labels drawn anew, and is no likelihood of anything.
        filter_offset: number of constant rows at the end of X. X must have
            num_feedbacks * num_filter_bins + filter_offset rows unless all starting
            weights are given, whose last axis then counts.
        init_loglik: what the first ``loglik`` is compared with.
        smooth_lambda: with ``L2_smooth``, penalty of neighbouring bins of a filter, in
            emissions and transitions: lambda / 2 times the sum of their squared
            differences per bin of the data; offsets have none.
        emit_lambda: ridge penalty of the emission weights: lambda / 2 times their sum
            of squares, offsets included, is added to minus the expected log-likelihood
            per bin. It is a Normal prior of sd 1 / sqrt(lambda * bins of all trials).
        trans_lambda: the same for the transition weights.
        AR_lambda: ridge, and smoothness with ``L2_smooth``, of the rows ``AR_vec`` in
            place of those above; -1 for the same as of all other rows.
        AR_vec: numbers (from 0) of the rows of X that hold the animal's own past
            behaviour; the predecessor's 510 to 629 by default.
        stim_vec: numbers of the rows with the ridge ``emit_lambda`` or
            ``trans_lambda``; by default all but ``AR_vec``. Rows in neither have none.
        auto_anneal_vec: strengths of a schedule of your own for ``auto_anneal`` or
            ``anneal_lambda``; a fit then ends under the last one only.
        auto_anneal_schedule: iteration that each of these begins with; the first is 1.
        train_bins: numbers of the rows that the transitions have weights in; all by
            default.
        symb_exists: whether there are labels; else ``y_analog`` is fitted alone.
        use_ASD: whether filters of analog outputs are smoothed: after a fit by weighted
            least squares, length scale and size of every filter are learnt, by the
            evidence of the regression of each state and output, and the fit goes on
            with a Gaussian process of these over the bins as prior. The history is that
            of both fits.
        analog_flag: whether there must be analog outputs; any given are fitted.
        add_filters: whether the starting weights given are those of a model with the
            first few cues of X; filters of the others start at 0.
        fit_emissions: whether emission weights are fitted, or stay as they start.
        GLM_emissions: whether emissions depend on the covariates; if not, they read the
            last row of X alone, which must be constant.
        GLM_transitions: the same of the transitions.
        evaluate: whether nothing is fitted: the history is one entry, an E-step at the
            starting weights with uniform first states.
        generate: whether labels are drawn for the fitted trials, from the fitted
            weights and first states. If ``AR_vec`` is given these rows are made anew
            as the simulation goes on, which needs rows that hold a number for each
            label some bins before (found by themselves); else X stays as it is.
        L2_smooth: whether ``smooth_lambda`` acts.
        auto_anneal: whether both ridges follow a schedule from the second iteration on:
            1 up to the fourth, then exp(-(n - 4) / 1.5) + 0.005.
        anneal_lambda: the same, but neither ridge falls below its own strength.
        get_error_bars: whether standard errors are computed at the end: ``emit_std``
            and ``trans_std`` by the exact curvature of the penalised log-likelihood,
            hidden states summed out (NaN for what data and penalties do not determine);
            ``hess_diag_emit`` and ``hess_diag_trans``, the original's variances, which
            take states as known and covariates as unrelated.
        CV_regularize: whether a strength is chosen from ``numpy.logspace(-4, 1, 10)``
            by the likelihood of a quarter of the trials, then used with all: that of
            ``smooth_lambda`` with ``L2_smooth``, else of both ridges.
        cross_validate: whether a quarter of the trials is not fitted, but scored after
            every iteration.

    Attributes:
        emit_w_, trans_w_, analog_emit_w_, analog_emit_scale_, loglik_, prior_, ...: all
            figures of the last iteration, by their names in what :meth:`fit` returns.
        emit_w_init_, trans_w_init_, analog_emit_w_init_: the starting weights.
        converged_: whether the stopping rule was met.
        n_iter_: number of EM iterations.
        status_: how the fit ended, a :class:`glmhmm_pyro.Status`.
        analog_lengths_, analog_sizes_: length scales (bins) and standard deviations of
            the filters' weights, (state, output, filter), see ``use_ASD``.
        output_, output_states_, output_analog_: generated labels and their states,
            lists of (bins,), and analog outputs (outputs, bins).
        train_data_, test_data_: numbers of the trials, see ``cross_validate``.
        regular_schedule_, regular_scores_, regular_schedule_ind_: strengths tried,
            their log-likelihoods per labelled bin held out (nats), number of the best.
        is_fitted_: True.
        n_features_in_: number of rows of X.

    Example:
        >>> import numpy as np
        >>> rng = np.random.default_rng(0)
        >>> X = [np.vstack([rng.normal(size=(4, 60)), np.ones(60)]) for _ in range(3)]
        >>> y = [rng.integers(2, size=60) for _ in range(3)]
        >>> estimator = GLMHMMEstimator(
        ...     num_feedbacks=2, num_filter_bins=2, emit_lambda=0.1, trans_lambda=0.1,
        ...     random_state=0)
        >>> history = estimator.fit(X, y)
        >>> history[-1]["emit_w"].shape, estimator.converged_
        ((2, 1, 5), True)
        >>> [labels.shape for labels in estimator.predict(X, y)]
        [(60,), (60,), (60,)]
    """

    random_state: RandomState = None
    tol: float = 1e-4
    max_iter: int = 1000
    num_samples: int = 1
    num_states: int = 2
    num_emissions: int = 2
    num_feedbacks: int = 3
    num_filter_bins: int = 30
    num_steps: int = 1
    filter_offset: int = 1
    init_loglik: float = -1e7
    smooth_lambda: float = 0
    emit_lambda: float = 0
    trans_lambda: float = 0
    AR_lambda: float = -1
    AR_vec: ArrayLike | None = None
    stim_vec: ArrayLike | None = None
    auto_anneal_vec: ArrayLike | None = None
    auto_anneal_schedule: ArrayLike | None = None
    train_bins: ArrayLike | None = None
    symb_exists: bool = True
    use_ASD: bool = True
    add_filters: bool = False
    fit_emissions: bool = True
    GLM_emissions: bool = True
    GLM_transitions: bool = True
    evaluate: bool = False
    generate: bool = False
    L2_smooth: bool = False
    analog_flag: bool = False
    auto_anneal: bool = False
    anneal_lambda: bool = False
    get_error_bars: bool = False
    CV_regularize: bool = False
    cross_validate: bool = False

    def fit(
        self,
        X: PerTrial,
        y: PerTrial | None,
        y_analog: PerTrial = (),
        *,
        emit_w_init: ArrayLike | None = None,
        trans_w_init: ArrayLike | None = None,
        analog_emit_w_init: ArrayLike | None = None,
    ) -> list[dict[str, Any]]:
        """Fit by EM, and return every iteration.

        Unlike other estimators of scikit-learn it returns the history, as the
        predecessor does, and not itself. A second call starts afresh.

        Args:
            X: list of arrays (features, bins), one for each trial.
            y: list of labels (bins,) or (1, bins), whole numbers from 0, NaN or None
                where a bin has none.
            y_analog: list of analog outputs (outputs, bins), NaN where there is no
                value; empty for labels alone. They are normal given the state, with
                weights and a standard deviation for every state and output.
            emit_w_init: starting weights (state, label - 1, feature). By default
                exponential filters of random sign and size, offsets 0.
            trans_w_init: starting weights (origin, destination, feature), likewise.
            analog_emit_w_init: starting weights (state, output, feature) of analog
                outputs, likewise, in units of the outputs.

        Returns:
            One dictionary for each EM iteration, whose arrays belong to it alone:

            - ``emit_w`` (state, label - 1, feature) and ``trans_w`` (origin,
              destination, feature), the weights after the iteration; those of staying
              mean nothing;
            - ``prior`` (trial, state), the distribution of the first states that goes
              with them;
            - ``loglik``, the figure that the original reports under this name: MINUS
              the expected complete-data log-likelihood at these weights under the
              posterior at the weights before. Positive, lower is better, no posterior
              entropy and no penalty in it, and it need not fall even when EM works;
            - ``initial_likelihood``, ``symb_likelihood`` and ``trans_likelihood``, its
              three parts: first states, emissions and transitions;
            - ``marginal_log_likelihood``, the log-likelihood of the labels at these
              weights and this ``prior``, nats, higher is better;
            - ``penalised_log_likelihood``, the same minus the penalties times the
              number of bins, which EM maximises; it never falls unless they change;
            - ``analog_emit_w`` (state, output, feature), ``analog_emit_scale`` (state,
              output), standard deviations, and ``analog_likelihood``, a part of
              ``loglik`` too, where there are analog outputs;
            - ``emit_lambda``, ``trans_lambda`` and ``smooth_lambda``, those in force;
            - ``held_out_log_likelihood`` with ``cross_validate``: that of the trials
              held out, nats, first states uniform;
            - in the last entry ``emit_std``, ``trans_std``, ``analog_emit_std``,
              ``hess_diag_emit`` and ``hess_diag_trans`` of ``get_error_bars``, in the
              shapes of the weights.

        Raises:
            ValueError: naming the argument or parameter, what it must be and what came.
            TypeError: for arguments of the wrong type.

        Warns:
            ConvergenceWarning: the stopping rule was not met, or weights have no
                finite maximum.
        """
        kinds = {field.name: field.type for field in fields(self)}
        options = checked(self.get_params(deep=False), kinds)
        outputs = num_outputs_to_fit(options, y, y_analog)
        given = {
            "emit_w": emit_w_init,
            "trans_w": trans_w_init,
            "analog_emit_w": analog_emit_w_init,
        }
        original = Original.of(options, outputs, given)
        known = y_analog if outputs else None
        data = as_sequences(X, y, known, original.sizes, original.why)
        check_fittable(data, options)
        generator = generator_of(options["random_state"])
        start = starting_weights(options, original, given, data, generator)
        history, found, warning = fit_trials(options, original, data, start, generator)
        for name in [n for n in vars(self) if n.endswith("_")]:
            delattr(self, name)
        for name, value in found.items():
            setattr(self, name, value)
        self.converged_ = self.status_ is Status.CONVERGED
        if warning:
            warn_caller(warning, ConvergenceWarning)
        return history

    def predict(self, X: PerTrial, y: Known = None, y_analog: Known = None) -> Arrays:
        """The most probable label at every bin, integers (bins,) for each trial.

        Arguments are those of :meth:`predict_proba`.
        """
        return [probs.argmax(-1) for probs in self.predict_proba(X, y, y_analog)]

    def predict_proba(
        self, X: PerTrial, y: Known = None, y_analog: Known = None
    ) -> Arrays:
        """Probabilities of the labels at every bin, one step ahead.

        They are p(y_t | y_0..t-1, X). Where nothing is known (open loop), the states
        follow from the covariates alone, p(y_t | X). First states are uniform, as at
        the original's first E-step.

        Args:
            X: list of arrays (features, bins).
            y: list of labels (bins,) of the same bins, NaN where there is none, of
                which each prediction reads the earlier ones; ``None`` if none is known.
            y_analog: list of arrays (outputs, bins), NaN where there is no value,
                likewise.

        Returns:
            A list of arrays (bins, labels).
        """
        return self._one_step(X, y, y_analog, "symb")

    def predict_analog(
        self, X: PerTrial, y: Known = None, y_analog: Known = None
    ) -> Arrays:
        """Expected analog outputs one step ahead, (outputs, bins) for each trial.

        Arguments are those of :meth:`predict_proba`.
        """
        found = self._one_step(X, y, y_analog, "analog")
        return [trial.reshape(len(trial), -1).T.copy() for trial in found]

    def predict_states(
        self, X: PerTrial, y: Known = None, y_analog: Known = None
    ) -> Arrays:
        """The most probable path of hidden states (Viterbi), integers (bins,).

        Arguments are those of :meth:`predict_proba`, first states uniform as there.
        """
        data, hidden = self._on(X, y, y_analog)
        return _by_trial(data, hidden.viterbi_states(data.emissions))

    def predict_states_proba(
        self, X: PerTrial, y: Known = None, y_analog: Known = None
    ) -> Arrays:
        """Probabilities p(z_t | y, X) of the states given a trial, (bins, states).

        Arguments are those of :meth:`predict_proba`, first states uniform as there.
        """
        data, hidden = self._on(X, y, y_analog)
        return _by_trial(data, hidden.smoothed_probs(data.emissions))

    def score(self, X: PerTrial, y: Known, y_analog: Known = None) -> float:
        """Marginal log-likelihood per observed bin, nats; uniform first states.

        Arguments are those of :meth:`predict_proba`; one of ``y`` and ``y_analog`` must
        be given.
        """
        if y is None and y_analog is None:
            raise ValueError(
                "y must be a list of labels to score against, got None"
                "; give the labels of X"
            )
        data, hidden = self._on(X, y, y_analog)
        return float(hidden.log_prob(data.emissions)) / max(hidden.num_observed, 1)

    def _one_step(self, X: PerTrial, y: Known, y_analog: Known, kind: str) -> Arrays:
        """Expectations of one kind of emissions under the predicted states."""
        _, original = self._fitted
        if not (original.free if kind == "symb" else original.outputs):
            what = "labels" if kind == "symb" else "analog outputs"
            raise ValueError(
                f"fit must have {what} to predict, got none; fit with them"
            )
        data, hidden = self._on(X, y, y_analog)
        output = hidden.outputs(data.emissions)[original.output(kind)]
        states = hidden.predicted_probs(data.emissions)
        return _by_trial(data, expected_emission(output.emission_dist, states))

    @property
    def _fitted(self) -> tuple[Weights, Original]:
        """The fitted weights, by name, and whose model they are."""
        check_is_fitted(self)
        weights = {n: vars(self)[f"{n}_"] for n in WEIGHTS if f"{n}_" in vars(self)}
        return weights, Original.fitted(weights)

    def _on(
        self, X: PerTrial, y: Known, y_analog: Known
    ) -> tuple[Sequences, HiddenMarkov]:
        """Trials, and their distribution at the fitted weights."""
        weights, original = self._fitted
        data = as_sequences(X, y, y_analog, original.sizes, original.why)
        return data, original.distribution(weights, data)


def _by_trial(data: Sequences, values: Tensor) -> Arrays:
    """An array of its own for every trial."""
    return [part.numpy().copy() for part in data.split(values)]

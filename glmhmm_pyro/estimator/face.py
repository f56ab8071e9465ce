"""GLMHMMEstimator: the scikit-learn estimator with pyGLMHMM's parameters."""

import warnings
from typing import Any

import numpy as np
import torch
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted

from glmhmm_pyro.distributions import HiddenMarkov
from glmhmm_pyro.estimator.options import check_parameters, generator_of
from glmhmm_pyro.estimator.original import (
    Iteration,
    OriginalEM,
    distribution,
    history_entry,
    original_model,
    original_params,
    without_emissions,
)
from glmhmm_pyro.estimator.starts import ExponentialStart, given_weights
from glmhmm_pyro.estimator.trials import trials_to_sequences
from glmhmm_pyro.inference.status import ConvergenceWarning, Status
from glmhmm_pyro.inference.unbounded import unbounded_weights
from glmhmm_pyro.model import GLMHMM
from glmhmm_pyro.sequences import Sequences


class GLMHMMEstimator(BaseEstimator):
    """GLM-HMM of labelled behaviour, with the call and the EM of the predecessors.

    It computes what the MATLAB program of Calhoun, Pillow & Murthy (2019) computes, and
    takes the parameters of its translation pyGLMHMM by their names. For anything new,
    :class:`glmhmm_pyro.GLMHMM` and :func:`glmhmm_pyro.fit` are the better choice: other
    emissions and priors, restarts, named results, and a tighter stopping rule.

    X is a list with one array (features, bins) for each trial, y a list with one array
    of labels 0, 1, ... (bins,), NaN where there is no label. Covariates of bin t drive
    the emission at t and the transition from t-1 INTO t. Label 0 is the reference of
    the emissions, staying that of the transitions.

    A parameter not described here belongs to a feature of a later release; ``fit``
    raises a ValueError that names it unless it is left at its default.

    Args:
        random_state: seed (or numpy Generator or RandomState) of the starting weights;
            ``None`` for other ones in every fit.
        tol: relative change of ``loglik`` below which an iteration stalls; two such
            iterations in a row end the fit.
        max_iter: largest number of EM iterations.
        num_samples: number of trials, for the predecessor's call; that of X counts.
        num_states: number of hidden states.
        num_emissions: number of labels, the reference included.
        num_feedbacks: number of cues.
        num_filter_bins: number of bins of a cue's filter.
        filter_offset: number of constant rows at the end of X. X must have
            num_feedbacks * num_filter_bins + filter_offset rows unless all starting
            weights are given, whose last axis then counts.
        init_loglik: what the first ``loglik`` is compared with.
        emit_lambda: ridge penalty of the emission weights: lambda / 2 times their sum
            of squares, offsets included, is added to minus the expected log-likelihood
            per bin. It is a Normal prior of sd 1 / sqrt(lambda * bins of all trials).
        trans_lambda: the same for the transition weights.
        fit_emissions: whether emission weights are fitted, or stay as they start.

    Attributes:
        emit_w_: emission weights (state, label - 1, feature), those of label 0 left
            out.
        trans_w_: transition weights (origin, destination, feature); rows of staying are
            kept as they were and mean nothing.
        emit_w_init_, trans_w_init_: the starting weights.
        loglik_: the original's figure at the last iteration, see :meth:`fit`.
        marginal_log_likelihood_: log-likelihood of the labels at the end, nats.
        converged_: whether the stopping rule was met.
        n_iter_: number of EM iterations.
        status_: how the fit ended, a :class:`glmhmm_pyro.Status`.
        is_fitted_: True.
        n_features_in_: number of rows of X.

    Example:
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

    def __init__(
        self,
        random_state: Any = None,
        tol: float = 1e-4,
        max_iter: int = 1000,
        num_samples: int = 1,
        num_states: int = 2,
        num_emissions: int = 2,
        num_feedbacks: int = 3,
        num_filter_bins: int = 30,
        num_steps: int = 1,
        filter_offset: int = 1,
        init_loglik: float = -1e7,
        smooth_lambda: float = 0,
        emit_lambda: float = 0,
        trans_lambda: float = 0,
        AR_lambda: float = -1,
        AR_vec: Any = None,
        stim_vec: Any = None,
        auto_anneal_vec: Any = None,
        auto_anneal_schedule: Any = None,
        train_bins: Any = None,
        symb_exists: bool = True,
        use_ASD: bool = True,
        add_filters: bool = False,
        fit_emissions: bool = True,
        GLM_emissions: bool = True,
        GLM_transitions: bool = True,
        evaluate: bool = False,
        generate: bool = False,
        L2_smooth: bool = False,
        analog_flag: bool = False,
        auto_anneal: bool = False,
        anneal_lambda: bool = False,
        get_error_bars: bool = False,
        CV_regularize: bool = False,
        cross_validate: bool = False,
    ):
        self.random_state = random_state
        self.tol = tol
        self.max_iter = max_iter
        self.num_samples = num_samples
        self.num_states = num_states
        self.num_emissions = num_emissions
        self.num_feedbacks = num_feedbacks
        self.num_filter_bins = num_filter_bins
        self.num_steps = num_steps
        self.filter_offset = filter_offset
        self.init_loglik = init_loglik
        self.smooth_lambda = smooth_lambda
        self.emit_lambda = emit_lambda
        self.trans_lambda = trans_lambda
        self.AR_lambda = AR_lambda
        self.AR_vec = AR_vec
        self.stim_vec = stim_vec
        self.auto_anneal_vec = auto_anneal_vec
        self.auto_anneal_schedule = auto_anneal_schedule
        self.train_bins = train_bins
        self.symb_exists = symb_exists
        self.use_ASD = use_ASD
        self.add_filters = add_filters
        self.fit_emissions = fit_emissions
        self.GLM_emissions = GLM_emissions
        self.GLM_transitions = GLM_transitions
        self.evaluate = evaluate
        self.generate = generate
        self.L2_smooth = L2_smooth
        self.analog_flag = analog_flag
        self.auto_anneal = auto_anneal
        self.anneal_lambda = anneal_lambda
        self.get_error_bars = get_error_bars
        self.CV_regularize = CV_regularize
        self.cross_validate = cross_validate

    def fit(
        self,
        X: Any,
        y: Any,
        y_analog: Any = (),
        *,
        emit_w_init: Any = None,
        trans_w_init: Any = None,
    ) -> list[dict[str, Any]]:
        """Fit by EM, and return every iteration.

        Unlike other estimators of scikit-learn it returns the history, as the
        predecessor does, and not itself. A second call starts afresh.

        Args:
            X: list of arrays (features, bins), one for each trial.
            y: list of labels (bins,) or (1, bins), whole numbers from 0, NaN or None
                where a bin has none.
            y_analog: must be empty; analog emissions come in a later release.
            emit_w_init: starting weights (state, label - 1, feature). By default
                exponential filters of random sign and size, offsets 0.
            trans_w_init: starting weights (origin, destination, feature), likewise.

        Returns:
            One dictionary for each EM iteration, whose arrays belong to it alone:

            - ``emit_w`` (state, label - 1, feature) and ``trans_w`` (origin,
              destination, feature), the weights after the iteration;
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
            - ``penalised_log_likelihood``, the same minus the ridge penalties times the
              number of bins, which EM maximises and which never falls.

        Raises:
            ValueError: naming the argument or parameter, what it must be and what came.
            TypeError: for arguments of the wrong type.

        Warns:
            ConvergenceWarning: the stopping rule was not met, or weights have no
                finite maximum.
        """
        check_parameters(self.get_params(deep=False))
        if y_analog is not None and len(y_analog):
            raise ValueError(
                f"y_analog must be empty in this release, got {len(y_analog)} trials: "
                "analog emissions come in a later one"
            )
        if y is None:
            raise ValueError("y must be a list of labels to fit, got None")
        emit_w, trans_w, num_features, why = self._given(emit_w_init, trans_w_init)
        data = trials_to_sequences(X, y, int(self.num_emissions), num_features, why)
        emit_w, trans_w = self._started(data, emit_w, trans_w)
        model = original_model(
            len(emit_w),
            emit_w.shape[1] + 1,
            self.emit_lambda,
            self.trans_lambda,
            data.num_steps,
        )
        params = original_params(emit_w, trans_w, data.num_sessions)
        model.bind(data)
        engine = OriginalEM(
            self.max_iter, self.tol, self.init_loglik, self.fit_emissions
        )
        # The model is traced with draws from its priors, which decide nothing here.
        with torch.random.fork_rng(devices=[]):
            iterations, converged = engine.run(model, data, params)
        penalties = (self.emit_lambda, self.trans_lambda)
        history = [history_entry(i, data, trans_w, *penalties) for i in iterations]
        self.emit_w_init_, self.trans_w_init_ = emit_w, trans_w
        self._keep(history, converged)
        self._judge(model, data, iterations[-1], converged)
        return history

    def predict(self, X: Any, y: Any = None) -> list[np.ndarray]:
        """The most probable label at every bin, as :meth:`predict_proba` gives it.

        Args:
            X: list of arrays (features, bins).
            y: labels of the same bins, of which each prediction reads the earlier ones;
                ``None`` predicts from the covariates alone.

        Returns:
            A list of integer arrays (bins,).
        """
        return [probs.argmax(-1) for probs in self.predict_proba(X, y)]

    def predict_proba(self, X: Any, y: Any = None) -> list[np.ndarray]:
        """Probabilities of the labels at every bin, one step ahead.

        They are p(y_t | y_0..t-1, X). Where ``y`` is ``None`` no label is known (open
        loop): the states follow from the covariates alone, p(y_t | X). First states are
        uniform, as at the original's first E-step.

        Args:
            X: list of arrays (features, bins).
            y: list of labels (bins,), NaN where there is none, or ``None``.

        Returns:
            A list of arrays (bins, labels).
        """
        data, hidden = self._on(X, y)
        states = hidden.predicted_probs(data.emissions)
        return self._split(data, hidden.expected_emission(states))

    def predict_states(self, X: Any, y: Any = None) -> list[np.ndarray]:
        """The most probable path of hidden states (Viterbi); uniform first states.

        Args:
            X: list of arrays (features, bins).
            y: list of labels (bins,), or ``None`` to go by the covariates alone.

        Returns:
            A list of integer arrays (bins,).
        """
        data, hidden = self._on(X, y)
        return self._split(data, hidden.viterbi_states(data.emissions))

    def predict_states_proba(self, X: Any, y: Any = None) -> list[np.ndarray]:
        """Probabilities p(z_t | y, X) of the hidden states given all labels of a trial.

        Args:
            X: list of arrays (features, bins).
            y: list of labels (bins,), or ``None`` to go by the covariates alone.

        Returns:
            A list of arrays (bins, states).
        """
        data, hidden = self._on(X, y)
        return self._split(data, hidden.smoothed_probs(data.emissions))

    def score(self, X: Any, y: Any) -> float:
        """Marginal log-likelihood per labelled bin, nats; uniform first states.

        Args:
            X: list of arrays (features, bins).
            y: list of labels (bins,), NaN where there is none.
        """
        if y is None:
            raise ValueError("y must be a list of labels to score against, got None")
        data, hidden = self._on(X, y)
        observed = data.num_steps if data.mask is None else int(data.mask.sum())
        with torch.no_grad():
            return float(hidden.log_prob(data.emissions).sum()) / observed

    def _given(
        self, emit_w: Any, trans_w: Any
    ) -> tuple[np.ndarray | None, np.ndarray | None, int, str]:
        """Starting weights as far as given; the number of features, and whence."""
        states, free = int(self.num_states), int(self.num_emissions) - 1
        features, why = None, ""
        if emit_w is not None:
            emit_w = given_weights("emit_w_init", emit_w, (states, free, None))
            features, why = emit_w.shape[2], "as many rows as emit_w_init has features"
        if trans_w is not None:
            shape = (states, states, features)
            trans_w = given_weights("trans_w_init", trans_w, shape)
        if emit_w is None or trans_w is None:
            cues = self.num_feedbacks * self.num_filter_bins
            features = int(cues + self.filter_offset)
            why = "as num_feedbacks * num_filter_bins + filter_offset says"
        return emit_w, trans_w, int(features or 0), why

    def _started(
        self, data: Sequences, emit_w: np.ndarray | None, trans_w: np.ndarray | None
    ) -> tuple[np.ndarray, np.ndarray]:
        """The starting weights, those that were not given drawn."""
        if emit_w is not None and trans_w is not None:
            return emit_w, trans_w
        generator = generator_of(self.random_state)
        cues, bins = int(self.num_feedbacks), int(self.num_filter_bins)
        draw = ExponentialStart(data, cues, bins, generator)
        states, free = int(self.num_states), int(self.num_emissions) - 1
        drawn_emit_w, drawn_trans_w = draw(states, free), draw.transitions(states)
        return (
            drawn_emit_w if emit_w is None else emit_w,
            drawn_trans_w if trans_w is None else trans_w,
        )

    def _keep(self, history: list[dict[str, Any]], converged: bool) -> None:
        """The attributes of a fitted estimator, none shared with the history."""
        last = history[-1]
        self.emit_w_, self.trans_w_ = last["emit_w"].copy(), last["trans_w"].copy()
        self.loglik_ = last["loglik"]
        self.marginal_log_likelihood_ = last["marginal_log_likelihood"]
        self.converged_, self.n_iter_ = converged, len(history)
        self.n_features_in_ = self.emit_w_.shape[2]
        self.is_fitted_ = True

    def _judge(
        self, model: GLMHMM, data: Sequences, last: Iteration, converged: bool
    ) -> None:
        """Record how the fit ended; warn if that is no proper maximum."""
        params = {name: value[0] for name, value in last.params.items()}
        found = unbounded_weights(model, data, distribution(model, data, params))
        ended = Status.CONVERGED if converged else Status.MAX_ITERS
        self.status_ = Status.UNBOUNDED if found else ended
        if self.status_ is Status.CONVERGED:
            return
        advice = (
            "give emit_lambda and trans_lambda above 0, which makes the maximum finite"
            if found
            else "raise max_iter or tol, or give other starting weights"
        )
        details = "; ".join((self.status_.sentence,) + found)
        warnings.warn(f"{details}. Please {advice}", ConvergenceWarning, 3)

    def _on(self, X: Any, y: Any) -> tuple[Sequences, HiddenMarkov]:
        """New trials, and their distribution at the fitted weights."""
        check_is_fitted(self)
        states, free, features = self.emit_w_.shape
        why = "as in fit"
        data = trials_to_sequences(X, y, free + 1, features, why)
        model = original_model(states, free + 1)
        params = original_params(self.emit_w_, self.trans_w_, data.num_sessions)
        params = {name: value[0] for name, value in params.items()}
        hidden = distribution(model, data, params)
        return data, hidden if y is not None else without_emissions(hidden)

    @staticmethod
    def _split(data: Sequences, values: torch.Tensor) -> list[np.ndarray]:
        """An array of its own for every trial."""
        return [part.numpy().copy() for part in data.split(values)]

/* Log-likelihood of one session and its derivatives, in one pass forth and one back.

   K states and C classes are defined by the compiler's command line. Scores hold, step
   by step, K (C-1) emission scores against class 0, then K (K-1) transition scores
   against staying. On return, residuals hold the derivative with respect to each score,
   and first is increased by the posterior of the first state. The other arrays are
   memory of the caller's. */

#include <math.h>
#include <stddef.h>

#define E (K * (C - 1))
#define P (E + K * (K - 1))

/* Softmax of n scores and the 0 of the reference: probabilities of the n, minus the
   logarithm of the reference's. */
static double softmax(int n, const double *score, double *prob) {
  double largest = 0, total;
  for (int i = 0; i < n; i++) largest = score[i] > largest ? score[i] : largest;
  total = exp(-largest);
  for (int i = 0; i < n; i++) total += prob[i] = exp(score[i] - largest);
  for (int i = 0; i < n; i++) prob[i] /= total;
  return largest + log(total);
}

double evaluate(size_t steps, const double *scores, const long *labels,
                const double *initial, double *first, double *residuals, double *alpha,
                double *moves, double *likely, double *scale) {
  double total = 0, beta[K], ahead[K];
  for (size_t t = 0; t < steps; t++) {
    const double *score = scores + t * P, *before = alpha + (t ? t - 1 : 0) * K;
    double *residual = residuals + t * P, *move = moves + t * K * K;
    double *now = alpha + t * K, log_probs[K], largest = -INFINITY, sum = 0;
    int label = (int)labels[t];
    for (int k = 0; k < K; k++) {
      const double *own = score + k * (C - 1);
      log_probs[k] = -softmax(C - 1, own, residual + k * (C - 1));
      if (label) log_probs[k] += own[label - 1];
      largest = log_probs[k] > largest ? log_probs[k] : largest;
    }
    for (int k = 0; k < K; k++) likely[t * K + k] = exp(log_probs[k] - largest);
    for (int i = 0; t && i < K; i++) {
      double leave[K], staying = 1;
      softmax(K - 1, score + E + i * (K - 1), leave);
      for (int j = 0, n = 0; j < K; j++)
        if (j != i) staying -= move[i * K + j] = leave[n++];
      move[i * K + i] = staying;
    }
    for (int j = 0; j < K; j++) {
      double arriving = t ? 0 : initial[j];
      for (int i = 0; t && i < K; i++) arriving += before[i] * move[i * K + j];
      sum += now[j] = arriving * likely[t * K + j];
    }
    scale[t] = 1 / sum;
    for (int j = 0; j < K; j++) now[j] *= scale[t];
    total += largest + log(sum);
  }
  for (int k = 0; k < K; k++) beta[k] = 1;
  for (size_t t = steps; t-- > 0;) {
    double *residual = residuals + t * P, posterior[K];
    const double *move = moves + t * K * K, *before = alpha + (t ? t - 1 : 0) * K;
    int label = (int)labels[t];
    for (int k = 0; k < K; k++) {
      posterior[k] = alpha[t * K + k] * beta[k];
      for (int c = 0; c < C - 1; c++) {
        double *own = residual + k * (C - 1) + c;
        *own = posterior[k] * ((label == c + 1) - *own);
      }
    }
    if (!t) {
      for (int k = 0; k < K; k++) first[k] += posterior[k];
      for (int j = E; j < P; j++) residual[j] = 0;
      break;
    }
    for (int j = 0; j < K; j++) ahead[j] = likely[t * K + j] * beta[j] * scale[t];
    for (int i = 0; i < K; i++) {
      double sum = 0, joint[K];
      for (int j = 0; j < K; j++) sum += joint[j] = move[i * K + j] * ahead[j];
      beta[i] = sum;
      for (int j = 0, n = 0; j < K; j++)
        if (j != i)
          residual[E + i * (K - 1) + n++] =
              before[i] * (joint[j] - sum * move[i * K + j]);
    }
  }
  return total;
}

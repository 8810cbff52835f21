"""How far confidence is from accuracy."""

from __future__ import annotations

import numpy as np

from lnlbench.api.metric import Metric, Predictions

BINS = 15


class ExpectedCalibrationError(Metric):
    """Expected calibration error of the predicted class, in 15 bins of equal width.

    Mean over samples of the distance between mean confidence and accuracy in the sample's bin; bin m of M
    holds confidences in ((m − 1)/M, m/M].

    Source: Guo, Pleiss, Sun & Weinberger, On Calibration of Modern Neural Networks, ICML 2017, equation 3.
    """

    title = "calibration error"
    better = "lower"
    meaning = "expected calibration error in 15 bins of equal width"
    bounds = (0.0, 100.0)

    def measure(self, predictions: Predictions) -> float:
        """Return it in percent."""
        bins = np.clip(np.ceil(predictions.confidence * BINS).astype(np.int64) - 1, 0, BINS - 1)
        right = (predictions.predicted == predictions.labels).astype(np.float64)
        # Sums and not means: the sizes of the bins cancel out.
        gaps = np.bincount(bins, weights=predictions.confidence - right, minlength=BINS)
        return 100.0 * float(np.abs(gaps).sum()) / len(predictions)

"""Distributions are scipy's, and are not imported before they are needed."""

import subprocess
import sys

import numpy as np
from scipy import special, stats

from vitascope.metrics import distributions
from vitascope.metrics.few_units import LEVEL


def test_they_are_those_of_scipy() -> None:
    assert float(special.ndtri(0.5 + LEVEL / 2)) == distributions.Z
    for p in (1e-12, 0.025, 0.3, 0.5, 0.8, 0.975):
        quantile = distributions.normal_quantile(p)
        assert quantile == float(special.ndtri(p))
        assert distributions.normal_cdf(quantile) == float(special.ndtr(quantile))
        np.testing.assert_allclose(quantile, stats.norm.ppf(p), rtol=1e-12)
        for freedom in (1, 2.5, 30, 10_000):
            x = distributions.t_quantile(freedom, p)
            assert x == float(special.stdtrit(freedom, p))
            assert distributions.t_cdf(freedom, x) == float(special.stdtr(freedom, x))
            np.testing.assert_allclose(x, stats.t(freedom).ppf(p), rtol=1e-7, atol=1e-12)
    for count, n in ((0, 5), (3, 20), (40, 40)):
        np.testing.assert_allclose(distributions.binomial_cdf(count, n, 0.5), stats.binom(n, 0.5).cdf(count))


def test_scipy_waits() -> None:
    code = (
        "import sys, vitascope.report.page, vitascope.evaluation.evaluate\nassert 'scipy' not in sys.modules\n"
        "from vitascope.metrics import distributions\ndistributions.normal_cdf(0.0)\n"
        "assert 'scipy.special' in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True)
    assert done.returncode == 0, done.stderr.decode()

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


def run(code: str) -> None:
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True)
    assert done.returncode == 0, done.stderr.decode()


USED = "import sys, threading\nfrom vitascope.metrics import distributions\nx = distributions.t_quantile(9, 0.3)\n"
SAME = "import scipy.special, scipy.stats\nassert x == float(scipy.special.stdtrit(9, 0.3))\n"


def test_scipy_waits() -> None:
    run("import sys, vitascope.report.page, vitascope.evaluation.evaluate\nassert 'scipy' not in sys.modules")


def test_the_package_is_not_started_and_starts_afterwards() -> None:
    lean = "assert 'scipy.special' not in sys.modules and 'numpy.f2py' not in sys.modules\n"
    run(f"{USED}{lean}{SAME}assert scipy.special.stdtrit is distributions._compiled().stdtrit")


def test_the_whole_package_where_it_is_there_or_another_thread_runs() -> None:
    run(f"import scipy.special\n{USED}{SAME}assert distributions._compiled() is scipy.special")
    wait = "import threading\nend = threading.Event()\nthreading.Thread(target=end.wait).start()\n"
    run(f"{wait}{USED}assert distributions._compiled() is sys.modules['scipy.special']\n{SAME}end.set()")


def test_another_layout_of_scipy() -> None:
    hidden = (
        "import sys\nclass Hide:\n    def find_spec(self, name, path=None, target=None):\n"
        "        if name == 'scipy.special._ufuncs' and not hasattr(sys.modules['scipy.special'], '__file__'):\n"
        "            raise ImportError(name)\nsys.meta_path.insert(0, Hide())\n"
    )
    run(f"{hidden}{USED}{SAME}assert distributions._compiled() is scipy.special")

"""Normal, Student's t and binomial distributions by scipy, of which only the compiled functions are imported, and late.

The start of `scipy.special` wraps them for other array libraries, which takes 0.15 s: more than the scores of a small
run.
"""

from __future__ import annotations

import sys
import threading
from functools import cache
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

Z = 1.959963984540054
"""The normal quantile of 95 % intervals, `normal_quantile(0.975)`."""
NAME = "scipy.special"


def normal_cdf(x: float) -> float:
    """Probability that a standard normal variable is at most `x`."""
    return float(_compiled().ndtr(x))


def normal_quantile(p: float) -> float:
    """The value that a standard normal variable does not exceed with probability `p`."""
    return float(_compiled().ndtri(p))


def t_cdf(freedom: float, x: float) -> float:
    """Probability that Student's t with `freedom` degrees of freedom is at most `x`."""
    return float(_compiled().stdtr(freedom, x))


def t_quantile(freedom: float, p: float) -> float:
    """The value that Student's t with `freedom` degrees of freedom does not exceed with probability `p`."""
    return float(_compiled().stdtrit(freedom, p))


def binomial_cdf(count: int, n: int, p: float) -> float:
    """Probability of at most `count` successes in `n` trials."""
    return float(_compiled().bdtr(count, n, p))


@cache
def _compiled() -> Any:
    """The compiled functions; `import scipy.special` works as ever afterwards, with the same functions.

    The whole package where it is imported already, where another thread may want it meanwhile, and where the functions
    are elsewhere in a version of scipy.
    """
    if NAME in sys.modules or threading.active_count() > 1:
        return import_module(NAME)
    import scipy

    package = sys.modules[NAME] = ModuleType(NAME)  # that of a module has to be there, and does not have to be started
    package.__path__ = [str(Path(scipy.__file__).parent / "special")]
    try:
        compiled = import_module(f"{NAME}._ufuncs")
    except ImportError:
        compiled = None
    finally:
        del sys.modules[NAME]
    known = all(hasattr(compiled, name) for name in ("ndtr", "ndtri", "stdtr", "stdtrit", "bdtr"))
    return compiled if known else import_module(NAME)

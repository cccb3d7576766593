"""View and Probe: a question put to frozen features, and how it wants to see them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol, TypeAlias, TypeVar, runtime_checkable

from vitascope.core.types import Example, Kind, Score
from vitascope.features.base import Features
from vitascope.features.view import View

T_contra = TypeVar("T_contra", contravariant=True)
P = TypeVar("P")
Q = TypeVar("Q", bound=Any)


class WorkloadSize(NamedTuple):
    """How much there is to train and to test, for a forecast."""

    train: int
    """Training examples."""
    test: int
    train_clips: int
    """Clips of a training example."""
    test_clips: int
    tokens: int
    """Vectors of a clip: 1, or the places of its grid."""
    dim: int
    classes: int


class PredictionList(list[P]):
    """Predictions, and what the probe says of how they came about: which of a grid was chosen, how the others did."""

    def __init__(self, predictions: Iterable[P] = (), **about: Any) -> None:
        super().__init__(predictions)
        self.about = about
        """Plain data."""


class TestPredictions(NamedTuple):
    """The test examples of all folds, and what was said of them after the trainings of one seed."""

    examples: Sequence[Example[Any]]
    folds: Sequence[int]
    """The number of the fold that each was tested in."""
    predictions: Sequence[Any]
    classes: Sequence[str]

    @property
    def groups(self) -> list[str | None]:
        """Of the examples."""
        return [e.group for e in self.examples]

    @property
    def columns(self) -> dict[str, list[Any]]:
        """What a file of predictions says of every example, whatever is asked."""
        return {
            "id": [e.id for e in self.examples],
            "fold": list(self.folds),
            "group": [group or "" for group in self.groups],
        }


class ScoredPredictions(NamedTuple):
    """What predictions are worth, and what is kept of them."""

    scores: dict[str, Score]
    """The headline first."""
    per_class: dict[str, Score]
    columns: dict[str, list[Any]]
    """Every prediction with its truth: a row an example."""
    diagnosis: dict[str, Any] = {}  # noqa: RUF012 - of a NamedTuple, never written to
    """What is wrong with them, as plain data."""


@runtime_checkable
class Probe(Protocol[T_contra, P]):
    """A question put to frozen features; hyper-parameters are the fields of the frozen dataclass that implements it."""

    name: str
    """As on the command line, variant included: `knn/clip`."""
    version: int
    """Counts up whenever the same inputs would give another number."""
    train: View
    test: View

    # Optional. `random`: False where the seed changes nothing. `resumes`: True where `predict` takes a `scratch`, the
    # path beside which an interrupted training can go on. `shows`: True where `predict` takes a `line`, what its line
    # of progress begins with; without one it says nothing. `on(family)`: the probe as it is on that data set.
    # `passes(train)`: how often so many training examples are read. `multiply_adds(load)`: what that costs. `kind`: of
    # the data sets that it can be asked of, where that is not recognition. `judge(asked, rng)`: what an `TestPredictions` is
    # worth, `ScoredPredictions`, where the headline is no mean of `outcomes`. `nothing`: the prediction that stands for what could
    # not be read, where that counts as missed; else such examples are not scored.

    def predict(self, train: Features[T_contra], test: Features[T_contra], *, seed: int) -> Sequence[P]:
        """One prediction for each example of `test`, in order; `PredictionList` where there is more to say.

        What `test` turns out not to be able to read (`Features.failures`) gets a prediction of NaN.
        """
        ...

    def score(self, predictions: Sequence[P], truth: Sequence[T_contra]) -> Mapping[str, float]:
        """Named scores, the headline first; accuracies and the like in percent."""
        ...

    def outcomes(self, predictions: Sequence[P], truth: Sequence[T_contra]) -> Sequence[float]:
        """The headline score of each example alone; their mean is the headline; intervals and tests draw these."""
        ...


AnyProbe: TypeAlias = Probe[Any, Any]


def kind_of(probe: AnyProbe) -> Kind:
    """What a probe asks."""
    kind: Kind = getattr(probe, "kind", "recognition")
    return kind

"""Probe: the base class of what is trained and tested on frozen features, and what it returns."""

from __future__ import annotations

import difflib
import inspect
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar, Generic, NamedTuple, TypeAlias, TypeVar

import numpy as np

from vitascope.core.data_warning import DataWarning
from vitascope.core.types import Dataset, Example, Kind, Score
from vitascope.features.base import Features
from vitascope.features.view import View

T = TypeVar("T")
P = TypeVar("P")
Q = TypeVar("Q", bound=Any)


class WorkloadSize(NamedTuple):
    """Amount of data to train and test on, for cost estimates."""

    train: int
    """Number of training examples."""
    test: int
    """Number of test examples."""
    train_clips: int
    """Clips per training example."""
    test_clips: int
    """Clips per test example."""
    tokens: int
    """Vectors per clip: 1, or the number of tokens of its grid."""
    dim: int
    """Size of a vector."""
    classes: int


class PredictionList(list[P]):
    """Predictions with notes on the training: the selected candidate, and the scores of all."""

    def __init__(self, predictions: Iterable[P] = (), **about: Any) -> None:
        super().__init__(predictions)
        self.about = about
        """Notes as plain data."""


class TestPredictions(NamedTuple):
    """Test examples of all folds, and their predictions with one seed."""

    examples: Sequence[Example[Any]]
    folds: Sequence[int]
    """Index of the fold in which each was tested."""
    predictions: Sequence[Any]
    classes: Sequence[str]
    class_groups: Mapping[str, Sequence[int]] = {}
    """Classes that are also scored apart, by name."""

    @property
    def groups(self) -> list[str | None]:
        """Groups of the examples."""
        return [e.group for e in self.examples]

    @property
    def columns(self) -> dict[str, list[Any]]:
        """Columns of a predictions file common to all task types."""
        return {
            "id": [e.id for e in self.examples],
            "fold": list(self.folds),
            "group": [group or "" for group in self.groups],
        }


class ScoredPredictions(NamedTuple):
    """Scores of predictions, and the columns to store."""

    scores: dict[str, Score]
    """Scores by name, the headline first."""
    per_class: dict[str, Score]
    columns: dict[str, list[Any]]
    """Predictions and ground truth, one row per example."""
    diagnosis: dict[str, Any] = {}  # noqa: RUF012 - of a NamedTuple, never written to
    """Error analysis as plain data."""
    chance: float | None = None
    """Headline of guessing, if it is known."""


OPTIONAL = (
    *("kind", "resumes", "reports_progress", "missing_prediction", "random", "selects_on_test"),
    *(
        "order_aware",
        "needs_classes",
        "for_dataset",
        "part_of",
        "check_dataset",
        "passes",
        "multiply_adds",
        "score_predictions",
        "warnings",
    ),
)
"""Attributes that a probe may declare; a similar name is taken for a misspelling."""
SIMILAR = 0.8
"""Similarity of two words, 0 to 1, from which one is taken for the other misspelled."""


def _check_spelling(kind: type[AnyProbe]) -> None:
    """TypeError for an attribute of a class that looks like a misspelled optional one."""
    known = {word for base in kind.__mro__[1:] for word in vars(base).keys() | inspect.get_annotations(base).keys()}
    for word in vars(kind).keys() | inspect.get_annotations(kind).keys():
        meant = difflib.get_close_matches(word, OPTIONAL, n=1, cutoff=SIMILAR)
        declared = getattr(vars(kind).get(word), "__isabstractmethod__", False)
        if meant and word not in known and not declared and not word.startswith("_"):
            # every other optional attribute is the base class's own, hence known
            hint = "inherit from JointlyScored" if meant[0] == word else f"did you mean {meant[0]!r}?"
            raise TypeError(f"{kind.__name__}.{word}: no such attribute of probes; {hint}")


class Probe(ABC, Generic[T, P]):
    """Base class of probes; a subclass is a frozen dataclass whose fields are the hyper-parameters.

    Only the fields, the class name and the bytes of `input_files` enter the digest of a protocol.
    """

    name: str
    """As on the command line, variant included: `knn/clip`."""
    version: int
    """Counts up whenever the same inputs would give another number."""
    train: View
    test: View

    kind: ClassVar[Kind] = "recognition"
    """The kind of datasets that it can be evaluated on."""
    resumes: ClassVar[bool] = False
    """Whether `predict` takes `scratch`, the path of a file from which an interrupted training resumes."""
    reports_progress: ClassVar[bool] = False
    """Whether `predict` takes `line`, the label of a progress bar; empty: none is shown."""
    needs_classes: ClassVar[bool] = True
    """Whether examples must be of two classes or more; else videos without labels will do."""
    missing_prediction: ClassVar[Any] = None
    """The prediction for examples that cannot be read, where these count as missed; None: they are not scored."""

    def __init_subclass__(cls, **more: Any) -> None:
        """Refuse a subclass whose declarations contradict each other, or that misspells an optional one."""
        super().__init_subclass__(**more)
        _check_spelling(cls)
        taken = inspect.signature(cls.predict).parameters
        for flag, argument in (("resumes", "scratch"), ("reports_progress", "line")):
            if getattr(cls, flag) and argument not in taken:
                raise TypeError(f"{cls.__name__}.{flag} is True, but predict() takes no {argument!r}")

    @property
    def random(self) -> bool:
        """Whether the seed changes the predictions; else one seed is evaluated whatever their number."""
        return True

    @property
    def selects_on_test(self) -> bool:
        """Whether it chooses among several models by their test scores; it then shares no training with other views."""
        return False

    @property
    def order_aware(self) -> bool | None:
        """Whether predictions can depend on the order of the vectors or time steps that it reads; None: not known.

        Of an encoder whose `Card.framewise` is set, a probe that is not aware of it cannot tell the order of frames.
        """
        return None

    @property
    def input_files(self) -> tuple[str, ...]:
        """Files other than videos that predictions depend on; their bytes enter the digest of the protocol."""
        return ()

    def for_dataset(self, family: str) -> Probe[T, P]:
        """The probe with the settings that it has on the datasets called `family`."""
        return self

    def part_of(self, dataset: Dataset[Any]) -> Dataset[Any]:
        """The data set as it is evaluated on it: some of its examples, other folds; `dataset` itself for all of it."""
        return dataset

    def check_dataset(self, dataset: Dataset[T]) -> None:
        """Raise UserError for a dataset that it cannot be evaluated on, before anything of it is encoded."""

    def passes(self, train: int) -> int:
        """How often each of `train` training examples is read, for the cost estimate."""
        return 1

    def multiply_adds(self, load: WorkloadSize) -> float:
        """Multiply-adds of one training and test, for the cost estimate."""
        return 0.0

    def warnings(self, tested: int) -> Sequence[DataWarning]:
        """What its scores on `tested` examples do not tell though they seem to; part of every output of them."""
        return ()

    @abstractmethod
    def predict(self, train: Features[T], test: Features[T], *, seed: int) -> Sequence[P]:
        """One prediction for each example of `test`, in order; `PredictionList` to report how they were made.

        Examples that cannot be read (`Features.failures`, complete after reading) get a prediction of NaN.
        """

    @abstractmethod
    def score(self, predictions: Sequence[P], truth: Sequence[T]) -> Mapping[str, float]:
        """Named scores, the headline first; accuracies and the like in percent."""

    @abstractmethod
    def outcomes(self, predictions: Sequence[P], truth: Sequence[T]) -> Sequence[float]:
        """The headline score of each example alone. Their mean is the headline, unless the probe is `JointlyScored`;
        intervals and paired tests resample them."""


class JointlyScored(Probe[T, P]):
    """Base class of probes whose headline is no mean of `outcomes`, such as mAP over all videos."""

    @abstractmethod
    def score_predictions(self, test: TestPredictions, rng: np.random.Generator) -> ScoredPredictions:
        """Scores with intervals of all test predictions of one seed; `rng` draws the resamples."""


AnyProbe: TypeAlias = Probe[Any, Any]

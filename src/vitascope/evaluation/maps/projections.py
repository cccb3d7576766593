"""Projections of vectors to the plane: PCA, t-SNE, UMAP and LDA, by name and with options."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray

from vitascope.core import option_text
from vitascope.core.errors import MissingPackageError, UserError
from vitascope.core.text import counted, nearest
from vitascope.metrics.neighborhoods import purity

SEED = 1212
"""Of every projection with randomness, as in the TWLV-I report."""
FOLDS = 5
PLANE = 2


@runtime_checkable
class Projection(Protocol):
    """A way to draw n vectors as n points of the plane."""

    @property
    def title(self) -> str:
        """Its name in headings."""
        ...

    def __call__(self, vectors: Float[ndarray, "n d"], labels: Int[ndarray, "n"]) -> Float[ndarray, "n 2"]:
        """Project; UserError where these points cannot be projected so."""
        ...


@dataclass(frozen=True, slots=True)
class PCA:
    """Principal components: the plane in which the points vary most."""

    seed: int = SEED
    """Of the randomized solver that scikit-learn takes for many points."""

    @property
    def title(self) -> str:
        """Its name in headings."""
        return "PCA"

    def __call__(self, vectors: Float[ndarray, "n d"], labels: Int[ndarray, "n"]) -> Float[ndarray, "n 2"]:
        """Project, with scikit-learn."""
        from sklearn import decomposition

        points: Float[ndarray, "n 2"] = decomposition.PCA(PLANE, random_state=self.seed).fit_transform(vectors)
        return points


@dataclass(frozen=True, slots=True)
class TSNE:
    """t-SNE with scikit-learn's defaults: neighbors stay neighbors; distances and sizes of clusters mean nothing."""

    perplexity: float = 30.0
    """About how many neighbors of each point are kept close."""
    init: Literal["pca", "random"] = "pca"
    """Where the points start."""
    seed: int = SEED

    @property
    def title(self) -> str:
        """Its name in headings."""
        return "t-SNE"

    def __call__(self, vectors: Float[ndarray, "n d"], labels: Int[ndarray, "n"]) -> Float[ndarray, "n 2"]:
        """Project, with scikit-learn; UserError for a perplexity that the number of points does not allow."""
        from sklearn import manifold

        _check_perplexity(self.perplexity, len(vectors))
        model = manifold.TSNE(PLANE, perplexity=self.perplexity, init=self.init, random_state=self.seed)
        points: Float[ndarray, "n 2"] = model.fit_transform(np.asarray(vectors, np.float32))
        return points


@dataclass(frozen=True, slots=True)
class OpenTSNE:
    """t-SNE by openTSNE, faster on many points; needs `pip install 'vitascope[maps]'`."""

    perplexity: float = 30.0
    """About how many neighbors of each point are kept close."""
    init: Literal["pca", "random", "spectral"] = "pca"
    """Where the points start."""
    seed: int = SEED

    @property
    def title(self) -> str:
        """Its name in headings."""
        return "t-SNE (openTSNE)"

    def __call__(self, vectors: Float[ndarray, "n d"], labels: Int[ndarray, "n"]) -> Float[ndarray, "n 2"]:
        """Project, with openTSNE; UserError for a perplexity that the number of points does not allow."""
        _check_perplexity(self.perplexity, (len(vectors) + 2) // 3, "three times as many points as the perplexity")
        module = _optional("openTSNE", "opentsne")
        model = module.TSNE(perplexity=self.perplexity, initialization=self.init, random_state=self.seed, n_jobs=-1)
        return np.asarray(model.fit(np.asarray(vectors, np.float64)))


@dataclass(frozen=True, slots=True)
class UMAP:
    """UMAP with its own defaults; needs `pip install 'vitascope[maps]'`."""

    neighbors: int = 15
    """Neighbors of each point that are kept close."""
    min_dist: float = 0.1
    """Smallest distance of two points in the picture."""
    seed: int = SEED

    @property
    def title(self) -> str:
        """Its name in headings."""
        return "UMAP"

    def __call__(self, vectors: Float[ndarray, "n d"], labels: Int[ndarray, "n"]) -> Float[ndarray, "n 2"]:
        """Project, with umap-learn; UserError for more neighbors than there are points, or too few points."""
        if not 2 <= self.neighbors < len(vectors) or len(vectors) < PLANE + 3:
            raise UserError(
                f"umap: {self.neighbors} neighbors of {counted(len(vectors), 'point')}: there must be at least 2 and "
                "fewer than points, and 5 points; set umap+neighbors=5 or use --method pca"
            )
        module = _optional("umap", "umap")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that a seed leaves one thread, and of its own dependencies
            model = module.UMAP(n_neighbors=self.neighbors, min_dist=self.min_dist, random_state=self.seed)
            return np.asarray(model.fit_transform(np.asarray(vectors, np.float32)))


@dataclass(frozen=True, slots=True)
class LDA:
    """Linear discriminants: the plane that separates the classes of the points it is fitted on, and drawn with, best.

    It separates pure noise too, if there are dimensions enough: see `held_out_purity`.
    """

    solver: Literal["svd", "eigen"] = "svd"
    """scikit-learn's solver; `eigen` can shrink."""
    shrinkage: str = "none"
    """Of the covariance, with `eigen`: none, auto or a number from 0 to 1."""

    def __post_init__(self) -> None:
        self._shrinkage()

    @property
    def title(self) -> str:
        """Its name in headings."""
        return "LDA"

    def __call__(self, vectors: Float[ndarray, "n d"], labels: Int[ndarray, "n"]) -> Float[ndarray, "n 2"]:
        """Project; with two classes there is one discriminant, and the points are spread over the other axis."""
        return self.fitted(vectors, labels)(vectors)

    def fitted(
        self, vectors: Float[ndarray, "n d"], labels: Int[ndarray, "n"]
    ) -> Callable[[Float[ndarray, "m d"]], Float[ndarray, "m 2"]]:
        """Return the projection that is fitted on these points; UserError where they do not allow one."""
        from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

        classes = len(np.unique(labels))
        if classes < 2 or len(vectors) <= classes:
            raise UserError(
                f"lda: {counted(classes, 'class', 'classes')} among {counted(len(vectors), 'point')}; it needs two "
                "classes and more points than classes; choose more with --class, or use --method pca"
            )
        kept = min(PLANE, classes - 1, vectors.shape[1])
        model = LinearDiscriminantAnalysis(self.solver, shrinkage=self._shrinkage(), n_components=kept)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of collinear variables: fewer points than dimensions
            model.fit(vectors, labels)
        return lambda others: _spread(model.transform(others))

    def _shrinkage(self) -> str | float | None:
        if self.shrinkage != "none" and self.solver == "svd":
            raise UserError("lda: the solver svd cannot shrink; add +solver=eigen")
        if self.shrinkage in ("none", "auto"):
            return None if self.shrinkage == "none" else "auto"
        share: float = option_text.read(float, self.shrinkage, "lda+shrinkage")
        if not 0 <= share <= 1:
            raise UserError(f"lda+shrinkage = {self.shrinkage!r} must be none, auto or a number from 0 to 1")
        return share


METHODS: dict[str, Projection] = {
    "pca": PCA(),
    "tsne": TSNE(),
    "opentsne": OpenTSNE(),
    "umap": UMAP(),
    "lda": LDA(),
}
"""Projections by name, with their defaults."""


def projection(text: str) -> tuple[str, Projection]:
    """Return the projection called `text`, `tsne+perplexity=50`, after its name; UserError with the nearest match."""
    parts = option_text.parse(text, path=False)
    if parts.name not in METHODS:
        raise UserError(
            f"--method {text!r}: no such projection{nearest(parts.name, METHODS)}; choose from {', '.join(METHODS)}"
        )
    changed: Any = option_text.changed(METHODS[parts.name], option_text.once(parts.options, text), text)
    return str(parts), changed


def held_out_purity(
    lda: LDA, vectors: Float[ndarray, "n d"], labels: Int[ndarray, "n"], groups: Int[ndarray, "n"], k: int
) -> Float[ndarray, "n"] | None:
    """Purity of each point among its k nearest in the plane that is fitted without the point's fold.

    The neighbors are points that the plane was fitted on. Groups are never divided between folds; None where that
    leaves fewer than two folds or two classes.
    """
    folds = grouped_folds(labels, groups)
    if folds.max(initial=0) < 1:
        return None
    values = np.full(len(labels), np.nan)
    for fold in range(int(folds.max()) + 1):
        test, train = folds == fold, folds != fold
        try:
            project = lda.fitted(vectors[train], labels[train])
        except UserError:
            return None
        values[test] = _purity_among(project(vectors[test]), project(vectors[train]), labels[test], labels[train], k)
    return values


def _purity_among(
    points: Float[ndarray, "m 2"],
    others: Float[ndarray, "n 2"],
    labels: Int[ndarray, "m"],
    of: Int[ndarray, "n"],
    k: int,
) -> Float[ndarray, "m"]:
    from sklearn.neighbors import NearestNeighbors

    search = NearestNeighbors(n_neighbors=min(k, len(others))).fit(others)
    values: Float[ndarray, "m"] = purity(search.kneighbors(points, return_distance=False), labels, of)
    return values


def grouped_folds(labels: Int[ndarray, "n"], groups: Int[ndarray, "n"], seed: int = SEED) -> Int[ndarray, "n"]:
    """The fold of each point, at most `FOLDS`: groups stay whole and are dealt out class by class, in random order."""
    _, first, codes = np.unique(groups, return_index=True, return_inverse=True)
    shuffled = np.random.default_rng(seed).permutation(len(first))
    order = shuffled[np.argsort(labels[first][shuffled], kind="stable")]
    dealt = np.empty(len(first), np.int64)
    dealt[order] = np.arange(len(first)) % min(FOLDS, len(first))
    return dealt[codes]


def _spread(points: Float[ndarray, "n k"]) -> Float[ndarray, "n 2"]:
    """Points of the plane; where there is one dimension, the other spreads them evenly at random."""
    if points.shape[1] == PLANE:
        return points
    height = float(np.ptp(points)) / 8 or 1.0
    return np.column_stack([points, np.random.default_rng(SEED).uniform(-height, height, len(points))])


def _check_perplexity(perplexity: float, points: int, needs: str = "more points than the perplexity") -> None:
    if not 0 < perplexity < points:
        raise UserError(
            f"t-SNE: perplexity {perplexity:g} needs {needs}, and above 0; set it, as in "
            f"--method tsne+perplexity={max(1, (points - 1) // 3)}, or use --method pca"
        )


def _optional(module: str, method: str) -> Any:
    """Import an optional package."""
    import importlib

    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise MissingPackageError(f"--method {method}: {error}; pip install 'vitascope[maps]'") from error


def check_installed(methods: Sequence[tuple[str, Projection]]) -> None:
    """Raise MissingPackageError before any work for a projection whose package is not installed."""
    for _, method in methods:
        if isinstance(method, OpenTSNE):
            _optional("openTSNE", "opentsne")
        if isinstance(method, UMAP):
            _optional("umap", "umap")

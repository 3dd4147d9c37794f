"""What a model must beat to be worth its size: the commonest class, and a linear one."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from volano.errors import AssetError, DataError

__all__ = [
    "BASELINES",
    "Baseline",
    "label_table_baselines",
    "label_text_baselines",
    "majority",
    "table_baselines",
    "tfidf_svm",
]

MAX_TRAIN_ROWS = 50_000
# Text beyond this is not read: time goes with the characters, n-grams of 2 to 5 of each.
MAX_TEXT_CHARACTERS = 2_000
MAX_TRAIN_CHARACTERS = 6_000_000
MAX_FEATURES = 200_000
MAX_COEFFICIENTS = 30_000_000  # features x classes: 240 MB

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Baseline:
    """A baseline's answers.

    Attributes:
      predictions: Class codes, shape (num_rows,), int64.
      num_train_rows: Rows it was fitted on; fewer than it was given when a bound applied.
      num_cut_texts: Training texts of which it read only the first 2,000 characters.
    """

    predictions: Ints
    num_train_rows: int
    num_cut_texts: int = 0


def majority(
    train_texts: Sequence[str],
    train_labels: npt.ArrayLike,
    texts: Sequence[str],
    *,
    seed: int = 0,  # noqa: ARG001 (the table's signature)
) -> Baseline:
    """The commonest class of the training rows, for every row; the smallest code of equals.

    Args:
      train_texts: One per training row; only their number matters here.
      train_labels: Shape (num_train_rows,), int class codes of at least 0.
      texts: The rows to answer.
      seed: Unused.
    Returns:
      Its answers.
    Raises:
      DataError: No training rows, or labels that do not fit them.
    Example:
      >>> majority(["a", "b", "c"], [1, 1, 0], ["d", "e"]).predictions.tolist()
      [1, 1]
    """
    labels_N = _checked_train_labels(train_texts, train_labels)
    code = int(np.bincount(labels_N).argmax())
    return Baseline(np.full(len(texts), code, dtype=np.int64), len(labels_N))


def tfidf_svm(
    train_texts: Sequence[str],
    train_labels: npt.ArrayLike,
    texts: Sequence[str],
    *,
    seed: int = 0,
) -> Baseline:
    """A linear support vector machine on TF-IDF of words (1-2) and of characters (2-5).

    The strongest classifier that trains in seconds on a CPU, and the one to beat. Words carry
    meaning; characters carry typos, inflections and scripts that put no spaces between words.

    Memory and time are bounded: beyond 50,000 rows or 6 million characters it is fitted on a
    random part of the rows (drawn with ``seed``; the first drawn of each class is always in), and
    the first 2,000 characters of a text are what it reads. ``num_train_rows`` and
    ``num_cut_texts`` say what that came to.

    Args:
      train_texts: One per training row.
      train_labels: Shape (num_train_rows,), int class codes of at least 0.
      texts: The rows to answer.
      seed: The same seed gives the same answers.
    Returns:
      Its answers. With one class, or no text with anything in it, those of :func:`majority`.
    Raises:
      DataError: No training rows, or labels that do not fit them.
      AssetError: scikit-learn is not installed.
    Example:
      >>> train = ["good film", "good book", "bad film", "bad book"]
      >>> tfidf_svm(train, [1, 1, 0, 0], ["a good one", "a bad one"]).predictions.tolist()
      [1, 0]

    References:
      Wang, Manning, `Baselines and Bigrams <https://aclanthology.org/P12-2018/>`_, 2012.
    """
    labels_N = _checked_train_labels(train_texts, train_labels)
    _need_sklearn()
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.svm import LinearSVC

    kept_M = _bounded_rows(train_texts, labels_N, seed)
    part = [train_texts[row][:MAX_TEXT_CHARACTERS] for row in kept_M]
    num_cut_texts = sum(len(train_texts[row]) > MAX_TEXT_CHARACTERS for row in kept_M)
    labels_M = labels_N[kept_M]
    num_classes = len(np.unique(labels_M))
    fallback = Baseline(
        majority(train_texts, labels_N, texts).predictions, len(kept_M), num_cut_texts
    )
    if num_classes < 2 or not texts:
        return fallback

    features = _tfidf(part, texts, num_classes)
    if features is None:
        return fallback
    machine = LinearSVC(random_state=seed)
    with warnings.catch_warnings():
        # Rows that contradict each other need many iterations; a baseline may stop early.
        warnings.simplefilter("ignore", ConvergenceWarning)
        machine.fit(features[0], labels_M)
    predictions: npt.NDArray[Any] = machine.predict(features[1])
    return Baseline(predictions.astype(np.int64), len(kept_M), num_cut_texts)


def _need_sklearn() -> None:
    try:
        from scipy.sparse import hstack  # noqa: F401
        from sklearn.exceptions import ConvergenceWarning  # noqa: F401
        from sklearn.feature_extraction.text import TfidfVectorizer  # noqa: F401
        from sklearn.svm import LinearSVC  # noqa: F401
    except ImportError as error:
        raise AssetError(
            430,
            "scikit-learn is not installed",
            where="tfidf_svm",
            fix="pip install 'volano[train]'",
        ) from error


def _tfidf(train: Sequence[str], texts: Sequence[str], num_classes: int) -> Any:
    """TF-IDF of words (1-2) and characters (2-5) of both, CSR; None where no text has anything."""
    from scipy.sparse import hstack
    from sklearn.feature_extraction.text import TfidfVectorizer

    max_features = min(MAX_FEATURES, max(1_000, MAX_COEFFICIENTS // num_classes))
    train_parts, parts = [], []
    for analyzer, ngrams in (("word", (1, 2)), ("char_wb", (2, 5))):
        vectorizer = TfidfVectorizer(
            analyzer=analyzer,
            ngram_range=ngrams,
            sublinear_tf=True,
            max_features=max_features,
            dtype=np.float32,
        )
        try:
            train_parts.append(vectorizer.fit_transform(train))
        except ValueError:  # "empty vocabulary": rows like "?!" have no words, "" has nothing
            continue
        parts.append(vectorizer.transform([text[:MAX_TEXT_CHARACTERS] for text in texts]))
    if not parts:
        return None
    return hstack(train_parts, format="csr"), hstack(parts, format="csr")


# Every baseline takes (train_texts, train_labels, texts, *, seed) and returns a Baseline.
BASELINES: dict[str, Callable[..., Baseline]] = {"majority": majority, "tfidf_svm": tfidf_svm}


def _checked_train_labels(train_texts: Sequence[str], train_labels: npt.ArrayLike) -> Ints:
    labels_N: npt.NDArray[Any] = np.asarray(train_labels)
    if (
        labels_N.shape != (len(train_texts),)
        or not len(labels_N)
        or labels_N.dtype.kind not in "iu"
        or labels_N.min() < 0
    ):
        raise DataError(
            430,
            f"there are {len(train_texts)} training texts, and labels of shape {labels_N.shape} "
            f"and type {labels_N.dtype}",
            where="baseline",
            expected="one int class code of at least 0 per training text, and at least one",
            fix="pass the training split, encoded",
        )
    return labels_N.astype(np.int64)


def _bounded_rows(train_texts: Sequence[str], labels_N: Ints, seed: int) -> Ints:
    """The rows to fit on, in their order: all, or a random part that has every class."""
    length_N = np.minimum([len(text) for text in train_texts], MAX_TEXT_CHARACTERS)
    if len(labels_N) <= MAX_TRAIN_ROWS and length_N.sum() <= MAX_TRAIN_CHARACTERS:
        return np.arange(len(labels_N))
    order_N = np.random.default_rng(seed).permutation(len(labels_N))
    first_of_class = np.unique(labels_N[order_N], return_index=True)[1]
    is_first_N = np.zeros(len(order_N), dtype=bool)
    is_first_N[first_of_class] = True
    order_N = np.concatenate([order_N[is_first_N], order_N[~is_first_N]])
    fits_N = np.cumsum(length_N[order_N]) <= MAX_TRAIN_CHARACTERS
    fits_N[: len(first_of_class)] = True
    return np.asarray(np.sort(order_N[fits_N][:MAX_TRAIN_ROWS]), dtype=np.int64)


def table_baselines(
    train_matrix: npt.NDArray[np.float32],
    train_targets: npt.NDArray[Any],
    matrix: npt.NDArray[np.float32],
    *,
    regression: bool,
    seed: int = 0,
) -> dict[str, npt.NDArray[Any]]:
    """What a table's model must beat: one answer for all rows, and a tree of three questions.

    Args:
      train_matrix: Shape (num_train_rows, num_columns), NaN where a value is missing.
      train_targets: Class codes, or numbers.
      matrix: Rows to answer, the same columns.
      regression: Whether the targets are numbers.
      seed: The same seed gives the same answers.
    Returns:
      ``majority`` or ``mean``, and ``small_tree``: shape (num_rows,) each.
    Example:
      >>> found = table_baselines(
      ...     np.array([[0.0], [1.0]], np.float32), np.array([3, 5]), np.array([[1.0]], np.float32),
      ...     regression=False)
      >>> found["majority"].tolist(), found["small_tree"].tolist()
      ([3], [5])
    """
    from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

    if len(train_targets) > MAX_TRAIN_ROWS:
        some = np.random.default_rng(seed).permutation(len(train_targets))[:MAX_TRAIN_ROWS]
        train_matrix, train_targets = train_matrix[some], train_targets[some]
    tree = (DecisionTreeRegressor if regression else DecisionTreeClassifier)(
        max_depth=3, random_state=seed
    )
    if regression:
        found = {"mean": np.full(len(matrix), float(np.mean(train_targets)))}
    else:
        commonest = int(np.bincount(train_targets).argmax())
        found = {"majority": np.full(len(matrix), commonest, np.int64)}
    if train_matrix.shape[1] and len(matrix):
        tree.fit(train_matrix, train_targets)
        found["small_tree"] = np.asarray(tree.predict(matrix))
    return found


Bools = npt.NDArray[np.bool_]


def _commonest(truth_NK: Bools, num_rows: int) -> Bools:
    """The one set of names, of the commonest ones, that is nearest to the training rows' sets."""
    order = np.argsort(-truth_NK.mean(axis=0), kind="stable")
    best, kept = -1.0, np.zeros(truth_NK.shape[1], bool)
    given = np.zeros(truth_NK.shape[1], bool)
    sizes = truth_NK.sum(axis=1)
    for place in [None, *order[:20].tolist()]:
        if place is not None:
            given[place] = True
        both = (truth_NK & given).sum(axis=1)
        either = sizes + given.sum() - both
        # Of no names at all, the answer without any is right.
        score = float(np.where(either > 0, both / np.maximum(either, 1), 1.0).mean())
        if score > best:
            best, kept = score, given.copy()
    return np.tile(kept, (num_rows, 1))


def label_text_baselines(
    train_texts: Sequence[str], truth: Bools, texts: Sequence[str], *, seed: int = 0
) -> dict[str, Bools]:
    """What a model of several names must beat: one answer for all rows, and linear machines.

    ``tfidf_svm`` is one machine for each name on the features of :func:`tfidf_svm`. A row that no
    machine gives a name gets the one that is nearest to it.

    Args:
      train_texts: One per training row.
      truth: Which names apply to it, shape (num_train_rows, num_names).
      texts: The rows to answer.
      seed: The same seed gives the same answers.
    Returns:
      ``commonest`` and ``tfidf_svm``: shape (num_rows, num_names) each.
    """
    _need_sklearn()
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.svm import LinearSVC

    found = {"commonest": _commonest(truth, len(texts))}
    rows = _bounded_rows(train_texts, np.asarray(truth.any(axis=1), np.int64), seed)
    truth_MK = truth[rows]
    features = _tfidf(
        [train_texts[row][:MAX_TEXT_CHARACTERS] for row in rows], texts, truth.shape[1]
    )
    if features is None or not len(texts):
        return found
    margins = np.where(truth_MK.all(axis=0), 1.0, -1.0) * np.ones((len(texts), 1))
    both = np.flatnonzero(truth_MK.any(axis=0) & ~truth_MK.all(axis=0))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        for name in both.tolist():
            machine = LinearSVC(random_state=seed).fit(features[0], truth_MK[:, name])
            margins[:, name] = machine.decision_function(features[1])
    answers = margins > 0
    if truth_MK.any(axis=1).all():
        empty = np.flatnonzero(~answers.any(axis=1))
        answers[empty, margins[empty].argmax(axis=1)] = True
    return {**found, "tfidf_svm": answers}


def label_table_baselines(
    train_matrix: npt.NDArray[np.float32],
    truth: Bools,
    matrix: npt.NDArray[np.float32],
    *,
    seed: int = 0,
) -> dict[str, Bools]:
    """The same for a table: the commonest names, and one tree of three questions for all of them.

    Args:
      train_matrix: Shape (num_train_rows, num_columns), NaN where a value is missing.
      truth: Which names apply, shape (num_train_rows, num_names).
      matrix: Rows to answer, the same columns.
      seed: The same seed gives the same answers.
    Returns:
      ``commonest`` and ``small_tree``: shape (num_rows, num_names) each.
    """
    from sklearn.tree import DecisionTreeRegressor

    if len(truth) > MAX_TRAIN_ROWS:
        some = np.random.default_rng(seed).permutation(len(truth))[:MAX_TRAIN_ROWS]
        train_matrix, truth = train_matrix[some], truth[some]
    found = {"commonest": _commonest(truth, len(matrix))}
    if train_matrix.shape[1] and len(matrix):
        # Of the squared error, the mean in a leaf is the share of its rows that have a name.
        tree = DecisionTreeRegressor(max_depth=3, random_state=seed)
        tree.fit(train_matrix, truth.astype(np.float64))
        found["small_tree"] = tree.predict(matrix).reshape(len(matrix), -1) >= 0.5
    return found

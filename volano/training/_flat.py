"""Rows with texts as rows of a table, for models that take nothing else; see `models.flat`."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from volano.columns import EncodedSplit, Ragged
from volano.models import FlatModel, WordTable, flat_inputs, flat_split, is_table
from volano.training._learner import Fit, Job

__all__ = ["Flat", "flatten", "word_table"]

SIZE = 32
"""Numbers that a text becomes."""

MOST_TOKENS = 20_000
"""Tokens that count: those in most texts."""

FIT_ROWS = 50_000
"""Rows that the axes are fitted on at the most, taken at even distances."""


@dataclass(frozen=True)
class Flat:
    """A job whose rows are those of a table.

    Attributes:
      job: For models of tables.
      words: Column of text -> what makes numbers of it.
      ignored: Columns that such models do not see.
    """

    job: Job
    words: dict[str, WordTable]
    ignored: tuple[str, ...]

    def whole(self, fit: Fit) -> Fit:
        """A fitted model of the table as one of the rows as they are."""
        if not self.words and not self.ignored:
            return fit
        model = FlatModel(self.job.prepared.inputs, self.words, fit.model)
        summary = dict(fit.summary)
        if self.words:
            summary["words"] = {name: table.size for name, table in self.words.items()}
        if self.ignored:
            summary["ignores"] = list(self.ignored)
        return replace(fit, model=model, summary=summary)


def flatten(job: Job) -> Flat | None:
    """A job in columns of numbers and names; None where there is no such column and no text."""
    inputs = job.prepared.inputs
    if all(map(is_table, inputs.values())):
        return Flat(job, {}, ())
    words = {}
    for name, encoded in job.train.columns.items():
        ids = encoded.arrays.get("ids")
        num_tokens = getattr(inputs[name], "num_tokens", 0)
        if isinstance(ids, Ragged) and num_tokens:
            table = word_table(ids, num_tokens, job.spec.seed)
            if table is not None:
                words[name] = table
    columns = flat_inputs(inputs, words)
    if not columns:
        return None

    def rows(split: EncodedSplit) -> EncodedSplit:
        return flat_split(split, columns, words)

    made = replace(
        job,
        prepared=replace(job.prepared, inputs=columns),
        rows=(rows(job.train), rows(job.validation)),
    )
    return Flat(made, words, tuple(name for name in inputs if name not in columns))


def word_table(ids: Ragged, num_tokens: int, seed: int) -> WordTable | None:
    """The main axes of some texts, as what each token adds; None where texts share no words.

    Args:
      ids: Tokens of each text.
      num_tokens: Size of the vocabulary.
      seed: Of the randomised decomposition.
    """
    from scipy import sparse
    from sklearn.decomposition import TruncatedSVD

    flat, offsets = np.asarray(ids.flat), np.asarray(ids.offsets)
    row = np.repeat(np.arange(len(ids)), np.diff(offsets))
    pairs = sparse.csr_array(
        (np.ones(len(flat), np.float32), (row, flat)), shape=(len(ids), num_tokens)
    )
    pairs.sum_duplicates()
    texts = np.bincount(pairs.indices, minlength=num_tokens)
    # In one text alone, or in all of them, a token says nothing of what texts share.
    useful = np.flatnonzero((texts >= 2) & (texts < len(ids)))
    useful = np.sort(useful[np.argsort(-texts[useful], kind="stable")][:MOST_TOKENS])
    if len(useful) < 2:
        return None
    weight = np.log(len(ids) / texts[useful]) + 1
    every = max(1, -(-len(ids) // FIT_ROWS))
    some = pairs[::every][:, useful] * weight[None, :].astype(np.float32)
    norms = np.sqrt(np.asarray(some.multiply(some).sum(axis=1)).ravel())
    some = sparse.csr_array(sparse.diags_array(1 / np.maximum(norms, 1e-12)) @ some)
    size = min(SIZE, len(useful) - 1, some.shape[0])
    machine = TruncatedSVD(size, random_state=seed).fit(some)
    vectors = machine.components_.T * weight[:, None]
    # Whole numbers whose sum over the longest text is exact in float32.
    longest = max(1024, int(np.diff(offsets).max(initial=1)))
    levels = min(1023, (1 << 23) // longest)
    whole = np.round(vectors / np.abs(vectors).max() * levels)
    places = np.zeros(num_tokens, np.int64)
    places[useful] = np.arange(1, len(useful) + 1)
    table = WordTable(places, _with_zero(whole), 1.0)
    # Deviations of about 1, as all numbers of a table have.
    deviation = float(table.values(ids).std()) or 1.0
    return replace(table, unit=float(2.0 ** np.round(np.log2(deviation))))


def _with_zero(vectors: NDArray[np.float64]) -> NDArray[np.float32]:
    return np.concatenate([np.zeros((1, vectors.shape[1])), vectors]).astype(np.float32)

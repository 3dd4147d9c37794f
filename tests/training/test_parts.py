"""The parts of the training loop, against references and by property."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from volano.models import Network, TextEncoder
from volano.spec import TrainSpec
from volano.training import plan_training
from volano.training._batches import epoch_batches, ordered_batches
from volano.training._checkpoint import read_checkpoint, write_checkpoint
from volano.training._dropout import DropoutPool, PooledDropout, replace_dropout
from volano.training._head_start import fit_linear
from volano.training._optimiser import FlatOptimiser, ParameterGroup, parameter_groups, schedule
from volano.training._vocabulary import CompactVocabulary

widths_lists = st.lists(st.integers(1, 60), min_size=1, max_size=300).map(np.array)


@settings(max_examples=40, deadline=None)
@given(widths_lists, st.integers(1, 40), st.integers(1, 400), st.integers(0, 5))
def test_an_epoch_has_every_row_once_and_keeps_to_its_budgets(widths, rows, tokens, epoch):
    batches = epoch_batches(widths, rows=rows, tokens=tokens, seed=1, epoch=epoch)
    assert sorted(np.concatenate(batches).tolist()) == list(range(len(widths)))
    for batch in batches:
        assert len(batch) <= rows
        assert len(batch) == 1 or len(batch) * widths[batch].max() <= tokens


def test_batches_depend_on_seed_and_epoch_alone():
    widths = np.random.default_rng(0).integers(3, 30, 500)

    def flat(seed: int, epoch: int) -> list[int]:
        found = epoch_batches(widths, rows=16, tokens=512, seed=seed, epoch=epoch)
        return np.concatenate(found).tolist()

    assert flat(0, 1) == flat(0, 1)
    assert flat(0, 1) != flat(0, 2)
    assert flat(0, 1) != flat(1, 1)


def test_rows_of_like_length_meet_so_that_little_is_padded():
    widths = np.random.default_rng(0).integers(3, 60, 4000)
    cells = sum(
        len(batch) * widths[batch].max()
        for batch in epoch_batches(widths, rows=32, tokens=4096, seed=0, epoch=0)
    )
    assert cells < 1.1 * widths.sum()
    ordered = ordered_batches(widths, rows=32, tokens=4096)
    assert sorted(np.concatenate(ordered).tolist()) == list(range(4000))


def test_the_optimiser_is_torchs_adamw():
    torch.manual_seed(0)
    ours = nn.Sequential(nn.Linear(7, 5), nn.Tanh(), nn.Linear(5, 3))
    theirs = nn.Sequential(nn.Linear(7, 5), nn.Tanh(), nn.Linear(5, 3))
    theirs.load_state_dict(ours.state_dict())
    group = ParameterGroup.of(list(ours.parameters()), 0.01, 0.1)
    flat = FlatOptimiser([group], clip=1e9, memory=10)
    adam = torch.optim.AdamW(theirs.parameters(), lr=0.01, weight_decay=0.1)
    inputs, targets = torch.randn(40, 7), torch.randint(0, 3, (40,))
    for step in range(25):
        factor = schedule(step, 25, 0.1)
        nn.functional.cross_entropy(ours(inputs), targets).backward()
        flat.step(factor)
        for settings_ in adam.param_groups:
            settings_["lr"] = 0.01 * factor
        adam.zero_grad()
        nn.functional.cross_entropy(theirs(inputs), targets).backward()
        adam.step()
    for mine, other in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-5, atol=1e-6)


def test_restoring_an_optimiser_goes_on_bit_for_bit(tmp_path):
    inputs, targets = torch.randn(40, 7), torch.randint(0, 3, (40,))

    def made() -> tuple[nn.Module, FlatOptimiser]:
        torch.manual_seed(0)
        model = nn.Linear(7, 3)
        group = ParameterGroup.of(list(model.parameters()), 0.01, 0.1)
        return model, FlatOptimiser([group], clip=1.0, memory=10)

    def run(model: nn.Module, adam: FlatOptimiser, steps: range) -> None:
        for step in steps:
            nn.functional.cross_entropy(model(inputs), targets).backward()
            adam.step(schedule(step, 20, 0.1))
            adam.update_average()

    whole, whole_adam = made()
    run(whole, whole_adam, range(20))
    first, first_adam = made()
    run(first, first_adam, range(8))
    write_checkpoint(tmp_path, first_adam.tensors(), {"step": 8})
    second, second_adam = made()
    saved = read_checkpoint(tmp_path)
    assert saved is not None
    second_adam.restore(saved[0])
    run(second, second_adam, range(saved[1]["step"], 20))
    assert torch.equal(whole.weight, second.weight)
    assert torch.equal(whole_adam.average[0], second_adam.average[0])


def test_a_damaged_checkpoint_is_no_checkpoint(tmp_path):
    write_checkpoint(tmp_path, {"a": torch.ones(1000)}, {"step": 1})
    path = next(tmp_path.glob("*.safetensors"))
    path.write_bytes(path.read_bytes()[:300])
    assert read_checkpoint(tmp_path) is None
    assert read_checkpoint(tmp_path / "nowhere") is None


@pytest.mark.parametrize("warmup", [0.0, 0.1, 0.5])
def test_the_rate_rises_to_one_and_falls_to_nothing(warmup):
    rates = [schedule(step, 100, warmup) for step in range(100)]
    assert max(rates) == 1.0
    assert rates[-1] < 0.05
    top = rates.index(1.0)
    assert rates[:top] == sorted(rates[:top])
    assert rates[top:] == sorted(rates[top:], reverse=True)


def test_a_cut_vocabulary_trains_as_the_whole_one_does():
    torch.manual_seed(0)
    whole, cut = nn.Embedding(50, 4, padding_idx=0), nn.Embedding(50, 4, padding_idx=0)
    cut.load_state_dict(whole.state_dict())
    before = whole.weight.detach().clone()
    used = np.array([0, 3, 7, 11])
    vocabulary = CompactVocabulary(cut, used)
    assert len(cut.weight) == len(used)
    target = torch.randn(4)
    steps = [np.array([3, 7]), np.array([7, 11]), np.array([3, 11])]
    for module, place in ((whole, lambda ids: ids), (cut, vocabulary.places)):
        adam = torch.optim.AdamW(module.parameters(), lr=0.1, weight_decay=0.0)
        for ids in steps:
            adam.zero_grad()
            (module(torch.from_numpy(place(ids))) - target).square().sum().backward()
            adam.step()
    vocabulary.restore()
    torch.testing.assert_close(whole.weight, cut.weight)
    unused = np.setdiff1d(np.arange(50), [3, 7, 11])
    assert torch.equal(cut.weight[unused], before[unused])


def test_dropout_keeps_the_mean_drops_its_share_and_repeats():
    pool = DropoutPool(0.3, 0, torch.float32)
    layer = PooledDropout(pool)
    values = torch.ones(200, 1000)
    pool.start_step(5)
    dropped = layer(values)
    assert abs((dropped == 0).float().mean().item() - 0.3) < 0.01
    assert abs(dropped.mean().item() - 1) < 0.02
    pool.start_step(5)
    assert torch.equal(layer(values), dropped)
    pool.start_step(6)
    assert not torch.equal(layer(values), dropped)
    layer.eval()
    assert torch.equal(layer(values), values)


def test_replaced_dropout_can_be_put_back():
    model = nn.Sequential(nn.Linear(2, 2), nn.Dropout(0.1), nn.Sequential(nn.Dropout(0.2)))
    replaced = replace_dropout(model, None)
    assert [module.p for _, _, module in replaced] == [0.1, 0.2]
    assert not any(isinstance(module, nn.Dropout) for module in model.modules())
    for parent, name, module in replaced:
        setattr(parent, name, module)
    assert sum(isinstance(module, nn.Dropout) for module in model.modules()) == 2


def test_the_head_start_is_scikit_learns_logistic_regression():
    from sklearn.linear_model import LogisticRegression

    random = np.random.default_rng(0)
    features = random.normal(size=(300, 6)).astype(np.float32)
    labels = (features[:, :3] + random.normal(scale=0.5, size=(300, 3))).argmax(axis=1)
    penalty = 1e-2
    weight, bias = fit_linear(
        torch.from_numpy(features),
        torch.from_numpy(labels),
        3,
        penalty,
        torch.nn.functional.cross_entropy,
    )
    reference = LogisticRegression(C=1 / (penalty * len(labels)), max_iter=2000, tol=1e-8)
    reference.fit(features, labels)
    ours = features @ weight.numpy().T + bias.numpy()
    theirs = reference.decision_function(features)
    centred = ours - ours.mean(axis=1, keepdims=True)
    np.testing.assert_allclose(
        centred, theirs - theirs.mean(axis=1, keepdims=True), rtol=0.02, atol=0.02
    )


def tiny_network() -> Network:
    from transformers import BertConfig, BertModel

    config = BertConfig(
        vocab_size=30,
        hidden_size=8,
        num_hidden_layers=3,
        num_attention_heads=2,
        intermediate_size=16,
        max_position_embeddings=16,
    )
    return Network(("text",), [TextEncoder(BertModel(config, add_pooling_layer=False))], 2)


def test_deep_layers_learn_slowly_and_embeddings_do_not_decay():
    network = tiny_network()
    size = sum(parameter.numel() for parameter in network.parameters())
    groups = parameter_groups(
        network, learning_rate=1.0, head_rate=5.0, layer_decay=0.5, weight_decay=0.1
    )
    assert sum(len(group.master) for group in groups) == size
    rates = {group.learning_rate for group in groups}
    assert rates == {5.0, 1.0, 0.5, 0.25, 0.125}
    embeddings = [group for group in groups if group.learning_rate == 0.125]
    assert all(group.decay == 0 for group in embeddings)


def test_the_plan_follows_the_spec_and_else_the_data():
    plan = plan_training(TrainSpec(), num_rows=900, pretrained=True)
    assert plan.epochs >= plan_training(TrainSpec(), num_rows=100_000, pretrained=True).epochs
    assert plan_training(TrainSpec(), num_rows=10**6, pretrained=True).epochs == 1
    told = plan_training(
        TrainSpec(epochs=7, learning_rate=0.5, batch_rows=3, layers=2, class_weights="balanced"),
        num_rows=900,
        pretrained=True,
    )
    assert (told.epochs, told.learning_rate, told.batch_rows) == (7, 0.5, 3)
    assert (told.layers, told.balanced) == (2, True)
    assert plan_training(TrainSpec(layers=2), num_rows=9, pretrained=False).layers is None

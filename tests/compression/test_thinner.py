"""Students with fewer heads and neurons: which stay, and what the rest still says."""

from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import pytest
import torch
from classroom import TEXTS, Classroom, network, run

from volano.compression import Compact, compression_pass
from volano.compression._importance import TEMPERATURE, importances
from volano.compression._layers import label
from volano.export import graph_of
from volano.models import Network, attention_layers, load_model, save_model

EVERYTHING = {"student": "layers", "layers": 2, "heads": 0.5, "neurons": 0.5, "rank": 0.33}


def lively(layers: int) -> tuple[Network, Compact]:
    """A network whose parts say something, as those of a new one hardly do."""
    model, column = network(layers=layers)
    torch.manual_seed(2)
    with torch.no_grad():
        for name, weight in model.encoders[0].named_parameters():
            if weight.ndim == 2:
                weight.normal_(0, 0.3 if "embeddings" not in name else 1.0)
        model.head.weight.normal_(0, 0.5)
    inputs = {"text": column}
    return model, Compact(inputs, graph_of(model, inputs), model)


def outputs(model: Network, teacher: Compact) -> torch.Tensor:
    column = teacher.inputs["text"]
    feed = column.collate(column.encode(TEXTS), np.arange(len(TEXTS)))
    with torch.no_grad():
        return model({name: torch.from_numpy(values) for name, values in feed.items()})


def test_silent_heads_go_first_and_nothing_changes() -> None:
    model, teacher = lively(layers=2)
    silent = [(0, 2), (1, 3)]
    for layer, heads in zip(attention_layers(model.encoders[0].transformer), silent, strict=True):
        for head in heads:
            layer.attention.output.dense.weight.data[:, 8 * head : 8 * head + 8] = 0
    teacher = Compact(teacher.inputs, graph_of(model, teacher.inputs), model)
    distil = compression_pass("distil")
    made = distil.apply(teacher, Classroom(TEXTS), {"student": "layers", "layers": 2, "heads": 0.5})
    np.testing.assert_allclose(run(made, TEXTS), run(teacher, TEXTS), atol=1e-4)
    old, new = (attention_layers(each.encoders[0].transformer) for each in (model, made.model))
    for before, after, gone in zip(old, new, silent, strict=True):
        kept = [head for head in range(4) if head not in gone]
        wanted = before.attention.self.query.weight.unflatten(0, (4, 8))[kept].flatten(0, 1)
        torch.testing.assert_close(after.attention.self.query.weight, wanted)
        assert before.attention.self.query.out_features == 32, "the given stays"
    nodes = [node for node in made.graph.graph.node if node.op_type == "Attention"]
    assert [item.i for node in nodes for item in node.attribute if item.name == "num_heads"] == [
        2,
        2,
    ]


def test_importance_is_what_a_little_less_of_a_part_changes() -> None:
    model, teacher = lively(layers=2)
    batches = Classroom(TEXTS).calibration(teacher.inputs).batches
    layers = attention_layers(model.encoders[0].transformer)
    found = importances(model, layers, batches, task="classification", seed=5)

    def logs(changed: Network) -> torch.Tensor:
        return torch.log_softmax(outputs(changed, teacher) / TEMPERATURE, dim=1)

    drawn = torch.multinomial(logs(model).exp(), 1, generator=torch.Generator().manual_seed(5))

    def measured(place: int, part: str, columns: slice) -> float:
        sides = []
        for factor in (1.01, 0.99):
            changed = copy.deepcopy(model)
            layer = attention_layers(changed.encoders[0].transformer)[place]
            dense = layer.attention.output.dense if part == "head" else layer.output.dense
            dense.weight.data[:, columns] *= factor
            sides.append(logs(changed).gather(1, drawn))
        return float(((sides[0] - sides[1]) / 0.02).square().mean())

    for place in range(2):
        for head in range(4):
            wanted = measured(place, "head", slice(8 * head, 8 * head + 8))
            assert float(found[place].heads[head]) == pytest.approx(wanted, rel=0.02, abs=1e-7)
        for neuron in (0, 31, 63):
            wanted = measured(place, "neuron", slice(neuron, neuron + 1))
            assert float(found[place].neurons[neuron]) == pytest.approx(wanted, rel=0.02, abs=1e-7)


def test_numbers_have_importance_too() -> None:
    model, teacher = lively(layers=1)
    batches = Classroom(TEXTS).calibration(teacher.inputs).batches
    layers = attention_layers(model.encoders[0].transformer)
    layers[0].attention.output.dense.weight.data[:, :8] = 0
    (found,) = importances(model, layers, batches, task="regression", seed=0)
    assert float(found.heads[0]) == 0
    assert float(found.heads[1:].min()) > 0
    assert all(weight.grad is None for weight in model.parameters())


def test_what_is_left_is_written_kept_and_learns(tmp_path: Path) -> None:
    _, teacher = lively(layers=3)
    distil = compression_pass("distil")
    made = distil.apply(teacher, Classroom(TEXTS), EVERYTHING)
    said = outputs(made.model.eval(), teacher).numpy()
    np.testing.assert_allclose(run(made, TEXTS), said, atol=1e-4)
    assert made.graph.ByteSize() < 0.5 * teacher.graph.ByteSize()
    save_model(made.model, tmp_path / "student")
    again = load_model(tmp_path / "student", made.inputs)
    np.testing.assert_array_equal(outputs(again, teacher).numpy(), said)
    column = made.inputs["text"]
    feed = column.collate(column.encode(TEXTS), np.arange(len(TEXTS)))
    answers = again({name: torch.from_numpy(values) for name, values in feed.items()})
    torch.nn.functional.cross_entropy(answers, torch.tensor([0, 1] * 3)).backward()
    silent = [
        name
        for name, weight in again.named_parameters()
        # A shift of all keys changes no attention.
        if "key.bias" not in name and not (weight.grad is not None and weight.grad.abs().sum() > 0)
    ]
    assert silent == []


def test_settings_and_their_names() -> None:
    _, teacher = lively(layers=3)
    distil, work = compression_pass("distil"), Classroom(TEXTS)
    found = [each for each in distil.settings(teacher, work) if each["student"] == "layers"]
    names = [label(each) for each in found]
    assert names[:2] == ["layers1", "layers1-n50"]
    assert names[-4:-1] == ["layers1-r33", "layers1-n50-h50-r33", "layers1-hidden"]
    assert names[-1] == "layers1-relations"
    assert label({"layers": 2, "match": "hidden"}) == "layers2-hidden"


def test_a_student_that_matches_is_given_its_teacher() -> None:
    model, teacher = lively(layers=2)
    distil, work = compression_pass("distil"), Classroom(TEXTS)
    settings = {"student": "layers", "layers": 1, "epochs": 1}
    distil.apply(teacher, work, {**settings, "match": "hidden"})
    assert work.teacher is model
    distil.apply(teacher, work, settings)
    assert work.teacher is None

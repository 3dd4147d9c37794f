"""What int8 does by default, in numpy; other ranges; what is spared; ranges of each batch."""

from __future__ import annotations

import json
import math

import numpy as np
import onnx
import pytest
from graphs import answers, apart, constants, feeds, graph_from, kinds, product_graph, text_graph
from onnx import helper

from volano.compression import Calibration, Compact, compression_pass
from volano.compression._ranges import BINS, TAIL, UNSEEN, activation_ranges, entropy_threshold
from volano.compression._sensitivity import how_far
from volano.compression.int8 import RECORD, _spared
from volano.testing import GraphWork


@pytest.fixture(scope="module")
def text() -> onnx.ModelProto:
    return text_graph()


def int8(graph: onnx.ModelProto, calibration: Calibration, **settings: object) -> onnx.ModelProto:
    return (
        compression_pass("int8").apply(Compact({}, graph), GraphWork(calibration), settings).graph
    )


def heavy(number: int, width: int = 64) -> Calibration:
    """Rows with a few values far from the others, more so to one side."""
    random = np.random.default_rng(0)
    rows = random.standard_t(3, (number, 8, width)).astype(np.float32)
    return Calibration([{"x": np.maximum(batch, -5)} for batch in rows])


def test_the_first_setting_is_what_int8_was():
    """All constants and nodes, made once more in numpy."""
    graph, calibration = product_graph(64, 128), heavy(5)
    made = int8(graph, calibration)
    assert (
        made.SerializeToString()
        == int8(graph, calibration, ranges="percentile").SerializeToString()
    )
    assert kinds(made) == ["Mul", "QuantizeLinear", "MatMulIntegerToFloat"]
    weights, found = constants(graph), constants(made)
    x = np.concatenate([batch["x"] for batch in calibration.batches])
    logs = 0.75 * np.log(np.abs(x).max(0)) - 0.25 * np.log(np.abs(weights["w"]).max(1))
    factor = np.exp(logs - logs.mean())
    np.testing.assert_allclose(found["product.inverse"], 1 / factor, rtol=1e-5)
    smooth = x * found["product.inverse"]
    low, high = float(smooth.min()), float(smooth.max())
    edges = np.linspace(low, high, BINS + 1)
    counts = np.histogram(smooth, BINS, (low, high + 1e-9))[0].cumsum() / smooth.size
    first = next(place for place in range(BINS) if counts[place] >= TAIL)
    last = next(place for place in range(BINS) if counts[place] >= 1 - TAIL)
    low, high = min(edges[first], 0), max(edges[min(last + 1, BINS)], 0)
    np.testing.assert_allclose(found["product.smooth.scale"], (high - low) / 255, rtol=1e-6)
    assert found["product.smooth.zero"] == round(-low / ((high - low) / 255))
    scale = np.abs(weights["w"] * factor[:, None]).max(0) / 63
    np.testing.assert_allclose(found["w.scale"], scale, rtol=1e-5)
    codes = weights["w"] * factor[:, None] / scale
    # Where a weight lies half-way between two codes, the last digit decides.
    assert np.abs(found["w.i8"] - codes).max() < 0.5 + 1e-3
    np.testing.assert_array_equal(found["b"], weights["b"])


def test_each_setting_has_a_name_of_its_own():
    model, work = Compact({}, product_graph(64, 64)), GraphWork(Calibration([]))
    for kind in ("int8", "int4", "fp16"):
        made = compression_pass(kind)
        settings = made.settings(model, work)
        names = [made.label(each) for each in settings]  # type: ignore[attr-defined]
        assert names[0] == kind
        assert len(set(names)) == len(names) == len(settings) > 1


def slow_threshold(counts: list[int], levels: int) -> int:
    """By the book: every threshold, every code and every bin by itself."""
    best, found = math.inf, len(counts)
    for bins in range(levels, len(counts) + 1):
        inside, beyond = counts[:bins], sum(counts[bins:])
        if not sum(inside):
            continue
        p = [float(count) for count in inside]
        p[-1] += beyond
        q = [0.0] * bins
        for level in range(levels):
            mine = range(level * bins // levels, (level + 1) * bins // levels)
            used = [place for place in mine if p[place]]
            for place in used:
                q[place] = sum(inside[one] for one in mine) / len(used)
        divergence = 0.0
        for one, other in zip(p, q, strict=True):
            if one:
                share = one / sum(p)
                divergence += share * math.log(share / max(other / sum(inside), UNSEEN))
        if divergence < best - 1e-12:
            best, found = divergence, bins
    return found


@pytest.mark.parametrize("seed", range(6))
def test_the_threshold_of_least_divergence(seed: int):
    random = np.random.default_rng(seed)
    bins, levels = int(random.integers(20, 150)), int(random.integers(4, 20))
    sizes = np.abs(random.standard_t(2, 3000))
    counts = np.histogram(sizes, bins, (0, min(60, sizes.max())))[0]
    counts[random.integers(0, bins, bins // 4)] = 0
    assert entropy_threshold(counts, levels) == slow_threshold(counts.tolist(), levels)


def test_the_threshold_of_nothing_and_of_what_needs_no_cut():
    assert entropy_threshold(np.zeros(300, np.int64)) == 300
    counts = np.zeros(256, np.int64)
    counts[:128] = 5
    assert entropy_threshold(counts) == 128, "the first bins say all that there is"


def test_ranges_by_each_method():
    random = np.random.default_rng(1)
    x = random.normal(0, 1, (40, 500)).astype(np.float32)
    x[3, 7], x[5, 9] = 200, -3
    positive = np.abs(random.normal(0, 1, (40, 500))).astype(np.float32) + 1
    nodes = [helper.make_node("Add", ["x", "p"], ["y"], name="sum")]
    shapes = {"x": (np.float32, ["rows", 500]), "p": (np.float32, ["rows", 500])}
    graph = graph_from(nodes, {}, shapes, {"y": ["rows", 500]})
    rows = Calibration(
        [{"x": x[at : at + 8], "p": positive[at : at + 8]} for at in range(0, 40, 8)]
    )
    found = {
        how: activation_ranges(graph, ["x", "p"], rows, how)
        for how in ("percentile", "minmax", "entropy")
    }
    assert found["minmax"] == {
        "x": (float(x.min()), 200.0),
        "p": (0.0, float(positive.max())),
    }, "0 has a code, wherever the values lie"
    low, high = found["entropy"]["x"]
    assert 3 < high < 50, "one value of 20,000 does not take most of the codes"
    assert low == float(x.min())
    assert found["entropy"]["p"][0] == 0.0
    low, high = found["percentile"]["x"]
    assert np.mean((x < low) | (x > high)) <= 3 * TAIL


@pytest.mark.parametrize("how", ["minmax", "entropy", "dynamic"])
def test_other_ranges_are_close_and_the_same_each_time(text, how: str):
    calibration = Calibration(feeds(16, 0))
    made = int8(text, calibration, ranges=how)
    again = int8(text, calibration, ranges=how)
    assert made.SerializeToString(deterministic=True) == again.SerializeToString(deterministic=True)
    assert made.ByteSize() < 0.4 * text.ByteSize()
    onnx.checker.check_model(made, full_check=False)
    assert apart(answers(text, feeds(10, 1)), answers(made, feeds(10, 1))) < 0.1
    measured = {"DynamicQuantizeMatMul", "DynamicQuantizeLinear"} & set(kinds(made))
    assert len(measured) == (2 if how == "dynamic" else 0)


def test_a_dynamic_product_is_that_of_numpy_and_depends_on_its_neighbours():
    graph, calibration = product_graph(64, 128), heavy(5)
    made = int8(graph, calibration, ranges="dynamic")
    assert kinds(made) == ["Mul", "DynamicQuantizeMatMul"]
    found = constants(made)
    x = calibration.batches[0]["x"]
    smooth = x * found["product.inverse"]
    low, high = min(0.0, float(smooth.min())), max(0.0, float(smooth.max()))
    scale = (high - low) / 255
    zero = round(-low / scale)
    codes = np.clip(np.round(smooth / scale) + zero, 0, 255) - zero
    wanted = codes @ found["w.i8"].astype(np.float64) * scale * found["w.scale"] + found["b"]
    np.testing.assert_allclose(answers(made, [{"x": x}]), wanted, atol=0.02)
    # A row beside one with values a hundred times as large has few codes left for its own.
    alone = answers(made, [{"x": x[:1]}])
    beside = answers(made, [{"x": np.concatenate([x[:1], 100 * x[1:2]])}])[:1]
    assert np.abs(alone - beside).max() > 0.1
    fixed = int8(graph, calibration)
    np.testing.assert_allclose(
        answers(fixed, [{"x": x[:1]}]),
        answers(fixed, [{"x": np.concatenate([x[:1], 100 * x[1:2]])}])[:1],
        atol=1e-5,
    )


def test_how_far_answers_move():
    random = np.random.default_rng(2)
    weights = {"w": random.normal(0, 1, (4, 3)).astype(np.float32), "d": np.float32([0.5, 0, -1])}
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["y"], name="y"),
        helper.make_node("Add", ["y", "y"], ["z"], name="z"),
    ]
    moved_nodes = [
        helper.make_node("MatMul", ["x", "w"], ["h"], name="h"),
        helper.make_node("Add", ["h", "d"], ["y"], name="y"),
        helper.make_node("Add", ["h", "h"], ["z"], name="z"),
    ]
    shapes, outputs = {"x": (np.float32, ["rows", 4])}, {"y": ["rows", 3], "z": ["rows", 3]}
    graph = graph_from(nodes, {"w": weights["w"]}, shapes, outputs)
    moved = graph_from(moved_nodes, weights, shapes, outputs)
    batches = [{"x": random.normal(0, 1, (5, 4)).astype(np.float32)} for _ in range(4)]
    steps: list[tuple[int, int]] = []
    found = how_far(
        graph,
        {"same": lambda: graph, "moved": lambda: moved},
        Calibration(batches),
        lambda done, total: steps.append((done, total)),
    )
    y = np.concatenate([batch["x"] for batch in batches]) @ weights["w"]
    wanted = np.mean(weights["d"] ** 2) / y.var(0).mean()
    assert list(found) == ["moved", "same"], "the largest first"
    assert found["moved"] == pytest.approx(wanted, rel=0.01)
    assert found["same"] == 0
    assert steps == [(0, 2), (1, 2)]
    with pytest.raises(ValueError, match="no rows"):
        how_far(graph, {}, Calibration([]), lambda done, total: None)


def fragile(places: int = 5) -> onnx.ModelProto:
    """A sum of products of one value, of which one is answered for by small differences: its
    columns have one large weight each that meets nothing, and take the codes from the others."""
    random = np.random.default_rng(3)
    weights, nodes, total = {}, [], "x"
    for place in range(places):
        matrix = random.normal(0, 0.1, (64, 64)).astype(np.float32)
        if place == 2:
            matrix[np.arange(64), np.arange(64)] += 40
            matrix[np.arange(64), (np.arange(64) + 1) % 64] -= 40
        weights[f"w{place}"] = matrix
        nodes.append(
            helper.make_node("MatMul", ["x", f"w{place}"], [f"p{place}"], name=f"p{place}")
        )
        nodes.append(helper.make_node("Add", [total, f"p{place}"], [f"t{place}"], name=f"t{place}"))
        total = f"t{place}"
    nodes.append(helper.make_node("Identity", [total], ["y"], name="y"))
    return graph_from(nodes, weights, {"x": (np.float32, ["rows", 64])}, {"y": ["rows", 64]})


def test_what_moves_the_answers_most_is_spared_and_recorded():
    random = np.random.default_rng(4)
    # All channels of a row are nearly the same, so that what is 40 too large cancels out.
    common = random.normal(0, 1, (6, 8, 1))
    rows = [{"x": (one + random.normal(0, 0.01, (8, 64))).astype(np.float32)} for one in common]
    graph, calibration = fragile(), Calibration(rows)
    whole = int8(graph, calibration)
    made = int8(graph, calibration, spare=0.2)
    spared = [name for name in constants(made) if name in constants(graph)]
    assert spared == ["w2"]
    np.testing.assert_array_equal(constants(made)["w2"], constants(graph)["w2"])
    assert "p2.smooth" not in {node.name for node in made.graph.node}
    assert whole.ByteSize() < made.ByteSize() < graph.ByteSize()
    record = json.loads(next(item.value for item in made.metadata_props if item.key == RECORD))
    assert record[0]["weights"] == "w2"
    assert [each["fp32"] for each in record] == [True, False, False, False, False]
    assert {each["makes"] for each in record} == {f"p{place}" for place in range(5)}
    moved = [each["moved"] for each in record]
    assert moved == sorted(moved, reverse=True)
    wanted = answers(graph, rows)
    assert apart(wanted, answers(made, rows)) < 0.3 * apart(wanted, answers(whole, rows))
    assert not whole.metadata_props, "nothing is recorded where nothing was measured"
    (note,) = _spared(made)
    assert note.startswith("1 of 5 places stay in fp32, those that move the answers most: w2 (")
    assert _spared(whole) == []


def test_of_a_transformer_any_part_can_be_spared(text):
    calibration = Calibration(feeds(16, 0))
    made = int8(text, calibration, spare=0.5)
    again = int8(text, calibration, spare=0.5)
    assert made.SerializeToString(deterministic=True) == again.SerializeToString(deterministic=True)
    record = json.loads(made.metadata_props[0].value)
    names = [each["weights"].partition("_")[0] for each in record]
    assert sorted(names) == ["dense"] * 6 + ["qkv"] * 2 + ["words"]
    kept = {each["weights"] for each in record if each["fp32"]}
    assert len(kept) == 4
    assert kept == set(constants(made)) & {each["weights"] for each in record}
    wanted = answers(text, feeds(10, 1))
    whole = int8(text, calibration)
    assert apart(wanted, answers(made, feeds(10, 1))) < apart(wanted, answers(whole, feeds(10, 1)))
    everything = int8(text, calibration, spare=1.0)
    assert apart(wanted, answers(everything, feeds(10, 1))) < 1e-5

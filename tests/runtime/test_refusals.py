"""A bundle that was changed, cut, made elsewhere or made to harm is refused, each with its code."""

from __future__ import annotations

import io
import json
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from volano import load
from volano.columns.category import FittedCategory
from volano.columns.text import FittedText, train_tokenizer
from volano.errors import BundleError
from volano.export import export_bundle, write_bundle
from volano.runtime import FORMAT, MANIFEST, seal
from volano.tasks.classification import Classification

ROWS = [{"text": text} for text in ("good tea", "bad", "", "a lovely phone, good and great")]


def tiny_graph(num_outputs: int) -> bytes:
    """Logits from the number of tokens: enough of a model to be read and run."""
    width = helper.make_tensor(
        "w", TensorProto.FLOAT, [1, num_outputs], np.linspace(-1, 1, num_outputs)
    )
    axis = helper.make_tensor("axis", TensorProto.INT64, [1], [1])
    nodes = [
        helper.make_node("ReduceSum", ["text.mask", "axis"], ["sum"], keepdims=1),
        helper.make_node("Cast", ["sum"], ["count"], to=TensorProto.FLOAT),
        helper.make_node("MatMul", ["count", "w"], ["logits"]),
    ]
    mask = helper.make_tensor_value_info("text.mask", TensorProto.INT64, ["rows", "tokens"])
    out = helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["rows", num_outputs])
    graph = helper.make_graph(nodes, "tiny", [mask], [out], [width, axis])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10)
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bundle") / "bundle"
    target = FittedCategory("label", ("bad", "good"))
    text = FittedText("text", train_tokenizer(["good tea", "bad phone"] * 3, 300), 16)
    write_bundle(
        folder,
        name="tiny",
        inputs={"text": text},
        target=target,
        task=Classification(target.names, 2.0),
        graph=tiny_graph(2),
        details={"precision": "fp32"},
    )
    return folder


@pytest.fixture
def bundle(whole: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(whole, tmp_path / "bundle"))


@pytest.fixture
def packed(whole: Path, tmp_path: Path) -> Path:
    export_bundle(whole, tmp_path / "tiny.volano")
    return tmp_path / "tiny.volano"


def refused(path: Path) -> str:
    with pytest.raises(BundleError) as caught:
        load(path)
    assert str(path) in str(caught.value) or caught.value.where is None
    return caught.value.code


def code_of(path: Path) -> str | None:
    try:
        load(path)
    except BundleError as error:
        return error.code
    return None


def reseal(bundle: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    manifest = json.loads((bundle / MANIFEST).read_text())
    change(manifest)
    (bundle / MANIFEST).write_text(json.dumps(seal(manifest)))


def answers(path: Path) -> list[Any]:
    return [(item.value, item.probabilities, item.notes) for item in load(path).predict(ROWS)]


def test_a_folder_and_a_file_answer_alike(bundle: Path, packed: Path) -> None:
    assert answers(bundle) == answers(packed)
    assert load(bundle).id == load(packed).id


def test_exporting_twice_gives_the_same_bytes(whole: Path, tmp_path: Path) -> None:
    for name in ("a", "b"):
        export_bundle(whole, tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_every_changed_byte_of_a_folder_is_refused(bundle: Path) -> None:
    """All bytes of small files, and some of each large one."""
    for path in sorted(item for item in bundle.rglob("*") if item.is_file()):
        content = path.read_bytes()
        places = range(len(content)) if len(content) < 200 else range(0, len(content), 97)
        for place in places:
            changed = bytearray(content)
            changed[place] ^= 1 << (place % 8)
            path.write_bytes(changed)
            # Only the white space of the manifest says nothing.
            if code := code_of(bundle):
                assert code in ("BUNDLE-002", "BUNDLE-003", "BUNDLE-004", "BUNDLE-007")
            else:
                assert path.name == MANIFEST
                assert json.loads(changed) == json.loads(content)
        path.write_bytes(content)


def test_a_changed_byte_of_a_file_is_refused_or_says_nothing(packed: Path) -> None:
    content = packed.read_bytes()
    wanted = answers(packed)
    for place in range(0, len(content), 23):
        changed = bytearray(content)
        changed[place] ^= 1 << (place % 8)
        packed.write_bytes(changed)
        try:
            found = answers(packed)
        except BundleError:
            continue
        assert found == wanted  # a time stamp or a flag of the archive


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.9, 0.999])
def test_a_cut_file_is_refused(packed: Path, share: float) -> None:
    content = packed.read_bytes()
    packed.write_bytes(content[: int(len(content) * share)])
    assert refused(packed) == "BUNDLE-002"


def test_nothing_there(tmp_path: Path) -> None:
    assert refused(tmp_path / "none") == "BUNDLE-001"
    assert refused(tmp_path) == "BUNDLE-002"


def test_a_missing_file(bundle: Path) -> None:
    (bundle / "graph.onnx").unlink()
    assert refused(bundle) == "BUNDLE-006"


def test_a_file_that_is_a_folder(bundle: Path) -> None:
    (bundle / "graph.onnx").unlink()
    (bundle / "graph.onnx").mkdir()
    assert refused(bundle) == "BUNDLE-006"


def test_a_file_that_grew(bundle: Path) -> None:
    with (bundle / "graph.onnx").open("ab") as file:
        file.write(b"x")
    assert refused(bundle) == "BUNDLE-007"


def _set(path: str, value: Any) -> Callable[[dict[str, Any]], None]:
    def change(manifest: dict[str, Any]) -> None:
        *keys, last = [int(part) if part.isdigit() else part for part in path.split("/")]
        place: Any = manifest
        for key in keys:
            place = place[key]
        if value is ...:
            del place[last]
        else:
            place[last] = value

    return change


@pytest.mark.parametrize(
    ("path", "value", "code"),
    [
        ("format", FORMAT + 1, "BUNDLE-003"),
        ("format", True, "BUNDLE-002"),
        ("format", "1", "BUNDLE-002"),
        ("format", ..., "BUNDLE-002"),
        ("inputs", ..., "BUNDLE-009"),
        ("inputs", [], "BUNDLE-009"),
        ("inputs", {}, "BUNDLE-009"),
        ("inputs/0", "text", "BUNDLE-009"),
        ("inputs/0/name", 5, "BUNDLE-009"),
        ("inputs/0/name", "label", "BUNDLE-009"),
        ("inputs/0/folder", ..., "BUNDLE-009"),
        ("inputs/0/folder", "columns/7", "BUNDLE-020"),
        ("inputs/0/version", 99, "BUNDLE-003"),
        ("inputs/0/version", "1", "BUNDLE-009"),
        ("inputs/0/type", "txet", "BUNDLE-011"),
        ("inputs/0/name", "other", "BUNDLE-008"),
        ("target", None, "BUNDLE-009"),
        ("target/type", "text", "BUNDLE-020"),
        ("task", [], "BUNDLE-009"),
        ("task/type", "clasification", "BUNDLE-021"),
        ("task/version", 99, "BUNDLE-003"),
        ("task/state", None, "BUNDLE-009"),
        ("task/state", {}, "BUNDLE-009"),
        ("task/state", {"temperature": 0}, "BUNDLE-009"),
        ("task/state", {"temperature": "hot"}, "BUNDLE-009"),
        ("graph", "graph.onnx", "BUNDLE-009"),
        ("graph/file", "columns/0/text.json", "BUNDLE-008"),
        ("graph/file", "nothing", "BUNDLE-006"),
        ("files", [], "BUNDLE-009"),
        ("files/graph.onnx", None, "BUNDLE-009"),
        ("files/graph.onnx/size_bytes", "1", "BUNDLE-009"),
        ("files/graph.onnx/size_bytes", -1, "BUNDLE-009"),
        ("files/graph.onnx/size_bytes", 5, "BUNDLE-007"),
        ("files/graph.onnx/sha256", ..., "BUNDLE-009"),
        ("files/graph.onnx/sha256", "0" * 64, "BUNDLE-007"),
    ],
)
def test_a_sealed_manifest_of_the_wrong_shape(
    bundle: Path, path: str, value: Any, code: str
) -> None:
    reseal(bundle, _set(path, value))
    assert refused(bundle) == code


@pytest.mark.parametrize(
    "name",
    ["../x", "a/../../x", "/etc/passwd", "..\\x", "C:x", "columns/../../x", "a\0b", "x" * 5000],
)
def test_paths_that_climb(bundle: Path, name: str) -> None:
    entry = {"sha256": "0" * 64, "size_bytes": 1}
    reseal(bundle, lambda manifest: manifest["files"].update({name: entry}))
    assert refused(bundle) in ("BUNDLE-005", "BUNDLE-006", "BUNDLE-007")
    if len(name) < 100:
        assert refused(bundle) == "BUNDLE-005"


@pytest.mark.parametrize("name", ["graph.onnx", MANIFEST])
def test_a_link_out_of_the_folder(bundle: Path, name: str) -> None:
    outside = bundle.parent / "outside"
    (bundle / name).rename(outside)
    (bundle / name).symlink_to(outside)
    assert refused(bundle) == "BUNDLE-005"


def test_a_linked_folder(bundle: Path) -> None:
    (bundle / "columns").rename(bundle.parent / "columns")
    (bundle / "columns").symlink_to(bundle.parent / "columns", target_is_directory=True)
    assert refused(bundle) == "BUNDLE-005"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{",
        "5",
        '{"format": 1',
        '"\\ud800"',
        '{"format": 1, "a": "\\ud800"}',
        "[" * 100_000,
    ],
)
def test_manifests_that_cannot_be_read(bundle: Path, text: str) -> None:
    (bundle / MANIFEST).write_text(text)
    assert refused(bundle) == "BUNDLE-002"


def _rezip(path: Path, change: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> None:
    with zipfile.ZipFile(path) as archive:
        contents = {name: archive.read(name) for name in archive.namelist()}
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        for name, content in {**contents, **change}.items():
            archive.writestr(name, content)
    path.write_bytes(buffer.getvalue())


def test_a_zip_bomb(packed: Path) -> None:
    _rezip(packed, {"zeros": bytes(200_000_000)})
    assert refused(packed) == "BUNDLE-010"


def test_a_changed_file_in_the_archive(packed: Path) -> None:
    _rezip(packed, {"graph.onnx": b"no graph"})
    assert refused(packed) == "BUNDLE-007"


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_other_compression_is_read_as_well(packed: Path, method: int) -> None:
    wanted = answers(packed)
    _rezip(packed, {}, method)
    assert answers(packed) == wanted


def test_an_encrypted_archive(packed: Path) -> None:
    content = packed.read_bytes()
    at = content.index(b"PK\x01\x02")
    changed = bytearray(content)
    for start in (at + 8, 6):
        changed[start] |= 1
    packed.write_bytes(changed)
    assert refused(packed) in ("BUNDLE-002", "BUNDLE-007")

"""What train would refuse is refused before anything is done."""

from __future__ import annotations

from pathlib import Path

import pytest

import volano
from volano.errors import SpecError


@pytest.mark.parametrize(
    ("train", "wanted"),
    [
        ("{models: [ensemble]}", r"no model 'ensemble'.*mixed where that is better.*SPEC-043"),
        ("{models: [boostd]}", r"no model 'boostd'.*Did you mean boosted.*SPEC-043"),
        ("{models: []}", r"train.models is empty.*SPEC-044"),
    ],
)
def test_names_of_models(tmp_path: Path, train: str, wanted: str) -> None:
    (tmp_path / "a.csv").write_text("size,kind\n1,x\n2,y\n", encoding="utf-8")
    (tmp_path / "volano.yaml").write_text(
        "name: a\ndata: a.csv\ninputs: {size: number}\ntarget: {kind: category}\n"
        f"train: {train}\n",
        encoding="utf-8",
    )
    with volano.Wheel(tmp_path) as wheel, pytest.raises(SpecError, match=f"(?s){wanted}"):
        wheel.check()

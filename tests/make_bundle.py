"""Makes a small bundle from nothing, in seconds: `python tests/make_bundle.py FILE.volano`.

A transformer from scratch, trained for a few epochs on 300 made-up reviews: small, but a whole
bundle, that `.ci/run` takes to an install without torch.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from tiny import tiny_rows, write_table

import volano

SPEC = """\
name: tiny
data: reviews.csv
inputs: {text: {type: text, encoder: scratch, vocabulary: 300}}
target: {sentiment: category}
train: {epochs: 4, precision: fp32}
"""


def main() -> None:
    """Turn a wheel once in a temporary folder, and export its bundle."""
    target = Path(sys.argv[1]).absolute()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        write_table(root / "reviews.csv", ("text", "sentiment"), tiny_rows())
        (root / "volano.yaml").write_text(SPEC, encoding="utf-8")
        with volano.Wheel(root) as wheel:
            turn = wheel.turn()
            # 300 rows are too few for a verdict; what is wanted here is any bundle.
            if turn.verdict != "promoted":
                wheel.promote(turn.number)
            size = wheel.export(target)
    print(f"{target.name}: {size / 1e6:.1f} MB")


if __name__ == "__main__":
    main()

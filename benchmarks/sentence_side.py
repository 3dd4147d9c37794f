"""The other side of `sentence_export.py`: sentence-transformers' own ONNX export in 8 bits.

Runs in an environment of its own, which has sentence-transformers and optimum-onnx and not Volano:

    python benchmarks/sentence_side.py FOLDER TEXTS.json

FOLDER holds the encoder as the hub has them and head.npz, a linear head above the mean of its
tokens. For each line on stdin, a JSON list of places, it answers these texts and prints how many
rows per second it took; at the end it writes its answers to all texts to FOLDER/answers.npy.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import numpy as np

BATCH_ROWS = 32


def main() -> None:
    from sentence_transformers import SentenceTransformer, models
    from sentence_transformers.backend import export_dynamic_quantized_onnx_model

    folder, texts = Path(sys.argv[1]), json.loads(Path(sys.argv[2]).read_text(encoding="utf-8"))
    made = folder / "sentence"
    transformer = models.Transformer(str(folder))
    pooling = models.Pooling(transformer.get_word_embedding_dimension(), "mean")
    SentenceTransformer(modules=[transformer, pooling], device="cpu").save(str(made))
    whole = SentenceTransformer(str(made), backend="onnx", device="cpu")
    whole.save_pretrained(str(made))
    export_dynamic_quantized_onnx_model(whole, "avx2", str(made))
    (path,) = made.glob("onnx/*int8*.onnx")
    model = SentenceTransformer(
        str(made),
        backend="onnx",
        device="cpu",
        model_kwargs={"file_name": str(path.relative_to(made))},
    )
    head = np.load(folder / "head.npz")

    def answers(rows: list[str]) -> np.ndarray:
        vectors = model.encode(rows, batch_size=BATCH_ROWS, show_progress_bar=False)
        # As long as the encoder's head knows them: sqrt(width).
        lengths = np.linalg.norm(vectors, axis=1, keepdims=True) / vectors.shape[1] ** 0.5
        return vectors / lengths @ head["weight"].T + head["bias"]

    answers(texts[: 4 * BATCH_ROWS])
    print(json.dumps({"bytes": path.stat().st_size}), flush=True)
    for line in sys.stdin:
        rows = [texts[place] for place in json.loads(line)]
        started = time.perf_counter()
        answers(rows)
        print(len(rows) / (time.perf_counter() - started), flush=True)
    np.save(folder / "answers.npy", answers(texts))


if __name__ == "__main__":
    main()

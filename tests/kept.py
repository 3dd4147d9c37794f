"""Small artifacts and runs, put into a store."""

from __future__ import annotations

from volano.store import Artifact, Run, Store


def keep(store: Store, text: str, kind: str = "data") -> Artifact:
    with store.new_folder() as folder:
        (folder / "inner").mkdir()
        (folder / "inner" / "file").write_text(text)
        return store.keep(folder, kind)


def finish(store: Store, key: str, text: str, stage: str = "data") -> Run:
    lineage = {"stage": stage, "parents": {}, "ingredients": {"names": ["é", "你好"]}}
    run = Run(key, stage, keep(store, text, stage), lineage, {"rows": 3, "share": 0.1}, 1.5)
    store.record(run)
    return run

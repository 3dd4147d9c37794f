"""What importing a room brings along: measured in a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

HEAVY = {
    "accelerate",
    "fastapi",
    "huggingface_hub",
    "joblib",
    "onnx",
    "onnxscript",
    "pandas",
    "polars",
    "pyarrow",
    "safetensors",
    "scipy",
    "sklearn",
    "starlette",
    "torch",
    "transformers",
}

LIGHT_ROOMS = (
    "cli",
    "columns",
    "data",
    "demo",
    "errors",
    "evaluation",
    "models",
    "runtime",
    "serving",
    "spec",
    "store",
    "tasks",
    "wheel",
)


def brought_along(code: str) -> set[str]:
    """Top-level modules in `sys.modules` after some code, in a fresh Python."""
    code += "\nimport sys, json\nprint(json.dumps(sorted({n.split('.')[0] for n in sys.modules})))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(json.loads(done.stdout.splitlines()[-1]))


@pytest.mark.parametrize("room", LIGHT_ROOMS)
def test_importing_a_room_brings_nothing_heavy(room: str) -> None:
    assert not brought_along(f"import volano.{room}") & HEAVY


def test_importing_the_package_brings_nothing_at_all() -> None:
    third_party = brought_along("import volano") - brought_along("") - set(sys.stdlib_module_names)
    assert third_party <= {"volano"}


def test_the_command_line_starts_small() -> None:
    extra = brought_along("import volano.cli") - brought_along("") - set(sys.stdlib_module_names)
    # typer, and what typer itself brings.
    allowed = {"volano", "typer", "annotated_doc", "shellingham", "click", "typing_extensions"}
    assert extra <= allowed


def test_help_reads_no_spec_and_no_store() -> None:
    code = (
        "import sys\nsys.argv = ['volano', '--help']\nfrom volano.cli import main\n"
        "import contextlib, io\n"
        "with contextlib.redirect_stdout(io.StringIO()), contextlib.suppress(SystemExit):\n"
        "    main()\n"
    )
    extra = brought_along(code)
    assert not extra & (HEAVY | {"numpy", "onnxruntime", "pydantic", "sqlalchemy", "yaml"})

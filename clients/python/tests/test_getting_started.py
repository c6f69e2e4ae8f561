"""The blocks of docs/getting-started.md, run as they are written there."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
from live_server import CHECKOUT, LiveServer

PAGE = (CHECKOUT / "docs/getting-started.md").read_text()
SOURCE = Path(__file__).parents[1] / "src"
NODE = CHECKOUT / "node_modules/node/bin/node"


def block(section: str, language: str) -> str:
    """The one block of a language in a section of the page."""
    (text,) = re.findall(rf"^## {section}\n(.*?)(?=^## |\Z)", PAGE, re.M | re.S)
    (code,) = re.findall(rf"^```{language}\n(.*?)^```$", text, re.M | re.S)
    return str(code)


def run(live: LiveServer, command: Sequence[str | Path], cwd: Path) -> str:
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(cwd),
        "PYTHONPATH": str(SOURCE),
        "BULKHEAD_URL": live.url,
        "BULKHEAD_API_KEY": live.key,
    }
    done = subprocess.run(  # noqa: S603
        [str(part) for part in command], cwd=cwd, env=environment, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def run_typescript(live: LiveServer, code: str, place: Path) -> str:
    # Below the checkout, so that its packages are found.
    folder = CHECKOUT / "node_modules/.cache" / place.name
    folder.mkdir(parents=True, exist_ok=True)
    try:
        return run(live, [NODE, "--conditions=bulkhead-source", "--input-type=module-typescript", "-e", code], folder)
    finally:
        shutil.rmtree(folder)


def test_curl(live: LiveServer, tmp_path: Path) -> None:
    if shutil.which("curl") is None:
        pytest.skip("there is no curl here")
    shown = run(live, ["bash", "-euo", "pipefail", "-c", block("curl", "sh")], tmp_path)
    assert '"stdout":"42\\n"' in shown
    assert 'data: {"type":"stdout","text":"43\\n"' in shown.replace('"seq":1,', "")
    assert '"state":"terminated"' in shown


def test_python(live: LiveServer, tmp_path: Path) -> None:
    shown = run(live, [sys.executable, "-c", block("Python", "python")], tmp_path)
    assert shown.split() == ["42", "1", "2", "3", "hello", "stdout", "end", "41"]


def test_typescript(live: LiveServer, tmp_path: Path) -> None:
    if not (CHECKOUT / "packages/sdk/src/index.ts").exists():
        pytest.skip("the TypeScript SDK is not in this checkout")
    assert run_typescript(live, block("TypeScript", "ts"), tmp_path).split() == ["42", "stdout", "end", "1", "2", "3"]


def test_mcp(live: LiveServer, tmp_path: Path) -> None:
    assert run_typescript(live, block("MCP", "ts"), tmp_path).strip() == "42"

"""The package as users get it: built, installed in an empty environment elsewhere, and used there. And its types, as a checker sees them."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
import venv
import zipfile
from pathlib import Path

import pytest
from scripted_server import Answer, ScriptedServer

PROJECT = Path(__file__).parents[1]

SCRIPT = """
import sys, bulkhead
with bulkhead.Bulkhead(sys.argv[1]) as client:
    print(client.health().version, bulkhead.__version__, bulkhead.__file__)
"""


def run(*command: str | Path, cwd: Path) -> str:
    # Nothing of this environment is seen there.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    done = subprocess.run(  # noqa: S603
        [str(part) for part in command], cwd=cwd, env=environment, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, f"{command}: {done.stdout[-4000:]}{done.stderr[-4000:]}"
    return done.stdout


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `python -m build` makes of a copy: the checkout stays as it is."""
    place = tmp_path_factory.mktemp("build")
    source = place / "source"
    shutil.copytree(PROJECT, source, ignore=shutil.ignore_patterns("__pycache__", "*.pyc", "dist", "tests"))
    run(sys.executable, "-m", "build", "--no-isolation", "--outdir", place / "dist", source, cwd=place)
    return place / "dist"


def test_the_archives_have_what_they_need_and_nothing_else(built: Path) -> None:
    (wheel,) = built.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    assert wheel.name == "bulkhead-0.1.0-py3-none-any.whl"
    assert "bulkhead/py.typed" in names
    assert "bulkhead/_sync/session.py" in names
    assert all(name.startswith(("bulkhead/", "bulkhead-0.1.0.dist-info/")) for name in names)
    (source,) = built.glob("*.tar.gz")
    with tarfile.open(source) as archive:
        assert "bulkhead-0.1.0/pyproject.toml" in archive.getnames()


def test_a_wheel_works_in_an_empty_environment(built: Path, tmp_path: Path, server: ScriptedServer) -> None:
    server.on("GET /healthz", Answer(json={"status": "ok", "version": "9.9.9"}))
    venv.create(tmp_path / "empty", with_pip=True)
    python = tmp_path / "empty/bin/python"
    (wheel,) = built.glob("*.whl")
    run(python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-input", wheel, cwd=tmp_path)
    (tmp_path / "script.py").write_text(SCRIPT)
    version, own, file = run(python, "script.py", server.url, cwd=tmp_path).split()
    assert (version, own) == ("9.9.9", "0.1.0")
    assert Path(file).is_relative_to(tmp_path)


def test_the_types_hold(tmp_path: Path) -> None:
    """The package itself under mypy's strictest, and what a user writes against it."""
    user = tmp_path / "user.py"
    user.write_text(
        "from bulkhead import Bulkhead, AsyncBulkhead, TurnResult\n"
        "def sync(client: Bulkhead) -> TurnResult:\n"
        "    with client.sessions.create(size='small') as session:\n"
        "        for info in client.sessions.list():\n"
        "            labels: dict[str, str] = info.labels\n"
        "        return session.run('1', language='python')\n"
        "async def later(client: AsyncBulkhead) -> bytes:\n"
        "    async with await client.sessions.create() as session:\n"
        "        async for event in await session.stream('1'):\n"
        "            if event.type == 'stdout':\n"
        "                pass\n"
        "        return await session.files.read('x')\n"
    )
    checked = [sys.executable, "-m", "mypy", "--strict", "--cache-dir", tmp_path / "cache"]
    environment = PROJECT / "src/bulkhead"
    run(*checked, environment, user, cwd=PROJECT)

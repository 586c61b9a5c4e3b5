"""Clients that are written for Node.js: installed once, outside of everything that is tracked."""

import contextlib
import hashlib
import os
import re
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import pytest

HERE = Path(__file__).parent
OLDEST_NODE = (20, 19)  # as package.json says; npm only warns about it
INSTALL_S = 90  # two small packages; more is a registry that does not answer


@dataclass(frozen=True)
class Node:
    """A Node.js, and the folder that has the clients of package.json in its node_modules."""

    program: str
    modules: Path


def node_with_clients(cache: Path) -> Node:
    """Return a Node.js with the clients; skips the test where there can be none."""
    program = _node()
    wanted = (HERE / "package.json").read_bytes()
    folder = cache / hashlib.sha256(wanted).hexdigest()[:16]
    if not folder.exists():
        _install(folder)
    return Node(program, folder)


def _node() -> str:
    program = shutil.which("node")
    if program is None or shutil.which("npm") is None:
        _unavailable("node and npm are not both installed")
    version = subprocess.run([program, "--version"], capture_output=True, text=True, check=False).stdout.strip()
    if tuple(int(digits) for digits in re.findall(r"\d+", version)[:2]) < OLDEST_NODE:
        _unavailable(f"node is {version or 'broken'}; the client needs {'.'.join(map(str, OLDEST_NODE))} or newer")
    return program


def _install(folder: Path) -> None:
    """Install beside the folder, then rename: a run that is broken off, or another beside this one, leaves no half."""
    work = Path(tempfile.mkdtemp(dir=folder.parent))
    try:
        shutil.copy(HERE / "package.json", work)
        command = ["npm", "install", "--no-package-lock", "--no-audit", "--no-fund", "--no-update-notifier"]
        command += ["--ignore-scripts", "--loglevel=error"]
        # npm's usual cache lies in HOME, which may be empty, missing or read-only.
        command += [f"--cache={work / 'npm-cache'}"]
        try:
            done = subprocess.run(command, cwd=work, capture_output=True, text=True, timeout=INSTALL_S, check=False)
        except subprocess.TimeoutExpired:
            _unavailable(f"npm install took longer than {INSTALL_S} s")
        if done.returncode != 0:
            _unavailable(f"npm install failed: {' '.join(done.stderr.split())[:300]}")
        shutil.rmtree(work / "npm-cache", ignore_errors=True)
        with contextlib.suppress(OSError):  # the other run was faster, and has installed the same
            work.rename(folder)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _unavailable(reason: str) -> NoReturn:
    """Skip on a machine that lacks something, but fail where nobody reads what was skipped."""
    if os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(reason)

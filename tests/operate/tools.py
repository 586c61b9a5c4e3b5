"""Programs of other people that tests run. CI installs them; elsewhere a test without its program is skipped."""

import asyncio
import os
import shutil

import pytest


def need(program: str, *, package: str) -> str:
    """Return a program's path. Where it is missing the test is skipped, but never in CI."""
    path = shutil.which(program)
    if path is None:
        sentence = f"{program} is not here: apt-get install {package}"
        if os.environ.get("CI"):
            pytest.fail(sentence)
        pytest.skip(sentence)
    return path


async def run(*command: str) -> tuple[int, str]:
    """Run a command to its end: exit code and output."""
    process = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    output, _ = await process.communicate()
    assert process.returncode is not None
    return process.returncode, output.decode()

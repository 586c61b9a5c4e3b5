"""Does the steps of the Dockerfile in a fresh Debian, where no engine can run, and starts what the image starts.

    debootstrap --variant=minbase --include=python3,python3-venv,ca-certificates trixie ROOT
    python -m operate.image ROOT          # as root; `make image ROOT=...` does both

Both stages share one root file system, so that COPY --from has nothing to do. What a base image brings and Debian names
otherwise is `python`.
"""

# ruff: noqa: T201  it is a command

import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

HERE = Path(__file__).parents[2]
PASSED_ON = (
    "/etc/resolv.conf",
    "/etc/pip.conf",
    "/etc/ssl/certs/ca-certificates.crt",
)  # how this machine reaches others


def instructions(text: str) -> Iterator[tuple[str, str]]:
    """Return what a Dockerfile says: word and the rest of the line, lines that go on joined."""
    lines = re.sub(r"^#.*\n", "", text, flags=re.MULTILINE).replace("\\\n", " ").splitlines()
    for line in filter(None, map(str.strip, lines)):
        word, _, rest = line.partition(" ")
        yield word, rest


@dataclass
class Image:
    """A root file system, and what the instructions so far have set."""

    root: Path
    folder: str = "/"
    user: str = "0"
    environment: dict[str, str] = field(default_factory=lambda: {"PATH": "/usr/local/bin:/usr/bin:/usr/sbin:/bin"})

    def run(self, command: str) -> int:
        """Run a shell command inside."""
        passed = {name: value for name, value in os.environ.items() if name.startswith("PIP_")}
        inside = ["chroot", f"--userspec={self.user}", str(self.root), "sh", "-c", f"cd {self.folder} && {command}"]
        return subprocess.run(inside, env={**passed, **self.environment}, check=False).returncode

    def copy(self, names: list[str]) -> None:
        """Copy files and folders of the checkout."""
        *sources, target = names
        for source in sources:
            into = self.root / self.folder.lstrip("/") / target
            if (HERE / source).is_dir():
                shutil.copytree(HERE / source, into, dirs_exist_ok=True)
            else:
                shutil.copy(HERE / source, into)

    def follow(self, word: str, rest: str) -> None:
        """Do one instruction."""
        print(f"{word} {rest}"[:110], flush=True)
        if word == "RUN":
            assert self.run(rest) == 0, "this step failed"
        elif word == "COPY" and not rest.startswith("--from"):
            self.copy(rest.split())
        elif word == "ENV":
            for pair in shlex.split(rest):
                name, _, value = pair.partition("=")
                self.environment[name] = value.replace("$PATH", self.environment["PATH"])
        elif word == "WORKDIR":
            self.folder = rest
            (self.root / rest.lstrip("/")).mkdir(parents=True, exist_ok=True)
        elif word == "USER":
            self.user = rest


def main() -> None:
    image = Image(Path(sys.argv[1]).resolve())
    for path in filter(os.path.exists, PASSED_ON):
        shutil.copy(path, image.root / path.lstrip("/"))
    assert image.run("ln -sf /usr/bin/python3 /usr/local/bin/python") == 0
    for word, rest in instructions((HERE / "Dockerfile").read_text()):
        image.follow(word, rest)
    assert image.run("farebox check") == 0, "what the image runs does not run"
    assert image.run("test $(id -u) = 10001 && touch /data/x && rm /data/x && ! touch /opt/farebox/x 2>/dev/null") == 0
    size = subprocess.run(["du", "-sm", image.root / "opt/farebox"], capture_output=True, text=True, check=True).stdout
    print(f"every step was done; farebox runs as {image.user}, and takes up {size.split()[0]} MB")


if __name__ == "__main__":
    main()

"""Installs the locked packages and this project into the virtual environment that runs it.

Only the standard library is used. Packages are checked against the hashes in requirements/dev.txt.
uv is used because it is several times faster; where it cannot reach an index (it does not read
pip's configuration), pip is used instead.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LOCK = ROOT / "requirements" / "dev.txt"
UV = "uv==0.13.9"
TORCH_INDEX = "https://download.pytorch.org/whl/cpu"
TORCH = "torch==2.13.0+cpu"


def say(text: str) -> None:
    print(f"==> {text}", flush=True)


def run(*command: str, quiet: bool = False) -> bool:
    """Whether the command succeeded."""
    output = subprocess.DEVNULL if quiet else None
    done = subprocess.run(command, check=False, cwd=ROOT, stdout=output, stderr=output)
    return done.returncode == 0


def pip(*arguments: str, quiet: bool = False) -> bool:
    options = ("--disable-pip-version-check",)
    return run(sys.executable, "-m", "pip", *arguments, *options, quiet=quiet)


def uv_pip(*arguments: str) -> bool:
    uv = str(Path(sys.executable).with_name("uv"))
    options = [option for link in find_links() for option in ("--find-links", link)]
    # Compiled now, on every core, rather than by three processes at the service's first start.
    options += ["--compile-bytecode"]
    return run(uv, "pip", "install", "--python", sys.executable, *options, *arguments)


def find_links() -> list[str]:
    """Folders and pages that pip is configured to look at; uv has to be told."""
    command = [sys.executable, "-m", "pip", "config", "list"]
    lines = subprocess.run(command, capture_output=True, text=True, check=False).stdout.splitlines()
    values = (line.partition("=")[2] for line in lines if ".find-links=" in line)
    return sorted({link for value in values for link in value.strip("'\"").split()})


def check_machine() -> None:
    if sys.version_info[:2] != (3, 11):
        found = ".".join(map(str, sys.version_info[:3]))
        sys.exit(f"The locked packages are for Python 3.11, not {found}: set PYTHON=python3.11.")
    if sys.platform != "linux":
        sys.exit("The locked packages are for Linux on x86-64. Use the Docker image elsewhere.")


def torch_requirement(folder: Path) -> Path:
    """The lock's lines for torch, in a file of their own."""
    lines = LOCK.read_text().splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith(TORCH))
    stop = next(i for i in range(start + 1, len(lines)) if not lines[i].startswith(" "))
    file = folder / "torch.txt"
    file.write_text("\n".join(lines[start:stop]) + "\n")
    return file


def install_torch(with_uv: bool) -> None:
    """The CPU build: from where pip is configured to look, else from PyTorch's own index."""
    locked = ("--no-deps", "--require-hashes", "-r", str(torch_requirement(Path(sys.prefix))))
    say(f"installing {TORCH} (190 MB)")
    if with_uv and uv_pip(*locked):
        return
    say(f"looking for it in {TORCH_INDEX}")
    if with_uv and uv_pip("--index-url", TORCH_INDEX, *locked):
        return
    if pip("install", *locked) or pip("install", "--index-url", TORCH_INDEX, *locked):
        return
    sys.exit(
        f"\nCould not install {TORCH}, the CPU build of PyTorch for Python 3.11 on Linux x86-64.\n"
        f"It comes from {TORCH_INDEX}; this machine cannot reach that, and pip's own index and\n"
        "find-links do not have it. Put the wheel into a folder and set PIP_FIND_LINKS=FOLDER."
    )


def install_the_rest(with_uv: bool) -> None:
    locked = ("--no-deps", "--require-hashes", "-r", str(LOCK))
    say("installing the locked packages (about 600 MB)")
    if (with_uv and uv_pip(*locked)) or pip("install", *locked):
        return
    sys.exit("\nCould not install the packages of requirements/dev.txt; the reason stands above.")


def main() -> None:
    check_machine()
    with_uv = pip("install", UV, quiet=True)
    install_torch(with_uv)
    install_the_rest(with_uv)
    say("installing whisper-service itself")
    if not pip("install", "--quiet", "--no-deps", "--no-build-isolation", "-e", str(ROOT)):
        sys.exit("\nCould not install this project into its environment.")
    say("installed")


if __name__ == "__main__":
    main()

"""The tests with the lowest versions that pyproject.toml promises: ``python -m tests.lowest [pytest's arguments]``.

Makes a virtual environment in a temporary folder, installs each dependency at its lower bound and the package itself,
and runs the unit tests there. The lowest torch is of several GB where PyPI has it from, so that it is taken only with
``--torch``, without CUDA from PyTorch's own server; else it comes as requirements.txt pins it.
"""

import re
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
BOUND = re.compile(r'^  "(?P<name>[\w-]+)>=(?P<version>[\d.]+)",', re.MULTILINE)


def lowest() -> dict[str, str]:
    """The lower bound of each dependency, as pyproject.toml has it."""
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    return {m["name"]: m["version"] for m in BOUND.finditer(project.split("optional-dependencies")[0])}


def main(arguments: list[str]) -> int:
    pytest = [argument for argument in arguments if argument != "--torch"]
    versions = {name: f"{name}=={bound}" for name, bound in lowest().items()}
    server = ["--extra-index-url", "https://download.pytorch.org/whl/cpu"]
    if "--torch" not in arguments:
        pinned = (ROOT / "requirements.txt").read_text(encoding="utf-8")
        versions["torch"], server = re.search(r"^torch==\S+", pinned, re.MULTILINE)[0], []
    with tempfile.TemporaryDirectory() as folder:
        venv.create(folder, with_pip=True)
        python = Path(folder) / ("Scripts" if sys.platform == "win32" else "bin") / "python"
        packages = [*versions.values(), *server, "-e", f"{ROOT}[notebooks,test]"]
        print("installing", " ".join(packages), flush=True)
        subprocess.run([python, "-m", "pip", "install", "-q", *packages], check=True)
        return subprocess.run([python, "-m", "pytest", *(pytest or ["tests", "-n2"])], cwd=ROOT).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""The tests with the lowest versions that pyproject.toml promises: ``python -m tests.lowest [pytest's arguments]``.

Makes a virtual environment in a temporary folder, installs each dependency at its lower bound and the package itself,
and runs the unit tests there. torch comes as requirements.txt pins it: its older files are of several GB.
"""

import re
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
BOUND = re.compile(r'^  "(?P<name>[\w-]+)>=(?P<version>[\d.]+)",', re.MULTILINE)


def lowest() -> list[str]:
    """Each dependency at its lower bound, as pip takes it; torch as pinned."""
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    bounds = {m["name"]: m["version"] for m in BOUND.finditer(project.split("optional-dependencies")[0])}
    pinned = re.search(r"^torch==\S+", (ROOT / "requirements.txt").read_text(encoding="utf-8"), re.MULTILINE)
    return [pinned[0], *(f"{name}=={version}" for name, version in bounds.items() if name != "torch")]


def main() -> int:
    with tempfile.TemporaryDirectory() as folder:
        venv.create(folder, with_pip=True)
        python = Path(folder) / ("Scripts" if sys.platform == "win32" else "bin") / "python"
        packages = [*lowest(), "-e", f"{ROOT}[test]"]
        print("installing", " ".join(packages), flush=True)
        subprocess.run([python, "-m", "pip", "install", "-q", *packages], check=True)
        return subprocess.run([python, "-m", "pytest", *(sys.argv[1:] or ["tests", "-n2"])], cwd=ROOT).returncode


if __name__ == "__main__":
    sys.exit(main())

"""The peers' own environment: made by the script, checked by what is installed in it."""

from __future__ import annotations

import subprocess
import venv
from pathlib import Path

__all__ = ["PACKAGES", "peer_python"]

# six is imported by zigzag-dse without being declared.
PACKAGES = {"zigzag-dse": "3.9.1", "six": "1.17.0", "scalesim": "2.0.2"}

_INSTALLED = (
    "import importlib.metadata as m, sys; "
    "sys.exit(any(m.version(p) != v for p, v in (a.split('==') for a in sys.argv[1:])))"
)


def peer_python(folder: Path) -> str:
    """The interpreter of the peers' environment; made, or finished, where it is not complete.

    Raises:
        SystemExit: the peers could not be installed.
    """
    python = folder / "bin" / "python"
    wanted = [f"{name}=={version}" for name, version in PACKAGES.items()]
    if python.exists() and _runs([str(python), "-c", _INSTALLED, *wanted]):
        return str(python)
    print(f"installing {', '.join(wanted)} into {folder}", flush=True)
    if not python.exists():
        venv.create(folder, with_pip=True)
    pip = [str(python), "-m", "pip", "install", "-q", "--disable-pip-version-check"]
    done = subprocess.run(
        [*pip, "--retries", "2", "--timeout", "20", *wanted],
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        lines = [line for line in done.stderr.splitlines() if line.startswith("ERROR")]
        raise SystemExit(
            "the peers could not be installed from the package index:\n  "
            + "\n  ".join(lines[-3:] or done.stderr.splitlines()[-3:])
            + "\n  this needs a network once; later runs use the environment as it is\n"
            + f"  without one: an environment that has {', '.join(wanted)}, named with --env"
        )
    return str(python)


def _runs(command: list[str]) -> bool:
    return subprocess.run(command, stderr=subprocess.DEVNULL, check=False).returncode == 0

"""Gather what a server's process needs under an empty root; the Dockerfile's first stage runs this file by itself.

Python, its standard library, the serving environment and the system libraries that these load, with the licences and
names of the Debian packages they come from: no shell, no package manager, nothing that was not asked for.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path
from typing import Any

_UNREAD = ("tests", "*.a", "*.c", "*.h", "*.pxd", "*.pyi", "*.pyx")
_LEFT_OUT = (
    "test",
    "ensurepip",
    "idlelib",
    "lib2to3",
    "tkinter",
    "turtledemo",
    "pydoc_data",
    "config-3*",
    "*-packages",
)
"""Of the standard library: what installs, tests, teaches or compiles; of packages only what no interpreter reads."""
_LIBRARY = re.compile(r"(/\S+\.so\S*) \(0x")
_LINKS = ("lib", "lib64")
_USER = 10001


def gather(environment: Path, root: Path, sbom: Path) -> None:
    """Copy everything under `root`, and name the system's part in the environment's bill of materials.

    Args:
        environment: A virtual environment of the Python that runs this.
        root: An empty folder.
        sbom: CycloneDX of the environment; Python and the Debian packages are added to it.
    """
    python = Path(sys.executable).resolve()
    for name in _LINKS:
        if (link := Path("/", name)).is_symlink():
            (root / name).symlink_to(link.readlink())
    _copy_environment(environment, root, python)
    _copy_file(python, root)
    for library in {sysconfig.get_path("stdlib"), sysconfig.get_path("platstdlib")}:
        shutil.copytree(
            library,
            _under(root, Path(library)),
            ignore=shutil.ignore_patterns(*_LEFT_OUT, *_UNREAD),
            dirs_exist_ok=True,
        )
    libraries = sorted(set(_libraries(root, python, environment)))
    for path in libraries:
        _copy_file(path, root)
    _write_system_files(root, {path.parent for path in libraries})
    packages = sorted({package for path in [*libraries, python] if (package := _package_of(path))})
    for package in packages:
        licence = Path("/usr/share/doc", package.partition(":")[0], "copyright")
        if licence.is_file():
            _copy_file(licence.resolve(), root)
    document = json.loads(sbom.read_text(encoding="utf-8"))
    document["components"] = [*document.get("components", []), _python(), *map(_debian, packages)]
    _under(root, environment / sbom.name).write_text(json.dumps(document, indent=1), encoding="utf-8")


def _under(root: Path, path: Path) -> Path:
    """Where a file of this system goes; links between folders are followed, so that each file has one place."""
    return root / (path.parent.resolve() / path.name).relative_to("/")


def _copy_file(path: Path, root: Path) -> None:
    target = _under(root, path)
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy2(path, target)


def _copy_environment(environment: Path, root: Path, python: Path) -> None:
    """The packages and one link to the interpreter, instead of every command that packages install."""
    place = _under(root, environment)
    packages = next(environment.glob("lib/python3*/site-packages"))
    shutil.copytree(packages, _under(root, packages), ignore=shutil.ignore_patterns(*_UNREAD))
    (place / "pyvenv.cfg").write_text(f"home = {python.parent}\ninclude-system-site-packages = false\n")
    (place / "bin").mkdir()
    (place / "bin" / "python").symlink_to(python)


def _libraries(root: Path, python: Path, environment: Path) -> Iterator[Path]:
    """The system's libraries that the interpreter and every extension module load; those of the packages stay there."""
    modules = [path for path in root.rglob("*.so*") if path.is_file()]
    for path in [python, *(Path("/") / module.relative_to(root) for module in modules)]:
        said = subprocess.run(["ldd", str(path)], capture_output=True, text=True, check=False)  # noqa: S603, S607
        for found in map(Path, _LIBRARY.findall(said.stdout)):
            if environment not in found.parents:
                yield found
    # Loaded by glibc itself when a thread ends.
    yield from Path("/lib", f"{os.uname().machine}-linux-gnu").glob("libgcc_s.so.1")


def _write_system_files(root: Path, folders: set[Path]) -> None:
    system = root / "etc"
    system.mkdir(exist_ok=True)
    (system / "passwd").write_text(f"root:x:0:0::/:/none\nserver:x:{_USER}:{_USER}::/:/none\n")
    (system / "group").write_text(f"root:x:0:\nserver:x:{_USER}:\n")
    (system / "nsswitch.conf").write_text("hosts: files dns\n")
    release = Path("/etc/os-release")
    if release.is_file():
        shutil.copyfile(release, system / "os-release")
    (system / "ld.so.conf").write_text("".join(f"{folder}\n" for folder in sorted({f.resolve() for f in folders})))
    subprocess.run(["/sbin/ldconfig", "-r", str(root)], check=True)  # noqa: S603
    shutil.rmtree(root / "var" / "cache", ignore_errors=True)
    (root / "tmp").mkdir()
    (root / "tmp").chmod(0o1777)


def _package_of(path: Path) -> str:
    """The Debian package a file comes from; empty for one of no package, such as a Python that was compiled."""
    for name in (path, path.resolve(), Path("/usr") / path.relative_to("/")):
        said = subprocess.run(["dpkg-query", "--search", str(name)], capture_output=True, text=True, check=False)  # noqa: S603, S607
        if said.returncode == 0:
            return said.stdout.split(": ")[0].split(",")[0]
    return ""


def _python() -> dict[str, Any]:
    version = sys.version.split()[0]
    return {"type": "platform", "bom-ref": "python", "name": "python", "version": version,
            "purl": f"pkg:generic/python@{version}"}  # fmt: skip


def _debian(package: str) -> dict[str, Any]:
    wanted = ["dpkg-query", "--show", "--showformat", "${Package} ${Version} ${Architecture}", package]
    name, version, architecture = subprocess.run(wanted, capture_output=True, text=True, check=True).stdout.split()  # noqa: S603
    purl = f"pkg:deb/debian/{name}@{version}?arch={architecture}"
    return {"type": "library", "bom-ref": purl, "name": name, "version": version, "purl": purl}


if __name__ == "__main__":
    gather(*map(Path, sys.argv[1:]))

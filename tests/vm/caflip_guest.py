# SPDX-License-Identifier: Apache-2.0
"""This checkout, installed in a guest's tree: packages, the extension, and what they import.

Wheels are unpacked where Debian's Python looks for modules; pip does not run in the guest. pycurl
is left out: it needs libraries of the distribution.
"""

from __future__ import annotations

import shutil
import sys
import zipfile
from pathlib import Path

from tests.capabilities import require_tool
from tests.vm.architecture import Architecture
from tests.vm.cache import ROOT, cached, digest_of_files
from tests.vm.packages import unpacked_headers
from tests.vm.programs import run
from tests.vm.rootfs import Version, compile_python, copy_tree, python_version, tree

PACKAGES = ("boot", "fsprobe", "images", "updater")
WHEELS = ("backports.zstd", "certifi", "charset-normalizer", "idna", "requests", "urllib3")
SITE = "usr/lib/python3/dist-packages"

_COMMAND = """\
#!/usr/bin/python3
import sys

from updater.cli import main

sys.exit(main())
"""


def sources() -> list[Path]:
    """List the files of this checkout that are installed or compiled."""
    return sorted(
        path
        for package in PACKAGES
        for path in (ROOT / package).rglob("*")
        if path.is_file() and path.suffix not in {".so", ".pyc"}
    )


def install_caflip(folder: Path, architecture: Architecture) -> None:
    """Install this checkout into a tree of one's own."""
    site = folder / SITE
    for path in sources():
        if path.suffix not in {".c", ".h"}:
            copy = site / path.relative_to(ROOT)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, copy)
    version = python_version(folder)
    shutil.copyfile(extension(architecture), site / "images/_native/_kernels.abi3.so")
    for wheel in sorted(wheels(architecture, version).glob("*.whl")):
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(site)
    command = folder / "usr/bin/caflip"
    command.write_text(_COMMAND)
    command.chmod(0o755)
    compile_python(folder, SITE)


def tree_with_caflip(architecture: Architecture, version: Version = Version.V1) -> Path:
    """Return the root tree of a guest that has this checkout; nothing may be changed in it."""
    base = tree(architecture, version)

    def build(folder: Path) -> None:
        copy_tree(base, folder)
        install_caflip(folder, architecture)

    recipe = ["2", str(base), digest_of_files(sources()), *WHEELS]
    return cached(f"caflip-{architecture.value}-{version.value}", recipe, build)


def extension(architecture: Architecture) -> Path:
    """Compile the C kernels for a guest, with the headers of its own Python."""
    compiler = f"{architecture.triplet}-gcc"
    require_tool(compiler)
    headers = unpacked_headers(architecture)
    files = [path for path in sources() if path.suffix in {".c", ".h"}]
    (include,) = (headers / "usr/include").glob("python3.*")
    flags = [
        *("-shared", "-fPIC", "-std=c11", "-O3", "-DPy_LIMITED_API=0x030B0000"),
        f"-I{include}",
        f"-I{headers / 'usr/include'}",
    ]

    def build(path: Path) -> None:
        code = [path for path in files if path.suffix == ".c"]
        run(compiler, *flags, *code, "-o", path)

    return cached(f"extension-{architecture.value}", ["1", *flags, digest_of_files(files)], build)


def wheels(architecture: Architecture, version: str) -> Path:
    """Fetch the wheels of everything that caflip imports."""

    def build(folder: Path) -> None:
        platforms = [
            f"--platform={tag}_{architecture.machine}"
            for tag in ("manylinux_2_17", "manylinux2014", "manylinux_2_28")
        ]
        command = (sys.executable, "-m", "pip", "download", "--quiet", "--no-deps")
        choice = ("--only-binary=:all:", "--implementation=cp", f"--python-version={version}")
        abi = f"--abi=cp{version.replace('.', '')}"
        run(*command, *choice, abi, *platforms, "--dest", folder, *WHEELS, timeout_s=300)

    return cached(f"wheels-{architecture.value}", [version, *WHEELS], build)

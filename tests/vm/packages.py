# SPDX-License-Identifier: Apache-2.0
"""Debian packages of any architecture, unpacked without being installed.

apt works in a folder of its own, with an empty list of installed packages and the sources of this
machine; so it resolves dependencies for a foreign architecture and leaves the machine alone. What
cannot be had (a distribution without these packages, no network) is named as missing.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.capabilities import require_tool
from tests.vm.architecture import Architecture
from tests.vm.cache import FOLDER, cached, locked
from tests.vm.programs import ProgramFailed, run

_APT_S = 600.0


@contextmanager
def _apt(architecture: Architecture) -> Iterator[PrivateApt]:
    with locked(f"apt-{architecture.value}"):
        apt = PrivateApt(architecture)
        apt.update()
        yield apt


class PrivateApt:
    """apt for one architecture, in its own folder."""

    def __init__(self, architecture: Architecture) -> None:
        self.folder = FOLDER / f"apt-{architecture.value}"
        self.archives = self.folder / "cache" / "archives"
        (self.folder / "state" / "lists" / "partial").mkdir(parents=True, exist_ok=True)
        (self.archives / "partial").mkdir(parents=True, exist_ok=True)
        status = self.folder / "status"
        status.touch()
        settings = {
            "APT::Architecture": architecture.value,
            "APT::Architectures::": architecture.value,
            "APT::Install-Recommends": "false",
            "APT::Sandbox::User": "",
            "Acquire::Languages": "none",
            "Acquire::Retries": "3",
            "Acquire::IndexTargets::deb::DEP-11::DefaultEnabled": "false",
            "Acquire::IndexTargets::deb::Contents-deb::DefaultEnabled": "false",
            "Debug::NoLocking": "true",
            "Dir::Cache": str(self.folder / "cache"),
            "Dir::State": str(self.folder / "state"),
            "Dir::State::status": str(status),
        }
        # The machine's configuration is read as if it named no architecture.
        configuration = self.folder / "apt.conf"
        lines = ["#clear APT::Architectures;"]
        lines += [f'{name} "{value}";' for name, value in settings.items()]
        configuration.write_text("\n".join(lines) + "\n")
        self._options = ["-q", "-o", "Dpkg::Use-Pty=0", "-c", str(configuration)]

    def update(self) -> None:
        """Fetch the lists of packages; a source without this architecture is no matter."""
        subprocess.run(
            ["apt-get", *self._options, "update"], capture_output=True, timeout=_APT_S, check=False
        )

    def fetch(self, names: Sequence[str]) -> list[Path]:
        """Fetch packages and all they depend on."""
        for file in self.archives.glob("*.deb"):
            file.unlink()
        run("apt-get", *self._options, "-y", "--download-only", "install", *names, timeout_s=_APT_S)
        return sorted(self.archives.glob("*.deb"))

    def fetch_alone(self, name: str) -> Path:
        """Fetch one package without its dependencies."""
        for file in self.archives.glob("*.deb"):
            file.unlink()
        run("apt-get", *self._options, "download", name, cwd=self.archives, timeout_s=_APT_S)
        (file,) = self.archives.glob("*.deb")
        return file

    def dependency(self, name: str, prefix: str) -> str:
        """Return what a package that only stands for others depends on."""
        for line in run("apt-cache", *self._options, "depends", name).splitlines():
            kind, _, other = line.strip().partition(": ")
            if kind == "Depends" and other.startswith(prefix):
                return other
        raise ProgramFailed(f"{name} depends on no {prefix}*")


def unpack(archive: Path, folder: Path) -> None:
    """Unpack a package; links to folders stay links, as with a merged /usr."""
    with subprocess.Popen(
        ["dpkg-deb", "--fsys-tarfile", str(archive)], stdout=subprocess.PIPE
    ) as tar:
        assert tar.stdout is not None
        unpacked = subprocess.run(
            ["tar", "-x", "--keep-directory-symlink", "-C", str(folder)],
            stdin=tar.stdout,
            check=False,
        )
    if tar.returncode or unpacked.returncode:
        raise ProgramFailed(f"{archive.name} cannot be unpacked")


def unpacked_packages(architecture: Architecture, names: Sequence[str]) -> Path:
    """Return a folder with packages and all they depend on, unpacked over one another."""
    require_tool("apt-get", "dpkg-deb")

    def build(folder: Path) -> None:
        folder.mkdir()
        for name in ("bin", "sbin", "lib"):
            (folder / "usr" / name).mkdir(parents=True)
            (folder / name).symlink_to(f"usr/{name}")
        with _apt(architecture) as apt:
            for archive in apt.fetch(names):
                unpack(archive, folder)

    return cached(f"packages-{architecture.value}", ["1", *names], build)


def unpacked_kernel(architecture: Architecture) -> Path:
    """Return a folder with Debian's kernel for virtual machines, and its modules.

    In this one ext4 and NVMe are built in, so it mounts its root without an initial RAM disk.
    """
    require_tool("apt-get", "dpkg-deb", "depmod")

    def build(folder: Path) -> None:
        folder.mkdir()
        with _apt(architecture) as apt:
            name = apt.dependency(f"linux-image-cloud-{architecture.value}", "linux-image-")
            unpack(apt.fetch_alone(name), folder)
        (modules,) = (folder / "lib" / "modules").iterdir()
        run("depmod", "-b", folder, modules.name)

    return cached(f"kernel-{architecture.value}", ["1"], build)


def unpacked_headers(architecture: Architecture) -> Path:
    """Return a folder with the C headers of Debian's Python."""
    require_tool("apt-get", "dpkg-deb")

    def build(folder: Path) -> None:
        folder.mkdir()
        with _apt(architecture) as apt:
            unpack(apt.fetch_alone(apt.dependency("libpython3-dev", "libpython3.")), folder)

    return cached(f"headers-{architecture.value}", ["1"], build)

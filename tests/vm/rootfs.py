# SPDX-License-Identifier: Apache-2.0
"""The root file system of a guest: Debian's files, not configured, and our own first process.

A tree is made in a second from unpacked packages. It has Python, busybox, gpg and the bootloaders'
tools; no udev and no systemd. The root is mounted read-only, so a slot stays what was written;
what changes lives on the data partition. Kernel and modules are part of the root, as in most
A/B systems.
"""

from __future__ import annotations

import enum
import os
import random
import shutil
from collections.abc import Iterable
from pathlib import Path

from tests.capabilities import require_tool
from tests.vm.architecture import Architecture
from tests.vm.cache import cached, digest_of_files
from tests.vm.packages import unpacked_kernel, unpacked_packages
from tests.vm.programs import run

PACKAGES = (
    *("busybox-static", "efibootmgr", "gpg", "gpgv", "grub-common", "kmod", "libubootenv-tool"),
    "python3",
)
_ON_DEMAND = ("loop", "nbd", "softdog", "dm-flakey", "faulty")
"""They are there, but loaded only by who wants them."""

MODULES = (
    *("virtio_pci", "virtio_console", "virtio_net", "virtio_blk", "virtio_rng"),
    *("vfat", "nls_cp437", "nls_ascii", "efivarfs"),
    *_ON_DEMAND,
)
_LEFT_OUT = (
    *("usr/share/doc", "usr/share/man", "usr/share/info", "usr/share/locale", "usr/share/lintian"),
    *("usr/share/bash-completion", "usr/share/perl5", "usr/lib/python3.*/lib2to3"),
    *("usr/lib/python3.*/test", "usr/lib/python3.*/idlelib", "usr/lib/python3.*/pydoc_data"),
    *("usr/lib/*/perl*", "usr/lib/*/gconv", "usr/share/apport", "usr/share/pixmaps"),
    # Of GRUB, guests run grub-editenv alone; the rest would be a tenth of the image.
    *("usr/bin/grub-[!e]*", "usr/sbin/grub-*", "usr/share/grub", "usr/lib/*/libfreetype.so*"),
)
_INIT = Path(__file__).parent / "guest" / "init"
_PAYLOAD = 4 << 20


class Version(enum.Enum):
    """Two states of one system; they differ in a handful of files."""

    V1 = "v1"
    V2 = "v2"


def tree(architecture: Architecture, version: Version = Version.V1) -> Path:
    """Return the root tree of a guest; it is shared, so nothing may be changed in it."""
    require_tool("busybox", "depmod", "cp")
    packages = unpacked_packages(architecture, PACKAGES)
    kernel = unpacked_kernel(architecture)

    def build(folder: Path) -> None:
        copy_tree(packages, folder)
        _leave_out(folder)
        _add_busybox_links(folder)
        _add_kernel(folder, kernel)
        _add_own_files(folder)
        _add_version(folder, version)
        compile_python(folder, "usr/lib")

    recipe = ["6", str(packages), str(kernel), version.value, *MODULES, digest_of_files([_INIT])]
    return cached(f"tree-{architecture.value}-{version.value}", recipe, build)


def copy_tree(source: Path, folder: Path) -> None:
    """Copy a tree with its links, owners and times."""
    run("cp", "-a", "--reflink=auto", source, folder)


def python_version(folder: Path) -> str:
    """Return which Python a tree has, such as `3.11`."""
    names = (path.name.removeprefix("python") for path in (folder / "usr/bin").glob("python3.*"))
    (version,) = (name for name in names if name.replace(".", "").isdigit())
    return version


def compile_python(folder: Path, below: str) -> None:
    """Compile modules for the guest: its root is read-only, and compiling there takes seconds.

    Bytecode is the same on all processors; without the same Python on the host there is none.
    """
    program = Path(f"/usr/bin/python{python_version(folder)}")
    if program.exists():
        options = ("-q", "-j2", "--invalidation-mode=unchecked-hash", "-s", folder)
        run(program, "-m", "compileall", *options, folder / below)


def _leave_out(folder: Path) -> None:
    for pattern in _LEFT_OUT:
        for path in folder.glob(pattern):
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink()


def _add_busybox_links(folder: Path) -> None:
    """Name each applet that no package brings; the host's busybox tells which there are."""
    (folder / "usr/bin/busybox").chmod(0o755)
    present = {
        path.name for place in ("usr/bin", "usr/sbin") for path in (folder / place).iterdir()
    }
    for applet in run("busybox", "--list").split():
        if applet not in present:
            (folder / "usr/bin" / applet).symlink_to("busybox")


def _add_kernel(folder: Path, kernel: Path) -> None:
    (image,) = (kernel / "boot").glob("vmlinuz-*")
    (modules,) = (kernel / "lib/modules").iterdir()
    (folder / "boot").mkdir(exist_ok=True)
    shutil.copy(image, folder / "boot/vmlinuz")
    for name in _with_dependencies(modules / "modules.dep", MODULES):
        copy = folder / "usr/lib/modules" / modules.name / name
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(modules / name, copy)
    for name in ("modules.order", "modules.builtin", "modules.builtin.modinfo"):
        shutil.copy(modules / name, folder / "usr/lib/modules" / modules.name / name)
    run("depmod", "-b", folder, modules.name)


def _with_dependencies(list_of_all: Path, wanted: Iterable[str]) -> set[str]:
    needed: set[str] = set()
    depends = {}
    for line in list_of_all.read_text().splitlines():
        name, _, others = line.partition(":")
        depends[name] = others.split()
    by_name = {Path(name).stem: name for name in depends}
    left = [by_name[name] for name in wanted if name in by_name]
    while left:
        name = left.pop()
        needed.add(name)
        left += [other for other in depends[name] if other not in needed]
    return needed


def _add_own_files(folder: Path) -> None:
    for name in ("dev", "proc", "sys", "run", "tmp", "data", "efi", "root", "var/lib", "etc"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    (folder / "etc/caflip").symlink_to("/data/etc-caflip")
    (folder / "var/lib/caflip").symlink_to("/data/var-lib-caflip")
    (folder / "var/lock").symlink_to("/run/lock")
    (folder / "etc/fw_env.config").symlink_to("/data/etc-caflip/fw_env.config")
    (folder / "etc/modules").write_text(
        "".join(f"{name}\n" for name in MODULES if name not in _ON_DEMAND)
    )
    (folder / "etc/passwd").write_text("root:x:0:0:root:/root:/bin/sh\n")
    (folder / "etc/group").write_text("root:x:0:\n")
    (folder / "etc/hosts").write_text("127.0.0.1 localhost\n10.0.2.2 host\n")
    shutil.copy(_INIT, folder / "usr/sbin/init")
    (folder / "usr/sbin/init").chmod(0o755)


def _add_version(folder: Path, version: Version) -> None:
    """What an update does: files changed, one grown in its middle, one new, one gone."""
    (folder / "etc/version").write_text(f"{version.value}\n")
    payload = random.Random("payload").randbytes(_PAYLOAD)
    example = folder / "usr/lib/example"
    example.mkdir()
    if version is Version.V1:
        (example / "payload").write_bytes(payload)
        (example / "only-v1").write_bytes(random.Random("old").randbytes(300_000))
    else:
        middle = random.Random("new").randbytes(70_001)
        half = _PAYLOAD // 2
        (example / "payload").write_bytes(payload[:half] + middle + payload[half:])
        (example / "only-v2").write_bytes(random.Random("added").randbytes(200_000))
    for path in (folder / "etc/version", *example.iterdir()):
        os.utime(path, (1_700_000_000, 1_700_000_000))

# SPDX-License-Identifier: Apache-2.0
"""Real root file systems to measure with: one Debian device image in three states.

    v0  the point release with some packages held at an older security update
    v1  the point release
    v2  the point release with all security and stable updates

The same packages are installed in each, so the difference between two states is what an update of a
real device moves. Mirrors and options come from this machine's own apt settings. Everything is
built once into a folder and reused while the recipe stays the same; delete the folder to take
newer packages.

The images are what an image builder makes: regenerated from a tree, not updated in place. Times are
at most EPOCH, UUIDs and the hash seed are fixed, so the same tree gives the same bytes (mke2fs(8)
`-E hash_seed`, mksquashfs(1) `-reproducible`). Debian's mke2fs 1.47.0 copies the tree's ctime,
which no program can set, so debugfs(8) writes it afterwards.

What is only unpacked (`extract`) needs no root and no user namespaces: fakeroot(1) remembers the
owners. What is configured as well needs root.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from urllib.parse import unquote

GIB = 1 << 30
EPOCH = 1735689600  # 2025-01-01; one date for all states, as reproducible image builders do
UUID = "ca5f11b0-0000-4000-8000-000000000001"
HASH_SEED = "ca5f11b0-0000-4000-8000-000000000002"
LAYOUT = 1  # raise it when the way an image is made changes: cached images are then built anew
POINT_RELEASE = ("bookworm",)
ALL_UPDATES = ("bookworm", "bookworm-security", "bookworm-updates")

# Source packages whose version in bookworm-security is older than the one in bookworm: the update
# was later folded into the point release and superseded there.
OLDER_IN_SECURITY = (
    *("src:glibc", "src:systemd", "src:glib2.0", "src:curl", "src:util-linux", "src:bluez"),
    *("src:mosquitto", "src:sudo", "src:wpa"),
)

# What a gateway or an industrial panel carries: about 550 MB unpacked.
DEVICE_PACKAGES = (
    *("systemd-sysv", "dbus", "udev", "kmod", "procps", "sudo", "tzdata", "less", "vim-tiny"),
    *("linux-image-cloud-amd64", "e2fsprogs", "dosfstools", "squashfs-tools", "zstd", "lvm2"),
    *("cryptsetup-bin", "libubootenv-tool", "gnupg", "ca-certificates", "openssh-server"),
    *("python3", "python3-requests", "python3-yaml", "python3-cryptography", "sqlite3", "jq"),
    *("curl", "iproute2", "iputils-ping", "nftables", "tcpdump", "network-manager"),
    *("wpasupplicant", "modemmanager", "bluez", "chrony", "avahi-daemon", "mosquitto"),
    *("nginx-light", "rsyslog", "logrotate", "cron", "podman", "libglib2.0-bin"),
    *("gstreamer1.0-plugins-base", "gstreamer1.0-tools"),
)

# Unpacked only, never configured: enough for a demonstration and built in seconds.
SMALL_PACKAGES = ("python3", "openssl", "curl", "ca-certificates", "sqlite3")

_NOT_ON_DEVICES = ("/usr/share/doc/*", "/usr/share/man/*", "/usr/share/locale/*")
_MADE_AT_RUN_TIME = (
    *("etc/ssh/ssh_host_*", "var/log/*.log", "var/cache/debconf/*-old", "var/lib/dpkg/*-old"),
    *("etc/apt/apt.conf.d/99mmdebstrap", "etc/apt/preferences.d/older", "etc/*-"),
)
# deb [options] URI suite component...; sources.list(5)
_ONE_LINE = re.compile(r"^deb +(\[[^]]*\] +)?(\S+) +(\S+) +(.*)$", re.MULTILINE)
_APT_OPTIONS = (
    *("Acquire::Check-Valid-Until", "Acquire::Check-Date"),
    *("Acquire::http::Proxy", "Acquire::https::Proxy"),
)


@dataclass(frozen=True, slots=True)
class State:
    """One state of the root file system: where its packages come from."""

    name: str
    suites: tuple[str, ...]
    older: tuple[str, ...] = ()


V0 = State("v0", ALL_UPDATES[:2], OLDER_IN_SECURITY)
V1 = State("v1", POINT_RELEASE)
V2 = State("v2", ALL_UPDATES)
STATES = (V0, V1, V2)


@dataclass(frozen=True, slots=True)
class Recipe:
    """A package set, how far it is installed, and the images to make of it.

    Attributes:
        variant: mmdebstrap's; `extract` unpacks without configuring.
        partition_length: bytes of the ext4 image.
        kinds: `ext4`, `squashfs`.
    """

    name: str
    variant: str
    packages: tuple[str, ...]
    partition_length: int
    kinds: tuple[str, ...]


DEVICE = Recipe("device", "apt", DEVICE_PACKAGES, GIB, ("ext4", "squashfs"))
SMALL = Recipe("small", "extract", SMALL_PACKAGES, 160 << 20, ("ext4", "squashfs"))
DEMO = Recipe("demo", "extract", SMALL_PACKAGES, 160 << 20, ("ext4",))


@dataclass(frozen=True, slots=True)
class Built:
    """One state of one recipe, in a folder."""

    folder: Path

    def image(self, kind: str) -> Path:
        """The image of one kind of the recipe."""
        return self.folder / f"root.{kind}"

    def versions(self) -> dict[str, str]:
        """Package name to version."""
        lines = (self.folder / "packages.txt").read_text().splitlines()
        return dict(line.split(" ", 1) for line in lines)


def bench_folder() -> Path:
    """Where everything built and measured goes: CAFLIP_BENCH_DIR, else `.bench`."""
    return Path(os.environ.get("CAFLIP_BENCH_DIR", ".bench")).absolute()


def build(recipe: Recipe, state: State, folder: Path) -> Built:
    """Build one state, or find it built already."""

    def fill(target: Path) -> None:
        if recipe.variant != "extract":
            _fill(recipe, state, target)
            return
        # One fakeroot around all of it: it forgets the owners when it ends.
        program = ["fakeroot", sys.executable, "-m", "bench.images", "--fill", str(target)]
        what = json.dumps({"recipe": asdict(recipe), "state": asdict(state)})
        run(program, {"PYTHONPATH": str(Path(__file__).parent.parent)}, stdin=what)

    inputs = {"recipe": asdict(recipe), "state": asdict(state), "layout": LAYOUT}
    place = cached(folder / f"{recipe.name}-{state.name}", inputs, fill)
    return Built(place)


def _fill(recipe: Recipe, state: State, target: Path) -> None:
    """Build one state into a folder."""
    tree = target / "tree"
    _unpack(recipe, state, tree)
    unpacked = tree.with_suffix(".debs")
    (target / "packages.txt").write_text(_installed(tree, unpacked))
    unpacked.unlink()
    if "ext4" in recipe.kinds:
        make_ext4(tree, target / "root.ext4", recipe.partition_length)
    if "squashfs" in recipe.kinds:
        make_squashfs(tree, target / "root.squashfs")
    shutil.rmtree(tree)


def cached(place: Path, inputs: Mapping[str, object], fill: Callable[[Path], None]) -> Path:
    """Return `place`, filled by `fill` unless its stamp already names these inputs.

    The folder appears under its name only when complete, so an interrupted build leaves nothing
    that a later run would trust.
    """
    stamp = json.dumps(inputs, sort_keys=True, indent=1)
    stamp_file = place / "stamp.json"
    if stamp_file.exists() and stamp_file.read_text() == stamp:
        return place
    place.parent.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix=f".{place.name}-", dir=place.parent))
    scratch.chmod(0o755)
    try:
        fill(scratch)
        (scratch / "stamp.json").write_text(stamp)
        if place.exists():
            shutil.rmtree(place)
        scratch.rename(place)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return place


def make_ext4(tree: Path, image: Path, length: int) -> None:
    """Write an ext4 image of `length` bytes; the same tree gives the same bytes.

    Without a journal: a slot is mounted read-only, and 32 MiB of journal would only be downloaded.
    """
    environment = {"E2FSPROGS_FAKE_TIME": str(EPOCH), "SOURCE_DATE_EPOCH": str(EPOCH)}
    extended = f"hash_seed={HASH_SEED},root_owner=0:0,nodiscard"
    command = ["mkfs.ext4", "-q", "-F", "-b", "4096", "-L", "root", "-U", UUID]
    command += ["-O", "^has_journal", "-E", extended, "-d", str(tree)]
    run([*command, str(image), f"{length // 1024}k"], environment)
    _fix_inode_change_times(image, environment)


def make_squashfs(tree: Path, image: Path) -> None:
    """Write a squashfs image (zstd, blocks of 128 KiB); the same tree gives the same bytes.

    Level 6: mksquashfs's own 15 takes ten times as long.
    """
    command = ["mksquashfs", str(tree), str(image), "-quiet", "-no-progress", "-reproducible"]
    run(
        [*command, "-comp", "zstd", "-Xcompression-level", "6", "-b", "128K"],
        {"SOURCE_DATE_EPOCH": str(EPOCH)},
    )


def run(
    command: Sequence[str | Path],
    environment: Mapping[str, str] | None = None,
    stdin: str | None = None,
) -> str:
    """Run a program of the system and return its output; it must succeed."""
    path = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"
    finished = subprocess.run(
        [str(part) for part in command],
        env={**os.environ, "PATH": path, "LC_ALL": "C", **(environment or {})},
        input=stdin,
        capture_output=True,
        text=True,
    )
    if finished.returncode != 0:
        raise RuntimeError(f"{command[0]} failed: {finished.stderr.strip()[-2000:]}")
    return finished.stdout


def _unpack(recipe: Recipe, state: State, tree: Path) -> None:
    """Fill `tree` with the packages of the recipe at the versions of the state."""
    archive = tree.with_suffix(".tar")
    if recipe.variant == "extract":
        command = ["mmdebstrap", "--mode=chrootless"]
    else:
        # In a mount namespace of its own: a killed build leaves no /proc or /sys in the folder.
        command = ["unshare", "--mount", "mmdebstrap", "--mode=root"]
    command += [
        f"--variant={recipe.variant}",
        "--quiet",
        "--include=" + ",".join(recipe.packages),
        '--aptopt=APT::Install-Recommends "false"',
    ]
    command += [f"--aptopt={option}" for option in _machine_apt_options()]
    command += ["--dpkgopt=force-unsafe-io"]
    command += [f"--dpkgopt=path-exclude={pattern}" for pattern in _NOT_ON_DEVICES]
    # What was unpacked: with --variant=extract the dpkg database stays empty.
    unpacked = shlex.quote(str(tree.with_suffix(".debs")))
    command += [f'--extract-hook=ls "$1"/var/cache/apt/archives > {unpacked}']
    if state.older:
        pin = f"Package: {' '.join(state.older)}\nPin: release n=bookworm-security\n"
        pin += (
            "Pin-Priority: 1001\n\nPackage: *\nPin: release n=bookworm-security\nPin-Priority: 1\n"
        )
        place = '"$1/etc/apt/preferences.d"'
        command += [f"--setup-hook=mkdir -p {place} && printf '%s' '{pin}' > {place}/older"]
    lines = [f"deb {uri} {suite} main" for suite in state.suites for uri in [mirror(suite)]]
    environment = {"SOURCE_DATE_EPOCH": str(EPOCH), "TMPDIR": str(tree.parent)}
    run([*command, "bookworm", archive, *lines], environment)
    tree.mkdir()
    run(["tar", "-C", tree, "--numeric-owner", "--xattrs", "--xattrs-include=*", "-xf", archive])
    archive.unlink()
    for pattern in _MADE_AT_RUN_TIME:
        for path in tree.glob(pattern):
            path.unlink()
    shutil.rmtree(tree / "dev")
    (tree / "dev").mkdir()
    (tree / "etc").mkdir(exist_ok=True)
    (tree / "etc/machine-id").write_text("")
    (tree / "etc/hostname").write_text("device\n")
    for folder, _, files in os.walk(tree):
        for name in [*files, "."]:
            entry = os.path.join(folder, name)
            if os.lstat(entry).st_mtime > EPOCH:
                os.utime(entry, (EPOCH, EPOCH), follow_symlinks=False)


def mirror(suite: str, settings: Path = Path("/etc/apt")) -> str:
    """The options and URI under which this machine's apt settings offer a suite.

    Raises:
        RuntimeError: no entry names it.
    """
    files = [settings / "sources.list", *sorted((settings / "sources.list.d").glob("*"))]
    for file in files:
        text = file.read_text() if file.is_file() else ""
        if file.suffix == ".sources":
            for stanza in text.split("\n\n"):
                pairs = [line.split(":", 1) for line in stanza.splitlines() if ":" in line]
                fields = {key.strip().lower(): value.split() for key, value in pairs}
                if suite in fields.get("suites", []) and "main" in fields.get("components", []):
                    keyring = fields.get("signed-by", [])
                    options = f"[signed-by={keyring[0]}] " if keyring else ""
                    return options + fields["uris"][0]
        elif file.suffix == ".list":
            for options, uri, named, components in _ONE_LINE.findall(text):
                if named == suite and "main" in components.split():
                    return str(options + uri)
    raise RuntimeError(f"no apt source of this machine offers {suite}")


def _machine_apt_options() -> list[str]:
    """This machine's own settings for reaching its mirror, as lines for apt.conf."""
    found = run(["apt-config", "dump", *_APT_OPTIONS])
    return [line for line in found.splitlines() if line and not line.endswith(' "";')]


def _installed(tree: Path, unpacked: Path) -> str:
    """`package version` per line, from the dpkg database or the names of the unpacked archives."""
    versions = {}
    for stanza in (tree / "var/lib/dpkg/status").read_text().split("\n\n"):
        fields = dict(line.split(": ", 1) for line in stanza.splitlines() if ": " in line)
        if "Package" in fields and "Version" in fields:
            versions[fields["Package"]] = fields["Version"]
    if not versions:
        names = [name.split("_") for name in unpacked.read_text().split() if name.endswith(".deb")]
        versions = {name: unquote(version) for name, version, _ in names}
    return "".join(f"{name} {versions[name]}\n" for name in sorted(versions))


def _fix_inode_change_times(image: Path, environment: Mapping[str, str]) -> None:
    """Set ctime and crtime of every used inode to EPOCH, in one debugfs run."""
    header = run(["dumpe2fs", "-h", image])
    counts = {
        key: int(value.split()[0])
        for key, _, value in (line.partition(":") for line in header.splitlines())
        if key in ("Inode count", "Free inodes")
    }
    used = counts["Inode count"] - counts["Free inodes"]
    fields = ("ctime", "ctime_extra", "crtime", "crtime_extra", "atime", "atime_extra")
    values = [(name, "0" if name.endswith("_extra") else f"@{EPOCH}") for name in fields]
    inodes = [2, *range(11, used + 1)]
    script = "".join(f"sif <{i}> {name} {value}\n" for i in inodes for name, value in values)
    run(["debugfs", "-w", "-f", "-", image], environment, stdin=script)


def changed_packages(old: Built, new: Built) -> list[str]:
    """One line for each package that differs between two states."""
    before, after = old.versions(), new.versions()
    names = sorted(
        name for name in before.keys() | after.keys() if before.get(name) != after.get(name)
    )
    return [f"{name}: {before.get(name, '-')} -> {after.get(name, '-')}" for name in names]


def chunk_ids(image: Path, store: Path, casync: str = "casync") -> list[bytes]:
    """The chunk ids of an image at casync's default sizes, made by casync itself."""
    index = store.parent / (image.parent.name + image.suffix + ".caibx")
    run([casync, "make", f"--store={store}", index, image])
    # Fixed header of 48 bytes, a table header of 16, then 40 bytes each (end offset, id), the tail.
    data = index.read_bytes()[48 + 16 : -40]
    return [data[at + 8 : at + 40] for at in range(0, len(data), 40)]


def main(arguments: Sequence[str] | None = None) -> int:
    """Build the images and print how the states differ."""
    parser = argparse.ArgumentParser(prog="python -m bench.images", description=__doc__)
    parser.add_argument("--small", action="store_true", help="the images of `bench --quick`")
    parser.add_argument("--fill", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.fill:
        what = json.load(sys.stdin)
        _fill(Recipe(**what["recipe"]), State(**what["state"]), options.fill)
        return 0
    recipe = SMALL if options.small else DEVICE
    folder = bench_folder()
    built = {state.name: build(recipe, state, folder) for state in STATES}
    for old, new in (("v0", "v1"), ("v1", "v2")):
        changed = changed_packages(built[old], built[new])
        print(f"{old} -> {new}: {len(changed)} of {len(built[new].versions())} packages differ")
        print("".join(f"    {line}\n" for line in changed), end="")
    with tempfile.TemporaryDirectory(prefix=".count-", dir=folder) as scratch:
        store = Path(scratch) / "store.castr"
        for kind in recipe.kinds:
            known: set[bytes] = set()
            for name, files in built.items():
                image = files.image(kind)
                ids = chunk_ids(image, store)
                new_ids = set(ids) - known
                known |= new_ids
                size = image.stat().st_size / 1e6
                print(
                    f"{name} {kind}: {size:.0f} MB, {len(ids)} chunks, {len(set(ids))} distinct,"
                    f" {len(new_ids)} not in the states before"
                )
    return 0


if __name__ == "__main__":
    sys.exit(main())

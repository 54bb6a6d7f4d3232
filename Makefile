# SPDX-License-Identifier: Apache-2.0
# Everything here works on a fresh Debian or Ubuntu machine that has Python, make, and root or sudo:
# what is missing is installed first, after saying so.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# One more than there are cores: guests and swarms wait a quarter of their time.
WORKERS ?= $(shell expr $$(nproc) + 1)

PACKAGES_BUILD := gcc libc6-dev ca-certificates
# Debian's own Python comes without these two.
PACKAGES_BUILD += $(shell $(PYTHON) -c 'import ensurepip' 2>/dev/null || echo python3-venv)
PACKAGES_BUILD += $(shell $(PYTHON) -c 'import os, sysconfig; \
	os.stat(sysconfig.get_path("include") + "/Python.h")' 2>/dev/null || echo python3-dev)
# To build pyparted, which tests compare with.
PACKAGES_DEV := libparted-dev pkg-config
PACKAGES_DEMO := dosfstools e2fsprogs fakeroot fdisk gnupg libubootenv-tool mmdebstrap \
	u-boot-tools zstd
# Peers, the tools that make and describe file systems, and emulators for other processors' kernels.
PACKAGES_TEST := $(PACKAGES_DEMO) casync curl iproute2 groff-base libzstd1 mount nginx-light procps time util-linux \
	android-sdk-libsparse-utils apfsprogs bcache-tools btrfs-progs cryptsetup-bin \
	device-tree-compiler dosfstools drbd-utils erofs-utils exfatprogs f2fs-tools genisoimage \
	genromfs gfs2-utils hfsutils isolinux jfsutils lvm2 makefs mdadm mkbootimg mtd-utils \
	nilfs-tools ntfs-3g ocfs2-tools qemu-utils reiser4progs reiserfsprogs squashfs-tools \
	syslinux-common u-boot-tools udftools xfsprogs xorriso \
	gcc-aarch64-linux-gnu libc6-dev-arm64-cross libsimde-dev qemu-user-static
# Machines, their firmware, bootloaders and disks; see tests/vm.
PACKAGES_VM := qemu-system-x86 qemu-system-arm ovmf u-boot-qemu u-boot-tools libubootenv-tool \
	grub-common grub-efi-amd64-bin grub-pc-bin systemd-boot-efi busybox-static dosfstools \
	e2fsprogs fdisk kmod mtools util-linux dt-utils efibootmgr systemd binutils iproute2 \
	libudev1 parted udev fuse3 qemu-system-common qemu-utils

.PHONY: help build check test bench crash powercut demo demo-vm clean
help:
	@echo "make demo     an A/B update of a real root file system in a disk image; no root, 2 minutes"
	@echo "make demo-vm  the same in a virtual machine, which boots what it got"
	@echo "make test     checks and all tests"
	@echo "make check    linters, types, import rule, C warnings"
	@echo "make bench    caflip and casync side by side on the same work"
	@echo "make crash    110,000 power cuts of an update, on files; writes docs/crash-matrix.md"
	@echo "make powercut N=100   so many power cuts of a machine that updates back and forth"
	@echo "make build    the virtual environment in $(VENV), with the package and its C kernels"

$(VENV)/pyvenv.cfg:
	@.ci/apt-install $(PACKAGES_BUILD)
	$(PYTHON) -m venv $(VENV)

# The package is installed in place: a stamp tells whether its metadata or C sources are newer.
$(VENV)/installed: $(VENV)/pyvenv.cfg pyproject.toml setup.py $(wildcard images/_native/*.[ch])
	$(BIN)/pip install --quiet --editable '.[curl]'
	@touch $@

$(VENV)/installed-dev: $(VENV)/installed
	@.ci/apt-install $(PACKAGES_DEV)
	$(BIN)/pip install --quiet --editable '.[curl,dev]'
	@touch $@

build: $(VENV)/installed

check: $(VENV)/installed-dev
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	gcc -std=c11 -O2 -Wall -Wextra -Wconversion -Werror -fsyntax-only \
		-DPy_LIMITED_API=0x030B0000 \
		$$($(BIN)/python -c 'import sysconfig; print("-I" + sysconfig.get_path("include"))') \
		images/_native/*.c
	$(BIN)/pytest -q -p no:randomly tests/test_imports.py

test: $(VENV)/installed-dev
	@.ci/apt-install $(PACKAGES_TEST) $(PACKAGES_VM)
	@$(MAKE) --no-print-directory check
	$(BIN)/pytest -n $(WORKERS) --dist worksteal

bench: $(VENV)/installed-dev
	@.ci/apt-install $(PACKAGES_TEST)
	$(BIN)/python -m bench
	$(BIN)/python -m bench.swarm

crash: $(VENV)/installed-dev
	@.ci/apt-install $(PACKAGES_TEST)
	$(BIN)/python -m tests.crash

powercut: $(VENV)/installed-dev
	@.ci/apt-install $(PACKAGES_TEST) $(PACKAGES_VM)
	$(BIN)/python -m tests.vm.powercut $(or $(N),100)

demo: $(VENV)/installed
	@.ci/apt-install $(PACKAGES_DEMO)
	@$(BIN)/python -m demo.run

demo-vm: $(VENV)/installed-dev
	@.ci/apt-install $(PACKAGES_DEMO) $(PACKAGES_VM)
	@$(BIN)/python -m demo.vm

clean:
	rm -rf $(VENV) build dist *.egg-info images/_native/*.so .bench .demo

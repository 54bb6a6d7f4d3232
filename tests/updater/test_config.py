# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import re
import tomllib
from dataclasses import fields
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from boot.bootloader import MAX_TRIES
from boot.detect import BACKENDS, open_bootloader
from images.errors import NotAccessible
from images.specs import SeedSpec
from tests.updater.config_texts import BOOTLOADER, LEAST, PATH, SLOT_A, SLOT_B, TOP, parsed
from updater.config import (
    DEFAULT_PATH,
    MAX_LENGTH,
    Config,
    Reboot,
    config_path,
    load_config,
    parse_config,
)
from updater.config_bootloader import PATHS
from updater.config_fields import keys_of
from updater.config_page import PAGE, page
from updater.config_slots import SlotConfig
from updater.config_tables import TABLES
from updater.device_names import DeviceName, NamedBy
from updater.errors import ConfigInvalid

ROOT = Path(__file__).parent.parent.parent
EXAMPLE = ROOT / "packaging/config.toml"
FULL = (
    TOP
    + """\
variant = "rev-b"
[channel]
url = "https://updates.example.org/stable/"
[trust]
keyring = "trusted.gpg"
fingerprints = ["0x0123 4567 89ab cdef 0123  4567 89ab cdef 0123 4567", "%s"]
threshold = 2
[stores]
settings = "stores.toml"
extra = ["mirror.castr", "https://mirror.example.org/default.castr"]
cache = "/var/cache/caflip"
rate-limit-bps = "1M"
[update]
tries = 7
seeds = ["/dev/sda@1M+512M", "old.caibx"]
most-download = 2000000
network-wait-s = 0
device-wait-s = 1.5
reboot = "after-update"
reboot-command = ["/sbin/reboot"]
[hooks]
before = ["/bin/before", "argument"]
timeout-s = 5
[health]
commands = [["/bin/one"], ["/bin/two", "x"]]
services = ["one.service"]
boot-complete = true
window-s = 10
attempts = 1
[state]
folder = "state"
"""
    % ("A" * 64)
    + BOOTLOADER
    + SLOT_A
    + SLOT_B
)


def refused(text: str) -> ConfigInvalid:
    with pytest.raises(ConfigInvalid) as caught:
        parsed(text)
    return caught.value


def test_the_least_configuration_has_the_defaults() -> None:
    config = parsed(LEAST)
    assert (config.compatible, config.variant, config.channel.url) == ("acme-gateway", None, None)
    assert config.boot_names == ("A", "B")
    assert config.slots[0] == SlotConfig("a", DeviceName(NamedBy.PARTLABEL, "root-a"), "A")
    assert config.slots[0].slot_class == "rootfs"
    assert config.update.tries == 3
    assert config.update.reboot is Reboot.NEVER
    assert config.state_folder == Path("/var/lib/caflip")
    assert config.trust.keyring == Path("/etc/caflip/trusted.gpg")
    assert config.hooks.before == ()


def test_every_key_is_read_and_relative_paths_start_at_the_files_folder() -> None:
    config = parsed(FULL)
    folder = PATH.parent
    assert config.variant == "rev-b"
    assert config.trust.keyring == folder / "trusted.gpg"
    assert config.trust.fingerprints == ("0123456789ABCDEF" * 2 + "01234567", "A" * 64)
    assert config.stores.settings == folder / "stores.toml"
    assert config.stores.extra == (
        str(folder / "mirror.castr"),
        "https://mirror.example.org/default.castr",
    )
    assert config.stores.cache == Path("/var/cache/caflip")
    assert config.stores.rate_limit_bps == 1 << 20
    assert config.update.seeds == (
        SeedSpec(Path("/dev/sda"), 1 << 20, 512 << 20),
        SeedSpec(folder / "old", index=folder / "old.caibx"),
    )
    assert (config.update.most_download, config.update.network_wait_s) == (2_000_000, 0.0)
    assert config.update.device_wait_s == 1.5
    assert config.update.reboot is Reboot.AFTER_UPDATE
    assert config.update.reboot_command == ("/sbin/reboot",)
    assert config.hooks.before == ("/bin/before", "argument")
    assert config.health.commands == (("/bin/one",), ("/bin/two", "x"))
    assert config.health.boot_complete
    assert config.state_folder == folder / "state"
    assert config.bootloader.settings == {"environment": str(folder / "grubenv")}


def test_the_bootloaders_settings_are_what_its_backend_takes(tmp_path: Path) -> None:
    (tmp_path / "grubenv").write_bytes(b"# GRUB Environment Block\n".ljust(1024, b"#"))
    config = parse_config(LEAST.encode(), tmp_path / "config.toml")
    found = config.bootloader
    bootloader = open_bootloader(found.kind, config.boot_names, found.settings)
    assert (bootloader.kind, bootloader.slots) == ("grub", ("A", "B"))


def test_keys_with_hyphens_become_the_backends_names() -> None:
    text = LEAST.replace(
        BOOTLOADER, '[bootloader]\nkind = "custom"\nhandler = "h"\ntimeout-s = 3\n'
    )
    assert parsed(text).bootloader.settings == {"handler": "/etc/caflip/h", "timeout_s": 3}


def test_the_settings_that_are_paths_are_those_that_refuse_a_relative_one() -> None:
    found = set()
    for backend in BACKENDS.values():
        for name, convert in backend.settings.items():
            try:
                convert("relative")
            except ValueError as error:
                if "path" in str(error):
                    found.add(name)
    assert found == PATHS


WRONG = [
    # text, what the message says, line
    (LEAST.replace("compatible", "comaptible"), "unknown key 'comaptible'", 1),
    (LEAST + "[update]\ntreis = 3\n", "unknown key 'treis' in [update]", 14),
    (LEAST.replace('boot = "B"', 'boot = "B"\nclas = "x"'), "'clas' in [slot[2]]", 13),
    (LEAST.replace("environment", "enviroment"), "'enviroment' in [bootloader]", 4),
    (LEAST + "[upadte]\n", "unknown key 'upadte'", 13),
    (LEAST + "update = 1\n", "unknown key 'update' in [slot[2]]", 13),
    ("channel = 1\n" + LEAST, "channel is not a table", 1),
    ("slot = 1\n" + TOP + BOOTLOADER, "slot is not a list of tables", 1),
    ("slot = [1]\n" + TOP + BOOTLOADER, "slot[1] is not a table", 1),
    (TOP.replace('"acme-gateway"', "1") + LEAST[len(TOP) :], "compatible is 1, not a text", 1),
    (TOP.replace("acme-gateway", " x") + LEAST[len(TOP) :], "without a space at an end", 1),
    (LEAST[len(TOP) :], "compatible is missing", None),
    (TOP + SLOT_A + SLOT_B, "bootloader.kind is missing", None),
    (TOP + "[bootloader]\n" + SLOT_A + SLOT_B, "bootloader.kind is missing", 2),
    (LEAST.replace('"grub"', '"grbu"'), "bootloader.kind is 'grbu'", 3),
    (LEAST.replace('"grub"', "[]"), "bootloader.kind is []", 3),
    (LEAST.replace('"grubenv"', "5"), "bootloader.environment is 5, not an absolute path", 4),
    (LEAST.replace('"grubenv"', '""'), "bootloader.environment is '', not an absolute path", 4),
    (LEAST.replace('name = "b"\n', ""), "slot[2].name is missing", 9),
    (LEAST.replace('"b"', '"../b"'), "not a name of up to 32", 10),
    (LEAST.replace('"b"', '"a"'), "two slots have the name 'a'", 10),
    (LEAST.replace('"B"', '"A"'), "both of class 'rootfs' and boot as 'A'", 12),
    (LEAST.replace("root-b", "root-a"), "are on the same device", 11),
    (LEAST.replace(SLOT_B, ""), "at least two slots", 5),
    (TOP + BOOTLOADER, "at least two slots", None),
    (
        LEAST + SLOT_A.replace('"a"', '"k"').replace("root-a", "k") + 'class = "boot"\n',
        "that boot as 'B' have none of class 'boot', as slot 'k' of 'A' is",
        9,
    ),
    (LEAST + 'class = "Root FS"\n', "not a class", 13),
    (LEAST.replace("PARTLABEL=root-b", "LABEL=root"), "goes by the content", 11),
    (LEAST.replace("PARTLABEL=root-b", "UUID=1-2"), "goes by the content", 11),
    (LEAST.replace("PARTLABEL=root-b", "/dev/disk/by-uuid/1"), "goes by the content", 11),
    (LEAST.replace("PARTLABEL=root-b", "PARTTYPE=x"), "names no device", 11),
    (LEAST.replace("PARTLABEL=root-b", "PARTLABEL="), "1 to 36 characters", 11),
    (LEAST.replace("PARTLABEL=root-b", "PARTUUID=xyz"), "is no PARTUUID", 11),
    (LEAST.replace("PARTLABEL=root-b", "disk@1M+0"), "region of no bytes", 11),
    (LEAST.replace("PARTLABEL=root-b", "disk@1+1M"), "sector of 512 bytes", 11),
    (LEAST.replace("PARTLABEL=root-b", "disk/"), "is no device", 11),
    (LEAST.replace('"PARTLABEL=root-b"', "7"), "slot[2].device is 7, not a text", 11),
    (LEAST + "[update]\ntries = 0\n", "update.tries is 0, not a whole number from 1 to 7", 14),
    (LEAST + f"[update]\ntries = {MAX_TRIES + 1}\n", "update.tries is 8", 14),
    (LEAST + "[update]\ntries = true\n", "update.tries is true", 14),
    (LEAST + "[update]\nnetwork-wait-s = -1\n", "from 0 to", 14),
    (LEAST + "[update]\nnetwork-wait-s = inf\n", "from 0 to", 14),
    (LEAST + "[update]\nnetwork-wait-s = nan\n", "from 0 to", 14),
    (LEAST + '[update]\nnetwork-wait-s = "1"\n', "not a number of seconds", 14),
    (LEAST + '[update]\nmost-download = "2 GB"\n', "update.most-download: ", 14),
    (LEAST + "[update]\nmost-download = -1\n", "not a number of bytes", 14),
    (LEAST + '[update]\nreboot = "yes"\n', 'not "never" or "after-update"', 14),
    (LEAST + '[update]\nreboot-command = ["/r"]\n', "is never called", 14),
    (LEAST + '[update]\nseeds = ["a@1X"]\n', "update.seeds: ", 14),
    (LEAST + "[stores]\nrate-limit-bps = 0\n", "at least 1 byte a second", 14),
    (LEAST + '[stores]\nextra = "x"\n', "not a list of URLs and paths", 14),
    (LEAST + '[stores]\nextra = ["ftp://x"]\n', "stores.extra: ", 14),
    (LEAST + "[stores]\ncache = 5\n", "stores.cache is 5, not a path", 14),
    (LEAST + '[hooks]\nbefore = ["hook"]\n', "absolute path", 14),
    (LEAST + "[hooks]\nbefore = []\n", "a list of a program", 14),
    (LEAST + '[hooks]\nbefore = "/bin/x"\n', "a list of a program", 14),
    (LEAST + '[hooks]\nbefore = ["/bin/x", 1]\n', "a list of texts", 14),
    (LEAST + '[health]\ncommands = ["/bin/x"]\n', "not a list of a program", 14),
    (LEAST + '[health]\nboot-complete = "yes"\n', "not true or false", 14),
    (LEAST + "[health]\nservices = [1]\n", "not a text", 14),
    (LEAST + '[trust]\nfingerprints = ["1234ABCD"]\n', "no fingerprint of 40 or 64", 14),
    (LEAST + f'[trust]\nfingerprints = ["{"a" * 40}", "{"A" * 40}"]\n', "stands twice", 14),
    (LEAST + f'[trust]\nfingerprints = ["{"A" * 40}"]\nthreshold = 2\n', "enough keys", 15),
    (LEAST + '[channel]\nurl = "host:path"\n', "channel.url: ", 14),
    (LEAST + "tries = = 3\n", "Invalid value", 13),
    (LEAST + "compatible = 1\n[update]\n[update]\n", "", 15),
]


@pytest.mark.parametrize(("text", "says", "line"), WRONG, ids=[says for _, says, _ in WRONG])
def test_what_makes_no_sense_is_refused_with_file_and_line(
    text: str, says: str, line: int | None
) -> None:
    message = str(refused(text))
    assert says in message
    assert message.startswith(f"{PATH}: " if line is None else f"{PATH}:{line}: ")


def test_unknown_keys_name_the_nearest() -> None:
    assert refused(LEAST + "[update]\ntreis = 3\n").hint == "did you mean tries?"
    assert refused(LEAST.replace("environment", "env")).hint == "did you mean environment?"
    assert refused(LEAST + "[upadte]\n").hint == "did you mean update?"


def test_regions_of_one_image_are_slots_unless_they_overlap() -> None:
    text = LEAST.replace("PARTLABEL=root-a", "disk.img@1M+512M")
    apart = text.replace("PARTLABEL=root-b", "disk.img@513M+512M")
    assert parsed(apart).slots[1].device == DeviceName(
        NamedBy.PATH, "/etc/caflip/disk.img", 513 << 20, 512 << 20
    )
    for other in ("disk.img@512M+512M", "disk.img@0+2M", "disk.img@2M+1M", "disk.img"):
        assert "same device" in str(refused(text.replace("PARTLABEL=root-b", other)))


def test_partitions_of_one_image_are_slots_unless_they_are_the_same() -> None:
    text = LEAST.replace("PARTLABEL=root-a", "disk.img#PARTLABEL=root-a")
    apart = text.replace('"PARTLABEL=root-b', '"disk.img#PARTLABEL=root-b')
    assert [str(slot.device) for slot in parsed(apart).slots] == [
        f"/etc/caflip/disk.img#PARTLABEL=root-{letter}" for letter in "ab"
    ]
    for other in ("disk.img#PARTLABEL=root-a", "disk.img"):
        assert "same device" in str(refused(text.replace("PARTLABEL=root-b", other)))


def test_groups_of_several_classes() -> None:
    more = "".join(
        slot.replace(f'name = "{name}"', f'name = "{name}-boot"').replace("root-", "boot-")
        + 'class = "boot"\n'
        for slot, name in ((SLOT_A, "a"), (SLOT_B, "b"))
    )
    config = parsed(LEAST + more)
    assert config.boot_names == ("A", "B")
    assert [slot.slot_class for slot in config.slots] == ["rootfs", "rootfs", "boot", "boot"]


def test_what_is_no_toml_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigInvalid, match=r":2: not UTF-8"):
        parse_config(b"a = 1\nb = '\xff'\n", PATH)
    for data in (b"a = " + b"[" * 100_000, b"a = " + b"9" * 5000):
        with pytest.raises(ConfigInvalid):
            parse_config(data, PATH)
    path = tmp_path / "config.toml"
    path.write_bytes(b"#" * (MAX_LENGTH + 1))
    with pytest.raises(ConfigInvalid, match="longer than"):
        load_config(path)


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(NotAccessible, match=r"nothing\.toml: No such file"):
        load_config(tmp_path / "nothing.toml")


def test_which_file() -> None:
    assert config_path(None, {}) == DEFAULT_PATH
    assert config_path(None, {"CAFLIP_CONFIG": "/x"}) == Path("/x")
    assert config_path("/y", {"CAFLIP_CONFIG": "/x"}) == Path("/y")


TABLE_NAMES = [None, "slot", "bootloader", *TABLES]


@given(
    st.sampled_from(TABLE_NAMES),
    st.from_regex(r"[A-Za-z0-9_-]{1,20}", fullmatch=True),
    st.sampled_from(["1", '"x"', "[]", "{ a = 1 }", "true"]),
)
def test_no_unknown_key_passes(table: str | None, key: str, value: str) -> None:
    known = {*tomllib.loads(FULL), *TABLES, "variant"}
    if table is not None:
        record = SlotConfig if table == "slot" else TABLES.get(table)
        known = {"kind", "environment"} if record is None else set(keys_of(record))
    if key in known:
        return
    line = f"{key} = {value}\n"
    if table is None:
        text, number = line + LEAST, 1
    elif table in ("slot", "bootloader"):
        head = "[[slot]]\n" if table == "slot" else "[bootloader]\n"
        text = LEAST.replace(head, head + line, 1)
        number = text[: text.index(head)].count("\n") + 2
    else:
        text, number = LEAST + f"[{table}]\n{line}", 14
    error = refused(text)
    assert str(error).startswith(f"{PATH}:{number}: unknown key {key!r}")
    assert error.hint is not None
    assert error.hint.removeprefix("did you mean ").removesuffix("?") in known


@given(st.text(max_size=200) | st.binary(max_size=200))
def test_no_bytes_do_more_than_be_refused(data: str | bytes) -> None:
    raw = data.encode("utf-8", "surrogatepass") if isinstance(data, str) else data
    with pytest.raises(ConfigInvalid):
        parse_config(raw, PATH)


_ANY = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3),
    max_leaves=5,
)


@given(st.data())
def test_no_value_of_any_kind_does_more_than_be_refused(data: st.DataObject) -> None:
    for record in (Config, SlotConfig, *TABLES.values()):
        for _, about in keys_of(record).values():
            value = data.draw(_ANY)
            try:
                about.read(value, Path("/"))
            except Exception as error:
                assert isinstance(error, ValueError) or type(error).__name__ == "SettingInvalid"


def test_the_page_is_up_to_date() -> None:
    assert PAGE.read_text() == page(), "run `python -m updater.config_page`"


def test_every_key_has_a_meaning_and_an_example_that_is_right() -> None:
    for record in (Config, SlotConfig, *TABLES.values()):
        for name, (_, about) in keys_of(record).items():
            assert about.meaning.endswith("."), name
            assert about.kind, name
            about.read(tomllib.loads(f"value = {about.example}")["value"], Path("/"))
    for record in TABLES.values():
        assert len(keys_of(record)) == len(fields(record)), record


def test_the_example_loads_as_it_is_and_with_everything_uncommented() -> None:
    text = EXAMPLE.read_text()
    assert parse_config(text.encode(), PATH).update.tries == 3
    full = re.sub(r"^#(?=[a-z-]+ = )", "", text, flags=re.MULTILINE)
    config = parse_config(full.encode(), PATH)
    assert config.health.settle_s == 10
    document = tomllib.loads(full)
    assert document.keys() == {*keys_of(Config), "bootloader", "slot", *TABLES}
    for name, record in TABLES.items():
        assert document[name].keys() == keys_of(record).keys(), name
    assert document["slot"][0].keys() == keys_of(SlotConfig).keys()

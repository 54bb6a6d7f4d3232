# SPDX-License-Identifier: Apache-2.0
"""A whole device on files, with one thing wrong at a time."""

from __future__ import annotations

import hashlib
import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.updater.agent.conftest import MakeDevice, Published
from tests.updater.device import OFFSETS, SLOT_LENGTH, Device, Site
from tests.updater.running import Caflip
from updater.agent import doctor
from updater.agent.checks.finding import Finding, Patient
from updater.lock import Lock
from updater.state import SCHEMA


@dataclass(frozen=True, slots=True)
class Told:
    """What the doctor said."""

    status: int
    findings: list[dict[str, Any]]

    def levels(self, subject: str) -> set[str]:
        return {item["level"] for item in self.findings if item["subject"] == subject}

    def has(self, level: str, subject: str, text: str) -> bool:
        return any(
            (item["level"], item["subject"]) == (level, subject) and text in item["found"]
            for item in self.findings
        )

    def only_problem(self, subject: str, text: str) -> bool:
        """Whether this is the one problem, told with a remedy, and the exit status says so."""
        problems = [item for item in self.findings if item["level"] == "problem"]
        return (
            self.status == 78
            and len(problems) == 1
            and self.has("problem", subject, text)
            and bool(problems[0]["remedy"])
        )


def ask(device: Device, *arguments: str, running: str | None = "A") -> Told:
    done = device.run("doctor", "--json", *arguments, running=running)
    assert done.last["event"] == "result", done.err
    return Told(done.status, done.last["findings"])


def rewrite(device: Device, old: str, new: str) -> None:
    text = device.config.read_text()
    assert old in text
    device.config.write_text(text.replace(old, new))


def add(device: Device, text: str) -> None:
    device.config.write_text(device.config.read_text() + text)


def everything_below(folder: Path) -> dict[Path, tuple[bytes, int]]:
    return {
        path: (path.read_bytes(), path.stat().st_mtime_ns)
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_a_sound_device_has_no_problem_and_nothing_is_written(device: Device) -> None:
    before = everything_below(device.folder)
    told = ask(device, "--online", "--repair")
    assert told.status == 0, told.findings
    assert "problem" not in {item["level"] for item in told.findings}
    assert told.has("ok", "channel", "'2.0' (sequence 2), is signed by 1 keys")
    assert told.has("ok", "channel", "may be installed on slot B")
    after = everything_below(device.folder)
    lock = device.folder / "state/lock"
    assert before.keys() == after.keys()
    assert {p for p in before if before[p] != after[p]} <= {lock}, "--repair takes the lock"


def test_the_text_has_a_line_for_each_finding_and_its_remedy(device: Device) -> None:
    rewrite(device, 'kind = "uboot"', 'kind = "uboot"\ntries = 1')
    lines = device.run("doctor").text.splitlines()
    assert any(line.startswith("ok       slots: A: root-a (") for line in lines)
    assert any(line.startswith("warning  health checks: none") for line in lines)
    assert any(line == "           name what has to work in [health]" for line in lines)
    assert lines[-1].endswith("warnings")


def test_a_broken_configuration_is_named_with_its_line_and_ends_nothing(device: Device) -> None:
    add(device, "[state]\n")
    told = ask(device)
    assert told.only_problem("configuration", "config.toml:")
    assert told.has("warning", "all else", "not looked at")
    assert told.levels("bootloader"), "what started this system is told all the same"


def test_a_configuration_that_is_not_there_is_a_problem(device: Device) -> None:
    device.config.unlink()
    told = ask(device)
    assert told.status == 78
    assert told.has("problem", "configuration", "No such file")


def test_a_configuration_that_others_may_write_is_a_problem(device: Device) -> None:
    device.config.chmod(0o666)
    assert ask(device).only_problem("configuration", "can be written by others")


def test_a_missing_slot_hides_nothing_else(device: Device) -> None:
    shutil.copy(device.disk, device.folder / "other.img")
    rewrite(device, f"disk.img@{OFFSETS['B']}", f"gone.img@{OFFSETS['B']}")
    told = ask(device, "--online")
    assert told.has("problem", "slots", "there is no")
    assert told.has("ok", "slots", "root-a")
    assert told.has("ok", "running slot", "A: ")
    assert told.has("ok", "state", "can be believed")
    assert told.has("ok", "trusted keys", "1 (pinned)")


def test_no_slot_at_all_hides_nothing_else(device: Device) -> None:
    device.disk.unlink()
    told = ask(device, running=None)
    assert told.status == 78
    assert told.has("ok", "boot environment", "A good")
    assert told.has("ok", "state", "can be believed")


def test_slots_of_one_class_that_differ_in_length_are_told(device: Device) -> None:
    rewrite(device, f"{OFFSETS['B']}+{SLOT_LENGTH}", f"{OFFSETS['B']}+{SLOT_LENGTH - 4096}")
    told = ask(device)
    assert told.status == 0
    assert told.has("warning", "slots", "differ in length")


def test_slots_that_share_bytes_are_a_problem(device: Device) -> None:
    link = device.folder / "link.img"
    link.symlink_to(device.disk)
    rewrite(
        device,
        f"disk.img@{OFFSETS['B']}+{SLOT_LENGTH}",
        f"link.img@{OFFSETS['B'] - 512}+{SLOT_LENGTH}",
    )
    told = ask(device)
    assert told.status == 78
    assert told.has("problem", "slots", "share bytes")


def test_one_torn_copy_of_the_boot_environment_is_a_warning(device: Device) -> None:
    (device.folder / "env0").write_bytes(b"\xff" * 4096)
    told = ask(device)
    assert told.status == 0
    assert told.levels("boot environment") == {"ok", "warning"}
    assert any("env0" in item["found"] for item in told.findings)


def test_two_torn_copies_are_a_problem_that_hides_nothing_else(device: Device) -> None:
    for name in ("env0", "env1"):
        (device.folder / name).write_bytes(b"\xff" * 4096)
    told = ask(device)
    assert told.status == 78
    assert told.levels("boot environment") == {"problem"}
    assert told.has("ok", "state", "can be believed")
    assert told.has("ok", "inactive slot", "root-b")


def test_an_environment_of_one_copy_is_a_weakness(device: Device) -> None:
    config = device.folder / "fw_env.config"
    config.write_text(config.read_text().splitlines()[0] + "\n")
    told = ask(device)
    assert told.has("warning", "bootloader", "has one copy")


def test_a_device_that_boots_nothing_is_a_problem(device: Device) -> None:
    for name in ("A", "B"):
        device.bootloader.mark_bad(name)
    assert ask(device).has("problem", "boot environment", "no slot would boot")


def test_a_slot_that_is_being_tried_and_a_lack_of_others_are_told(device: Device) -> None:
    device.must("update")
    device.boot()
    told = ask(device, running="B")
    assert told.has("warning", "running slot", "B is not proved good (trying, 2 tries left)")
    device.bootloader.mark_bad("A")
    assert ask(device, running="B").has("warning", "running slot", "nothing but B to boot")


def test_a_bootloader_that_does_not_open_hides_nothing_else(device: Device) -> None:
    (device.folder / "fw_env.config").unlink()
    told = ask(device)
    assert told.status == 78
    assert "problem" in told.levels("bootloader") | told.levels("boot environment")
    assert told.has("ok", "state", "can be believed")


KEYRINGS = {
    "missing": (None, "No such file"),
    "of another": (b"no key", "the keyring or its fingerprints"),
    "empty": (b"", "the keyring has no primary key"),
}


@pytest.mark.parametrize(("content", "says"), KEYRINGS.values(), ids=list(KEYRINGS))
def test_a_keyring_that_verifies_nothing_is_a_problem(
    device: Device, content: bytes | None, says: str
) -> None:
    keyring = device.folder / "keyring.gpg"
    rewrite(device, str(device.site.keyring), "keyring.gpg")
    if content is not None:
        keyring.write_bytes(content)
    told = ask(device)
    assert told.status == 78
    assert told.has("problem", "trusted keys", says)


def test_a_keyring_that_others_may_write_is_a_problem(device: Device) -> None:
    keyring = device.folder / "keyring.gpg"
    shutil.copy(device.site.keyring, keyring)
    keyring.chmod(0o664)
    rewrite(device, str(device.site.keyring), "keyring.gpg")
    assert ask(device).only_problem("trusted keys", "can be written by others")


def test_a_key_that_expires_soon_is_told_in_time(
    device: Device, tmp_path: Path, caflip: Caflip
) -> None:
    home, keyring = tmp_path / "home", device.folder / "soon.gpg"
    home.mkdir(mode=0o700)
    name = caflip(
        *("keys", "make", "Soon <soon@example.org>", "--expires=59d"),
        *(f"--gnupg-home={home}", "--json"),
    ).last["fingerprint"]
    assert caflip("keys", "export", keyring, f"--gnupg-home={home}").status == 0
    rewrite(device, str(device.site.keyring), "soon.gpg")
    rewrite(device, device.site.fingerprint, name)
    told = ask(device)
    assert told.status == 0
    assert told.has("warning", "trusted keys", "expires in 58 days")


def test_a_device_without_gpg_is_told_so(device: Device, monkeypatch: pytest.MonkeyPatch) -> None:
    empty = device.folder / "bin"
    empty.mkdir()
    monkeypatch.setenv("PATH", str(empty))
    told = ask(device, "--online")
    assert told.status == 78
    assert told.has("problem", "gpg", "No such file")
    assert told.has("ok", "state", "can be believed")


def test_a_state_folder_that_cannot_be_made_is_a_problem(device: Device) -> None:
    (device.folder / "file").write_text("")
    rewrite(device, 'folder = "state"', 'folder = "file/state"')
    assert ask(device).has("problem", "state", "cannot be made")


def test_a_state_that_is_not_there_yet_is_none_lost(device: Device) -> None:
    shutil.rmtree(device.folder / "state")
    told = ask(device, "--repair")
    assert told.status == 0
    assert told.has("ok", "state", "the first update makes it")
    assert not (device.folder / "state").exists()


def copies(device: Device) -> list[Path]:
    return [device.folder / "state/state-0.json", device.folder / "state/state-1.json"]


@pytest.mark.parametrize("number", [0, 1])
def test_one_torn_copy_of_the_state_is_a_warning_and_is_mended(device: Device, number: int) -> None:
    torn = copies(device)[number]
    torn.write_bytes(torn.read_bytes()[:-20])
    told = ask(device)
    assert told.status == 0
    assert told.has("warning", "state", f"{torn} cannot be believed")
    assert ask(device, "--repair").has("ok", "state", "both copies are whole again")
    assert ask(device).levels("state") == {"ok"}


def test_a_missing_copy_of_the_state_is_a_warning_and_is_mended(device: Device) -> None:
    copies(device)[0].unlink()
    assert ask(device).has("warning", "state", "is missing")
    ask(device, "--repair")
    assert copies(device)[0].exists()
    assert ask(device).levels("state") == {"ok"}


def test_a_lost_state_is_a_problem_and_repair_starts_afresh(device: Device) -> None:
    slot = device.slot("A")
    for path in copies(device):
        path.write_bytes(b"{}")
    assert ask(device).only_problem("state", "cannot be believed")
    assert ask(device).status == 78, "looking at it mends nothing"
    told = ask(device, "--repair")
    assert told.status == 0
    assert told.has("warning", "state", "started afresh")
    assert ask(device).levels("state") == {"ok"}
    assert all(
        json.loads(path.read_bytes())["state"]["highest_sequence"] == 0 for path in copies(device)
    )
    assert device.slot("A") == slot
    assert device.must("update").status == 0


def test_the_state_of_a_later_caflip_is_told_and_never_repaired_away(device: Device) -> None:
    body = json.loads(copies(device)[0].read_bytes())["state"]
    body |= {"schema": SCHEMA + 1, "generation": 99}
    canonical = json.dumps(body, sort_keys=True, separators=(",", ":")).encode()
    later = b'{"sha256":"%s","state":%s}\n' % (
        hashlib.sha256(canonical).hexdigest().encode(),
        canonical,
    )
    copies(device)[0].write_bytes(later)
    for arguments in ([], ["--repair"]):
        told = ask(device, *arguments)
        assert told.status == 78
        assert told.has("problem", "state", f"schema {SCHEMA + 1}")
        assert copies(device)[0].read_bytes() == later


def test_repair_waits_for_no_update_that_runs(device: Device) -> None:
    copies(device)[0].write_bytes(b"{}")
    with Lock(device.folder / "state", "update"):
        told = ask(device, "--repair")
    assert told.has("problem", "state", "`caflip update` (process")
    assert copies(device)[0].read_bytes() == b"{}"


def test_the_doctor_may_look_while_an_update_runs(device: Device) -> None:
    with Lock(device.folder / "state", "update"):
        assert ask(device).status == 0


def test_a_release_that_would_be_refused_is_a_problem_before_the_update(
    device: Device, own_channel: Site
) -> None:
    rewrite(device, str(device.site.folder), str(own_channel.folder))
    assert ask(device, "--online").status == 0
    rewrite(device, '"test-device"', '"other-device"')
    told = ask(device, "--online")
    assert told.has("problem", "channel", "is for 'test-device'")
    assert ask(device).status == 0, "the channel is asked with --online only"


def test_a_channel_that_is_changed_or_gone_is_a_problem(
    device: Device, own_channel: Site, published: Published
) -> None:
    rewrite(device, str(device.site.folder), str(own_channel.folder))
    release = own_channel.folder / published.releases[2].relative_to(device.site.folder)
    release.write_bytes(release.read_bytes().replace(b'"2.0"', b'"6.6"'))
    assert ask(device, "--online").has("problem", "channel", "")
    shutil.rmtree(own_channel.folder)
    assert ask(device, "--online").has("problem", "channel", "No such file")


def test_no_channel_at_all_is_a_warning(device: Device) -> None:
    rewrite(device, f'url = "{device.site.folder}"', "")
    told = ask(device, "--online")
    assert (told.status, told.levels("channel")) == (0, {"warning"})


def test_settings_of_stores_that_make_no_sense_are_a_problem(new_device: MakeDevice) -> None:
    device = new_device()
    (device.folder / "stores.toml").write_text("nonsense = [")
    add(device, '[stores]\nsettings = "stores.toml"\n')
    assert ask(device).only_problem("channel", "stores.toml")


def test_a_cache_that_cannot_be_made_is_a_problem(device: Device) -> None:
    (device.folder / "file").write_text("")
    add(device, '[stores]\ncache = "file/cache"\n')
    assert ask(device).has("problem", "cache", "cannot be made")


def test_a_cache_is_told_with_its_room(device: Device) -> None:
    add(device, '[stores]\ncache = "cache"\n')
    assert ask(device).has("ok", "cache", "are free for")


def test_metrics_without_a_folder_are_a_warning(device: Device) -> None:
    add(device, '[metrics]\nfile = "none/caflip.prom"\n')
    told = ask(device)
    assert (told.status, told.levels("metrics")) == (0, {"warning"})
    (device.folder / "none").mkdir()
    assert ask(device).levels("metrics") == {"ok"}


HOOKS = ["before", "after", "failed"]


@pytest.mark.parametrize("hook", HOOKS)
def test_a_hook_that_cannot_be_started_is_a_problem(device: Device, hook: str) -> None:
    program = device.folder / "hook"
    add(device, f'[hooks]\n{hook} = ["{program}"]\n')
    assert ask(device).only_problem("hooks", f"{hook}: {program} is not there")
    program.write_text("#!/bin/sh\n")
    assert ask(device).only_problem("hooks", f"{hook}: {program} is not executable")
    program.chmod(0o755)
    assert ask(device).status == 0


def test_a_health_command_that_cannot_be_started_is_a_problem(device: Device) -> None:
    add(device, '[health]\ncommands = [["/bin/true"], ["/no/such/check"]]\n')
    told = ask(device)
    assert told.has("ok", "health checks", "/bin/true")
    assert told.only_problem("health checks", "/no/such/check is not there")


def test_a_kernel_that_is_not_here_is_a_problem(
    device: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CAFLIP_KERNEL", "portable")
    assert ask(device).has("warning", "extension", "asks for portable")
    monkeypatch.setenv("CAFLIP_KERNEL", "abacus")
    assert ask(device).only_problem("extension", "no such kernel")


@pytest.mark.parametrize("error", [ZeroDivisionError("x"), OSError(5, "Input/output error", "f")])
def test_a_check_that_breaks_is_a_finding_and_hides_nothing(
    device: Device, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def broken(patient: Patient) -> list[Finding]:
        raise error

    def breaks(patient: Patient):  # type: ignore[no-untyped-def]  # noqa: ANN202
        yield from broken(patient)

    monkeypatch.setattr(doctor, "CHECKS", (("broken", breaks), *doctor.CHECKS))
    told = ask(device)
    assert told.status == 78
    assert told.levels("broken") == {"problem"}
    assert told.has("ok", "state", "can be believed")

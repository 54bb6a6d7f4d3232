# SPDX-License-Identifier: Apache-2.0
"""Handlers in RAUC's protocol: small shell scripts that write down how they were called."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import pytest

from boot.bootloader import BootState, SlotBoot, SlotState, unknown_slot
from boot.custom import Custom, answer, tries_in
from boot.errors import (
    BootloaderMissing,
    BootSettingInvalid,
    EnvironmentFault,
    EnvironmentInvalid,
    SlotUnknown,
)

FILES = """#!/bin/sh
# State in files, beside the script; every call that changes something is written down.
cd "$(dirname "$0")" || exit 1
case "$1" in
get-primary) cat primary ;;
set-primary)
    echo "$* ${CAFLIP_TRIES-unset}" >> log
    echo "$2" > primary
    echo "$WORD" > "state-$2" ;;
get-state) cat "state-$2" ;;
set-state) echo "$*" >> log; echo "$3" > "state-$2" ;;
get-current) cat current ;;
*) exit 64 ;;
esac
"""


class Handler:
    def __init__(self, folder: Path, script: str, *, trying: bool = False) -> None:
        self.folder = folder
        self.path = folder / "handler"
        word = "trying $CAFLIP_TRIES" if trying else "good"
        self.path.write_text(script.replace("$WORD", word))
        self.path.chmod(0o755)
        for name, text in (("primary", "A"), ("state-A", "good"), ("state-B", "bad")):
            (folder / name).write_text(f"{text}\n")
        (folder / "cmdline").write_text("rauc.slot=B\n")
        self.custom = Custom(
            ["A", "B"], handler=self.path, timeout_s=30, command_line=folder / "cmdline"
        )

    def log(self) -> list[str]:
        path = self.folder / "log"
        text = path.read_text() if path.exists() else ""
        path.write_text("")
        return text.splitlines()


def slots(state: BootState) -> dict[str, tuple[str, int | None]]:
    return {slot.name: (slot.state.value, slot.tries_left) for slot in state.slots}


def test_a_handler_of_raucs_is_called_as_rauc_calls_it(tmp_path: Path) -> None:
    handler = Handler(tmp_path, FILES)
    custom = handler.custom
    state = custom.read()
    assert slots(state) == {"A": ("good", None), "B": ("bad", None)}
    assert (state.primary, state.next) == ("A", "A")
    custom.set_primary("B", 2)
    assert handler.log() == ["set-primary B 2"]
    assert (custom.read().primary, custom.read().next) == ("B", "B")
    custom.mark_good("B")
    assert handler.log() == []
    custom.mark_bad("B")
    assert handler.log() == ["set-state B bad"]
    assert (custom.read().primary, custom.read().next) == ("B", "A")
    custom.mark_good("A")
    assert handler.log() == ["set-primary A 1", "set-state A good"]


def test_a_handler_that_knows_trials_is_asked_for_them(tmp_path: Path) -> None:
    handler = Handler(tmp_path, FILES, trying=True)
    handler.custom.set_primary("B", 3)
    assert slots(handler.custom.read())["B"] == ("trying", 3)
    handler.log()
    handler.custom.set_primary("B", 3)
    assert handler.log() == [], "it is so already"
    (tmp_path / "state-B").write_text("trying 0\n")
    assert handler.custom.read().next == "A"
    handler.custom.mark_good("B")
    assert handler.log() == ["set-state B good"]
    handler.custom.mark_good("B")
    handler.custom.mark_bad("B")
    handler.custom.mark_bad("B")
    assert handler.log() == ["set-state B bad"]


def test_tries_of_a_caller_do_not_reach_other_calls(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    handler = Handler(tmp_path, '#!/bin/sh\necho "good${CAFLIP_TRIES+ leaked}"\n')
    monkeypatch.setenv("CAFLIP_TRIES", "5")
    with pytest.raises(EnvironmentInvalid, match="'good' is no slot"):
        handler.custom.read()


def test_the_running_slot_is_the_handlers_or_the_kernels(tmp_path: Path) -> None:
    handler = Handler(tmp_path, FILES)
    assert handler.custom.running() == "B"
    (tmp_path / "current").write_text("A\n")
    assert handler.custom.running() == "A"


@pytest.mark.parametrize(
    ("script", "error", "words"),
    [
        (
            "#!/bin/sh\necho first >&2; echo the reason >&2; exit 3\n",
            EnvironmentFault,
            "3: the reason",
        ),
        ("#!/bin/sh\nkill -9 $$\n", EnvironmentFault, "-9"),
        ("#!/bin/sh\nexec yes\n", EnvironmentFault, "more than 4096"),
        ("#!/bin/sh\necho C\n", EnvironmentInvalid, "'C' is no slot"),
        ("#!/nonexistent/shell\n", BootloaderMissing, "handler"),
        ("no program at all", BootloaderMissing, "handler"),
    ],
)
def test_what_a_handler_does_wrong_is_named(
    tmp_path: Path, script: str, error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        Handler(tmp_path, script).custom.read()


@pytest.mark.parametrize("text", ["", "maybe", "good 3", "bad\nbad", "trying x", "trying 12345"])
def test_a_state_that_is_none_is_invalid(tmp_path: Path, text: str) -> None:
    handler = Handler(tmp_path, FILES)
    (tmp_path / "state-B").write_text(text)
    with pytest.raises(EnvironmentInvalid, match="get-state B"):
        handler.custom.read()


def test_a_handler_that_hangs_is_killed_with_its_children(tmp_path: Path) -> None:
    script = f"#!/bin/sh\ncd {tmp_path}\nsleep 600 &\necho $! > child\necho $$ > self\nwait\n"
    handler = Handler(tmp_path, script)
    custom = Custom(["A"], handler=handler.path, timeout_s=1.5)
    with pytest.raises(EnvironmentFault, match=r"no answer in 1\.5 s"):
        custom.read()
    for name in ("child", "self"):
        number = int((tmp_path / name).read_text())
        deadline = time.monotonic() + 20
        while _alive(number):
            assert time.monotonic() < deadline, name
            time.sleep(0.02)


def _alive(number: int) -> bool:
    """Tell whether a process is there and no zombie that its reaper has not seen yet."""
    try:
        return Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_a_child_that_outlives_a_good_handler_does_not_keep_us(tmp_path: Path) -> None:
    script = "#!/bin/sh\nsleep 600 > /dev/null 2>&1 &\necho A\n"
    handler = Handler(tmp_path, script)
    custom = Custom(["A"], handler=handler.path, timeout_s=30)
    assert custom.running() == "A"


def test_a_missing_handler_and_strange_settings_are_named(tmp_path: Path) -> None:
    with pytest.raises(BootloaderMissing):
        Custom(["A"], handler=tmp_path / "nothing").read()
    with pytest.raises(BootSettingInvalid):
        Custom(["A"], handler=Path("handler"))
    with pytest.raises(BootSettingInvalid):
        Custom(["A"], handler=tmp_path, timeout_s=0)
    handler = Handler(tmp_path, FILES)
    for call in (handler.custom.mark_good, handler.custom.mark_bad):
        with pytest.raises(SlotUnknown):
            call("C")
    with pytest.raises(BootSettingInvalid):
        handler.custom.set_primary("A", 9)
    assert handler.log() == []
    assert handler.custom.reboot_argument() is None
    assert str(handler.path) in handler.custom.weaknesses()[0]


# ---- the other way: caflip as RAUC's handler


class Memory:
    """A bootloader in memory."""

    kind = "memory"
    counts = True

    def __init__(self) -> None:
        self.slots: tuple[str, ...] = ("A", "B")
        self.states = {name: SlotBoot(name, SlotState.GOOD) for name in self.slots}
        self.primary: str | None = "A"
        self.calls: list[str] = []

    def running(self) -> str | None:
        return self.primary

    def read(self) -> BootState:
        return BootState(tuple(self.states.values()), self.primary, self.primary)

    def set_primary(self, slot: str, tries: int) -> None:
        self._set(f"set_primary {slot} {tries}", SlotBoot(slot, SlotState.TRYING, tries))
        self.primary = slot

    def mark_good(self, slot: str) -> None:
        self._set(f"mark_good {slot}", SlotBoot(slot, SlotState.GOOD))

    def mark_bad(self, slot: str) -> None:
        self._set(f"mark_bad {slot}", SlotBoot(slot, SlotState.BAD))

    def reboot_argument(self) -> str | None:
        return None

    def weaknesses(self) -> tuple[str, ...]:
        return ()

    def _set(self, call: str, slot: SlotBoot) -> None:
        if slot.name not in self.slots:
            raise unknown_slot(slot.name, self.slots)
        self.calls.append(call)
        self.states[slot.name] = slot


def test_raucs_requests_are_answered_for_any_backend() -> None:
    memory = Memory()
    assert answer(memory, ["get-primary"]) == "A"
    assert answer(memory, ["get-current"]) == "A"
    assert answer(memory, ["get-state", "B"]) == "good"
    assert answer(memory, ["set-state", "B", "bad"]) == ""
    assert answer(memory, ["get-state", "B"]) == "bad"
    assert answer(memory, ["set-primary", "B"], tries=5) == ""
    assert answer(memory, ["get-state", "B"]) == "good"
    assert memory.calls == ["mark_bad B", "set_primary B 5"]


def test_rauc_saying_good_of_the_old_slot_does_not_take_an_update_back() -> None:
    memory = Memory()
    answer(memory, ["set-primary", "B"])
    answer(memory, ["set-state", "A", "good"])
    assert memory.primary == "B"
    assert memory.calls == ["set_primary B 3"]
    answer(memory, ["set-state", "B", "good"])
    assert memory.calls[1:] == ["mark_good B"]


def test_a_slot_whose_tries_are_used_up_is_bad_for_rauc() -> None:
    memory = Memory()
    memory.states["B"] = SlotBoot("B", SlotState.TRYING, 0)
    assert answer(memory, ["get-state", "B"]) == "bad"


@pytest.mark.parametrize(
    "arguments", [[], ["get-primary", "A"], ["set-state", "A"], ["set-state", "A", "ok"], ["x"]]
)
def test_other_requests_are_refused(arguments: list[str]) -> None:
    memory = Memory()
    with pytest.raises(BootSettingInvalid):
        answer(memory, arguments)
    assert memory.calls == []


def test_what_cannot_be_answered_is_an_error() -> None:
    memory = Memory()
    memory.primary = None
    for arguments in (["get-primary"], ["get-current"]):
        with pytest.raises(EnvironmentInvalid):
            answer(memory, arguments)
    with pytest.raises(SlotUnknown):
        answer(memory, ["get-state", "C"])


def test_tries_come_from_the_environment() -> None:
    assert tries_in({}) == 3
    assert tries_in({"CAFLIP_TRIES": "7"}) == 7
    for text in ("", "0", "8", "x", "10"):
        with pytest.raises(BootSettingInvalid):
            tries_in({"CAFLIP_TRIES": text})


def test_caflip_and_its_own_handler_agree(tmp_path: Path) -> None:
    script = f"""#!/bin/sh
cd {Path(__file__).parents[2]} && exec {sys.executable} -c '
import sys
from pathlib import Path
from boot.custom import answer, tries_in
from boot.raspberrypi import RaspberryPi
import os
pi = RaspberryPi(["A", "B"], partitions={{"A": 2, "B": 3}}, autoboot=Path(sys.argv[1]))
print(answer(pi, sys.argv[2:], tries_in(os.environ)))
' {tmp_path}/autoboot.txt "$@"
"""
    handler = Handler(tmp_path, script)
    (tmp_path / "autoboot.txt").write_text("[all]\nboot_partition=2\n[tryboot]\nboot_partition=3\n")
    handler.custom.mark_bad("B")
    assert slots(handler.custom.read()) == {"A": ("good", None), "B": ("bad", None)}
    handler.custom.set_primary("B", 1)
    assert handler.custom.read().primary == "B"
    handler.custom.mark_good("A")
    assert handler.custom.read().primary == "A"

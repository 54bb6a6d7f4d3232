from tests.updater.agent.conftest import MakeDevice, Published
from tests.updater.device import Device
def test_x(device: Device) -> None:
    r = device.run("doctor", "--online")
    print(r.text, r.err, r.status)
    assert 0

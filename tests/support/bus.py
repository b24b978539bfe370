"""A separate session bus that starts no programs on demand."""

from collections.abc import Iterator
from contextlib import closing, contextmanager

from jeepney import MatchRule, message_bus
from jeepney.io.blocking import Proxy, open_dbus_connection

from tests.support.process_output import PATIENCE
from tests.support.processes import Home, running

# Without service directories the bus starts no program: no accessibility bus, no portal, no second
# and locked keyring daemon, and no program that shows a window.
_BARE_BUS = """\
<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig>
  <type>session</type>
  <listen>unix:dir={directory}</listen>
  <policy context="default">
    <allow send_destination="*" eavesdrop="true"/>
    <allow eavesdrop="true"/>
    <allow own="*"/>
  </policy>
</busconfig>
"""


@contextmanager
def session_bus(place: Home) -> Iterator[str]:
    """Run a session bus that starts no programs on demand; yield its address."""
    configuration = place.root / "session-bus.conf"
    configuration.write_text(_BARE_BUS.format(directory=place.path("run")))
    argv = ["dbus-daemon", "--nofork", "--nosyslog", "--print-address=1"]
    argv.append(f"--config-file={configuration}")
    with running(argv, env=place.environment(), cwd=place.root) as process:
        yield process.out.wait_for("^unix:.*")[0]


def wait_for_name(bus: str, name: str) -> None:
    """Wait until a program on the bus owns a name."""
    rule = MatchRule(type="signal", interface="org.freedesktop.DBus", member="NameOwnerChanged")
    rule.add_arg_condition(0, name)
    with closing(open_dbus_connection(bus=bus)) as connection:
        driver = Proxy(message_bus, connection, timeout=PATIENCE)
        with connection.filter(rule) as owners:
            # In this order: a change between a query and the match rule would be missed.
            driver.AddMatch(rule)
            if not driver.NameHasOwner(name)[0]:
                connection.recv_until_filtered(owners, timeout=PATIENCE)

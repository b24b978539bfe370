"""Lists of exceptions in the syntax of other programs."""

from trayproxy.desktop.system_proxy.base import BypassKind, BypassRule
from trayproxy.desktop.system_proxy.bypass_rules import ExceptionList, exception_list
from trayproxy.service.system_proxy.bypass_rules import bypass_rules


def test_a_list_names_the_rules_that_are_left_out_or_not_understood() -> None:
    def entry(rule: BypassRule) -> str | None:
        return None if rule.kind is BypassKind.NETWORK else rule.subject

    rules = bypass_rules(["a", "A", "b:1", "10.0.0.0/8"])
    found = exception_list(rules, entry, lambda rule: rule.port is None)
    assert found == ExceptionList(("a", "b"), ("b:1", "10.0.0.0/8"))


def test_localhost_is_not_reported_because_every_target_excludes_it() -> None:
    rules = bypass_rules(["localhost", "LOCALHOST:8080", "127.0.0.1"])
    assert [rule.text for rule in rules] == ["127.0.0.1"]

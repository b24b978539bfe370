"""Routing rules of a profile: another proxy with a login of its own, direct, and blocked."""

from tests.end2end.scenario import HELLO, StartUser
from tests.support.searchable_secret import SearchableSecret
from tests.support.squid import Squid
from trayproxy.profiles.profile import Profile, Upstream


def test_the_proxy_of_a_rule_has_a_login_of_its_own(
    start_user: StartUser,
    proxy: Squid,
    second: Squid,
    account: SearchableSecret,
    second_account: SearchableSecret,
) -> None:
    office = Upstream(proxy.host, proxy.port)
    rules = (f"*.lab.test -> {second.url}", "*.ads.test -> block", "127.0.0.1 -> direct")
    profile = Profile("office", "Office", office, rules=rules)
    user = start_user(profile, account.login, second_account.login)
    assert user.fetch() == HELLO
    status = ("-o", "/dev/null", "-w", "%{http_code}")
    # The proxy refuses the name, after it has accepted the login.
    assert user.get("http://a.lab.test/", *status) == "403"
    assert user.get("http://a.ads.test/", *status) == "403"
    assert user.get(f"http://127.0.0.1:{user.origin.port}/hello", *status) == "200"
    prompts = user.front_end.prompts
    assert [prompt.upstream for prompt in prompts] == [proxy.url, second.url]
    assert "http://a.lab.test/" in {access.target for access in second.accesses()}
    assert all("lab.test" not in access.target for access in proxy.accesses())
    assert (proxy.failed_logons(), second.failed_logons()) == (0, 0)

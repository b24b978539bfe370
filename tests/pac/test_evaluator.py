"""The evaluation of a script for a URL: look-ups, cache, shared and cancelled requests."""

import asyncio
import threading
from collections.abc import Awaitable, Callable
from typing import TypeVar

import pytest

from trayproxy.pac.answers import Direct
from trayproxy.pac.evaluation import Evaluation, FailureKind, ResolvedName
from trayproxy.pac.evaluator import MAX_ROUNDS, Evaluator
from trayproxy.pac.names import NameTable
from trayproxy.pac.script_thread import MAX_PENDING, BusyError, ScriptThread, StuckError
from trayproxy.profiles.profile import Upstream

T = TypeVar("T")

FIND = "var runs = 0; function FindProxyForURL(url, host) { runs++; %s }"
URL = "http://site.example/"


class FakeNameResolver:
    """A resolver with fixed names, which records the look-ups."""

    def __init__(self, **names: tuple[str, ...]) -> None:
        self.names = names
        self.asked: list[str] = []
        self.silent: set[str] = set()
        self.together = 0
        self.most_together = 0
        self.own: tuple[str, ...] = ("10.1.2.3",)

    async def resolve(self, name: str) -> tuple[str, ...]:
        self.asked.append(name)
        self.together += 1
        self.most_together = max(self.most_together, self.together)
        try:
            await asyncio.sleep(0)
            if name in self.silent:
                await asyncio.Event().wait()
            if name not in self.names:
                raise OSError
            return self.names[name]
        finally:
            self.together -= 1

    def own_addresses(self) -> tuple[str, ...]:
        return self.own


class ScriptBench:
    """An evaluator with a fake resolver and a clock that the test sets."""

    def __init__(self, resolver: FakeNameResolver) -> None:
        self.resolver = resolver
        self.now = 0.0
        self.thread = ScriptThread()
        self.names = NameTable(resolver, lambda: self.now)

    def load(self, script: str) -> Evaluator:
        return Evaluator(script, self.thread, self.names, lambda: self.now)


def with_bench(
    test: Callable[[ScriptBench], Awaitable[T]], resolver: FakeNameResolver | None = None
) -> T:
    async def run() -> T:
        bench = ScriptBench(resolver or FakeNameResolver())
        try:
            return await test(bench)
        finally:
            bench.names.close()
            bench.thread.close()

    return asyncio.run(run())


def find(script: str, *urls: str, resolver: FakeNameResolver | None = None) -> list[Evaluation]:
    """Return the results for URLs, one after the other."""

    async def test(bench: ScriptBench) -> list[Evaluation]:
        evaluator = bench.load(script)
        return [await evaluator.find(url) for url in urls or (URL,)]

    return with_bench(test, resolver)


def test_the_answer_names_the_proxies_in_order() -> None:
    (found,) = find(FIND % "return 'PROXY proxy.example:8080; SOCKS4 s:1; DIRECT';")

    assert found.hops == (Upstream("proxy.example", 8080), Direct())
    assert found.failure is None
    assert found.answer is not None
    assert [entry.text for entry in found.answer.skipped] == ["SOCKS4 s:1"]
    assert (found.rounds, found.names, found.is_cached) == (0, (), False)


def test_an_answer_without_a_usable_proxy_is_a_failure_and_not_direct() -> None:
    (found,) = find(FIND % "return 'SOCKS4 s:1';")

    assert found.hops == ()
    assert found.failure is not None
    assert found.failure.kind is FailureKind.NO_HOP
    assert "SOCKS4" in found.failure.reason


def test_a_script_sees_no_path_of_an_https_url() -> None:
    script = FIND % "return 'PROXY ' + encodeURIComponent(url).replace(/%/g, '-') + ':80';"

    (found,) = find(script, "https://alice:s3cret@site.example/secret?q=1")

    assert found.url == "https://site.example/"
    assert found.hops == (Upstream("https-3a-2f-2fsite.example-2f", 80),)


# The scripts of Chromium's proxy_resolver_v8_tracing_unittest.
DNS = """
var loaded = 0;
function FindProxyForURL(url, host) {
  alert('iteration: ' + loaded++);
  var ips = [myIpAddress(), dnsResolve(''), dnsResolveEx('host1'), dnsResolve('host2'),
    dnsResolve('host3'), myIpAddress(), dnsResolve('host3'), dnsResolveEx('host1'), myIpAddress(),
    dnsResolve('host2'), dnsResolveEx('host6'), myIpAddressEx(), dnsResolve('host1')];
  return 'PROXY ' + ips.map(String).join('-').replace(/[^0-9a-z.-]/gi, '_') + '.test:99';
}
"""
DURING_LOAD = """
var first = [dnsResolve('host1'), dnsResolve('host2')];
function FindProxyForURL(url, host) {
  var all = first.concat([dnsResolve('host1'), dnsResolve('host2')]);
  return 'PROXY ' + all.map(String).join('-') + '.test:99';
}
"""
COUNTING = """
var count = 0;
function FindProxyForURL(url, host) {
  count++;
  alert('iteration: ' + count);
  return 'PROXY ' + dnsResolve('host1') + '-' + dnsResolve('crazy' + count) + '.test:100';
}
"""


@pytest.mark.parametrize(
    ("script", "host", "asked", "rounds"),
    [
        # In Chromium, the address in myIpAddressEx is another one than in myIpAddress.
        (
            DNS,
            "10.1.2.3-null-__1_192.168.1.1-null-166.155.144.33-10.1.2.3-166.155.144.33-"
            "__1_192.168.1.1-10.1.2.3-null--10.1.2.3-192.168.1.1.test",
            ["host1", "host2", "host3", "host6"],
            4,
        ),
        (DURING_LOAD, "192.168.1.1-null-192.168.1.1-null.test", ["host1", "host2"], 2),
        # Chromium keeps the counter of the interrupted runs and asks for crazy4.
        (COUNTING, "192.168.1.1-10.0.0.1.test", ["host1", "crazy1"], 2),
    ],
)
def test_names_are_looked_up_in_rounds(
    script: str, host: str, asked: list[str], rounds: int
) -> None:
    resolver = FakeNameResolver(
        host1=("::1", "192.168.1.1"), host3=("166.155.144.33",), crazy1=("10.0.0.1",)
    )
    (found,) = find(script, resolver=resolver)

    assert found.failure is None
    assert [hop.host for hop in found.hops if isinstance(hop, Upstream)] == [host]
    assert resolver.asked == asked
    assert [name.name for name in found.names] == asked
    assert found.rounds == rounds
    assert len(found.alerts) <= 1


@pytest.mark.parametrize(
    ("body", "answer"),
    [
        # The other scripts of the same suite: global_sideffects2 to 4, terminate, too_many_alerts.
        # Chromium keeps the counter of the interrupted runs, so its results contain host4, host3 or
        # 3. In TrayProxy, a repeated run has a new context.
        ("dnsResolve(runs < 3 ? 'host1' : 'host' + runs) + ':100'", "192.168.1.1:100"),
        ("dnsResolve('host' + runs) + ':' + runs", "192.168.1.1:1"),
        ("(myIpAddress(), dnsResolve('host' + runs)) + ':34'", "192.168.1.1:34"),
        ("(dnsResolve('host1') ? 'foopy:' + runs : 'hang')", "foopy:1"),
        ("(dnsResolve(host), Array(50).fill('silly').forEach(alert), 'foo:' + runs)", "foo:1"),
    ],
)
def test_an_interrupted_run_leaves_no_values(body: str, answer: str) -> None:
    resolver = FakeNameResolver(host1=("192.168.1.1",))

    (found,) = find(FIND % f"return 'PROXY ' + {body};", resolver=resolver)

    assert [str(hop) for hop in found.hops] == [f"http://{answer}"]
    assert found.rounds == 1
    # Chromium reports all 50 alerts.
    assert len(found.alerts) in (0, 20)


def test_a_script_that_catches_all_exceptions_gets_its_names_at_once() -> None:
    resolver = FakeNameResolver(a=("10.0.0.1",), b=("10.0.0.2",))
    script = FIND % (
        "var ips = ['a', 'b', 'c'].map(function (name) {"
        "  try { return dnsResolve(name); } catch (e) { return 'caught'; } finally { } });"
        "return 'PROXY ' + ips.map(String).join('-') + '.test:80';"
    )
    (found,) = find(script, resolver=resolver)

    assert found.hops == (Upstream("10.0.0.1-10.0.0.2-null.test", 80),)
    assert found.rounds == 1
    assert resolver.most_together == 3
    assert found.names[0] == ResolvedName("a", ("10.0.0.1",))


def test_after_eight_rounds_a_name_counts_as_not_resolvable() -> None:
    script = FIND % ("for (var i = 0; i < 20; i++) dnsResolve('n' + i); return 'PROXY done:80';")
    (found,) = find(script)

    assert found.hops == (Upstream("done", 80),)
    assert found.rounds == MAX_ROUNDS
    assert len(found.names) == MAX_ROUNDS


def test_a_script_with_new_names_in_each_run_comes_to_an_end() -> None:
    script = FIND % "return 'PROXY p' + dnsResolve('n' + Math.random()) + ':80';"

    (found,) = find(script)

    assert found.hops == (Upstream("pnull", 80),)
    assert found.rounds == MAX_ROUNDS


def test_a_name_is_looked_up_in_its_ascii_form() -> None:
    resolver = FakeNameResolver(**{"xn--bcher-kva.ch": ("10.0.0.1",)})

    (found,) = find(
        FIND % "return 'PROXY ' + dnsResolve('B\\u00fccher.ch') + ':80';", resolver=resolver
    )

    assert found.hops == (Upstream("10.0.0.1", 80),)


def test_a_silent_name_server_makes_a_name_not_resolvable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trayproxy.pac.evaluator.NAMES_LIMIT_S", 0.0)
    resolver = FakeNameResolver()
    resolver.silent = {"slow.example"}

    async def test(bench: ScriptBench) -> None:
        evaluator = bench.load(FIND % "return 'PROXY p' + dnsResolve('slow.example') + ':80';")
        found = await evaluator.find(URL)
        assert found.hops == (Upstream("pnull", 80),)
        assert found.names == (ResolvedName("slow.example", (), timed_out=True),)
        # The answer is kept for a short time only.
        assert found.expires_at == 10.0
        bench.now = 11.0
        assert evaluator.known(URL) is None

    with_bench(test, resolver)


def test_a_known_url_needs_no_run_until_a_minute_has_passed() -> None:
    async def test(bench: ScriptBench) -> None:
        evaluator = bench.load(FIND % "return 'PROXY p' + runs + ':80';")
        await evaluator.find("https://site.example/a")
        again = await evaluator.find("https://site.example/b")
        assert again.hops == (Upstream("p1", 80),)
        assert again.is_cached
        assert evaluator.known("https://site.example/c") == again
        assert again.expires_at == 60.0
        bench.now = 61.0
        assert evaluator.known("https://site.example/c") is None
        # A script keeps its values between two URLs, as in Chromium's test of side effects.
        assert (await evaluator.find("https://site.example/a")).hops == (Upstream("p2", 80),)

    with_bench(test)


def test_after_a_network_change_the_script_runs_again() -> None:
    async def test(bench: ScriptBench) -> None:
        evaluator = bench.load(FIND % "return 'PROXY ' + myIpAddress() + ':80';")
        await evaluator.find(URL)
        bench.resolver.own = ("192.168.7.7",)
        bench.names.forget()
        evaluator.forget()
        assert (await evaluator.find(URL)).hops == (Upstream("192.168.7.7", 80),)

    with_bench(test)


def test_names_are_cached_for_all_scripts() -> None:
    async def test(bench: ScriptBench) -> None:
        script = FIND % "return 'PROXY ' + dnsResolve('a') + ':80';"
        first = await bench.load(script).find(URL)
        second = await bench.load(script).find(URL)
        assert first.hops == second.hops == (Upstream("10.0.0.1", 80),)
        assert bench.resolver.asked == ["a"]

    with_bench(test, FakeNameResolver(a=("10.0.0.1",)))


def test_concurrent_requests_for_a_url_share_one_evaluation() -> None:
    async def test(bench: ScriptBench) -> None:
        evaluator = bench.load(FIND % "return 'PROXY p' + runs + ':80';")
        found = await asyncio.gather(*(evaluator.find(URL) for _ in range(10)))
        assert {each.hops for each in found} == {(Upstream("p1", 80),)}

    with_bench(test)


def test_a_cancelled_request_does_not_disturb_the_others() -> None:
    async def test(bench: ScriptBench) -> None:
        evaluator = bench.load(FIND % "return 'PROXY p' + dnsResolve('a') + ':80';")
        cancelled = asyncio.ensure_future(evaluator.find(URL))
        other = asyncio.ensure_future(evaluator.find(URL))
        alone = asyncio.ensure_future(evaluator.find("http://other.example/"))
        await asyncio.sleep(0)
        cancelled.cancel()
        alone.cancel()
        assert (await other).hops == (Upstream("pnull", 80),)
        assert cancelled.cancelled()
        assert alone.cancelled()
        assert (await evaluator.find("http://other.example/")).hops == (Upstream("pnull", 80),)

    with_bench(test)


def test_an_endless_run_delays_other_requests_by_its_time_limit_only(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("trayproxy.pac.evaluator.TIME_LIMIT_S", 0.3)
    endless = FIND % "for (; host == 'endless.example';); return 'PROXY p:80';"

    async def test(bench: ScriptBench) -> None:
        evaluator = bench.load(endless)
        stuck = [
            asyncio.ensure_future(evaluator.find(f"http://endless.example/{number}"))
            for number in range(3)
        ]
        other = await evaluator.find(URL)
        assert other.hops == (Upstream("p", 80),)
        results = await asyncio.gather(*stuck)
        kinds = [each.failure.kind for each in results if each.failure]
        # The first run has the full limit; the others have lost their time to it.
        assert kinds == [FailureKind.TIME_LIMIT, FailureKind.BUSY, FailureKind.BUSY]
        assert sum(each.script_s for each in results) < 0.6
        # Further URLs of the host fail at once, for some seconds.
        again = await evaluator.find("http://endless.example/other")
        assert again.is_cached
        assert again.failure == results[0].failure
        bench.now = 11.0
        assert evaluator.known("http://endless.example/other") is None

    with_bench(test)


def test_values_that_a_script_keeps_do_not_break_it_for_ever() -> None:
    script = "var kept = [];" + FIND % "kept.push(new Uint8Array(12e6)); return 'DIRECT';"

    found = find(script, *(f"http://site.example/{number}" for number in range(4)))

    assert [each.hops for each in found] == [(Direct(),)] * 4


@pytest.mark.parametrize(
    ("script", "kind"),
    [
        (FIND % "return 'DIRECT';", None),
        ("var x = ;", FailureKind.SYNTAX),
        ("var x = 1;", FailureKind.NO_FUNCTION),
        ("var a = dnsResolve('a'); " + FIND % "throw 1;", None),
    ],
)
def test_a_script_is_checked_without_a_url(script: str, kind: FailureKind | None) -> None:
    failure = with_bench(lambda bench: bench.load(script).check())

    assert (failure.kind if failure else None) is kind


def test_alerts_are_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "trayproxy.pac")

    (found,) = find(FIND % "alert('chose\\nthe office'); return 'DIRECT';")

    assert found.alerts == ("chose the office",)
    assert "chose the office" in caplog.text


def test_without_an_engine_the_problem_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "quickjs", None)

    (found,) = find(FIND % "return 'DIRECT';")

    assert found.hops == ()
    assert found.failure is not None
    assert found.failure.kind is FailureKind.NO_ENGINE
    assert "trayproxy[pac]" in found.failure.problem().body


def test_too_many_waiting_scripts_are_refused() -> None:
    async def test(bench: ScriptBench) -> None:
        gate = threading.Event()
        blocked = asyncio.ensure_future(bench.thread.run(gate.wait))
        waiting = []
        for _ in range(MAX_PENDING + 2):
            waiting.append(asyncio.ensure_future(bench.thread.run(int)))
            await asyncio.sleep(0)
        found = await bench.load(FIND % "return 'DIRECT';").find(URL)
        gate.set()
        await blocked
        results = await asyncio.gather(*waiting, return_exceptions=True)
        assert found.failure is not None
        assert found.failure.kind is FailureKind.BUSY
        assert any(isinstance(result, BusyError) for result in results)

    with_bench(test)


def test_a_built_in_function_that_does_not_end_costs_its_thread_but_not_the_others() -> None:
    ended = threading.Event()

    def spin() -> None:
        # Stands for a built-in function: Python cannot end a thread.
        while not ended.is_set():
            sum(range(1000))

    async def test(bench: ScriptBench) -> None:
        bench.thread = ScriptThread(limit_s=0.1)
        stuck = asyncio.ensure_future(bench.thread.run(spin))
        await asyncio.sleep(0)
        other = asyncio.ensure_future(bench.thread.run(lambda: "done"))
        with pytest.raises(StuckError):
            await stuck
        assert await other == "done"
        # The second stuck thread is the last.
        with pytest.raises(StuckError):
            await bench.thread.run(spin)
        found = await bench.load(FIND % "return 'DIRECT';").find(URL)
        assert found.failure is not None
        assert found.failure.kind is FailureKind.STUCK
        assert "until TrayProxy is restarted" in found.failure.reason

    try:
        with_bench(test)
    finally:
        ended.set()

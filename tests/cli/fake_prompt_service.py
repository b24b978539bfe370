"""A fake service with one prompt and the terminal front end, in one process, for `TerminalScreen`.

Run as ``python -m tests.cli.fake_prompt_service plain``; the accepted password is “right”. At the
end, the process writes the requests of the front ends, with passwords, to the file ``requests`` in
its home.
"""

import asyncio
import os
import signal
import sys
from functools import partial
from pathlib import Path

from msgspec.structs import replace

from tests.support import values
from tests.support.session_handler import SessionHandler
from trayproxy.cli.terminal_prompts import TerminalPrompts
from trayproxy.control.messages import (
    AnswerPrompt,
    DeclinePrompt,
    Done,
    ListenerState,
    PromptChanged,
    PromptClosed,
    Reply,
    Request,
    SignInNow,
    Status,
    Subscribe,
)
from trayproxy.control.server import Server, Session
from trayproxy.domain.signin import (
    Ending,
    KeyringState,
    KeyringStatus,
    Program,
    Prompt,
    PromptReason,
)
from trayproxy.paths import locate

PROMPT = replace(
    values.PROMPT,
    realm="Corp\x1b[2J \u202eInternet\nForged: line",
    user="CORP\\jdoe",
    programs=(Program("git", 4312, "github.example:443"), Program("", 0, "b.example:80")),
    waiting=4,
    keyring=values.GNOME,
)


class FakePromptService(SessionHandler):
    """A handler that keeps its prompt open until the password is right."""

    def __init__(self, prompt: Prompt) -> None:
        super().__init__()
        self.prompt: Prompt | None = prompt
        self.requests: list[Request] = []

    async def handle(self, session: Session, request: Request) -> Reply:
        if isinstance(request, Subscribe):
            if self.prompt:
                session.send_event(PromptChanged(self.prompt))
                if not self.prompt.programs[0].name:
                    # The program's name follows the prompt, as in the real service.
                    named = partial(self.change, programs=PROMPT.programs)
                    asyncio.get_running_loop().call_soon(named)
            return Status("0", os.getpid(), ListenerState.UP, "127.0.0.1:1")
        self.requests.append(request)
        match request:
            case AnswerPrompt(_, login, _):
                self.change(checking=True)
                asyncio.get_running_loop().call_soon(self.verify, login.password == "right")
            case DeclinePrompt():
                self.close(Ending.DECLINED)
            case SignInNow():
                self.change(waiting=5)
        return Done()

    def verify(self, accepted: bool) -> None:
        assert self.prompt is not None
        if accepted:
            self.close(Ending.ACCEPTED)
        else:
            count, reason = self.prompt.rejections + 1, PromptReason.TYPED_REJECTED
            self.change(checking=False, rejections=count, reason=reason, confirm_retry=count >= 3)

    def change(self, **changes: object) -> None:
        assert self.prompt is not None
        self.prompt = replace(self.prompt, **changes)
        self.broadcast(PromptChanged(self.prompt))

    def close(self, ending: Ending) -> None:
        self.prompt = None
        self.broadcast(PromptClosed(1, ending))


async def serve(desk: FakePromptService) -> None:
    paths = locate()
    server = Server(paths, desk)
    prompts = TerminalPrompts(paths)
    prompts.start()
    over = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, over.set)
    await server.start()
    await over.wait()
    prompts.stop()
    await server.close()


def describe(request: Request) -> str:
    secret = request.login.password if isinstance(request, AnswerPrompt) else ""
    return f"{request!r} {secret}".strip()


def main(kind: str) -> None:
    questions = {
        "plain": PROMPT,
        "confirm-retry": replace(PROMPT, rejections=3, confirm_retry=True),
        "unsafe": replace(PROMPT, keyring=KeyringStatus(KeyringState.UNSAFE, "Plain")),
        "stranger": replace(PROMPT, user=""),
        "unnamed": replace(PROMPT, programs=(Program("", 0, "github.example:443"),)),
    }
    desk = FakePromptService(questions[kind])
    asyncio.run(serve(desk))
    Path(os.environ["TRAYPROXY_HOME"], "requests").write_text(
        "\n".join(map(describe, desk.requests))
    )


if __name__ == "__main__":
    main(sys.argv[1])

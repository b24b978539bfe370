"""A fake service with one prompt and the terminal front end, in one process, for `TerminalScreen`.

Run as ``python -m tests.cli.fake_prompt_service plain``; the accepted password is “right”. At the
end, the process writes the requests of the front ends, with passwords, to the file ``said`` in its
home.
"""

import asyncio
import os
import signal
import sys
from pathlib import Path

from msgspec.structs import replace

from tests.support.hearers import tell
from trayproxy.cli.terminal_prompts import TerminalPrompts
from trayproxy.control.messages import (
    AnswerPrompt,
    DeclinePrompt,
    Done,
    Ending,
    KeyringState,
    KeyringStatus,
    ListenerState,
    Program,
    Prompt,
    PromptChanged,
    PromptClosed,
    PromptReason,
    Reply,
    Request,
    SignInNow,
    Status,
    Subscribe,
    Transport,
)
from trayproxy.control.server import Server, Session
from trayproxy.paths import locate

QUESTION = Prompt(
    number=1,
    profile_id="office",
    profile="Office",
    upstream="http://proxy.example:8080",
    realm="Corp\x1b[2J \u202eInternet\nForged: line",
    method="Basic",
    transport=Transport.READABLE,
    user="CORP\\jdoe",
    reason=PromptReason.NEEDED,
    programs=(Program("git", 4312, "github.example:443"), Program("", 0, "b.example:80")),
    waiting=4,
    keyring=KeyringStatus(KeyringState.OK, "GNOME Keyring"),
)


class FakePromptService:
    """A handler that keeps its prompt open until the password is right."""

    def __init__(self, question: Prompt) -> None:
        self.question: Prompt | None = question
        self.server: Server | None = None
        self.said: list[Request] = []

    async def handle(self, session: Session, request: Request) -> Reply:
        if isinstance(request, Subscribe):
            if self.question:
                session.send_event(PromptChanged(self.question))
                if not self.question.programs[0].name:
                    # The program's name follows the prompt, as in the real service.
                    named = replace(self.question, programs=QUESTION.programs)
                    asyncio.get_running_loop().call_soon(self.change_to, named)
            return Status("0", os.getpid(), ListenerState.UP, "127.0.0.1:1")
        self.said.append(request)
        match request:
            case AnswerPrompt(_, login, _):
                self.change(checking=True)
                asyncio.get_running_loop().call_soon(self.judge, login.password == "right")
            case DeclinePrompt():
                self.close(Ending.DECLINED)
            case SignInNow():
                self.change(waiting=5)
        return Done()

    def judge(self, accepted: bool) -> None:
        assert self.question is not None
        if accepted:
            self.close(Ending.ACCEPTED)
        else:
            count = self.question.rejections + 1
            self.change(
                checking=False,
                rejections=count,
                reason=PromptReason.TYPED_REJECTED,
                confirm_retry=count >= 3,
            )

    def change(self, **changes: object) -> None:
        assert self.question is not None
        self.change_to(replace(self.question, **changes))

    def change_to(self, question: Prompt) -> None:
        self.question = question
        assert self.server is not None
        tell(self.server, PromptChanged(self.question))

    def close(self, ending: Ending) -> None:
        self.question = None
        assert self.server is not None
        tell(self.server, PromptClosed(1, ending))

    def attached(self, session: Session) -> None:
        pass

    def detached(self, session: Session) -> None:
        pass


async def serve(desk: FakePromptService) -> None:
    paths = locate()
    desk.server = Server(paths, desk)
    prompts = TerminalPrompts(paths)
    prompts.start()
    over = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, over.set)
    await desk.server.start()
    await over.wait()
    prompts.stop()
    await desk.server.close()


def describe(request: Request) -> str:
    secret = request.login.password if isinstance(request, AnswerPrompt) else ""
    return f"{request!r} {secret}".strip()


def main(kind: str) -> None:
    questions = {
        "plain": QUESTION,
        "confirm-retry": replace(QUESTION, rejections=3, confirm_retry=True),
        "unsafe": replace(QUESTION, keyring=KeyringStatus(KeyringState.UNSAFE, "Plain")),
        "stranger": replace(QUESTION, user=""),
        "unnamed": replace(QUESTION, programs=(Program("", 0, "github.example:443"),)),
    }
    desk = FakePromptService(questions[kind])
    asyncio.run(serve(desk))
    Path(os.environ["TRAYPROXY_HOME"], "said").write_text("\n".join(map(describe, desk.said)))


if __name__ == "__main__":
    main(sys.argv[1])

"""Run `tests.cli.fake_prompt_service` as a background job of a terminal, like ``trayproxy run &``.

SIGUSR1 moves the job to the foreground.
"""

import os
import signal
import subprocess
import sys


def main() -> int:
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1})
    signal.signal(signal.SIGTTOU, signal.SIG_IGN)
    command = [sys.executable, "-m", "tests.cli.fake_prompt_service", "plain"]
    with subprocess.Popen(command, process_group=0) as child:
        signal.sigwait({signal.SIGUSR1})
        os.tcsetpgrp(0, child.pid)
        return child.wait()


if __name__ == "__main__":
    sys.exit(main())

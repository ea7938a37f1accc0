# SPDX-License-Identifier: Apache-2.0
"""Runs one VM: its console, its control channel, the host commands it asks for, and its end."""

import ctypes
import os
import selectors
import signal
import socket
import subprocess
import sys
import time

from .places import SOURCE, LabError

STATUS_TIMEOUT = 124
STATUS_BROKEN = 125
STATUS_NO_COMMAND = 127
TAIL_LINES = 15
KEPT_LINES = 500
PANIC = "Kernel panic - not syncing"
# How long a guest may take to go away by itself once it has panicked, or reported its status.
PANIC_SECONDS = 5
POWER_OFF_SECONDS = 30


class Session:
    """One run. `run()` returns the exit status of the guest's commands, or raises LabError."""

    def __init__(self, options, outputs):
        """`outputs`: binary files that get the console."""
        self._options = options
        self._outputs = outputs
        self._commands = dict(text.split("=", 1) for text in options.on)
        self._selector = selectors.DefaultSelector()
        self._lines = []
        self._partial = b""
        self._control_data = b""
        self._boots = 0
        self._status = None
        self._failure = None
        self._qemu = None
        self._command = None
        self._deadline = time.monotonic() + options.timeout
        self._timed_out = False

    def run(self, make_arguments):
        """make_arguments(console_fd, control_fd) gives QEMU's arguments."""
        try:
            self._start(make_arguments)
            while not self._ended():
                wait = max(0.0, self._deadline - time.monotonic())
                for key, _ in self._selector.select(wait):
                    key.data()
                if time.monotonic() >= self._deadline:
                    break
            self._drain()
            return self._verdict()
        finally:
            self._stop()

    def _start(self, make_arguments):
        console, console_qemu = socket.socketpair()
        control, control_qemu = socket.socketpair()
        fds = (console_qemu.fileno(), control_qemu.fileno())
        self._console, self._control = console, control
        self._qemu = subprocess.Popen(
            [SOURCE / "trixie", "qemu-system-x86_64", *make_arguments(*fds)],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            pass_fds=fds, start_new_session=True, preexec_fn=_die_with_parent(),
        )
        console_qemu.close()
        control_qemu.close()
        for stream in (console, control):
            stream.setblocking(False)
        os.set_blocking(self._qemu.stdout.fileno(), False)
        register = self._selector.register
        register(console, selectors.EVENT_READ, self._on_console)
        register(control, selectors.EVENT_READ, self._on_control)
        register(self._qemu.stdout, selectors.EVENT_READ, self._on_qemu_output)
        self._qemu_pidfd = os.pidfd_open(self._qemu.pid)
        register(self._qemu_pidfd, selectors.EVENT_READ, self._qemu.poll)

    def _ended(self):
        return self._qemu.returncode is not None

    def _on_console(self):
        data = _receive(self._console)
        if not data:
            self._selector.unregister(self._console)
            return
        text = self._partial + data
        # A lone \r at the end may be the first half of \r\n.
        self._partial = b"\r" if text.endswith(b"\r") else b""
        text = text[: len(text) - len(self._partial)].replace(b"\r\n", b"\n")
        for output in list(self._outputs):
            try:
                output.write(text)
                output.flush()
            except BrokenPipeError:
                self._outputs.remove(output)  # its reader has seen enough; the run goes on
        self._remember(text.decode(errors="replace"))

    def _remember(self, text):
        first, *rest = text.split("\n")
        if self._lines:
            self._lines[-1] += first
        else:
            self._lines.append(first)
        self._lines += rest
        new = self._lines[-1 - len(rest):]
        if not self._failure and any(PANIC in line for line in new):
            self._fail("the guest's kernel panicked")
        self._lines = self._lines[-KEPT_LINES:]

    def _fail(self, why):
        """The run is lost: remember why, and leave QEMU a moment to finish by itself."""
        self._failure = why
        self._leave_within(PANIC_SECONDS)

    def _leave_within(self, seconds):
        self._deadline = min(self._deadline, time.monotonic() + seconds)

    def _on_control(self):
        data = _receive(self._control)
        if not data:
            self._selector.unregister(self._control)
            return
        *lines, self._control_data = (self._control_data + data).split(b"\n")
        for line in lines:
            self._on_message(line.decode(errors="replace").strip())

    def _on_message(self, line):
        word, _, rest = line.partition(" ")
        if word == "hello":
            self._boots += 1
            if self._boots > self._options.reboots + 1:
                self._fail("the guest rebooted more often than --reboots allows")
            self._answer(f"boot {self._boots}")
        elif word == "host":
            self._run_command(rest)
        elif word == "exit" and rest.isdecimal():
            self._status = int(rest)
            self._answer("bye")
            self._leave_within(POWER_OFF_SECONDS)
        elif word == "fail":
            self._fail(rest)
            self._answer("bye")
        else:
            self._answer("what?")

    def _answer(self, text):
        try:
            self._control.sendall(text.encode() + b"\n")
        except OSError:
            pass  # QEMU is gone; _ended() will tell

    def _run_command(self, rest):
        name, _, arguments = rest.partition(" ")
        if name not in self._commands or self._command:
            why = "a host command still runs" if self._command else f"no --on {name}=COMMAND given"
            print(f"lab: host {name}: {why}", file=sys.stderr)
            self._answer(f"status {STATUS_NO_COMMAND}")
            return
        environment = dict(os.environ, LAB_ARGUMENTS=arguments, LAB_QEMU_PID=str(self._qemu.pid))
        sys.stdout.flush()
        self._command = subprocess.Popen(
            self._commands[name], shell=True, stdin=subprocess.DEVNULL, stdout=sys.stderr,
            start_new_session=True, env=environment, preexec_fn=_die_with_parent(),
        )
        self._command_pidfd = os.pidfd_open(self._command.pid)
        self._selector.register(self._command_pidfd, selectors.EVENT_READ, self._on_command_end)

    def _on_command_end(self):
        self._selector.unregister(self._command_pidfd)
        os.close(self._command_pidfd)
        status = self._command.wait()
        self._command = None
        self._answer(f"status {status if status >= 0 else 128 - status}")

    def _on_qemu_output(self):
        data = self._qemu.stdout.read()
        if data == b"":
            self._selector.unregister(self._qemu.stdout)
        elif data:
            self._tell_qemu_output(data)

    def _tell_qemu_output(self, data):
        if self._options.qemu_log:
            with open(self._options.qemu_log, "ab") as log:
                log.write(data)
        for line in data.decode(errors="replace").splitlines():
            print(f"qemu: {line}", file=sys.stderr)

    def _drain(self):
        """Takes what is still on its way after QEMU's end."""
        if not self._ended():
            self._timed_out = True
            self._kill(self._qemu)
        while events := self._selector.select(0):
            for key, _ in events:
                if key.fileobj in (self._qemu_pidfd, getattr(self, "_command_pidfd", None)):
                    self._selector.unregister(key.fileobj)
                else:
                    key.data()

    def _verdict(self):
        if self._failure:
            panics = [line[line.index(PANIC):] for line in self._lines if PANIC in line]
            self._give_up(": ".join([self._failure, *panics[:1]]))
        if self._status is not None and not self._timed_out:
            return self._status
        if self._status is not None:
            self._give_up(f"commands ended with {self._status}, but the guest did not power off")
        if self._timed_out:
            seconds = f"{self._options.timeout:g} s"
            self._give_up(f"timeout: no end after {seconds}", STATUS_TIMEOUT)
        code = self._qemu.returncode
        if code == 0:
            self._give_up("the guest stopped without reporting a status")
        self._give_up(f"QEMU ended with {f'signal {-code}' if code < 0 else f'status {code}'}")

    def _give_up(self, why, status=STATUS_BROKEN):
        tail = [line for line in self._lines if line.strip()][-TAIL_LINES:]
        for line in tail:
            print(f"  | {line}", file=sys.stderr)
        todo = "see the console's last lines above"
        if not tail:
            todo = "the console is empty: see QEMU's messages, or try --append loglevel=8"
        raise LabError("vm", why, todo, status)

    def _stop(self):
        for process in (self._command, self._qemu):
            if process and process.returncode is None:
                self._kill(process)
        self._selector.close()

    @staticmethod
    def _kill(process):
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        process.wait()


def _receive(stream):
    try:
        return stream.recv(65536)
    except BlockingIOError:
        return None
    except ConnectionError:
        return b""


def _die_with_parent():
    """For preexec_fn: the child dies with this process, even if that is killed outright."""
    libc = ctypes.CDLL(None)
    pr_set_pdeathsig = 1
    return lambda: libc.prctl(pr_set_pdeathsig, signal.SIGKILL)

# SPDX-License-Identifier: Apache-2.0
"""One VM with several network cards, each with a passt of its own behind it: files go both ways
between the guest and servers on the host's loopback."""

import contextlib
import http.server
import os
import pathlib
import shlex
import socketserver
import tempfile
import threading

import harness
from airlock_bench.spread import spread

HERE = pathlib.Path(__file__).resolve().parent
TRIXIE = harness.REPO / "lab/trixie"
WAYS = ("download", "upload")
PASST = "passt"  # its own vhost-user mode, which maps all of the guest's memory
NATIVE = "native"  # our card, and passt behind its socket
GATEWAY = "gateway"  # passt's vhost-user mode behind our region
CARDS = {
    PASST: "passt's vhost-user mode, all of memory in reach",
    NATIVE: "Airlock's network card, `--backend passt:`",
    GATEWAY: "passt's vhost-user mode behind `airlock serve vhost-user`",
}
SUBNETS = {PASST: "192.0.2", NATIVE: "198.51.100", GATEWAY: "203.0.113"}
MACS = {name: f"52:54:00:00:00:{number:02x}" for number, name in enumerate(CARDS, 1)}


@contextlib.contextmanager
def _web_server(page):
    """Gives `page` to who gets it; its port."""
    class Page(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.send_header("Content-Length", str(len(page)))
            self.end_headers()
            self.wfile.write(page)

        def log_message(self, *_):
            pass
    with _served(http.server.ThreadingHTTPServer(("127.0.0.1", 0), Page)) as port:
        yield port


@contextlib.contextmanager
def _sink():
    """Takes what it is sent, and says how many bytes that was; its port."""
    class Sink(socketserver.BaseRequestHandler):
        def handle(self):
            count = 0
            while some := self.request.recv(1 << 20):
                count += len(some)
            self.request.sendall(b"%d" % count)
    with _served(socketserver.ThreadingTCPServer(("127.0.0.1", 0), Sink)) as port:
        yield port


@contextlib.contextmanager
def _served(server):
    """Runs a server; its port."""
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@contextlib.contextmanager
def _passt(directory, name):
    """One that listens; its socket."""
    socket = directory / f"{name}.passt"
    subnet = SUBNETS[name]
    process = harness.Process(
        TRIXIE, "passt", "--foreground", "--socket", socket, "--address", f"{subnet}.2",
        "--gateway", f"{subnet}.1", "--map-host-loopback", f"{subnet}.1", "--ipv4-only",
        "--runas", "0", *([] if name == NATIVE else ["--vhost-user"]))
    try:
        while not socket.exists():
            if process.process.poll() is not None:
                raise RuntimeError(f"passt ended: {process.log()}")
            threading.Event().wait(0.01)
        yield socket
    finally:
        process.stop()


def measure(options, say):
    """What was measured, as a dictionary for JSON."""
    with tempfile.TemporaryDirectory(prefix="airlock-net-bench-", dir="/dev/shm") as temporary, \
            contextlib.ExitStack() as stack:
        directory = pathlib.Path(temporary)
        sockets = {name: stack.enter_context(_passt(directory, name)) for name in CARDS}
        devices = [stack.enter_context(device) for device in (
            harness.Device("net", "--backend", f"passt:{sockets[NATIVE]}", "--mac", MACS[NATIVE],
                           directory=directory, name=NATIVE),
            harness.Device("vhost-user", "--device", "net", "--backend-socket", sockets[GATEWAY],
                           "--mac", MACS[GATEWAY], directory=directory, name=GATEWAY))]
        page = stack.enter_context(_web_server(os.urandom(options.size << 20)))
        sink = stack.enter_context(_sink())
        own = ["-chardev", f"socket,id=passt,path={sockets[PASST]}",
               "-netdev", "vhost-user,id=passt,chardev=passt",
               "-device", f"virtio-net-pci,netdev=passt,mac={MACS[PASST]},disable-legacy=on"]
        cards = " ".join(f"{name}={MACS[name]}={SUBNETS[name]}" for name in CARDS)
        script = "".join(f"{name}={shlex.quote(str(value))}\n" for name, value in {
            "CARDS": cards, "WAYS": " ".join(WAYS), "PAGE": page, "SINK": sink, "MIB": options.size,
            "ROUNDS": options.rounds}.items()) + (HERE / "guest.sh").read_text()
        runs = options.rounds * len(WAYS) * len(CARDS)
        say(f"net: {runs} runs of {options.size} MiB in a guest with Linux {options.kernel}")
        status, console = harness.vm(
            "--kernel", options.kernel, "--accel", "tcg", "--memory", "512M",
            "--memory-backend", "shared", "--module", harness.guest_module(options.kernel),
            *[word for device in devices for word in ("--vfio-user", device.socket)],
            *[f"--qemu-arg={word}" for word in own],
            script=script, timeout=120 + runs * options.size)
        if status != 0:
            raise RuntimeError(f"the guest ended with {status}:\n{console[-3000:]}")
        return {"size_mib": options.size,
                **summary(harness.said(console, "RUN"), options.size)}


def summary(said, mib):
    """By card and way, for JSON: `said` is what the guest printed of each run."""
    rates = {}
    for name, way, begin, end in map(str.split, said):
        rates.setdefault((way, name), []).append((mib << 20) / 1e6 / (float(end) - float(begin)))
    return {"cards": CARDS, "results": [
        {"card": name, "way": way, "mb_per_s": spread(values)._asdict(), "runs": values}
        for (way, name), values in sorted(rates.items())]}

# SPDX-License-Identifier: Apache-2.0
"""QEMU's command line for a lab VM."""

import json
import os
import time

from .places import LabError

# Stable, so that a test knows where its device is: the first one is 0000:00:10.0, and so on.
FIRST_VFIO_USER_SLOT = 0x10
LISTEN_SECONDS = 10

# An oops ends the run, a panic ends it at once. The last line saves a fifth of the time of a boot.
KERNEL_ARGUMENTS = (
    "console=ttyS0 quiet panic=-1 oops=panic rdinit=/init net.ifnames=0 random.trust_cpu=on "
    "tsc=reliable no_timer_check cryptomgr.notests initcall_blacklist=crypto_kdf108_init nokaslr"
)

# TCG takes `rep movsb` and `rep stosb` a byte at a time, and what Linux does where these are not
# said to be fast eight at a time: a guest copies three times as much in the same time, and zeroes
# ten times as much.
TCG_CPU = "max,la57=off,erms=off,fsrm=off,fsrs=off"


def _processors(count, accel):
    """QEMU's -smp. TCG leaves a guest's memory barriers out where there can be one processor only,
    as if no device ran beside it: then a notification or an interrupt may get lost."""
    return f"cpus={count},maxcpus={max(count, 2)}" if accel == "tcg" else str(count)


def arguments(kernel, options, accel, initrd, console_fd, control_fd):
    """The arguments of qemu-system-x86_64. The descriptors are connected sockets it inherits."""
    cpu = {"tcg": TCG_CPU, "kvm": "host"}[accel]
    accel_option = "tcg,thread=multi" if accel == "tcg" else accel
    args = ["-nodefaults", "-no-user-config", "-display", "none", "-name", _name(options)]
    args += ["-accel", accel_option, "-cpu", options.cpu or cpu]
    args += ["-smp", _processors(options.cpus, accel)]
    args += _memory(options)
    if options.bios == "qboot":
        args += ["-bios", "qboot.rom"]
    args += ["-kernel", str(kernel.image), "-initrd", initrd]
    args += ["-append", " ".join([KERNEL_ARGUMENTS, *options.append])]
    for name, fd in (("console", console_fd), ("control", control_fd)):
        args += ["-chardev", f"socket,id={name},fd={fd}", "-serial", f"chardev:{name}"]
    if options.reboots == 0:
        args.append("-no-reboot")
    if options.qmp:
        args += ["-qmp", f"unix:{_escaped(os.path.abspath(options.qmp))},server=on,wait=off"]
    args += options.qemu_arg
    for index, text in enumerate(options.vfio_user):
        args += ["-device", vfio_user_device(index, text)]
    return args


def vfio_user_device(index, text):
    """The JSON of one --vfio-user SOCKET[,PROPERTY=VALUE]...; QEMU takes it in no other form."""
    path, *pairs = text.split(",")
    device = {
        "driver": "vfio-user-pci",
        "id": f"vu{index}",
        "addr": f"{FIRST_VFIO_USER_SLOT + index:02x}.0",
        "socket": {"type": "unix", "path": os.path.abspath(path)},
    }
    for pair in pairs:
        key, separator, value = pair.partition("=")
        if not separator:
            raise LabError(f"--vfio-user {text}", f"{pair} is no PROPERTY=VALUE", "correct it", 2)
        device[key] = _property(value)
    return json.dumps(device)


def wait_for_listeners(texts, seconds=LISTEN_SECONDS):
    """Waits until the sockets of all --vfio-user options listen: QEMU would not try again.

    Looks them up in /proc/net/unix, since connecting would take the only connection there is.
    """
    waiting = [os.path.abspath(text.split(",")[0]) for text in texts]
    deadline = time.monotonic() + seconds
    while waiting:
        listening = _listening()
        waiting = [path for path in waiting if path not in listening]
        if not waiting:
            return
        if time.monotonic() >= deadline:
            why = "nothing listens there" if os.path.exists(waiting[0]) else "no such socket"
            raise LabError(f"socket {waiting[0]}", why, "start the device process first")
        time.sleep(0.02)


def _listening():
    paths = set()
    with open("/proc/net/unix", encoding="utf-8", errors="surrogateescape") as table:
        for line in table.readlines()[1:]:
            fields = line.rstrip("\n").split(None, 7)
            if len(fields) == 8 and int(fields[3], 16) & 0x10000:  # __SO_ACCEPTCON
                paths.add(fields[7])
    return paths


def _memory(options):
    args = ["-m", options.memory]
    machine = options.machine
    if options.memory_backend == "shared":
        args += ["-object", f"memory-backend-memfd,id=ram,size={options.memory},share=on"]
        machine += ",memory-backend=ram"
    return ["-machine", machine, *args]


def _name(options):
    return f"airlock-lab,process=lab-{options.kernel}-{os.getpid()}"[:60]


def _escaped(text):
    return text.replace(",", ",,")


def _property(value):
    if value in ("on", "off"):
        return value == "on"
    try:
        return int(value, 0)
    except ValueError:
        return value

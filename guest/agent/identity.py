"""Who this machine is, taken from the host before user code runs: docs/channel.md, "Identity".

Everything here makes a restored copy of a frozen template differ from its siblings.
"""

import base64
import fcntl
import hmac
import os
import re
import socket
import struct
import time

from .frames import ProtocolError

_RNDADDENTROPY = 0x40085203
_RNDRESEEDCRNG = 0x5207
_HOSTNAME = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?", re.IGNORECASE)
_MACHINE_ID = re.compile(r"[0-9a-f]{32}")


class Identity:
    """The parsed payload of IDENTIFY."""

    __slots__ = ("epoch", "key", "challenge", "entropy", "unix_time_ns", "hostname", "machine_id")

    @classmethod
    def parse(cls, message):
        """ProtocolError where a member is missing or of the wrong shape."""
        self = cls()
        self.epoch = message.get("epoch")
        self.hostname = message.get("hostname")
        self.machine_id = message.get("machineId")
        time_text = message.get("unixTimeNs")
        if type(self.epoch) is not int or self.epoch < 1:
            raise ProtocolError("IDENTIFY: epoch")
        if type(self.hostname) is not str or not _HOSTNAME.fullmatch(self.hostname.replace("_", "-")):
            raise ProtocolError("IDENTIFY: hostname")
        if type(self.machine_id) is not str or not _MACHINE_ID.fullmatch(self.machine_id):
            raise ProtocolError("IDENTIFY: machineId")
        if type(time_text) is not str or not re.fullmatch(r"[0-9]{1,19}", time_text):
            raise ProtocolError("IDENTIFY: unixTimeNs")
        self.unix_time_ns = int(time_text)
        self.key = _bytes(message, "key", 32)
        self.challenge = _bytes(message, "challenge", 32)
        self.entropy = _bytes(message, "entropy", 256)
        return self


def _bytes(message, name, size):
    try:
        value = base64.b64decode(message.get(name), validate=True)
    except (TypeError, ValueError) as error:
        raise ProtocolError(f"IDENTIFY: {name}") from error
    if len(value) != size:
        raise ProtocolError(f"IDENTIFY: {name}")
    return value


def confirmation(identity):
    """The payload of CONFIRM. The first reader of boot_id: the kernel makes it up then, and a template must not contain one."""
    signed = b"bulkhead-confirm" + identity.challenge + identity.epoch.to_bytes(4, "big")
    with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
        boot_id = file.read().strip()
    return {
        "epoch": identity.epoch,
        "proof": base64.b64encode(hmac.digest(identity.key, signed, "sha256")).decode("ascii"),
        "bootId": boot_id,
        "unixTimeNs": str(time.time_ns()),
    }


def take_as_machine(identity):
    """The kernel's share: generator, clock, names. Raises OSError when any of it is refused: then there is no CONFIRM."""
    with open("/dev/urandom", "rb", buffering=0) as generator:
        size = len(identity.entropy)
        fcntl.ioctl(generator, _RNDADDENTROPY, struct.pack("ii", size * 8, size) + identity.entropy)
        fcntl.ioctl(generator, _RNDRESEEDCRNG)
    time.clock_settime_ns(time.CLOCK_REALTIME, identity.unix_time_ns)
    socket.sethostname(identity.hostname)
    _write("/etc/hostname", identity.hostname + "\n")
    _write("/etc/machine-id", identity.machine_id + "\n")
    _write("/etc/hosts", f"127.0.0.1 localhost {identity.hostname}\n::1 localhost ip6-localhost\n")


def _write(path, text):
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o644)
    try:
        os.write(descriptor, text.encode("ascii"))
    finally:
        os.close(descriptor)

"""Who this machine is, taken from the host before user code runs: docs/channel.md, "Identity".

Everything here makes a restored copy of a frozen template differ from its siblings. It is the first code that a restored machine
runs, and an emulator translates code when it first runs: a line that reaches for a library costs milliseconds of every launch. So no
regular expressions, no text files, no OpenSSL.
"""

import binascii
import fcntl
import os
import socket
import struct
import time

try:
    from _sha256 import sha256
except ImportError:  # renamed in Python 3.12
    from _sha2 import sha256

from .frames import ProtocolError

_RNDADDENTROPY = 0x40085203
_RNDRESEEDCRNG = 0x5207
_HEXADECIMAL = frozenset("0123456789abcdef")
_HOSTNAME = frozenset("abcdefghijklmnopqrstuvwxyz0123456789-")
_HMAC_BLOCK_BYTES = 64
_INNER = bytes(byte ^ 0x36 for byte in range(256))
_OUTER = bytes(byte ^ 0x5C for byte in range(256))


class Identity:
    """The parsed payload of IDENTIFY."""

    __slots__ = ("epoch", "key", "challenge", "entropy", "unix_time_ns", "hostname", "machine_id", "renew")

    @classmethod
    def parse(cls, message):
        """ProtocolError where a member is missing or of the wrong shape."""
        self = cls()
        self.epoch = message.get("epoch")
        self.hostname = message.get("hostname")
        self.machine_id = message.get("machineId")
        self.renew = message.get("renew")
        time_text = message.get("unixTimeNs")
        if type(self.epoch) is not int or self.epoch < 1:
            raise ProtocolError("IDENTIFY: epoch")
        if type(self.hostname) is not str or not 0 < len(self.hostname) <= 63 or not _HOSTNAME.issuperset(self.hostname):
            raise ProtocolError("IDENTIFY: hostname")
        if type(self.machine_id) is not str or len(self.machine_id) != 32 or not _HEXADECIMAL.issuperset(self.machine_id):
            raise ProtocolError("IDENTIFY: machineId")
        if type(self.renew) is not bool:
            raise ProtocolError("IDENTIFY: renew")
        if type(time_text) is not str or not 0 < len(time_text) <= 19 or not time_text.isdecimal():
            raise ProtocolError("IDENTIFY: unixTimeNs")
        self.unix_time_ns = int(time_text)
        self.key = _bytes(message, "key", 32)
        self.challenge = _bytes(message, "challenge", 32)
        self.entropy = _bytes(message, "entropy", 256)
        return self


def _bytes(message, name, size):
    try:
        value = binascii.a2b_base64(message.get(name))
    except (TypeError, ValueError) as error:
        raise ProtocolError(f"IDENTIFY: {name}") from error
    if len(value) != size:
        raise ProtocolError(f"IDENTIFY: {name}")
    return value


def hmac_sha256(key, message):
    """RFC 2104, for keys of at most one block."""
    block = key.ljust(_HMAC_BLOCK_BYTES, b"\0")
    inner = sha256(block.translate(_INNER) + message).digest()
    return sha256(block.translate(_OUTER) + inner).digest()


def proof(identity):
    """What shows that the agent has the session's key."""
    signed = b"bulkhead-confirm" + identity.challenge + identity.epoch.to_bytes(4, "big")
    return binascii.b2a_base64(hmac_sha256(identity.key, signed), newline=False).decode("ascii")


def confirmation(identity, boot_id):
    """The payload of CONFIRM."""
    return {
        "epoch": identity.epoch,
        "proof": proof(identity),
        "bootId": boot_id,
        "unixTimeNs": str(time.time_ns()),
    }


def open_boot_id():
    """A descriptor. The kernel makes the boot id up when it is first read, and a template must not contain one."""
    return os.open("/proc/sys/kernel/random/boot_id", os.O_RDONLY | os.O_CLOEXEC)


def read_boot_id(descriptor):
    """After the machine has its identity, not before."""
    return os.pread(descriptor, 64, 0).decode("ascii").strip()


class Kernel:
    """The kernel's share of an identity. What it is written to is open from the boot on."""

    def __init__(self):
        self._generator = os.open("/dev/urandom", os.O_RDONLY | os.O_CLOEXEC)
        self._hostname = _NameFile("/etc/hostname")
        self._machine_id = _NameFile("/etc/machine-id")
        self._boot_id = open_boot_id()
        self._hosts = _NameFile("/etc/hosts")

    def boot_id(self):
        """As text."""
        return read_boot_id(self._boot_id)

    def take(self, identity):
        """Generator, clock, names. Raises OSError when any of it is refused: then there is no CONFIRM."""
        size = len(identity.entropy)
        fcntl.ioctl(self._generator, _RNDADDENTROPY, struct.pack("ii", size * 8, size) + identity.entropy)
        fcntl.ioctl(self._generator, _RNDRESEEDCRNG)
        time.clock_settime_ns(time.CLOCK_REALTIME, identity.unix_time_ns)
        socket.sethostname(identity.hostname)
        self._hostname.replace(identity.hostname + "\n")
        self._machine_id.replace(identity.machine_id + "\n")
        self._hosts.replace(f"127.0.0.1 localhost {identity.hostname}\n::1 localhost ip6-localhost\n")


class _NameFile:
    """A file that is written anew with each identity."""

    def __init__(self, path):
        self._descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
        self._size = None

    def replace(self, text):
        """All of it."""
        data = text.encode("ascii")
        os.pwrite(self._descriptor, data, 0)
        if len(data) != self._size:
            os.ftruncate(self._descriptor, len(data))
            self._size = len(data)

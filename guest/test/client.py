"""A small host's end of the channel for the tests: one agent in development mode over a socket pair."""

import base64
import hashlib
import hmac
import json
import os
import select
import shutil
import socket
import struct
import subprocess
import sys
import tempfile
import time

AGENT = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "agent", "main.py")
HEADER = struct.Struct(">IBBHI")
HELLO, IDENTIFY, CONFIRM, OPEN, DATA, CLOSE, SIGNAL, CREDIT, PING, PONG = range(1, 11)
END, MORE = 0x40, 0x80


def has_module(name):
    """Whether the interpreter that runs the tests has a module."""
    return subprocess.run([sys.executable, "-I", "-c", f"import {name}"], capture_output=True, check=False).returncode == 0


class Turn:
    """What has come back on one stream."""

    def __init__(self, number):
        self.number = number
        self.lanes = {1: bytearray(), 2: bytearray(), 3: bytearray()}
        self.messages = []
        self.order = []
        self.ended = set()
        self.close = None
        self.credit = 262_144
        self.received = 0
        self.auto_credit = True

    @property
    def out(self):
        return self.lanes[1].decode("utf-8", "replace")

    @property
    def err(self):
        return self.lanes[2].decode("utf-8", "replace")

    @property
    def result(self):
        assert self.close["ok"], self.close
        return self.close["result"]

    @property
    def code(self):
        assert not self.close["ok"], self.close
        return self.close["error"]["code"]


class Host:
    """Starts an agent, checks every frame that it sends against the contract."""

    def __init__(self, identify=True):
        ours, theirs = socket.socketpair()
        self.socket = ours
        self.home = tempfile.mkdtemp(prefix="bulkhead-agent-test-")
        command = [sys.executable, "-I", AGENT, "--fd", str(theirs.fileno()), "--development", "--home", self.home]
        self.process = subprocess.Popen(command, pass_fds=[theirs.fileno()], stderr=subprocess.PIPE)
        theirs.close()
        self.buffer = bytearray()
        self.epoch = 0
        self.next = 1
        self.turns = {}
        self.channel = []
        if identify:
            self.wait(lambda: self.channel, 60)
            kind, _, hello = self.channel.pop(0)
            assert kind == HELLO, kind
            self.hello = json.loads(hello)
            self.identify()

    def send(self, kind, flags, stream, payload=b"", epoch=None):
        self.socket.sendall(HEADER.pack(len(payload), kind, flags, self.epoch if epoch is None else epoch, stream) + payload)

    def identify(self, renew=True):
        epoch = self.epoch + 1
        key, challenge = os.urandom(32), os.urandom(32)
        message = {
            "epoch": epoch,
            "key": base64.b64encode(key).decode(),
            "challenge": base64.b64encode(challenge).decode(),
            "entropy": base64.b64encode(os.urandom(256)).decode(),
            "unixTimeNs": str(time.time_ns()),
            "hostname": "ses-test",
            "machineId": "0" * 32,
            "renew": renew,
        }
        self.send(IDENTIFY, 0, 0, json.dumps(message).encode())
        self.epoch = epoch
        self.next = 1
        self.turns = {}
        self.wait(lambda: self.channel, 30)
        kind, frame_epoch, payload = self.channel.pop(0)
        assert kind == CONFIRM and frame_epoch == epoch
        confirm = json.loads(payload)
        proof = hmac.new(key, b"bulkhead-confirm" + challenge + struct.pack(">I", epoch), hashlib.sha256).digest()
        assert base64.b64decode(confirm["proof"]) == proof
        return confirm

    def open(self, op, **parameters):
        turn = Turn(self.next)
        self.next += 2
        self.turns[turn.number] = turn
        self.send(OPEN, 0, turn.number, json.dumps({"op": op, **parameters}).encode())
        return turn

    def data(self, turn, data, end=True):
        data = bytes(data)
        position = 0
        while position < len(data):
            size = min(len(data) - position, 65_536, turn.credit)
            if size == 0:
                self.wait(lambda: turn.credit > 0 or turn.close, 30)
                if turn.close:
                    return
                continue
            last = position + size == len(data)
            self.send(DATA, END if end and last else 0, turn.number, data[position : position + size])
            turn.credit -= size
            position += size
        if end and not data:
            self.send(DATA, END, turn.number)

    def signal(self, turn, name, **more):
        self.send(SIGNAL, 0, turn.number, json.dumps({"signal": name, **more}).encode())

    def credit(self, turn, count):
        self.send(CREDIT, 0, turn.number, struct.pack(">I", count))

    def start(self, code, language="python", context="default", max_output=8_388_608, max_events=33_554_432):
        turn = self.open("run", language=language, context=context, maxOutputBytes=max_output, maxEventBytes=max_events)
        self.data(turn, code.encode() if isinstance(code, str) else code)
        return turn

    def finish(self, turn, seconds=30):
        self.wait(lambda: turn.close is not None, seconds)
        return turn

    def run(self, code, language="python", seconds=30, **options):
        return self.finish(self.start(code, language, **options), seconds)

    def call(self, op, data=None, seconds=30, **parameters):
        turn = self.open(op, **parameters)
        if data is not None:
            self.data(turn, data)
        return self.finish(turn, seconds)

    def wait(self, condition, seconds=30):
        deadline = time.monotonic() + seconds
        while not condition():
            left = deadline - time.monotonic()
            if left <= 0:
                raise TimeoutError("the agent did not answer in time")
            if not select.select([self.socket], [], [], left)[0]:
                continue
            data = self.socket.recv(1 << 20)
            if not data:
                raise ConnectionError(f"the agent ended: {self.process.wait(10)} {self.process.stderr.read().decode()}")
            self._take(data)

    def _take(self, data):
        buffer = self.buffer
        buffer += data
        while len(buffer) >= 12:
            length, kind, flags, epoch, stream = HEADER.unpack_from(buffer)
            assert length <= 65_536
            if len(buffer) < 12 + length:
                return
            payload = bytes(buffer[12 : 12 + length])
            del buffer[: 12 + length]
            if stream == 0:
                self.channel.append((kind, epoch, payload))
                continue
            assert epoch == self.epoch
            self._on_stream(kind, flags, self.turns[stream], payload)

    def _on_stream(self, kind, flags, turn, payload):
        assert turn.close is None, "a frame after CLOSE"
        if kind == DATA:
            lane = flags & 7
            turn.received += len(payload)
            turn.lanes[lane] += payload
            if flags & END:
                turn.ended.add(lane)
            if lane == 3:
                if not flags & MORE:
                    message = json.loads(bytes(turn.lanes[3]))
                    turn.lanes[3].clear()
                    turn.messages.append(message)
                    turn.order.append(message.get("type"))
            elif payload:
                turn.order.append(bytes(payload))
            if turn.auto_credit and payload:
                self.credit(turn, len(payload))
        elif kind == CREDIT:
            turn.credit += struct.unpack(">I", payload)[0]
        elif kind == CLOSE:
            turn.close = json.loads(payload)
        else:
            raise AssertionError(f"frame type {kind}")

    def close(self):
        self.socket.close()
        try:
            code = self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            code = None
        self.errors = self.process.stderr.read().decode()
        self.process.stderr.close()
        shutil.rmtree(self.home, ignore_errors=True)
        shutil.rmtree(self.home + "-warm", ignore_errors=True)
        return code

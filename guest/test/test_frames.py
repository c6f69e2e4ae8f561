"""The frame codec: what it takes, what it refuses, whatever way the bytes are cut."""

import os
import random
import struct
import sys
import unittest

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from agent import frames, worker_messages  # noqa: E402


class FrameTest(unittest.TestCase):
    def test_round_trip_at_any_cut(self):
        seed = random.randrange(1 << 32)
        chance = random.Random(seed)
        sent = []
        for number in range(1, 60, 2):
            sent.append((frames.OPEN, 0, 7, number, b"{}"))
            sent.append((frames.DATA, frames.FLAG_END, 7, number, chance.randbytes(chance.choice((0, 1, 500, 65_536)))))
            sent.append((frames.PING, 0, 7, 0, chance.randbytes(8)))
        stream = b"".join(frames.encode(*frame) for frame in sent)
        decoder, got, position = frames.Decoder(), [], 0
        while position < len(stream):
            size = chance.choice((1, 11, 13, 4_096, 70_000))
            got += decoder.feed(stream[position : position + size])
            position += size
        self.assertEqual(got, sent, f"seed {seed}")

    def test_malformed_frames_are_refused(self):
        header = struct.Struct(">IBBHI")
        cases = {
            "too long": header.pack(65_537, frames.DATA, 0, 1, 1),
            "unknown type": header.pack(0, 11, 0, 1, 1),
            "type zero": header.pack(0, 0, 0, 1, 1),
            "a guest's type": frames.encode(frames.HELLO, 0, 0, 0, b"{}"),
            "OPEN on the channel": frames.encode(frames.OPEN, 0, 1, 0, b"{}"),
            "PING on a stream": frames.encode(frames.PING, 0, 1, 1, b"12345678"),
            "flags on OPEN": frames.encode(frames.OPEN, 1, 1, 1, b"{}"),
            "MORE from the host": frames.encode(frames.DATA, frames.FLAG_MORE, 1, 1, b"x"),
            "a lane of the guest": frames.encode(frames.DATA, 1, 1, 1, b"x"),
            "empty DATA": frames.encode(frames.DATA, 0, 1, 1, b""),
            "short PING": frames.encode(frames.PING, 0, 1, 0, b"1234"),
            "long CREDIT": frames.encode(frames.CREDIT, 0, 1, 1, b"12345"),
        }
        for name, data in cases.items():
            with self.subTest(name), self.assertRaises(frames.ProtocolError):
                frames.Decoder().feed(data)

    def test_json_is_bounded(self):
        for text in (b"[]", b"1", b"{", b"\xff", b'{"a":NaN}', b'{"a":' * 17 + b"1" + b"}" * 17, b"[" * 100_000):
            with self.subTest(text[:20]), self.assertRaises(ValueError):
                frames.load_json(text)
        deepest = b'{"a":' * 16 + b"1" + b"}" * 16
        self.assertIn("a", frames.load_json(deepest))

    def test_worker_messages_are_bounded(self):
        reader = worker_messages.Reader()
        big = worker_messages.pack(worker_messages.EVENT, b"x" * (worker_messages.EVENT_MAX_BYTES + 1))
        messages = []
        for position in range(0, len(big), 1 << 20):
            messages += reader.feed(big[position : position + (1 << 20)])
        messages += reader.feed(worker_messages.pack(worker_messages.DONE, b"{}"))
        self.assertEqual(messages, [(worker_messages.EVENT, None), (worker_messages.DONE, b"{}")])
        with self.assertRaises(ValueError):
            worker_messages.Reader().feed(b"\0\0\0\0?")


if __name__ == "__main__":
    unittest.main()

#!/usr/bin/env python3
"""Peers of a contact point that mean harm. Written from docs/tunnel.md alone, with nothing of Causeway in it.

    rogue.py ATTACK --to HOST:PORT --from IP[,IP...] [--count N] [--seconds S]

It prints one line of JSON: how many connections it has had, how many the contact point has ended and after how long,
which errors (code) and answers to resumption it was given. TLS by libssl itself, which tells the exporter that Python's
own module keeps to itself.
"""

import argparse
import ctypes
import hashlib
import hmac
import json
import os
import select
import socket
import struct
import time

arg = argparse.ArgumentParser()
arg.add_argument("attack")
arg.add_argument("--to", required=True)
arg.add_argument("--from", dest="sources", required=True)
arg.add_argument("--count", type=int, default=1)
arg.add_argument("--seconds", type=float, default=5)
opt = arg.parse_args()

host, port = opt.to.rsplit(":", 1)
sources = opt.sources.split(",")
report = {"attack": opt.attack, "opened": 0, "refused": 0, "ended": 0, "first_s": None, "last_s": None, "errors": {}}
started = time.monotonic()

# ---- TLS ----

ssl = ctypes.CDLL("libssl.so.3")
for name, result, arguments in [
    ("TLS_client_method", ctypes.c_void_p, []),
    ("SSL_CTX_new", ctypes.c_void_p, [ctypes.c_void_p]),
    ("SSL_new", ctypes.c_void_p, [ctypes.c_void_p]),
    ("SSL_set_fd", ctypes.c_int, [ctypes.c_void_p, ctypes.c_int]),
    ("SSL_connect", ctypes.c_int, [ctypes.c_void_p]),
    ("SSL_write", ctypes.c_int, [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int]),
    ("SSL_read", ctypes.c_int, [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int]),
    ("SSL_pending", ctypes.c_int, [ctypes.c_void_p]),
    ("SSL_set_alpn_protos", ctypes.c_int, [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_uint]),
    ("SSL_free", None, [ctypes.c_void_p]),
]:
    function = getattr(ssl, name)
    function.restype, function.argtypes = result, arguments
ssl.SSL_export_keying_material.argtypes = [
    ctypes.c_void_p, ctypes.c_char_p, ctypes.c_size_t, ctypes.c_char_p, ctypes.c_size_t,
    ctypes.c_char_p, ctypes.c_size_t, ctypes.c_int,
]
context = ssl.SSL_CTX_new(ssl.TLS_client_method())
ALPN = b"\x0acauseway/1"


def connect(n=0):
    """A TCP connection from one of our addresses."""
    plain = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    plain.settimeout(10)
    plain.bind((sources[n % len(sources)], 0))
    plain.connect((host, int(port)))
    report["opened"] += 1
    return plain


class Tunnel:
    """A connection on which the handshake is done."""

    def __init__(self, n=0):
        self.plain = connect(n)
        self.plain.settimeout(None)
        self.began = time.monotonic()
        self.ssl = ssl.SSL_new(context)
        ssl.SSL_set_alpn_protos(self.ssl, ALPN, len(ALPN))
        ssl.SSL_set_fd(self.ssl, self.plain.fileno())
        if ssl.SSL_connect(self.ssl) != 1:
            raise OSError("the handshake fails")
        secret = ctypes.create_string_buffer(32)
        label = b"EXPORTER-causeway"
        ssl.SSL_export_keying_material(self.ssl, secret, 32, label, len(label), None, 0, 0)
        self.exporter, self.inbox, self.over = secret.raw, b"", False

    def write(self, data):
        """False once the connection is gone."""
        return not self.over and ssl.SSL_write(self.ssl, data, len(data)) > 0

    def read(self, seconds):
        """Takes in what comes within the time; False at the end of the connection."""
        until = time.monotonic() + seconds
        while True:
            left = max(0.0, until - time.monotonic())
            ready = ssl.SSL_pending(self.ssl) or select.select([self.plain], [], [], left)[0]
            if not ready:
                return True
            chunk = ctypes.create_string_buffer(65536)
            got = ssl.SSL_read(self.ssl, chunk, len(chunk))
            if got <= 0:
                self.over = True
                return False
            self.inbox += chunk.raw[:got]

    def messages(self):
        """Control messages that have come: type and body."""
        while len(self.inbox) >= 4:
            lane, length = struct.unpack("!HH", self.inbox[:4])
            if len(self.inbox) < 4 + length:
                return
            payload, self.inbox = self.inbox[4 : 4 + length], self.inbox[4 + length :]
            while lane == 0 and len(payload) >= 3:
                kind, size = struct.unpack("!BH", payload[:3])
                yield kind, payload[3 : 3 + size]
                payload = payload[3 + size :]

    def wait(self, wanted, seconds=5):
        """The body of the next message of one of these types."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            for kind, body in self.messages():
                if kind == 7:
                    report["errors"][str(body[0])] = report["errors"].get(str(body[0]), 0) + 1
                if kind in wanted:
                    return kind, body
            if not self.read(0.2):
                break
        raise SystemExit(f"no message of {wanted}")

    def see_out(self, seconds):
        """Until the contact point ends it; notes why."""
        until = time.monotonic() + seconds
        while time.monotonic() < until and not self.over:
            self.read(0.2)
            self.errors()
        self.errors()
        if self.over:
            ended(self.began)

    def errors(self):
        for kind, body in self.messages():
            if kind in (6, 7):
                name = str(body[0]) if kind == 7 else f"goodbye {body[0]}"
                report["errors"][name] = report["errors"].get(name, 0) + 1


def ended(began):
    report["ended"] += 1
    took = round(time.monotonic() - began, 2)
    report["first_s"] = took if report["first_s"] is None else min(took, report["first_s"])
    report["last_s"] = max(took, report["last_s"] or 0)


# ---- frames and messages ----


def frame(lane, payload=b""):
    return struct.pack("!HH", lane, len(payload)) + payload


def control(kind, body=b""):
    return frame(0, struct.pack("!BH", kind, len(body)) + body)


def hello(instance=None, resume=b""):
    body = b"CWTL" + struct.pack("!BBHHHII", 1, 1, 2048, 16384, 15, 0, 0)
    if instance:
        body += b"\x82\x10" + instance
    if resume:
        body += b"\x01\x40" + resume
    return control(1, body)


def lane_open(lane, kind):
    return control(2, struct.pack("!HBB", lane, kind, 0))


def entered(n=0):
    tunnel = Tunnel(n)
    tunnel.write(hello(os.urandom(16)))
    tunnel.wait([1])
    return tunnel


# ---- attacks ----


def half_open():
    """TCP connections whose handshake never ends: nothing at all, a piece, a byte now and then."""
    begun = []
    for n in range(opt.count):
        try:
            begun.append([connect(n), time.monotonic(), n % 3])
            # Of a ClientHello whose rest never comes.
            if n % 3:
                begun[-1][0].send(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"[: 5 + n % 6])
        except OSError:
            report["refused"] += 1
    until = time.monotonic() + opt.seconds
    while begun and time.monotonic() < until:
        time.sleep(0.25)
        for entry in list(begun):
            plain, began, manner = entry
            try:
                if manner == 2:
                    plain.send(b"\x00")
                if select.select([plain], [], [], 0)[0] and plain.recv(4096) == b"":
                    raise OSError
            except OSError:
                ended(began)
                plain.close()
                begun.remove(entry)


def no_hello(slowly=False):
    """Handshakes done; then nothing, or a Hello byte by byte."""
    tunnels = []
    for n in range(opt.count):
        try:
            tunnels.append(Tunnel(n))
        except OSError:
            report["refused"] += 1
    greeting = hello(os.urandom(16))
    until, sent = time.monotonic() + opt.seconds, 0
    while tunnels and time.monotonic() < until:
        time.sleep(0.5)
        for tunnel in list(tunnels):
            if slowly and sent < len(greeting) - 1:
                tunnel.write(greeting[sent : sent + 1])
            if not tunnel.read(0):
                tunnel.errors()
                ended(tunnel.began)
                tunnels.remove(tunnel)
        sent += 1


def unopened_lane():
    tunnel = entered()
    while tunnel.write(frame(4097, b"x" * 160) * 100) and tunnel.read(0.02):
        pass
    tunnel.see_out(5)


def flood(first, data):
    """The same again and again, as fast as it is taken."""
    for n in range(opt.count):
        tunnel = entered(n)
        tunnel.write(first)
        until = time.monotonic() + opt.seconds
        while time.monotonic() < until and tunnel.write(data) and tunnel.read(0):
            pass
        tunnel.see_out(5)


def window():
    """Streams: more than the credit, after the end, credit without end."""
    beyond = entered()
    beyond.write(lane_open(17, 0x80) + frame(17, b"x" * 8192) * 8 + frame(17, b"y"))
    beyond.see_out(5)
    after = entered()
    after.write(lane_open(17, 0x80) + frame(17) + frame(17, b"x"))
    after.see_out(5)
    credit = entered()
    credit.write(lane_open(17, 0x80) + control(0x11, struct.pack("!HI", 17, 0xFFFFFFFF)) * 3)
    credit.write(control(4, b"12345678"))
    # It is capped, and no fault.
    credit.wait([5])
    report["credit_capped"] = True
    many = entered()
    many.write(b"".join(lane_open(17 + 2 * n, 0x80) for n in range(100)))
    refused = 0
    while refused < 36:
        refused += many.wait([3])[1][2] == 1
    report["streams_refused"] = refused


def unread():
    """Answers are asked for and never read."""
    for n in range(opt.count):
        tunnel = entered(n)
        text = b"OPTIONS sip:x SIP/2.0\r\nVia: SIP/2.0/TLS x;branch=z9hG4bK%d\r\nFrom: <sip:a@b>;tag=1\r\nTo: <sip:x>\r\n" \
               b"Call-ID: %d\r\nCSeq: 1 OPTIONS\r\nMax-Forwards: 70\r\nContent-Length: 0\r\n\r\n"
        until, k = time.monotonic() + opt.seconds, 0
        tunnel.plain.settimeout(1)
        while time.monotonic() < until:
            data = b"".join(frame(1, text % (k + j, k + j)) for j in range(200))
            k += 200
            if not select.select([], [tunnel.plain], [], 0.5)[1] or not tunnel.write(data):
                break
        tunnel.see_out(5)


def replay():
    """A ticket after its use, a Hello recorded on another connection, a ticket of somebody else."""
    instance, answers = os.urandom(16), []

    def ticket(tunnel):
        body = tunnel.wait([0x20])[1]
        session, epoch, seed = body[:16], struct.unpack("!I", body[16:20])[0], body[22:54]
        prk = hmac.new(tunnel.exporter, seed, hashlib.sha256).digest()
        secret = hmac.new(prk, b"causeway resume v1" + session + b"\x01", hashlib.sha256).digest()
        tunnel.write(control(0x24, struct.pack("!I", epoch)))
        return session, secret

    def ask(tunnel, session, secret, epoch, received=0):
        numbers = struct.pack("!IIQ", epoch, 0, received)
        text = b"causeway resume agent" + session + numbers + tunnel.exporter
        return session + numbers + hmac.new(secret, text, hashlib.sha256).digest()

    def answer(tunnel, said):
        tunnel.write(said)
        kind, body = tunnel.wait([0x21, 0x22])
        return "resumed" if kind == 0x21 else f"fresh {body[0]}"

    first = Tunnel()
    first.write(hello(instance))
    session, secret = ticket(first)
    first.write(control(4, b"12345678"))
    first.wait([5])
    first.plain.shutdown(socket.SHUT_RDWR)
    rightful = Tunnel()
    recorded = hello(instance, ask(rightful, session, secret, 1))
    answers.append(answer(rightful, recorded))
    _, newer = ticket(rightful)
    rightful.write(control(0x23) + control(4, b"12345678"))
    rightful.wait([5])
    answers.append(answer(Tunnel(), recorded))
    other = Tunnel()
    answers.append(answer(other, hello(os.urandom(16), ask(other, session, secret, 7))))
    other = Tunnel()
    answers.append(answer(other, hello(os.urandom(16), ask(other, session, newer, 1))))
    other = Tunnel()
    answers.append(answer(other, hello(os.urandom(16), ask(other, session, os.urandom(32), 9))))
    rightful.write(control(4, b"87654321"))
    rightful.wait([5])
    report["answers"], report["rightful"] = answers, "lives"


ATTACKS = {
    "half-open": half_open,
    "no-hello": no_hello,
    "slow-hello": lambda: no_hello(True),
    "unopened-lane": unopened_lane,
    "stray-lane": lambda: flood(lane_open(17, 1), frame(17) * 4000),
    "closing-lane": lambda: flood(lane_open(19, 9), frame(19, b"x" * 160) * 200),
    "control-flood": lambda: flood(b"", control(4, b"12345678") * 1000),
    "lane-open-flood": lambda: flood(b"", b"".join(lane_open(17 + 2 * n, 9) for n in range(2000)) * 3),
    "garbage": lambda: flood(b"", os.urandom(65536)),
    "window": window,
    "unread": unread,
    "replay": replay,
}

ATTACKS[opt.attack]()
report["took_s"] = round(time.monotonic() - started, 1)
print("report " + json.dumps(report), flush=True)

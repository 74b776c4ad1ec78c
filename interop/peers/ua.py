#!/usr/bin/env python3
"""A phone for what stock phones in the lab cannot do: T.38, MSRP, early media, silence. Written from RFC 3261, RFC 3264,
RFC 4975 and ITU-T T.38 alone, with nothing of Causeway in it.

    ua.py ROLE MEDIA OPTIONS      ROLE is call or answer; MEDIA is rtp, t38 or msrp

It registers over its outbound proxy, prints `registered`, then calls or waits for one call, and prints one line of JSON
about what it has sent and received before it ends. What is received goes byte by byte into --record, length first.
"""

import argparse
import hashlib
import json
import queue
import random
import socket
import struct
import sys
import threading
import time

arg = argparse.ArgumentParser()
arg.add_argument("role", choices=["call", "answer"])
arg.add_argument("media", choices=["rtp", "t38", "msrp"])
arg.add_argument("--user", required=True)
arg.add_argument("--to")
arg.add_argument("--domain", default="op.example")
arg.add_argument("--proxy", default="192.168.1.2:5060")
arg.add_argument("--ip", default="192.168.1.10")
arg.add_argument("--port", type=int, default=5060)
arg.add_argument("--media-port", type=int, default=16000)
arg.add_argument("--packets", type=int, default=100, help="datagrams to send once the call stands")
arg.add_argument("--early", type=int, default=0, help="datagrams to send before the answer (answer), or to await (call)")
arg.add_argument("--silence", type=float, default=0, help="seconds without RTP and SIP before the first datagram")
arg.add_argument("--bytes", type=int, default=1_000_000, help="of the MSRP message")
arg.add_argument("--talk", type=float, default=4, help="seconds that the call lasts after the silence")
arg.add_argument("--record", default="/dev/null")
opt = arg.parse_args()

proxy = (opt.proxy.rsplit(":", 1)[0], int(opt.proxy.rsplit(":", 1)[1]))
sip = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
sip.bind((opt.ip, opt.port))
sip.settimeout(0.5)
tag = "%08x" % random.getrandbits(32)
cseq = 0
report = {"sent": 0, "received": 0, "early": 0, "media": opt.media}
started = time.monotonic()


def say(text):
    print(text, flush=True)


# ---- SIP ----


class Message:
    def __init__(self, data):
        head, _, self.body = data.partition(b"\r\n\r\n")
        lines = head.decode("latin-1").split("\r\n")
        self.start, self.headers = lines[0], []
        for line in lines[1:]:
            name, _, value = line.partition(":")
            self.headers.append((name.strip().lower(), value.strip()))

    def all(self, name):
        return [value for known, value in self.headers if known == name]

    def one(self, name):
        found = self.all(name)
        return found[0] if found else ""

    @property
    def status(self):
        return int(self.start.split(" ")[1]) if self.start.startswith("SIP/2.0 ") else 0

    @property
    def method(self):
        return "" if self.status else self.start.split(" ")[0]


def transmit(text, body=b""):
    sip.sendto(text.encode("latin-1") + b"Content-Length: %d\r\n\r\n" % len(body) + body, proxy)


def request(method, uri, to, call_id, extra="", body=b"", number=None):
    global cseq
    if number is None:
        cseq += 1
        number = cseq
    branch = "z9hG4bK%016x" % random.getrandbits(64)
    text = (
        f"{method} {uri} SIP/2.0\r\nVia: SIP/2.0/UDP {opt.ip}:{opt.port};branch={branch};rport\r\nMax-Forwards: 70\r\n"
        f"From: <sip:{opt.user}@{opt.domain}>;tag={tag}\r\nTo: {to}\r\nCall-ID: {call_id}\r\n"
        f"CSeq: {number} {method}\r\nContact: <sip:{opt.user}@{opt.ip}:{opt.port}>\r\n{extra}"
    )
    if body:
        text += "Content-Type: application/sdp\r\n"
    transmit(text, body)
    return number


def respond(to, status, reason, body=b"", extra=""):
    text = f"SIP/2.0 {status} {reason}\r\n"
    for name, value in to.headers:
        if name in ("via", "from", "call-id", "cseq", "record-route"):
            text += f"{name}: {value}\r\n"
        elif name == "to":
            text += f"to: {value}{'' if 'tag=' in value or status == 100 else ';tag=' + tag}\r\n"
    text += f"Contact: <sip:{opt.user}@{opt.ip}:{opt.port}>\r\n{extra}"
    if body:
        text += "Content-Type: application/sdp\r\n"
    transmit(text, body)


def receive(seconds=0.5):
    sip.settimeout(max(seconds, 0.01))
    try:
        return Message(sip.recvfrom(65535)[0])
    except (socket.timeout, BlockingIOError):
        return None


def await_response(method, number, seconds=20, provisional=None):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        message = receive(0.2)
        if message and message.status and message.one("cseq").split() == [str(number), method]:
            if message.status >= 200:
                return message
            if provisional:
                provisional(message)
    raise SystemExit(f"no answer to {method}")


def register():
    aor = f"<sip:{opt.user}@{opt.domain}>"
    number = request("REGISTER", f"sip:{opt.domain}", aor, "reg-" + tag, "Expires: 600\r\n")
    answer = await_response("REGISTER", number)
    if answer.status != 200:
        raise SystemExit("REGISTER: " + answer.start)
    say("registered")


# ---- SDP ----


def path():
    return f"msrp://{opt.ip}:{opt.media_port}/{tag};tcp"


def description():
    media = {
        "rtp": f"m=audio {opt.media_port} RTP/AVP 0\r\na=sendrecv\r\n",
        "t38": f"m=image {opt.media_port} udptl t38\r\na=T38FaxVersion:0\r\na=T38MaxBitRate:14400\r\n"
        "a=T38FaxRateManagement:transferredTCF\r\na=T38FaxUdpEC:t38UDPRedundancy\r\n",
        "msrp": f"m=message {opt.media_port} TCP/MSRP *\r\na=accept-types:text/plain\r\na=path:{path()}\r\n",
    }[opt.media]
    head = f"v=0\r\no=- {random.getrandbits(31)} 1 IN IP4 {opt.ip}\r\ns=-\r\nc=IN IP4 {opt.ip}\r\nt=0 0\r\n"
    return (head + media).encode()


def peer_of(body):
    """Address, port and MSRP path of the first line."""
    address = port = its_path = None
    for line in body.decode().split("\r\n"):
        if line.startswith("c=IN IP4 "):
            address = line[9:]
        if line.startswith("m=") and port is None:
            port = int(line.split(" ")[1])
        if line.startswith("a=path:"):
            its_path = line[7:]
    if not address or not port:
        raise SystemExit(f"a description that leads nowhere: {body!r}")
    return address, port, its_path


# ---- RTP and UDPTL ----


def packet(n):
    """The nth datagram; the same for everybody who knows the user."""
    noise = random.Random(f"{opt.user}-{n}")
    if opt.media == "rtp":
        return struct.pack("!BBHII", 0x80, 0, n & 0xFFFF, n * 160, 0x1234) + noise.randbytes(160)
    # T.38 §9.1: sequence number, primary IFP packet, then redundancy: the IFP packets of the two datagrams before.
    ifp = lambda k: random.Random(f"{opt.user}-ifp-{k}").randbytes(1 + k % 90)
    body = struct.pack("!H", n & 0xFFFF)
    body += bytes([len(ifp(n))]) + ifp(n) + b"\x00"
    before = [ifp(k) for k in (n - 1, n - 2) if k >= 0]
    return body + bytes([len(before)]) + b"".join(bytes([len(p)]) + p for p in before)


class Datagrams:
    def __init__(self):
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind((opt.ip, opt.media_port))
        self.socket.settimeout(0.2)
        self.record = open(opt.record, "wb")
        self.answered = self.over = False
        self.first = None
        threading.Thread(target=self.listen, daemon=True).start()

    def listen(self):
        while not self.over:
            try:
                data = self.socket.recv(65535)
            except (socket.timeout, OSError):
                continue
            self.first = self.first or time.monotonic()
            report["received"] += 1
            if not self.answered:
                report["early"] += 1
            self.record.write(struct.pack("!H", len(data)) + data)

    def send(self, to, count):
        for _ in range(count):
            self.socket.sendto(packet(report["sent"]), to[:2])
            report["sent"] += 1
            time.sleep(0.02)

    def close(self):
        self.over = True
        time.sleep(0.3)
        self.record.close()


# ---- MSRP (RFC 4975) ----


class Msrp:
    """One session: sends one message of many chunks, and takes one; every path is compared with what was agreed on."""

    def __init__(self):
        self.answered = False
        self.listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        self.listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.listener.bind((opt.ip, opt.media_port))
        self.listener.listen(1)
        self.pending, self.buffer, self.received = {}, b"", b""
        # One thread writes: frames of two threads could end up in one another.
        self.outgoing = queue.Queue()
        self.leaving = False
        self.done = threading.Event()
        self.acknowledged = threading.Event()

    def start(self, peer, connects):
        self.theirs = peer[2]
        if connects:
            self.listener.close()
            self.socket = socket.create_connection(peer[:2], timeout=15)
        else:
            self.listener.settimeout(15)
            self.socket, _ = self.listener.accept()
        self.socket.settimeout(15)
        threading.Thread(target=self.listen, daemon=True).start()
        self.writer = threading.Thread(target=self.write, daemon=True)
        self.writer.start()

    def write(self):
        try:
            while frame := self.outgoing.get():
                self.socket.sendall(frame)
        except OSError as error:
            report["error"] = str(error)

    def listen(self):
        try:
            while self.frame():
                pass
        except (OSError, ValueError) as error:
            if not self.leaving:
                report["error"] = str(error)
        report["closed"] = True
        self.done.set()

    def more(self):
        data = self.socket.recv(65536)
        if not data:
            return False
        self.buffer += data
        return True

    def frame(self):
        while b"\r\n" not in self.buffer:
            if not self.more():
                return False
        words = self.buffer.split(b"\r\n", 1)[0].split(b" ")
        if words[0] != b"MSRP":
            raise ValueError(f"no MSRP: {self.buffer[:40]!r}")
        end = b"-------" + words[1]
        while True:
            at = self.buffer.find(b"\r\n" + end)
            if at >= 0 and len(self.buffer) >= at + len(end) + 5:
                break
            if not self.more():
                return False
        flag = self.buffer[at + 2 + len(end) : at + 3 + len(end)]
        text, self.buffer = self.buffer[:at], self.buffer[at + len(end) + 5 :]
        head, _, body = text.partition(b"\r\n\r\n")
        headers = dict(line.split(b": ", 1) for line in head.split(b"\r\n")[1:])
        # RFC 4975 §7.3.1: who is not meant, or meant by somebody else, answers 481.
        if headers[b"To-Path"].decode() != path() or headers[b"From-Path"].decode() != self.theirs:
            raise ValueError(f"paths {headers} instead of {path()} and {self.theirs}")
        if words[2] == b"SEND":
            self.received += body
            self.outgoing.put(
                b"MSRP %s 200 OK\r\nTo-Path: %s\r\nFrom-Path: %s\r\n%s$\r\n"
                % (words[1], self.theirs.encode(), path().encode(), end)
            )
            if flag == b"$":
                report["received"] = len(self.received)
                report["received_sha256"] = hashlib.sha256(self.received).hexdigest()
                self.done.set()
        else:
            report["responses"] = report.get("responses", 0) + (words[2] == b"200")
            self.pending.pop(words[1], None)
            if not self.pending:
                self.acknowledged.set()
        return True

    def send(self, data, chunk=8192):
        report["sent"] = len(data)
        report["sent_sha256"] = hashlib.sha256(data).hexdigest()
        chunks = range(0, len(data), chunk)
        self.pending = {b"tx%06d" % n: True for n in range(len(chunks))}
        for n, start in enumerate(chunks):
            part = data[start : start + chunk]
            last = start + chunk >= len(data)
            self.outgoing.put(
                b"MSRP tx%06d SEND\r\nTo-Path: %s\r\nFrom-Path: %s\r\nMessage-ID: %s\r\nByte-Range: %d-%d/%d\r\n"
                b"Content-Type: text/plain\r\n\r\n%s\r\n-------tx%06d%s\r\n"
                % (
                    n, self.theirs.encode(), path().encode(), tag.encode(), start + 1, start + len(part), len(data),
                    part, n, b"$" if last else b"+",
                )
            )

    def close(self):
        self.outgoing.put(None)
        self.writer.join(15)
        # Our own close may find the reader at its socket: no error of the other side.
        self.leaving = True
        self.socket.close()


def converse(media, peer, caller):
    """What both do once the call stands."""
    if opt.media == "msrp":
        media.start(peer, connects=caller)
        # What looks like its own framing must pass as well.
        noise = random.Random(opt.user).randbytes(opt.bytes // 2).hex().encode()
        media.send(noise[: opt.bytes - 60] + b"\r\nMSRP x SEND\r\nTo-Path: " + path().encode())
        media.done.wait(30)
        media.acknowledged.wait(30)
        time.sleep(0.5)
    else:
        time.sleep(opt.silence)
        media.send(peer, opt.packets)
        time.sleep(max(0.0, opt.talk - 0.02 * opt.packets))


def call(media):
    call_id = "call-" + tag
    callee = f"sip:{opt.to}@{opt.domain}"
    early = {}

    def provisional(message):
        if message.status == 183 and message.body:
            early["seen"] = True
            report["progress"] = True

    number = request("INVITE", callee, f"<{callee}>", call_id, body=description())
    answer = await_response("INVITE", number, 40, provisional)
    media.answered = True
    report["status"] = answer.status
    if answer.status != 200:
        raise SystemExit("INVITE: " + answer.start)
    routes = "".join(f"Route: {value}\r\n" for value in reversed(answer.all("record-route")))
    target = answer.one("contact").split("<")[1].split(">")[0]
    request("ACK", target, answer.one("to"), call_id, routes, number=number)
    say("established")
    converse(media, peer_of(answer.body), True)
    number = request("BYE", target, answer.one("to"), call_id, routes)
    report["bye"] = await_response("BYE", number).status


def answer(media):
    invite = None
    while not invite:
        message = receive()
        if message and message.method == "INVITE":
            invite = message
    peer = peer_of(invite.body)
    if opt.early:
        respond(invite, 183, "Session Progress", description())
        time.sleep(0.3)
        media.send(peer, opt.early)
        time.sleep(0.5)
    else:
        respond(invite, 180, "Ringing")
    respond(invite, 200, "OK", description())
    media.answered = True
    talking = None
    while True:
        message = receive()
        if not message:
            continue
        if message.method == "INVITE":
            respond(message, 200, "OK", description())
        elif message.method == "ACK" and not talking:
            say("established")
            talking = threading.Thread(target=converse, args=(media, peer, False), daemon=True)
            talking.start()
        elif message.method == "BYE":
            respond(message, 200, "OK")
            if talking:
                talking.join(20)
            return
        elif message.method == "CANCEL":
            respond(message, 200, "OK")
            respond(invite, 487, "Request Terminated")
            report["cancelled"] = True
            return


register()
media = Msrp() if opt.media == "msrp" else Datagrams()
(call if opt.role == "call" else answer)(media)
media.close()
if getattr(media, "first", None):
    report["first_after"] = round(media.first - started, 3)
say("report " + json.dumps(report))

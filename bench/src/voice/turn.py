"""Voice through coturn: a TURN client over TLS on one side, a plain UDP peer on the other (RFC 8656).

turn.py client SERVER PORT USER PASSWORD PEER_IP PEER_PORT SECONDS
turn.py peer IP PORT SECONDS

Both send a packet of 172 bytes every 20 ms and print {"sent": [ns …], "heard": [[number, ns] …]} at the end.
"""
import hashlib, hmac, json, os, select, socket, ssl, struct, sys, time

COOKIE = 0x2112A442


def attribute(kind, value):
    return struct.pack("!HH", kind, len(value)) + value + b"\0" * (-len(value) % 4)


def message(kind, body, key=None):
    transaction = os.urandom(12)
    if key:
        length = len(body) + 24
        head = struct.pack("!HHI", kind, length, COOKIE) + transaction
        body += attribute(8, hmac.new(key, head + body, hashlib.sha1).digest())
    return struct.pack("!HHI", kind, len(body), COOKIE) + transaction + body


def attributes(body):
    found = {}
    while len(body) >= 4:
        kind, length = struct.unpack("!HH", body[:4])
        found[kind] = body[4 : 4 + length]
        body = body[4 + length + -length % 4 :]
    return found


class Stream:
    """The TLS connection: STUN messages and ChannelData (RFC 8656 §12.5), the latter padded to four bytes."""

    def __init__(self, host, port):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        plain = socket.create_connection((host, port))
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.tls, self.held = context.wrap_socket(plain), b""

    def ask(self, request):
        self.tls.sendall(request)
        while True:
            for kind, body in self.read(5):
                if kind < 0x4000:
                    return kind, attributes(body)

    def read(self, patience):
        if not self.tls.pending() and not select.select([self.tls], [], [], patience)[0]:
            return
        self.tls.setblocking(False)
        try:
            self.held += self.tls.recv(65536)
        except ssl.SSLWantReadError:
            pass
        finally:
            self.tls.setblocking(True)
        while len(self.held) >= 4:
            kind, length = struct.unpack("!HH", self.held[:4])
            whole = 20 + length if kind < 0x4000 else 4 + length + -length % 4
            if len(self.held) < whole:
                return
            start = 20 if kind < 0x4000 else 4
            body, self.held = self.held[start : start + length], self.held[whole:]
            yield kind, body


def talk(send, receive, seconds):
    sent, heard, begun = [], [], time.monotonic()
    while True:
        now = time.monotonic()
        if now - begun > seconds + 2:
            break
        due = begun + 0.02 * len(sent)
        if now >= due and now - begun < seconds:
            sent.append(time.time_ns())
            send(struct.pack("!I", len(sent) - 1) + b"\xff" * 168)
            continue
        for packet in receive(max(0, min(due - now, 0.02)) if now - begun < seconds else 0.02):
            heard.append([struct.unpack("!I", packet[:4])[0], time.time_ns()])
    print(json.dumps({"sent": sent, "heard": heard}))


def client(server, port, user, password, peer_ip, peer_port, seconds):
    stream = Stream(server, int(port))
    transport = attribute(0x19, b"\x11\0\0\0")
    _, refusal = stream.ask(message(0x003, transport))
    realm, nonce = refusal[0x14], refusal[0x15]
    key = hashlib.md5(b":".join([user.encode(), realm, password.encode()])).digest()
    who = attribute(0x06, user.encode()) + attribute(0x14, realm) + attribute(0x15, nonce)
    kind, granted = stream.ask(message(0x003, transport + who, key))
    assert kind == 0x103, f"coturn refuses the allocation: {kind:#x} {granted}"
    port_field = int(peer_port) ^ (COOKIE >> 16)
    ip_field = struct.unpack("!I", socket.inet_aton(peer_ip))[0] ^ COOKIE
    peer = attribute(0x12, struct.pack("!BBHI", 0, 1, port_field, ip_field))
    kind, refusal = stream.ask(message(0x009, attribute(0x0C, b"\x40\0\0\0") + peer + who, key))
    assert kind == 0x109, f"coturn refuses the channel: {kind:#x} {refusal}"
    print("READY", flush=True)

    def receive(patience):
        return [body for kind, body in stream.read(patience) if kind == 0x4000]

    talk(lambda packet: stream.tls.sendall(struct.pack("!HH", 0x4000, len(packet)) + packet), receive, float(seconds))


def peer(ip, port, seconds):
    plain = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    plain.bind((ip, int(port)))
    print("READY", flush=True)
    first, there = plain.recvfrom(2048)
    held = [first]

    def receive(patience):
        got = list(held)
        held.clear()
        if select.select([plain], [], [], 0 if got else patience)[0]:
            got.append(plain.recv(2048))
        return got

    talk(lambda packet: plain.sendto(packet, there), receive, float(seconds))


{"client": client, "peer": peer}[sys.argv[1]](*sys.argv[2:])

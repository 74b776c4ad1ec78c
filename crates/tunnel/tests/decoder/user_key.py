#!/usr/bin/env python3
"""An independent reader of user keys, written from docs/tunnel.md alone ("User keys").

    user_key.py vectors FILE   checks the vectors in a copy of docs/tunnel.md
    user_key.py open FILE      reads a recording and prints what the sealed frames hold

Standard library only: HKDF by hmac, AES-128-GCM written here. A recording is lines of a name and hexadecimal digits:

    exporter, secret, mode, aor, credential, agent_fresh, contact_fresh, connection, registration
                       one each, then `key` ends the set and makes it known under its registration epoch
    agent, contact     a whole tunnel frame as that end has sent it
"""
import hashlib
import hmac
import sys


def prf(key, data):
    return hmac.new(key, data, hashlib.sha256).digest()


# AES-128 (FIPS 197) -------------------------------------------------------------------------------------------

def xtime(a):
    return ((a << 1) ^ 0x1B) & 0xFF if a & 0x80 else a << 1


def make_sbox():
    # Inverses in GF(2^8) by walking the powers of the generator 3 up and those of its inverse down.
    sbox, p, q = [0] * 256, 1, 1
    while True:
        p = p ^ xtime(p)
        q ^= q << 1
        q ^= q << 2
        q ^= q << 4
        q &= 0xFF
        if q & 0x80:
            q ^= 0x09
        rot = lambda n: ((q << n) | (q >> (8 - n))) & 0xFF
        sbox[p] = q ^ rot(1) ^ rot(2) ^ rot(3) ^ rot(4) ^ 0x63
        if p == 1:
            break
    sbox[0] = 0x63
    return sbox


SBOX = make_sbox()


def expand_key(key):
    words, rcon = [list(key[i:i + 4]) for i in range(0, 16, 4)], 1
    for i in range(4, 44):
        word = list(words[-1])
        if i % 4 == 0:
            word = [SBOX[b] for b in word[1:] + word[:1]]
            word[0] ^= rcon
            rcon = xtime(rcon)
        words.append([a ^ b for a, b in zip(words[i - 4], word)])
    return [sum(words[4 * r:4 * r + 4], []) for r in range(11)]


def encrypt_block(rounds, block):
    s = [a ^ b for a, b in zip(block, rounds[0])]
    for r in range(1, 11):
        s = [SBOX[s[(i + 4 * (i % 4)) % 16]] for i in range(16)]
        if r < 10:
            mixed = []
            for c in range(0, 16, 4):
                col = s[c:c + 4]
                for i in range(4):
                    a, b, x, y = col[i], col[(i + 1) % 4], col[(i + 2) % 4], col[(i + 3) % 4]
                    mixed.append(xtime(a) ^ xtime(b) ^ b ^ x ^ y)
            s = mixed
        s = [a ^ b for a, b in zip(s, rounds[r])]
    return bytes(s)


# GCM (NIST SP 800-38D) ----------------------------------------------------------------------------------------

def multiply(x, y):
    z, v = 0, y
    for i in range(127, -1, -1):
        if x >> i & 1:
            z ^= v
        v = v >> 1 ^ (0xE1 << 120 if v & 1 else 0)
    return z


def ghash(h, data):
    y = 0
    for i in range(0, len(data), 16):
        y = multiply(y ^ int.from_bytes(data[i:i + 16].ljust(16, b"\0"), "big"), h)
    return y


def pad(data):
    return data + b"\0" * (-len(data) % 16)


def gcm(key, nonce, aad, text, sealing):
    """(text encrypted or decrypted, tag)"""
    rounds = expand_key(key)
    h = int.from_bytes(encrypt_block(rounds, bytes(16)), "big")
    out = bytearray()
    for i in range(0, len(text), 16):
        pad_block = encrypt_block(rounds, nonce + (2 + i // 16).to_bytes(4, "big"))
        out += bytes(a ^ b for a, b in zip(text[i:i + 16], pad_block))
    sealed = bytes(out) if sealing else text
    lengths = (len(aad) * 8).to_bytes(8, "big") + (len(sealed) * 8).to_bytes(8, "big")
    s = ghash(h, pad(aad) + pad(sealed) + lengths).to_bytes(16, "big")
    tag = bytes(a ^ b for a, b in zip(s, encrypt_block(rounds, nonce + b"\0\0\0\1")))
    return bytes(out), tag


# docs/tunnel.md, "Derivation" ---------------------------------------------------------------------------------

def field(x):
    return len(x).to_bytes(2, "big") + x


class Keys:
    def __init__(self, v):
        info = b"".join(map(field, [
            b"causeway user key v1", v["mode"], v["aor"], v["credential"], v["agent_fresh"], v["contact_fresh"],
            v["connection"], v["registration"]]))
        prk = prf(v["exporter"], v["secret"])
        self.master = prf(prk, info + b"\1")
        self.seals = {"agent": prf(self.master, b"agent seals\1"),
                      "contact": prf(self.master, b"contact point seals\1")}
        self.proves = {"agent": prf(self.master, b"agent confirms\1"),
                       "contact": prf(self.master, b"contact point confirms\1")}
        self.exporter = v["exporter"]
        self.next = {"agent": 0, "contact": 0}

    def mac(self, sender, message, offer, accept):
        return prf(self.proves[sender], bytes([message]) + self.exporter + offer + accept)

    def nonce_and_aad(self, sender, lane, marker, counter):
        iv = self.seals[sender][16:28]
        nonce = iv[:4] + bytes(a ^ b for a, b in zip(iv[4:], counter.to_bytes(8, "big")))
        return nonce, lane.to_bytes(2, "big") + bytes([marker]) + counter.to_bytes(6, "big")

    def seal(self, sender, lane, marker, counter, text):
        nonce, aad = self.nonce_and_aad(sender, lane, marker, counter)
        sealed, tag = gcm(self.seals[sender][:16], nonce, aad, text, True)
        return aad[2:] + sealed + tag

    def open(self, sender, lane, payload):
        marker, counter = payload[0], int.from_bytes(payload[1:7], "big")
        nonce, aad = self.nonce_and_aad(sender, lane, marker, counter)
        text, tag = gcm(self.seals[sender][:16], nonce, aad, payload[7:-16], False)
        if not hmac.compare_digest(tag, payload[-16:]):
            raise ValueError(f"{sender} {counter}: not genuine")
        if counter < self.next[sender]:
            raise ValueError(f"{sender} {counter}: its number comes again")
        self.next[sender] = counter + 1
        return text


def unhex(text):
    return bytes.fromhex(text.replace(" ", ""))


def check_vectors(path):
    """The block after the words "User key:"; names and values are divided by "=", values go on in indented lines."""
    text = open(path, encoding="utf-8").read().split("\nUser key:")[1].split("```")[1]
    v, name = {}, None
    for line in text.strip().splitlines():
        if not line.startswith(" "):
            name, line = (part.strip() for part in line.split("=", 1))
            v[name] = b""
        line = line.strip()
        v[name] += line[1:-1].encode() if line.startswith("'") else unhex(line)
    keys = Keys(v)
    accept_mac = keys.mac("contact", 0x31, v["KeyOffer"][3:], v["KeyAccept"][3:-32])
    checks = {
        "master": keys.master,
        "seals_agent": keys.seals["agent"], "seals_contact": keys.seals["contact"],
        "proves_agent": keys.proves["agent"], "proves_contact": keys.proves["contact"],
        "offer's credential": hashlib.sha256(v["credential"]).digest()[:16],
        "accept's MAC": accept_mac,
        "KeyConfirm of the agent": keys.mac("agent", 0x32, v["KeyOffer"][3:], v["KeyAccept"][3:-32]),
        "KeyConfirm of the contact point": keys.mac("contact", 0x32, v["KeyOffer"][3:], v["KeyAccept"][3:-32]),
        "frame": (17).to_bytes(2, "big") + field(keys.seal("agent", 17, v["registration"][3], 5, v["payload"])),
    }
    found = dict(v)
    found["offer's credential"] = v["KeyOffer"][3 + 41:3 + 57]
    found["accept's MAC"] = v["KeyAccept"][-32:]
    for name in ["KeyConfirm of the agent", "KeyConfirm of the contact point"]:
        found[name] = v[name][-32:]
    wrong = [name for name, value in checks.items() if found.get(name) != value]
    for name in wrong:
        print(f"{name}: {checks[name].hex()}, not {found.get(name, b'').hex()}", file=sys.stderr)
    if not wrong:
        print(f"{len(checks)} values are right")
    return not wrong


def open_recording(path):
    known, now, marker = {}, {}, None
    for line in open(path, encoding="ascii"):
        name, _, digits = line.strip().partition(" ")
        if name == "key":
            known[now["registration"][-1]] = Keys(now)
            now = {}
        elif name in ("agent", "contact"):
            frame = unhex(digits)
            lane, length = int.from_bytes(frame[:2], "big"), int.from_bytes(frame[2:4], "big")
            payload = frame[4:]
            assert len(payload) == length, "a frame says how long it is"
            marker = payload[0]
            print(name, lane, marker, known[marker].open(name, lane, payload).hex())
        else:
            now[name] = unhex(digits)
    return True


if __name__ == "__main__":
    action = {"vectors": check_vectors, "open": open_recording}.get(sys.argv[1])
    sys.exit(0 if action(sys.argv[2]) else 1)

#!/usr/bin/env python3
"""Delays what a host sends to one address: a TUN device in its route, and a raw socket past it.

    late.py --to ADDRESS --source ADDRESS --out INTERFACE --ms N

Prints `delaying` once it does, and ends with its process: the device goes away, and the route with it.
"""

import argparse
import collections
import fcntl
import os
import select
import socket
import struct
import subprocess
import time

arg = argparse.ArgumentParser()
arg.add_argument("--to", required=True)
arg.add_argument("--source", required=True)
arg.add_argument("--out", required=True)
arg.add_argument("--ms", type=float, required=True)
opt = arg.parse_args()

# linux/if_tun.h: TUNSETIFF, IFF_TUN | IFF_NO_PI.
tun = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
fcntl.ioctl(tun, 0x400454CA, struct.pack("16sH14x", b"late0", 0x1001))
subprocess.run(["ip", "link", "set", "late0", "mtu", "1500", "txqueuelen", "5000", "up"], check=True)
subprocess.run(["ip", "route", "add", opt.to + "/32", "dev", "late0", "src", opt.source], check=True)
raw = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
raw.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, opt.out.encode())
print("delaying", flush=True)

held = collections.deque()
while True:
    wait = max(0.0, held[0][0] - time.monotonic()) if held else None
    if select.select([tun], [], [], wait)[0]:
        try:
            while True:
                packet = os.read(tun, 65535)
                if packet[0] >> 4 == 4:
                    held.append((time.monotonic() + opt.ms / 1000, packet))
        except BlockingIOError:
            pass
    while held and held[0][0] <= time.monotonic():
        packet = held.popleft()[1]
        raw.sendto(packet, (socket.inet_ntoa(packet[16:20]), 0))

"""A wire into a network namespace: a TUN device there, whose other end is standard input of what runs from here on.

wire.py NAMESPACE ADDRESS/PREFIX PROGRAM [ARGUMENT…]
"""
import fcntl, os, struct, subprocess, sys

namespace, address = sys.argv[1:3]
device = "media0"
tun = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
IFF_TUN, IFF_NO_PI, TUNSETIFF = 1, 0x1000, 0x400454CA
fcntl.ioctl(tun, TUNSETIFF, struct.pack("16sH", device.encode(), IFF_TUN | IFF_NO_PI))
for command in (
    f"link set {device} netns {namespace}",
    f"-n {namespace} addr add {address} dev {device}",
    # What one tick sends must fit until the generator looks.
    f"-n {namespace} link set {device} up txqueuelen 20000",
):
    subprocess.run(["ip", *command.split()], check=True)
os.dup2(tun, 0)
os.execv(sys.argv[3], sys.argv[3:])

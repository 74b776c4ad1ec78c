"""One end of a bad path: a TUN device whose packets reach the other end late, or not at all.

link.py DEVICE ADDRESS PEER OWN_SOCKET OTHER_SOCKET DELAY_MS LOSS_PERCENT BURST SEED
"""
import fcntl, heapq, os, random, select, socket, struct, subprocess, sys, time

device, address, peer, own, other = sys.argv[1:6]
delay, loss, burst, seed = float(sys.argv[6]) / 1e3, float(sys.argv[7]) / 100, float(sys.argv[8]), sys.argv[9]

tun = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
IFF_TUN, IFF_NO_PI, TUNSETIFF = 1, 0x1000, 0x400454CA
fcntl.ioctl(tun, TUNSETIFF, struct.pack("16sH", device.encode(), IFF_TUN | IFF_NO_PI))
for command in (f"addr add {address} peer {peer} dev {device}", f"link set {device} up mtu 1500 txqueuelen 10000"):
    subprocess.run(["ip", *command.split()], check=True)

inbox = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
inbox.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 22)
inbox.bind(own)
inbox.setblocking(False)
while not os.path.exists(other):
    time.sleep(0.01)
inbox.connect(other)
print("READY", flush=True)

# Gilbert's model: bursts have a mean length of `burst` packets, and `loss` of all packets are lost. With a burst of
# 1 losses are independent.
dice = random.Random(f"{device} {seed}")
bad = False


def is_lost():
    global bad
    if loss == 0:
        return False
    if burst <= 1:
        return dice.random() < loss
    leave = 1 / burst
    enter = loss * leave / (1 - loss)
    bad = dice.random() >= leave if bad else dice.random() < enter
    return bad


waiting, number = [], 0
while True:
    now = time.monotonic()
    while waiting and waiting[0][0] <= now:
        try:
            inbox.send(heapq.heappop(waiting)[2])
        except OSError:
            # A full queue, or the other end has gone: one more lost packet.
            pass
    pause = max(0, waiting[0][0] - now) if waiting else 1
    ready, _, _ = select.select([tun, inbox], [], [], pause)
    if tun in ready:
        while True:
            try:
                packet = os.read(tun, 2048)
            except BlockingIOError:
                break
            if not is_lost():
                number += 1
                heapq.heappush(waiting, (time.monotonic() + delay, number, packet))
    if inbox in ready:
        while True:
            try:
                os.write(tun, inbox.recv(2048))
            except BlockingIOError:
                break

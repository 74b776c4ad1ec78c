#!/usr/bin/env python3
"""A TLS-inspecting middlebox: ends the TLS of whoever connects with a certificate of its own, opens TLS to the real
server, and passes the plain text on, both ways.

    inspector.py CERT KEY PORT SERVER:PORT
"""
import select
import socket
import ssl
import sys
import threading


def send(to, data):
    while data:
        try:
            data = data[to.send(data):]
        except (ssl.SSLWantWriteError, ssl.SSLWantReadError):
            select.select([], [to], [], 1)


def pump(here, there):
    """Passes everything on until either end closes."""
    other = {here: there, there: here}
    for side in other:
        side.setblocking(False)
    while True:
        ready = [side for side in other if side.pending()] or select.select(list(other), [], [])[0]
        for side in ready:
            try:
                data = side.recv(65536)
            except ssl.SSLWantReadError:
                continue
            if not data:
                return
            for word in (b"REGISTER sip:", b"Authorization: Digest", b"INVITE sip:"):
                if word in data:
                    print("read:", word.decode(), flush=True)
            send(other[side], data)


def serve(raw, server, client, target):
    try:
        with server.wrap_socket(raw, server_side=True) as here:
            with client.wrap_socket(socket.create_connection(target), server_hostname=target[0]) as there:
                print("between", here.version(), here.selected_alpn_protocol(), flush=True)
                pump(here, there)
    except OSError as error:
        print("ended:", error, flush=True)


def main():
    cert, key, port, target = sys.argv[1:]
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(cert, key)
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.check_hostname, client.verify_mode = False, ssl.CERT_NONE
    for context in (server, client):
        context.set_alpn_protocols(["causeway/1"])
    host, _, number = target.rpartition(":")
    with socket.create_server(("", int(port))) as listener:
        print("listening", flush=True)
        while True:
            raw, _ = listener.accept()
            args = (raw, server, client, (host, int(number)))
            threading.Thread(target=serve, args=args, daemon=True).start()


main()

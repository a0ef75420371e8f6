#!/usr/bin/env python3
"""Looks at a machine from outside, as a scanner does, and prints a line for each question.

Usage: reach.py ADDRESS QUESTION…    with tcp:PORT, udp:PORT (something there echoes) and ping. All are asked at once.
Answers: `tcp:80 open`, `tcp:81 refused`, `tcp:82 silent`, `udp:53 open`, `ping open`.
       reach.py --serve QUESTION…    listens on all addresses and echoes; prints `listening`.
"""
import os, select, socket, struct, sys, threading

WITHIN = 1.5


def ask_tcp(address, port):
    try:
        with socket.create_connection((address, port), WITHIN):
            return "open"
    except ConnectionRefusedError:
        return "refused"
    except (TimeoutError, OSError):
        return "silent"


def ask_udp(address, port):
    with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_DGRAM) as asker:
        asker.settimeout(WITHIN)
        asker.sendto(b"?", (address, port))
        try:
            asker.recv(16)
            return "open"
        except (TimeoutError, OSError):
            return "silent"


def ping(address):
    six = ":" in address
    protocol = socket.getprotobyname("ipv6-icmp") if six else socket.IPPROTO_ICMP
    with socket.socket(socket.AF_INET6 if six else socket.AF_INET, socket.SOCK_RAW, protocol) as asker:
        asker.settimeout(WITHIN)
        request, reply = (128, 129) if six else (8, 0)
        mark = os.getpid() & 0xFFFF
        packet = struct.pack("!BBHHH", request, 0, 0, mark, 1)
        words = sum(struct.unpack("!4H", packet))
        words = (words >> 16) + (words & 0xFFFF)
        # IPv6 counts an address too: the kernel does it there.
        packet = struct.pack("!BBHHH", request, 0, 0 if six else ~words & 0xFFFF, mark, 1)
        asker.sendto(packet, (address, 0))
        try:
            while True:
                answer = asker.recv(256)
                answer = answer if six else answer[(answer[0] & 15) * 4:]
                if answer[0] == reply and struct.unpack("!H", answer[4:6])[0] == mark:
                    return "open"
        except (TimeoutError, OSError):
            return "silent"


def ask(address, question):
    kind, _, port = question.partition(":")
    answer = {"tcp": ask_tcp, "udp": ask_udp}.get(kind)
    return answer(address, int(port)) if answer else ping(address)


def serve(questions):
    opened = []
    for question in questions:
        kind, _, port = question.partition(":")
        listener = socket.socket(socket.AF_INET6, socket.SOCK_STREAM if kind == "tcp" else socket.SOCK_DGRAM)
        listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        listener.bind(("::", int(port)))
        if kind == "tcp":
            listener.listen()
        opened.append((kind, listener))
    print("listening", flush=True)
    while True:
        readable, _, _ = select.select([listener for _, listener in opened], [], [])
        for kind, listener in opened:
            if listener not in readable:
                continue
            if kind == "tcp":
                listener.accept()[0].close()
            else:
                data, peer = listener.recvfrom(64)
                listener.sendto(data, peer)


if sys.argv[1] == "--serve":
    serve(sys.argv[2:])
answers = {}
threads = [threading.Thread(target=lambda q=q: answers.update({q: ask(sys.argv[1], q)})) for q in sys.argv[2:]]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
for question in sys.argv[2:]:
    print(question, answers[question])

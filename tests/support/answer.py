#!/usr/bin/env python3
"""Runs a command on a terminal of its own, types an answer once it asks, and ends as it does.

Usage: answer.py ANSWER COMMAND…    The answer `-` types nothing; `hangup` closes the terminal instead. What the command prints
is printed.
"""
import os, pty, select, signal, sys

answer, command = sys.argv[1], sys.argv[2:]
number, terminal = pty.fork()
if number == 0:
    os.execvp(command[0], command)
asked = False
seen = b""
while True:
    readable, _, _ = select.select([terminal], [], [], 20)
    try:
        piece = os.read(terminal, 4096) if readable else b""
    except OSError:
        piece = b""
    if not piece:
        break
    seen += piece
    sys.stdout.buffer.write(piece)
    sys.stdout.flush()
    if not asked and b"Type yes within" in seen:
        asked = True
        if answer == "hangup":
            os.close(terminal)
            break
        if answer != "-":
            os.write(terminal, answer.encode() + b"\n")
_, status = os.waitpid(number, 0)
code = os.waitstatus_to_exitcode(status)
sys.exit(code if code >= 0 else 128 - code)

print("reading everything into memory", flush=True)
bytes = bytearray(200 << 20)

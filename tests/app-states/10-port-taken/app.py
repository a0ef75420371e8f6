import os, socket
other = socket.create_server(("127.0.0.1", 0))
port = other.getsockname()[1]
try:
    socket.create_server(("127.0.0.1", port))
except OSError as error:
    print("cannot listen:", os.strerror(error.errno), flush=True)
    os._exit(1)

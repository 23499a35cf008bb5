"""The emptiest possible accounting server: signs an Accounting-Response and sends it back. It measures the generator's ceiling."""

import hashlib
import socket
import struct
import sys

md5 = hashlib.md5


def serve(port: int, secret: bytes) -> None:
    """Answer until killed."""
    head = struct.Struct(">BBH")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
        one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
        one.bind(("127.0.0.1", port))
        while True:
            request, peer = one.recvfrom(4096)
            answer = head.pack(2 if request[0] == 12 else 5, request[1], 20)
            one.sendto(answer + md5(answer + request[4:20] + secret).digest(), peer)


if __name__ == "__main__":
    serve(int(sys.argv[1]), sys.argv[2].encode())

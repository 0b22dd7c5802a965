#!/usr/bin/env python3
"""One OpenSSL connection to an SMP server, judged by OpenSSL's own view of it.

Connects, reads the first block the server sends and requires that it contains the session
identifier, which OpenSSL knows as tls-unique: raw, as in an SMP server hello, or in hexadecimal.
With --versions the block must be an SMP server hello, with the identifier in its place.
Needs only the standard library and, with --groups, the openssl command.

Exit status 0 when everything is as expected, 1 otherwise with the reason on stderr.
"""

import argparse
import re
import socket
import ssl
import struct
import subprocess
import sys
import tempfile
import threading

BLOCK_SIZE = 16384


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("address", help="host:port")
    parser.add_argument("--ca", help="CA certificate the server's chain must lead to")
    parser.add_argument("--tls", choices=["1.2", "1.3"], default="1.3")
    parser.add_argument("--cert", help="client certificate chain (PEM)")
    parser.add_argument("--key", help="key of the client certificate (PEM)")
    parser.add_argument("--sni", help="server name to send; none by default")
    parser.add_argument("--alpn", help="protocols to offer, separated by commas")
    parser.add_argument("--groups", help="key exchange groups, best first, as for s_client")
    parser.add_argument("--timeout", type=float, default=60, help="seconds")
    parser.add_argument(
        "--expect", action="append", default=[], help="text the block must contain"
    )
    parser.add_argument(
        "--versions", help="SMP versions the server hello must offer: oldest-newest"
    )
    parser.add_argument(
        "--expect-hellos", type=int, help="client hellos sent: 2 after a HelloRetryRequest"
    )
    parser.add_argument("--expect-failure", help="error that must occur, in lower case")
    return parser.parse_args()


def with_ssl_module(args):
    """Session identifier and first block, through Python's ssl module."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    if args.ca:
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(args.ca)
    version = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}[args.tls]
    context.minimum_version = context.maximum_version = version
    if args.cert:
        context.load_cert_chain(args.cert, args.key)
    if args.alpn:
        context.set_alpn_protocols(args.alpn.split(","))
    host, port = args.address.rsplit(":", 1)
    with socket.create_connection((host, int(port)), timeout=args.timeout) as tcp:
        with context.wrap_socket(tcp, server_hostname=args.sni) as tls:
            block = b""
            while len(block) < BLOCK_SIZE:
                received = tls.recv(BLOCK_SIZE - len(block))
                if not received:
                    break
                block += received
            return tls.get_channel_binding("tls-unique"), block


def with_s_client(args):
    """Session identifier, first block and number of client hellos, through `openssl s_client`."""
    command = ["openssl", "s_client", "-quiet", "-connect", args.address]
    command += ["-tls" + args.tls.replace(".", "_"), "-groups", args.groups]
    command += ["-servername", args.sni] if args.sni else ["-noservername"]
    if args.ca:
        command += ["-CAfile", args.ca, "-verify_return_error"]
    if args.alpn:
        command += ["-alpn", args.alpn]
    with tempfile.NamedTemporaryFile("r") as messages, tempfile.NamedTemporaryFile("w") as issuers:
        command += ["-msg", "-msgfile", messages.name]
        if args.cert:
            command += ["-cert", args.cert, "-key", args.key]
            # s_client takes the certificates above the first one from a file of their own.
            end = "-----END CERTIFICATE-----"
            with open(args.cert) as chain:
                _, _, above = chain.read().partition(end)
            if end in above:
                issuers.write(above)
                issuers.flush()
                command += ["-cert_chain", issuers.name]
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        deadline = threading.Timer(args.timeout, process.kill)
        deadline.start()
        try:
            block = process.stdout.read(BLOCK_SIZE)
        finally:
            deadline.cancel()
            process.kill()
            _, errors = process.communicate()
        # The header line of a message is followed by its bytes in indented lines.
        sent = re.findall(
            r"^>>> .*?, Handshake.*?, (\w+)\n((?: {4}.*\n?)+)", messages.read(), re.MULTILINE
        )
    finished = [bytes.fromhex(body) for name, body in sent if name == "Finished"]
    if not finished:
        raise OSError(errors.decode(errors="replace").strip())
    hellos = sum(name == "ClientHello" for name, _ in sent)
    handshake_header = 4
    return finished[-1][handshake_header:], block, hellos


def check(args):
    """The reason why the connection is not as expected, or None."""
    hellos = None
    try:
        if args.groups:
            session_id, block, hellos = with_s_client(args)
        else:
            session_id, block = with_ssl_module(args)
    except OSError as error:
        # OpenSSL versions differ in case and underscores.
        text = str(error).lower().replace("_", " ")
        if args.expect_failure and args.expect_failure in text:
            return None
        return f"connection failed: {error}"
    if args.expect_failure:
        return f"expected a failure: {args.expect_failure}"
    if len(block) != BLOCK_SIZE:
        return f"got {len(block)} bytes instead of a block"
    if session_id is None or len(session_id) != {"1.2": 12, "1.3": 32}[args.tls]:
        return f"unexpected session identifier {session_id!r}"
    if session_id not in block and session_id.hex().encode() not in block:
        return f"session identifier {session_id.hex()} is not in the block: {block[:200]!r}"
    if args.versions:
        oldest, newest = (int(version) for version in args.versions.split("-"))
        # The length of the content, the versions, the session identifier after its length.
        expected = struct.pack(">HHB", oldest, newest, len(session_id)) + session_id
        (length,) = struct.unpack(">H", block[:2])
        if not block[2 : 2 + length].startswith(expected):
            return f"the server hello does not begin with {expected.hex()}: {block[:64].hex()}"
        if block[2 + length :].strip(b"#"):
            return "the server hello is not padded with '#'"
    for text in args.expect:
        if text.encode() not in block:
            return f"{text!r} is not in the block: {block[:200]!r}"
    if args.expect_hellos is not None and hellos != args.expect_hellos:
        return f"{hellos} client hellos instead of {args.expect_hellos}"
    return None


def main():
    reason = check(arguments())
    if reason:
        print(reason, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

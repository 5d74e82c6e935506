"""``jdap app``: a page in the browser that shows what the models make of a portrait that is dropped in."""

from __future__ import annotations

import argparse
import os
import sys
from contextlib import closing

from jdap.choices import IMAGE_WEIGHTS
from jdap.commands.arguments import CommandError, add_run_arguments

#: Only this machine can open the page.
HOST, PORT = "127.0.0.1", 7860


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of ``jdap app``."""
    parser.description = "A page in the browser: depth, a mesh, other light, expressions, talking. Ctrl-C closes it."
    add_run_arguments(parser, IMAGE_WEIGHTS)
    parser.add_argument(
        "--talk-weights",
        default="shipped:talk-tiny",
        help="weights that talk, as --weights (default shipped:talk-tiny)",
    )
    parser.add_argument(
        "--host", default=HOST, help=f"address to listen at (default {HOST}: this machine alone can open the page)"
    )
    parser.add_argument("--port", type=_port, default=PORT, help=f"port to listen at (default {PORT})")


def run(args: argparse.Namespace) -> int:
    """Open the page, and keep it open until Ctrl-C or SIGTERM, which end the process once all is cleared away."""
    try:
        return _opened(args)
    except (KeyboardInterrupt, SystemExit) as end:
        # What visitors asked for may still be at work in threads of C++. The interpreter cannot end them: it aborts.
        status = 130 if isinstance(end, KeyboardInterrupt) else end.code
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status if isinstance(status, int) else 1)


def _opened(args: argparse.Namespace) -> int:
    import threading

    from jdap.app.keeping import Passing
    from jdap.commands.dispatch import ended_by_sigterm
    from jdap.shape.files import require_trimesh

    require_trimesh()
    _check_free(args.host, args.port)
    with ended_by_sigterm(), Passing.open() as passing:
        # here, for gradio makes folders in its own when it is imported
        from jdap.app.depth import warm
        from jdap.app.models import Models
        from jdap.app.page.build import opened

        with closing(Models.load(args.weights, args.talk_weights, args.device, args.dtype)) as models:
            warm(models)
            with opened(models, passing, args.host, args.port, args.seed) as url:
                print(f"{url} is open; Ctrl-C closes it", flush=True)
                if args.host not in (HOST, "localhost", "::1"):
                    print("everybody who reaches this machine over the network can open it", flush=True)
                threading.Event().wait()
    return 0


def _check_free(host: str, port: int) -> None:
    """Raises :class:`CommandError` where nobody can listen: found out before the models are loaded."""
    import socket

    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as door:
            door.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # one that was just closed is free
            door.bind(address)
    except OSError as error:
        raise CommandError(f"--host {host} --port {port}: {error.strerror or error}; choose others") from error


def _port(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= 65535:
        raise argparse.ArgumentTypeError(f"must be a port, 1 … 65535, got {text!r}")
    return int(text)

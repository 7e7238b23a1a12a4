"""The part of the command line that starts the server and makes its tokens."""

from __future__ import annotations

import argparse
import dataclasses
import os
import sys
from pathlib import Path

from meddenoise.errors import OptionError

Commands = argparse._SubParsersAction  # argparse gives the type no public name


def add_serve(commands: Commands[argparse.ArgumentParser]) -> None:
    """Add the command `serve`."""
    parser = commands.add_parser("serve", help="start a MONAI Label server", description="Start a MONAI Label server.")
    parser.add_argument(
        "--studies", required=True, metavar="DIR|URL", help="folder of images, or DICOMweb address of a PACS, to serve"
    )
    parser.add_argument(
        "--host", default="127.0.0.1", help="address to listen on (default: this machine only; others need --tokens)"
    )
    parser.add_argument("--port", type=port, default=8000, help="default: 8000")
    parser.add_argument("--app", type=Path, metavar="DIR", help="another app folder than MedDenoise's own")
    parser.add_argument(
        "--tokens", type=Path, metavar="FILE", help="who may ask for what; see `meddenoise token` (MEDDENOISE_TOKENS)"
    )
    parser.add_argument("--ssl-certfile", type=Path, metavar="PEM", help="speak TLS with this certificate")
    parser.add_argument("--ssl-keyfile", type=Path, metavar="PEM", help="its private key")
    parser.add_argument(
        "--cors-origin",
        action="append",
        default=[],
        metavar="URL",
        help="web page that may call the server from a browser; may be repeated (MEDDENOISE_CORS_ORIGINS)",
    )
    parser.set_defaults(run=_serve)


def add_token(commands: Commands[argparse.ArgumentParser]) -> None:
    """Add the command `token`."""
    text = "make a token for the server, and the line for its file of tokens"
    parser = commands.add_parser("token", help=text, description=text.capitalize() + ".")
    parser.add_argument("name", metavar="NAME", help="whose it is; the audit log names it")
    parser.add_argument("--role", choices=("reader", "user", "admin"), default="user", help="default: user")
    parser.set_defaults(run=_token)


def port(text: str) -> int:
    """A port that can be asked for by number."""
    if not text.isdecimal() or not 0 < int(text) < 65536:
        raise argparse.ArgumentTypeError(f"must be from 1 to 65535, got {text!r}")
    return int(text)


def _serve(arguments: argparse.Namespace) -> int:
    from meddenoise.server.serve import Certificate, check_installed, serve
    from meddenoise.server.settings import Settings

    check_installed()
    if (arguments.ssl_certfile is None) != (arguments.ssl_keyfile is None):
        raise OptionError("TLS needs both --ssl-certfile and --ssl-keyfile")
    settings = Settings.from_environment(os.environ)
    origins = tuple(origin.rstrip("/") for origin in arguments.cors_origin)
    settings = dataclasses.replace(
        settings, tokens=arguments.tokens or settings.tokens, origins=origins or settings.origins
    )
    certificate = Certificate(arguments.ssl_certfile, arguments.ssl_keyfile) if arguments.ssl_certfile else None
    return serve(
        arguments.studies,
        host=arguments.host,
        port=arguments.port,
        app_dir=arguments.app,
        settings=settings,
        certificate=certificate,
    )


def _token(arguments: argparse.Namespace) -> int:
    from meddenoise.server.tokens import new_token

    token, line = new_token(arguments.name, arguments.role)
    print(f"for {arguments.name}, shown only now: {token}", file=sys.stderr)
    print(line)
    return 0

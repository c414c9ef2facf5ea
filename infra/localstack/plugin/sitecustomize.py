"""Lets LocalStack speak to this machine only. Python reads this file at its start, since it is on its path.

Settings switch off what is known to ask the internet for something; this holds for what is not known. What is refused is written
to the file that OUTSIDE_LOG names, and fails as it does on a machine without a network: at once.

What is absent: a guard around the functions' own processes. They are told where everything is, and that is loopback.
"""

import os
import sys
from ipaddress import ip_address
from pathlib import Path
from typing import Any

NAMES = ("", "localhost")
"""What is looked up without asking anybody; the empty name is every interface of this machine."""


def _is_here(host: object) -> bool:
    name = host.decode() if isinstance(host, bytes) else host
    if name is None or not isinstance(name, str) or name in NAMES:
        return True
    try:
        return ip_address(name).is_loopback or ip_address(name).is_unspecified
    except ValueError:
        return False


def _guard(event: str, arguments: tuple[Any, ...]) -> None:
    if event in ("socket.getaddrinfo", "socket.gethostbyname", "socket.gethostbyaddr"):
        host = arguments[0]
    elif event in ("socket.connect", "socket.sendto"):
        address = arguments[1]
        host = address[0] if isinstance(address, tuple) else None  # the others are sockets in the file system
    else:
        return
    if not _is_here(host):
        with Path(os.environ["OUTSIDE_LOG"]).open("a") as log:
            log.write(f"{event} {host!r}\n")
        raise OSError(f"{host!r} is not on this machine")


sys.addaudithook(_guard)

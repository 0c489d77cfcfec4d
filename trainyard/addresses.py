"""Addresses of a service as a URL writes them, and whether one is on this machine."""

import httpx2

EVERYWHERE = "0.0.0.0"  # nosec B104 # listened on only where a setting says so


def on_this_machine(url: str) -> bool:
    """Whether a URL names this machine by a loopback address."""
    host = httpx2.URL(url).host
    return host in ("localhost", "::1") or host.startswith("127.")


def reachable(host: str) -> str:
    """How a URL writes an address that a server listens on: one for "all addresses" is reached by loopback."""
    host = {EVERYWHERE: "127.0.0.1", "": "127.0.0.1", "::": "::1"}.get(host, host)
    return f"[{host}]" if ":" in host and not host.startswith("[") else host

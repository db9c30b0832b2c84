"""How connections to a venue are encrypted, WebSocket and REST alike.

LINK-1: certificate and host name are always verified, TLS 1.2 or newer; there is no switch that turns this off.
"""

from __future__ import annotations

import ssl

from tickbay import config
from tickbay.errors import ConfigError


def venue_context(venue: config.Venue) -> ssl.SSLContext:
    """The machine's certificate authorities, and that of `ca_file`. ConfigError where that one cannot be read."""
    context = ssl.create_default_context()
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    assert context.verify_mode is ssl.CERT_REQUIRED and context.check_hostname  # LINK-1
    if venue.ca_file is not None:
        try:
            context.load_verify_locations(cafile=venue.ca_file)
        except OSError as error:  # ssl.SSLError too
            raise ConfigError(f"venue.ca_file {venue.ca_file}: no certificate can be read from it: {error}") from error
    return context

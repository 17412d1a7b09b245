"""Framing, handshake and peers as pure code, and one asyncio transport over mutual TLS."""

"""JSON-RPC 2.0 over HTTP and WebSocket: parsing and answers (pure), typed methods, JSON views, and the aiohttp server."""

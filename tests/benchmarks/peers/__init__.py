"""What the gateway is measured against and with: an upstream, a proxy that enforces nothing, and nginx with Lua.

Each is a process of its own, so that what it costs can be told apart.
"""

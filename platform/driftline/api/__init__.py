"""The HTTP API under /api/v1: the stages' routers under one roof, in one shape."""

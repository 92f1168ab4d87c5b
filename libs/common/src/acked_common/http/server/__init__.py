"""The HTTP server: uvicorn with deadlines, bounded request heads and a graceful stop."""

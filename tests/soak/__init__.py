"""`make soak`: a gateway under steady load, and what became of its memory, its latency and its books."""

"""Between the network and Django: bodies are received under a deadline, requests run in threads.

granian speaks HTTP and hands every request to `app.Gateway` (ASGI). A body is received without a
thread, so that any number of slow senders cost file descriptors only; Django (WSGI) is called once
the body is whole. docs/architecture.md has the measurements that this rests on.
"""

"""The admin port: accounts, numbers, top-ups, keys and explanations as a JSON API.

`routes.py` is its table of contents: one row for each method and path, from which both the server's routes and
`/openapi.json` are made. Requests and answers are the models in `models.py`; everything that goes wrong is a problem
(RFC 9457) with one sentence that says what to do.
"""

from farebox.admin.app import admin_app

__all__ = ["admin_app"]

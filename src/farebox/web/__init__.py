"""Insights & Billing: the page on the admin port, for the people who pay.

Rendered on the server (jinja2, everything escaped), so that it works before its script has loaded and without it; one
small script of our own adds what lives: balances that move, a donut that answers. Charts are SVG, drawn on the server
by pygal: half a megabyte to install and nothing to load, where plotly's script alone is 4.8 MB. Their colours are the
stylesheet's, so that they follow light and dark.

A screen (`screens/`) reads by the ledger's named queries and the functions behind the API's routes, and changes things
by those functions alone: what the API refuses, the page refuses, in the same sentence.
"""

from farebox.web.pages import add_pages

__all__ = ["add_pages"]

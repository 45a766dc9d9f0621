"""Takes credentials out of URIs, before anything keeps, prints or hashes them.

A URI holds them as ``scheme://KEY:SECRET@host`` or in its query. Secrets may hold ``/``, ``%``,
``@`` and spaces, also where the URI is invalid for that reason, so no URI parser is asked.
"""

from __future__ import annotations

import re
from typing import Any

# Paths collapse the slashes of a URI, so one is enough. Bounded lengths keep the search linear.
_SCHEME = r"\b[A-Za-z][A-Za-z0-9+.-]{0,30}:/+"
_WHOLE = re.compile(rf"({_SCHEME})(?:[^/?#@:]*:.*@|[^/?#@]*@)", re.DOTALL)
# In text, the secret ends before the next URI or at the line's end, since no other end is known.
_IN_TEXT = re.compile(rf"({_SCHEME})(?:[^\s/?#@:]*:(?:(?!://).){{0,2000}}@|[^\s/?#@]*@)")
_QUERY = re.compile(r"\?[\w.%-]+=[^\s'\"]*")
_SECRET_SETTING = re.compile(r"[?&][\w.%-]*(?:key|secret|token|sig|password)[\w.%-]*=", re.I)


def without_credentials(uri: str) -> str:
    """Return a URI without user, secret and query; anything but a URI stays as it is.

    >>> without_credentials("s3://KEY:SEC/RET@bucket/results?region=eu-west-1")
    's3://bucket/results'
    """
    if not re.match(_SCHEME, uri):
        return uri
    return _WHOLE.sub(r"\1", uri, count=1).partition("?")[0].rstrip("/")


def redacted(value: Any) -> Any:
    """Return text with the URIs in it without credentials; a document with all of its texts so.

    >>> redacted("cannot parse 's3://KEY:SEC RET@bucket/x'")
    "cannot parse 's3://bucket/x'"
    """
    if isinstance(value, str):
        return _QUERY.sub("", _IN_TEXT.sub(r"\1", value)) if ":/" in value else value
    if isinstance(value, dict):
        return {redacted(name): redacted(each) for name, each in value.items()}
    return [redacted(each) for each in value] if isinstance(value, list) else value


def holds_credentials(text: str) -> bool:
    """Tell whether a text holds a URI with a secret."""
    return bool(_IN_TEXT.search(text) or (":/" in text and _SECRET_SETTING.search(text)))

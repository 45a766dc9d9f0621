"""Remove credentials from URIs before they are stored, printed or hashed.

A URI contains them as ``scheme://KEY:SECRET@host`` or in its query. Secrets may contain ``/``,
``%``, ``@`` and spaces, which makes the URI invalid, so no URI parser is used.
"""

from __future__ import annotations

import re
from typing import Any

# Paths collapse the slashes of a URI, so one is enough. Bounded lengths keep the search linear.
_SCHEME = r"\b[A-Za-z][A-Za-z0-9+.-]{0,30}:/+"
_WHOLE = re.compile(rf"({_SCHEME})(?:[^/?#@:]*:.*@|[^/?#@]*@)", re.DOTALL)
# In text, a secret ends before the next URI or at the end of the line.
_IN_TEXT = re.compile(rf"({_SCHEME})(?:[^\s/?#@:]*:(?:(?!://).){{0,2000}}@|[^\s/?#@]*@)")
_QUERY = re.compile(r"\?[\w.%-]+=[^\s'\"]*")
_SECRET_SETTING = re.compile(r"[?&][\w.%-]*(?:key|secret|token|sig|password)[\w.%-]*=", re.I)


def without_credentials(uri: str) -> str:
    """Return a URI without user, secret and query; other text is unchanged.

    >>> without_credentials("s3://KEY:SEC/RET@bucket/results?region=eu-west-1")
    's3://bucket/results'
    """
    if not re.match(_SCHEME, uri):
        return uri
    return _WHOLE.sub(r"\1", uri, count=1).partition("?")[0].rstrip("/")


def redacted(value: Any) -> Any:
    """Remove credentials from all URIs in a text, or in all texts of a JSON document.

    >>> redacted("cannot parse 's3://KEY:SEC RET@bucket/x'")
    "cannot parse 's3://bucket/x'"
    """
    if isinstance(value, str):
        return _QUERY.sub("", _IN_TEXT.sub(r"\1", value)) if ":/" in value else value
    if isinstance(value, dict):
        return {redacted(name): redacted(each) for name, each in value.items()}
    return [redacted(each) for each in value] if isinstance(value, list) else value


def holds_credentials(text: str) -> bool:
    """Return whether a text contains a URI with a secret."""
    return bool(_IN_TEXT.search(text) or (":/" in text and _SECRET_SETTING.search(text)))

"""Checks the content hash of a run on its text, not on what we understand of it.

A later version reads fields that an older run does not have; encoded again, that run would no longer match its hash.
"""

import hashlib
from typing import Any

import rfc8785


def is_intact(text: bytes, content_hash: str) -> bool:
    """Whether the canonical `text` of a run, without its member `hash`, has this SHA-256."""
    # Inside a text the quotes would be escaped, so this can only be a member; a second one would be somebody's trick.
    member = b'"hash":"' + content_hash.encode() + b'",'
    without, found = text.replace(member, b""), text.count(member)
    return found == 1 and f"sha256:{hashlib.sha256(without).hexdigest()}" == content_hash


def canonical_text(body: Any) -> bytes:
    """Parsed JSON as RFC 8785 text; raises `ValueError` for what has no canonical form."""
    return rfc8785.dumps(_with_doubles(body))


def _with_doubles(value: Any) -> Any:
    """Whole numbers from 2^53 on as the doubles that they were: the canonical form writes 1e17 without a point."""
    match value:
        case bool():
            return value
        case int() if abs(value) >= 2**53:
            return float(value)
        case dict():
            return {key: _with_doubles(each) for key, each in value.items()}
        case list():
            return [_with_doubles(each) for each in value]
        case _:
            return value

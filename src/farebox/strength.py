"""Whether a secret is strong enough to guard money."""

MIN_LENGTH = 16  # random letters and digits: some 95 bits; a passphrase of that length is far less, and still no guess
MIN_DISTINCT = 6  # "aaaaaaaaaaaaaaaa" is long
KNOWN = ("admin", "changeme", "change-me", "password", "secret", "farebox", "letmein", "example", "default", "test")


def weakness(secret: str) -> str | None:
    """Return what is wrong with a secret, in words that follow its name; None: nothing."""
    if len(secret) < MIN_LENGTH:
        return f"is shorter than {MIN_LENGTH} characters"
    if len(set(secret)) < MIN_DISTINCT:
        return f"has fewer than {MIN_DISTINCT} different characters"
    rest = secret.lower()
    for word in KNOWN:
        rest = rest.replace(word, "")
    if len(rest.strip("-_.0123456789 !")) < MIN_LENGTH // 3:
        return "is made of words that everybody tries first"
    return None

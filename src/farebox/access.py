"""Who is calling, for which number, and with which token the call goes on to WhatsApp."""

from typing import NamedTuple
from urllib.parse import parse_qsl, urlencode

from multidict import CIMultiDict, MultiMapping

from farebox.core.path import Route
from farebox.core.reply import CODE_PARAMETER, CODE_PERMISSION, CODE_TOKEN, Dialect, Reply, error_reply
from farebox.directory import KEY_PREFIX, Directory, Key, Number
from farebox.upstream import D360_KEY, end_to_end

# Meta's resumable upload asks for the second; Graph takes both everywhere.
TOKEN_SCHEMES = ("bearer", "oauth")
# Parameters that carry a token or a proof of one (HMAC of the client's token): wrong as soon as the token is swapped.
TOKEN_PARAMETERS = ("access_token", "input_token")
PROOF_PARAMETERS = ("appsecret_proof", "appsecret_time")

# Expect was answered already, and an upstream that does not know it would never get the body. The others make a GET a
# POST to servers that heed them: a send in disguise.
NOT_PASSED_ON = ("Expect", "X-HTTP-Method-Override", "X-HTTP-Method", "X-Method-Override")

# Honoured here, so that a send's answer does not depend on what an upstream may one day make of it.
IDEMPOTENCY_KEY = "Idempotency-Key"


class Request(NamedTuple):
    """A request of an application, free of any server's types."""

    method: str
    raw_path: str
    query: str
    headers: MultiMapping[str]
    body: bytes = b""


class DeniedError(Exception):
    """The caller may not do this. Carries the answer in the caller's own shape."""

    def __init__(self, reply: Reply) -> None:
        super().__init__(reply.status)
        self.reply = reply


class Call(NamedTuple):
    """A request that may go on: the number that is meant (if any is), and the token to go on with."""

    request: Request
    route: Route
    number: Number | None
    client_token: str
    upstream_token: str
    key: Key | None = None  # a farebox key that it brought
    lines: bytes | None = None  # its headers as they go upstream, where they were written before (heads.py)

    def with_body(self, body: bytes) -> "Call":
        """Return the same call with its body, which is read only once the caller is admitted."""
        of = self.request
        request = Request(of.method, of.raw_path, of.query, of.headers, body)
        return Call(request, self.route, self.number, self.client_token, self.upstream_token, self.key, self.lines)

    def path_qs(self) -> str:
        """Return path and query as they go upstream: byte for byte, unless they carry the client's token."""
        request = self.request
        if self.client_token == self.upstream_token or not request.query:
            return request.raw_path + (f"?{request.query}" if request.query else "")
        pairs = parse_qsl(request.query, keep_blank_values=True)
        if not any(name in TOKEN_PARAMETERS + PROOF_PARAMETERS for name, _ in pairs):
            return f"{request.raw_path}?{request.query}"
        swapped = [
            (name, self.upstream_token if name in TOKEN_PARAMETERS and value == self.client_token else value)
            for name, value in pairs
            if name not in PROOF_PARAMETERS
            # 360dialog reads its header only.
            and not (name in TOKEN_PARAMETERS and value == self.client_token and self._speaks_360dialog())
        ]
        return f"{request.raw_path}?{urlencode(swapped)}".removesuffix("?")

    def headers(self) -> "CIMultiDict[str]":
        """Return the headers as they go upstream, with the upstream's token in place of the client's.

        The answer is asked for without compression, because its links and ids are read.
        """
        headers = CIMultiDict(end_to_end(self.request.headers.items()))
        if self._speaks_360dialog():
            # Whatever the client used: 360dialog and the on-premise API behind it know no other header.
            headers.popall("Authorization", None)
            headers[D360_KEY] = self.upstream_token
        elif self.client_token != self.upstream_token:
            d360_key = headers.popall(D360_KEY, [])
            if d360_key or "Authorization" in headers:
                scheme, _ = _credentials(headers.get("Authorization", ""))
                headers["Authorization"] = f"{scheme} {self.upstream_token}"
        headers["Accept-Encoding"] = "identity"
        for name in (*NOT_PASSED_ON, IDEMPOTENCY_KEY) if self.route.send else NOT_PASSED_ON:
            headers.popall(name, None)
        return headers

    def _speaks_360dialog(self) -> bool:
        return self.number is not None and self.number.dialect is not Dialect.CLOUD


def admit(directory: Directory, route: Route, request: Request, now_ms: int = 0) -> Call:
    """Find the caller's key and number; raises DeniedError."""
    token = _token(request)
    if route.send:
        # By the path alone: WhatsApp reads nothing else, and what is charged must be what sends.
        named = [directory.numbers[route.number_id]] if route.number_id in directory.numbers else []
    else:
        named = [directory.numbers[id_] for id_ in route.ids if id_ in directory.numbers]
        named += [number for id_ in route.ids for number in directory.wabas.get(id_, ())]
    if token.startswith(KEY_PREFIX):
        key = directory.key(token, now_ms)
        if key is None:
            raise _denied(
                route, 401, CODE_TOKEN, "This farebox key is unknown or revoked; create one in the admin API."
            )
        own = _of_key(directory, route, key, named)
        if own.upstream_token is None:
            sentence = "This number has no upstream_token: set one, or authenticate with the token of WhatsApp itself."
            raise _denied(route, 401, CODE_TOKEN, sentence)
        return Call(request, route, own, token, own.upstream_token, key)
    number = named[0] if named else None
    if route.send and number is None:
        if route.number_id is None:
            raise _denied(route, 401, CODE_TOKEN, "Authenticate with a farebox key: it says which number sends.")
        raise _unknown_number(route)
    if number is not None and number.upstream_token is not None:
        raise _denied(route, 401, CODE_TOKEN, "Authenticate with a farebox key, as Bearer token or D360-API-KEY.")
    return Call(request, route, number, token, token)


def _of_key(directory: Directory, route: Route, key: Key, named: list[Number]) -> Number:
    """Return the number that a farebox key's call is about: the one in the path, else the key's own."""
    if route.number_id is not None and route.number_id not in directory.numbers:
        raise _unknown_number(route)
    own = [directory.numbers[id_] for id_ in key.numbers if id_ in directory.numbers]
    meant = [number for number in named if number in own] if named else own
    if not meant:
        raise _denied(route, 403, CODE_PERMISSION, "This farebox key is not for this number.")
    if not named and len(own) > 1 and (route.send or any(number.dialect is not Dialect.CLOUD for number in own)):
        # At 360dialog each number has a token of its own: a guess could change another number's profile.
        sentence = "This farebox key is for several numbers, and this path names none; use a key for a single number."
        raise _denied(route, 400, CODE_PARAMETER, sentence)
    return meant[0]


def _token(request: Request) -> str:
    """Return the token a call brings: a farebox key before any other, so that it is never passed on as it is."""
    _, bearer = _credentials(request.headers.get("Authorization", ""))
    d360_key = request.headers.get(D360_KEY, "").strip()
    in_query = dict(parse_qsl(request.query)).get("access_token", "") if request.query else ""
    tokens = [token for token in (bearer, d360_key, in_query) if token]
    return next((token for token in tokens if token.startswith(KEY_PREFIX)), tokens[0] if tokens else "")


def _credentials(authorization: str) -> tuple[str, str]:
    """Return scheme and token; the usual scheme and no token where there is none that WhatsApp takes."""
    scheme, _, token = authorization.partition(" ")
    return (scheme, token.strip()) if scheme.lower() in TOKEN_SCHEMES else ("Bearer", "")


def _unknown_number(route: Route) -> DeniedError:
    sentence = f"The phone number id {route.number_id} is not set up; add it with PUT /v1/numbers/{route.number_id}."
    return _denied(route, 404, CODE_PARAMETER, sentence)


def _denied(route: Route, status: int, code: int, sentence: str) -> DeniedError:
    return DeniedError(error_reply(route.dialect, status=status, code=code, sentence=sentence))

"""The computation of NTLMv2 responses (MS-NLMP, sections 3.1.5.1.2 and 3.3.2).

pyspnego computes the same response, and the tests compare the two octet for octet. But pyspnego
builds an object for each field and derives unused signing keys, which takes half a millisecond for
each connection; this module takes a twentieth of the time. Values derived from the login alone are
computed once (`NtlmKey`).

A message carries an integrity code (MIC) if the challenge has a timestamp, and channel bindings if
the connection has an end point, as MS-NLMP requires.
"""

import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from struct import Struct
from unicodedata import normalize

from trayproxy.auth.login import Login, windows_name

# NEGOTIATE flags (section 2.2.2.5).
_UNICODE = 0x0000_0001
_SIGN_OR_SEAL = 0x0000_0030
_VERSION = 0x0200_0000
_KEY_EXCHANGE = 0x4000_0000

# Kinds of AV_PAIR (section 2.2.2.1).
_END = 0
_FLAGS = 6
_TIMESTAMP = 7
_TARGET_NAME = 9
_CHANNEL_BINDINGS = 10
_HAS_MIC = 0x0000_0002

_OEM = "windows-1252"
"""The encoding of names for a proxy without the Unicode flag, the same as pyspnego's."""
_SIGNATURE = b"NTLMSSP\0" + (3).to_bytes(4, "little")
_FIXED = 64
"""The size, in octets, of the part of an AUTHENTICATE_MESSAGE before version, MIC and payload."""
_FILETIME_OF_1970 = 116_444_736_000_000_000
_VERSION_AT = slice(32, 40)
"""The version in a NEGOTIATE_MESSAGE without payload."""

_PAIR = Struct("<HH")
_BUFFER = Struct("<HHI")
_FOUR = Struct("<I")
_EIGHT = Struct("<Q")


class UnusableChallengeError(ValueError):
    """The challenge cannot be answered. The text gives the reason and quotes no part of it."""


@dataclass(frozen=True, slots=True)
class NtlmEnvironment:
    """The inputs of a response other than the login and the challenge.

    Attributes:
        random: Returns this many cryptographically random octets.
        clock: Returns the time in nanoseconds since 1970, UTC.
        computer: The name of this computer, in upper case.
    """

    random: Callable[[int], bytes]
    clock: Callable[[], int]
    computer: str


@dataclass(frozen=True, slots=True)
class NtlmKey:
    """The values shared by the responses of a login to an upstream.

    Attributes:
        domain: The part of the user name before the backslash; empty if there is none.
        user: The rest of the user name.
        service: The service principal name of the upstream, ``HTTP/host``, in UTF-16.
        response_key: ``ResponseKeyNT`` (section 3.3.2), which is as secret as the password.
    """

    domain: str
    user: str
    service: bytes
    response_key: bytes = field(repr=False)

    @classmethod
    def derive(cls, login: Login, host: str) -> "NtlmKey":
        """Return the key derived from a login for the upstream with this host name."""
        domain, backslash, user = windows_name(login.user).partition("\\")
        if not backslash:
            domain, user = "", domain
        password = normalize("NFC", login.password).encode("utf-16-le", "surrogatepass")
        name = (user.upper() + domain).encode("utf-16-le")
        response_key = _hmac_md5(md4(password), name)
        return cls(domain, user, f"HTTP/{host}".encode("utf-16-le"), response_key)


def authenticate(
    key: NtlmKey, environment: NtlmEnvironment, negotiate: bytes, challenge: bytes, end_point: bytes
) -> bytes:
    """Return the AUTHENTICATE_MESSAGE (type 3) that answers a CHALLENGE_MESSAGE (type 2).

    `negotiate` is the NEGOTIATE_MESSAGE (type 1) sent on the connection, which ends with its
    version. `end_point` is the hash of the upstream's certificate, empty without TLS.

    Raises:
        UnusableChallengeError: A part of the challenge has a wrong size, or a name cannot be
            encoded as the challenge demands.
    """
    (flags,) = _FOUR.unpack_from(challenge, 20)
    pairs = _pairs(challenge)
    timestamp = pairs.get(_TIMESTAMP)
    has_mic = timestamp is not None
    if timestamp is None:
        timestamp = _EIGHT.pack(_FILETIME_OF_1970 + environment.clock() // 100)
    if end_point:
        pairs[_CHANNEL_BINDINGS] = channel_bindings(end_point)
    pairs[_TARGET_NAME] = key.service
    if has_mic:
        (known,) = _FOUR.unpack(pairs.get(_FLAGS, bytes(4)))
        pairs[_FLAGS] = _FOUR.pack(known | _HAS_MIC)

    nonce, server = environment.random(8), challenge[24:32]
    info = b"".join(_PAIR.pack(kind, len(value)) + value for kind, value in pairs.items())
    # The last eight octets are the end of the pairs and the four octets of section 3.3.2.
    temporary = b"\1\1\0\0\0\0\0\0" + timestamp + nonce + bytes(4) + info + bytes(8)
    proof = _hmac_md5(key.response_key, server + temporary)
    session_key = _hmac_md5(key.response_key, proof)
    lm_response = bytes(24)
    if not has_mic:
        lm_response = _hmac_md5(key.response_key, server + nonce) + nonce

    encrypted_key = b""
    if flags & _KEY_EXCHANGE:
        encrypted_key = b"\0"  # No message is signed or sealed with this key.
        if flags & _SIGN_OR_SEAL:
            own = environment.random(16)
            encrypted_key, session_key = rc4(session_key, own), own

    version = negotiate[_VERSION_AT] if flags & _VERSION else b""
    computer = environment.computer if version else ""
    try:
        encoding = "utf-16-le" if flags & _UNICODE else _OEM
        names = [text.encode(encoding) for text in (key.domain, key.user, computer)]
    except UnicodeEncodeError:
        raise UnusableChallengeError("a name cannot be written as the proxy wants it") from None
    payload = (lm_response, proof + temporary, *names, encrypted_key)
    front, back = _message(payload, flags, version)
    if not has_mic:
        return front + bytes(16) + back
    mic = _hmac_md5(session_key, negotiate + challenge + front + bytes(16) + back)
    return front + mic + back


def _message(payload: Sequence[bytes], flags: int, version: bytes) -> tuple[bytes, bytes]:
    """Return the AUTHENTICATE_MESSAGE before and after its 16 octets for the MIC."""
    at = _FIXED + len(version) + 16
    head = [_SIGNATURE]
    for part in payload:
        head.append(_BUFFER.pack(len(part), len(part), at))
        at += len(part)
    return b"".join((*head, _FOUR.pack(flags), version)), b"".join(payload)


def channel_bindings(end_point: bytes) -> bytes:
    """Return the hash for binding a response to a TLS connection (section 3.1.5.1.2).

    It is the MD5 hash of a ``gss_channel_bindings_struct`` (RFC 2744, section 3.11) without
    addresses and with the data of RFC 5929, section 4.
    """
    from hashlib import md5  # Not at the top: it loads OpenSSL.

    data = b"tls-server-end-point:" + end_point
    return md5(bytes(16) + _FOUR.pack(len(data)) + data, usedforsecurity=False).digest()


def _hmac_md5(key: bytes, data: bytes) -> bytes:
    from hmac import digest  # Not at the top: it loads OpenSSL.

    return digest(key, data, "md5")


def _pairs(challenge: bytes) -> dict[int, bytes]:
    """Return the AV_PAIRs in the target information of a challenge, without the final pair.

    Raises:
        UnusableChallengeError: A pair is incomplete, or the timestamp or the flags have a wrong
            size.
    """
    size, _, at = _BUFFER.unpack_from(challenge, 40)
    end = at + size
    pairs: dict[int, bytes] = {}
    try:
        while at < end:
            kind, length = _PAIR.unpack_from(challenge, at)
            if kind == _END:
                break
            at += 4
            pairs[kind] = challenge[at : at + length]
            at += length
    except struct.error:
        raise UnusableChallengeError("its target information is cut") from None
    is_cut = at > min(end, len(challenge))
    if is_cut or len(pairs.get(_TIMESTAMP, bytes(8))) != 8 or len(pairs.get(_FLAGS, bytes(4))) != 4:
        raise UnusableChallengeError("its target information has a wrong size")
    return pairs


_MASK = 0xFFFF_FFFF
_ROUNDS = (
    (tuple(range(16)), (3, 7, 11, 19), 0),
    ((0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15), (3, 5, 9, 13), 0x5A82_7999),
    ((0, 8, 4, 12, 2, 10, 6, 14, 1, 9, 5, 13, 3, 11, 7, 15), (3, 9, 11, 15), 0x6ED9_EBA1),
)
_BLOCK = Struct("<16I")


def md4(data: bytes) -> bytes:
    """Return the MD4 hash (RFC 1320), which OpenSSL 3 no longer computes."""
    data += b"\x80" + bytes(-(len(data) + 9) % 64) + _EIGHT.pack(len(data) * 8)
    state: tuple[int, ...] = (0x6745_2301, 0xEFCD_AB89, 0x98BA_DCFE, 0x1032_5476)
    for words in _BLOCK.iter_unpack(data):
        a, b, c, d = state
        for number, (order, turns, constant) in enumerate(_ROUNDS):
            for step, index in enumerate(order):
                if number == 0:
                    mixed = (b & c) | (~b & d)
                elif number == 1:
                    mixed = (b & c) | (b & d) | (c & d)
                else:
                    mixed = b ^ c ^ d
                total = (a + mixed + words[index] + constant) & _MASK
                turn = turns[step % 4]
                a, b, c, d = d, ((total << turn) | (total >> (32 - turn))) & _MASK, b, c
        state = tuple((was + now) & _MASK for was, now in zip(state, (a, b, c, d), strict=True))
    return struct.pack("<4I", *state)


def rc4(key: bytes, data: bytes) -> bytes:
    """Return data encrypted with RC4, which MS-NLMP prescribes for exchanging a session key."""
    box = list(range(256))
    j = 0
    for i in range(256):
        j = (j + box[i] + key[i % len(key)]) & 0xFF
        box[i], box[j] = box[j], box[i]
    j = 0
    out = bytearray()
    for i, octet in enumerate(data, 1):
        i &= 0xFF
        j = (j + box[i]) & 0xFF
        box[i], box[j] = box[j], box[i]
        out.append(octet ^ box[(box[i] + box[j]) & 0xFF])
    return bytes(out)

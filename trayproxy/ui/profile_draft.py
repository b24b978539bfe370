"""The input of the profile form as values, without widgets."""

from collections.abc import Iterable
from dataclasses import dataclass, replace

from PySide6.QtCore import QCoreApplication

from trayproxy.profiles.consistency import (
    check_client_key,
    check_get_ticket,
    check_sign_in,
    make_id,
)
from trayproxy.profiles.pac_address import looks_like_pac, parse_pac_source
from trayproxy.profiles.profile import (
    Encoding,
    Method,
    Profile,
    ProfileError,
    ProxyScheme,
    SignIn,
    Upstream,
)
from trayproxy.profiles.validate import (
    check_ca_file,
    check_host,
    check_name,
    check_port,
    check_spn,
    check_user,
    parse_rules,
    parse_upstream,
    parse_upstreams,
    parse_use_on,
)

translate = QCoreApplication.translate


@dataclass(frozen=True, slots=True)
class ProfileDraft:
    """The input of the form as text; each field may be invalid.

    The host may be a PAC address instead.
    """

    name: str = ""
    host: str = ""
    port: str = ""
    sign_in: SignIn = SignIn.PASSWORD
    user: str = ""
    bypass: str = ""
    scheme: ProxyScheme = ProxyScheme.HTTP
    fallbacks: str = ""
    ca_file: str = ""
    method: Method = Method.AUTOMATIC
    encoding: Encoding = Encoding.UTF_8
    spn: str = ""
    canonical_name: bool = False
    get_ticket: bool = False
    use_on: str = ""
    else_direct: bool = False
    client_certificate: str = ""
    client_key: str = ""

    @property
    def is_automatic(self) -> bool:
        """True if the host is a PAC address. With a port, a host such as ``wpad`` is a proxy."""
        return looks_like_pac(self.host) and not (self.port.strip() and _is_host(self.host.strip()))

    @property
    def may_use_kerberos(self) -> bool:
        """True if the sign-in, the method and the kind of proxy allow Kerberos."""
        return (
            self.sign_in is not SignIn.NONE
            and self.method in (Method.AUTOMATIC, Method.NEGOTIATE)
            and self.scheme is not ProxyScheme.SOCKS5
        )


def draft_from_profile(profile: Profile) -> ProfileDraft:
    """Return the draft of a saved profile."""
    return ProfileDraft(
        profile.name,
        str(profile.pac) if profile.upstream is None else profile.upstream.host,
        "" if profile.upstream is None else str(profile.upstream.port),
        profile.sign_in,
        profile.user,
        ", ".join(profile.bypass),
        ProxyScheme.HTTP if profile.upstream is None else profile.upstream.scheme,
        ", ".join(map(str, profile.fallbacks)),
        profile.ca_file,
        profile.method,
        profile.encoding,
        profile.spn,
        profile.canonical_name,
        profile.get_ticket,
        ", ".join(profile.use_on),
        profile.else_direct,
        profile.client_certificate,
        profile.client_key,
    )


def normalized(draft: ProfileDraft) -> ProfileDraft:
    """Return the draft with a complete address in the host field split into its parts.

    Users paste addresses such as ``https://proxy.corp.example:8080`` into the host field. A draft
    without a name gets the host as its name.
    """
    if draft.is_automatic:
        name = draft.name if draft.name.strip() else translate("Profiles", "Automatic")
        return replace(draft, name=name, host=draft.host.strip(), port="", scheme=ProxyScheme.HTTP)
    host, port, scheme = draft.host.strip(), draft.port, draft.scheme
    if not _is_host(host):
        try:
            upstream = parse_upstream(host)
        except ProfileError:
            pass
        else:
            scheme = upstream.scheme if "://" in host else scheme
            host, port = upstream.host, str(upstream.port)
    name = draft.name if draft.name.strip() or not _is_host(host) else host
    return replace(draft, name=name, host=host, port=port, scheme=scheme)


def _is_host(text: str) -> bool:
    try:
        check_host(text)
    except ProfileError:
        return False
    return True


@dataclass(frozen=True, slots=True)
class DraftReader:
    """The values of a draft. A method for a field raises `ProfileError` if the field is invalid.

    Attributes:
        draft: The draft.
        profile_id: The id of the edited profile, empty for a new profile.
        profiles: All profiles; the name of the draft must differ from their names.
    """

    draft: ProfileDraft
    profile_id: str
    profiles: tuple[Profile, ...]

    def name(self) -> str:
        """Return the name of the profile; raise `ProfileError` if it is invalid or taken."""
        name = check_name(self.draft.name)
        others = (profile for profile in self.profiles if profile.id != self.profile_id)
        if any(profile.name.lower() == name.lower() for profile in others):
            raise ProfileError(translate("Profiles", "Another profile has this name."))
        return name

    def fallbacks(self) -> tuple[Upstream, ...]:
        """Return the fallbacks, which differ from each other and from the upstream."""
        upstreams = parse_upstreams(self.draft.fallbacks)
        if self.draft.is_automatic and upstreams:
            raise ProfileError(
                translate("Profiles", "With a PAC address, the script names all proxies.")
            )
        try:
            first = self._upstream()
        except ProfileError:
            return upstreams  # The error is shown below the host or port field.
        if first is not None and len({first, *upstreams}) <= len(upstreams):
            raise ProfileError(translate("Profiles", "The same proxy is listed twice."))
        return upstreams

    def spn(self) -> str:
        """Return the service principal name, empty if the canonical name of the host is used."""
        spn = check_spn(self.draft.spn)
        if spn and self.draft.canonical_name:
            raise ProfileError(
                translate("Profiles", "Leave this empty to use the canonical name of the host.")
            )
        return spn

    def client_key(self) -> str:
        """Return the path of the key, which must fit the client certificate."""
        key = check_ca_file(self.draft.client_key)
        check_client_key(self.draft.client_certificate.strip(), key)
        return key

    def check_method(self, fallbacks: Iterable[Upstream]) -> None:
        """Check that the sign-in, the method and the upstreams can be combined."""
        first = self._upstream()
        upstreams = fallbacks if first is None else (first, *fallbacks)
        check_sign_in(self.draft.sign_in, self.draft.method, upstreams)
        if self.draft.get_ticket:
            check_get_ticket(self.draft.sign_in, self.draft.method)

    def check_address(self) -> None:
        """Check the host, or the PAC address."""
        if self.draft.is_automatic:
            parse_pac_source(self.draft.host)
        else:
            check_host(self.draft.host)

    def check_port(self) -> None:
        """Check the port. A PAC address has none."""
        if not self.draft.is_automatic:
            check_port(self.draft.port)

    def profile(self) -> Profile:
        """Return the profile; raise `ProfileError` if a field is invalid.

        Attributes of the edited profile that the form does not show are unchanged.
        """
        name, fallbacks = self.name(), self.fallbacks()
        self.check_method(fallbacks)
        edited = next((saved for saved in self.profiles if saved.id == self.profile_id), None)
        if edited is None:
            made = self.profile_id or make_id(name, (profile.id for profile in self.profiles))
            edited = Profile(made, name, self._upstream())
        return replace(
            edited,
            name=name,
            upstream=self._upstream(),
            pac=parse_pac_source(self.draft.host) if self.draft.is_automatic else None,
            sign_in=self.draft.sign_in,
            user=check_user(self.draft.user),
            bypass=parse_rules(self.draft.bypass),
            fallbacks=fallbacks,
            ca_file=check_ca_file(self.draft.ca_file),
            method=self.draft.method,
            encoding=self.draft.encoding,
            spn=self.spn(),
            canonical_name=self.draft.canonical_name,
            get_ticket=self.draft.get_ticket,
            use_on=parse_use_on(self.draft.use_on),
            else_direct=self.draft.else_direct,
            client_certificate=check_ca_file(self.draft.client_certificate),
            client_key=self.client_key(),
        )

    def _upstream(self) -> Upstream | None:
        if self.draft.is_automatic:
            return None
        host, port = check_host(self.draft.host), check_port(self.draft.port)
        return Upstream(host, port, self.draft.scheme)

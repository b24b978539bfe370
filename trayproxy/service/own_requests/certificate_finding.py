"""The issuer of the certificate that programs receive for an https site, and a text about it."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from enum import Enum, auto

from msgspec.structs import replace

from trayproxy.control.messages import Step, StepState
from trayproxy.domain.problem import Problem, single_line
from trayproxy.profiles.profile import Upstream

_MAX_NAME_LENGTH = 100


class IssuerKind(Enum):
    """The kind of authority that issued the certificate of a host."""

    PUBLIC = auto()
    """A public authority."""
    COMPANY = auto()
    """An authority that this computer trusts, and that is not public."""
    TRUSTED = auto()
    """An authority that this computer trusts. It may be public: there is no list of the public
    authorities."""
    UNTRUSTED = auto()
    """An authority that this computer does not trust, or the certificate has another fault."""


@dataclass(frozen=True, slots=True)
class CertificateFinding:
    """The certificate of a host, as programs see it through an upstream.

    Attributes:
        kind: Who has issued the certificate.
        issuer: The name of the issuer, as the certificate has it; untrusted, may be empty.
        reason: Why the certificate is not trusted, a sentence.
        is_of_public_site: True if the host is known to have a public certificate, so that another
            certificate proves inspection.
    """

    kind: IssuerKind
    issuer: str
    reason: str = ""
    is_of_public_site: bool = False

    @property
    def issuer_name(self) -> str:
        """The name of the issuer as a single line, in quotation marks."""
        name = single_line(self.issuer)[:_MAX_NAME_LENGTH]
        return f"“{name}”" if name else "an authority without a name"


RecordFinding = Callable[[Upstream, CertificateFinding], Awaitable[None]]
"""Records the certificate of a host that programs see through an upstream."""


def with_finding(step: Step, finding: CertificateFinding, host: str) -> Step:
    """Return a step of a test with a detail or a problem that describes a host's certificate."""
    name = finding.issuer_name
    match finding.kind:
        case IssuerKind.PUBLIC:
            return replace(step, detail=f"none, certificate by {name}")
        case IssuerKind.COMPANY if finding.is_of_public_site:
            return replace(step, detail=f"TLS is inspected by {name}")
        case IssuerKind.COMPANY:
            return replace(step, detail=f"certificate by {name}, which is not public")
        case IssuerKind.TRUSTED:
            return replace(step, detail=f"certificate by {name}")
    problem = Problem(
        "TP-210",
        "The certificates of https sites are not trusted",
        f"The certificate of {host} is issued by {name}. {finding.reason} If your company inspects "
        "TLS, add its certificate to the certificates of this computer; your help desk has it. "
        "Then test again.",
    )
    return replace(step, state=StepState.FAILED, problem=problem)


def not_known(step: Step, reason: str) -> Step:
    """Return a step of a test with the detail *not known*, and why no certificate was seen."""
    return replace(step, state=StepState.NOT_NEEDED, detail=f"not known: {single_line(reason)}")

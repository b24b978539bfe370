"""The sites for which an upstream requires no login although it requires one for other sites.

Some proxies hang if a request for such a site carries a login. So after an upstream has served a
site without a login, later requests for the site are first sent without a login, until the upstream
requires a login for the site (R-086).
"""

from trayproxy.desk.protection_space import UpstreamId
from trayproxy.http.target import Authority

MAX_SITES = 1000
"""The most exempt sites of all upstreams together."""


class ExemptSites:
    """The exempt sites of all upstreams. If there are too many, the least recently served site is
    dropped."""

    def __init__(self) -> None:
        self._sites: dict[tuple[UpstreamId | None, Authority | None], None] = {}

    def has(self, upstream_id: UpstreamId | None, site: Authority | None) -> bool:
        """Return True if requests for this site are first sent to this upstream without a login."""
        return (upstream_id, site) in self._sites

    def note_served(self, upstream_id: UpstreamId | None, site: Authority | None) -> None:
        """Record a response of the site to a request without a login."""
        sites, key = self._sites, (upstream_id, site)
        sites.pop(key, None)
        sites[key] = None
        if len(sites) > MAX_SITES:
            del sites[next(iter(sites))]

    def note_challenged(self, upstream_id: UpstreamId | None, site: Authority | None) -> bool:
        """Record the site as requiring a login. Return True if the site was exempt until now."""
        key = (upstream_id, site)
        was_exempt = key in self._sites
        if was_exempt:
            del self._sites[key]
        return was_exempt

    def forget(self) -> None:
        """Drop all sites, because the profile or the network has changed or a login was deleted."""
        self._sites.clear()

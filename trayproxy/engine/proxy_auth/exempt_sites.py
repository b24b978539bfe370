"""The sites for which an upstream asks for no login although it asks for others.

Some proxies hang when a login comes ahead with a request for such a site. So a site that was served
without any login gets the next requests without one at first, until the upstream asks for a login
there (R-086).
"""

from trayproxy.desk.protection_space import UpstreamId
from trayproxy.http.target import Authority

MAX_SITES = 1000
"""For all upstreams together."""


class ExemptSites:
    """The exempt sites of all upstreams. The site that was served least recently goes first when
    there are too many."""

    __slots__ = ("_sites",)

    def __init__(self) -> None:
        self._sites: dict[tuple[UpstreamId, Authority], None] = {}

    def has(self, upstream_id: UpstreamId, site: Authority) -> bool:
        """Return whether a request for this site goes to this upstream without a login at first."""
        return (upstream_id, site) in self._sites

    def note_served(self, upstream_id: UpstreamId, site: Authority) -> None:
        """Remember that a request without a login was let through to the site."""
        sites, key = self._sites, (upstream_id, site)
        sites.pop(key, None)
        sites[key] = None
        if len(sites) > MAX_SITES:
            del sites[next(iter(sites))]

    def note_challenged(self, upstream_id: UpstreamId, site: Authority) -> bool:
        """Remember that the upstream asks for a login for this site. Return whether the site was
        exempt until now."""
        key = (upstream_id, site)
        was_exempt = key in self._sites
        if was_exempt:
            del self._sites[key]
        return was_exempt

    def forget(self) -> None:
        """Forget all sites: the profile or the network has changed, or a login was forgotten."""
        self._sites.clear()

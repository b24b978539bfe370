"""Files with profiles of TrayProxy (`trayproxy.profiles.exchange`)."""

from trayproxy.importers.found import Found, FoundProfile, Source
from trayproxy.importers.source_text import SourceText
from trayproxy.profiles.document import InvalidSettingsError, NewerSchemaError
from trayproxy.profiles.exchange import import_profiles

_MAX_NAMED = 5


def parse(source: SourceText) -> Found:
    """Return the profiles of the file.

    Raises:
        UnreadableSourceError: The file has an error, or is of a newer TrayProxy.
    """
    try:
        imported = import_profiles(source.text)
    except InvalidSettingsError as error:
        raise source.error(error.reason, error.line) from None
    except NewerSchemaError as error:
        reason = f"it is of a newer TrayProxy (schema {error.schema})"
        raise source.error(reason) from None
    notes = []
    if imported.unknown:
        named = ", ".join(key[:60] for key in imported.unknown[:_MAX_NAMED])
        more = len(imported.unknown) - _MAX_NAMED
        rest = f" and {more} more" if more > 0 else ""
        notes.append(f"{source.name}: not imported: {named}{rest}.")
    profiles = (
        FoundProfile(
            Source.EXPORT,
            source.place(),
            profile.default_upstreams,
            profile.pac,
            profile.user,
            profile.bypass,
            profile.sign_in,
            profile.method,
            exported=profile,
        )
        for profile in imported.profiles
    )
    return Found(tuple(profiles), notes=tuple(notes))

"""Warns of every public name that has no entry in the reference."""

from public_names import PACKAGES, missing_entries
from sphinx.util import logging

__all__ = ["setup"]

logger = logging.getLogger(__name__)


def _check(app, env):
    entries = [name for name, *_ in env.get_domain("py").get_objects()]
    for name in missing_entries(PACKAGES, entries):
        logger.warning("the reference has no entry for %s", name, type="nn", subtype="reference")


def setup(app):
    """Register the extension."""
    app.connect("env-check-consistency", _check)
    return {"parallel_read_safe": True, "parallel_write_safe": True}

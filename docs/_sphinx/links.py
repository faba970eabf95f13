"""Links from names to their entries in the reference.

An annotation or docstring may name a class by its last part or by the private module that defines
it: `Tensor` and `nn_tensor._tensor.Tensor` are `nn_tensor.Tensor`. In pages, code that is exactly a
public name is a link as well; names without capitals or underscores, as `sum`, have to be written
with their package.
"""

import re

from docutils import nodes
from public_names import PACKAGES
from sphinx.transforms.post_transforms import SphinxPostTransform
from sphinx.util.nodes import make_refnode

__all__ = ["LinkedCode", "find_entry", "setup"]

SPELLINGS = {
    r"^np\.": "numpy.",
    r"^numpy\.random\._generator\.": "numpy.random.",
    r"^NDArray$": "numpy.typing.NDArray",
}
NAME = re.compile(r"^[A-Za-z_][\w.]*(\(\))?$")


def find_entry(objects, target, package=""):
    """Return the full name of the one entry that a target means, or None.

    Args:
        objects: the entries by full name, as the Python domain of Sphinx has them.
        target: a name, with or without modules before it.
        package: the package that the target is mentioned in, whose names come first.
    """
    if target in objects:
        return target
    home, _, last = target.rpartition(".")
    top = home.partition(".")[0]
    if home and top not in PACKAGES:
        return None
    entries = _by_last_part(objects).get(last, ())
    for preferred in filter(None, (top, package)):
        own = [name for name in entries if name.partition(".")[0] == preferred]
        if len(own) == 1:
            return own[0]
    return entries[0] if len(entries) == 1 else None


def _by_last_part(objects):
    found = {}
    for name, entry in objects.items():
        if entry.objtype in ("class", "exception", "function", "data") and not entry.aliased:
            found.setdefault(name.rpartition(".")[2], []).append(name)
    return found


def _reference(app, env, docname, name, content):
    entry = env.get_domain("py").objects[name]
    return make_refnode(app.builder, docname, entry.docname, entry.node_id, content, name)


def _resolve(app, env, node, contnode):
    if node.get("refdomain") != "py":
        return None
    target = node["reftarget"]
    for pattern, replacement in SPELLINGS.items():
        target = node["reftarget"] = re.sub(pattern, replacement, target)
    last = target.rpartition(".")[2]
    if node["reftype"] == "obj" and target == last and not last[:1].isupper():
        return None  # an argument
    package = (node.get("py:module") or "").partition(".")[0]
    name = find_entry(env.get_domain("py").objects, target, package)
    return name and _reference(app, env, node.get("refdoc"), name, contnode)


class LinkedCode(SphinxPostTransform):
    """Makes links of the code in Markdown pages that is exactly a public name."""

    default_priority = 20

    def run(self, **kwargs):
        """Replace the literals of one page."""
        if not str(self.env.doc2path(self.env.docname)).endswith(".md"):
            return
        objects = self.env.get_domain("py").objects
        for literal in list(self.document.findall(nodes.literal)):
            text = literal.astext()
            name = text.removesuffix("()")
            inside_link = isinstance(literal.parent, nodes.reference)
            if not NAME.match(text) or inside_link or not re.search(r"[A-Z_.]", name):
                continue
            if entry := find_entry(objects, name):
                content = literal.deepcopy()
                link = _reference(self.app, self.env, self.env.docname, entry, content)
                literal.replace_self(link)


def setup(app):
    """Register the extension."""
    app.connect("missing-reference", _resolve, priority=400)  # before that to other projects
    app.add_post_transform(LinkedCode)
    return {"parallel_read_safe": True, "parallel_write_safe": True}

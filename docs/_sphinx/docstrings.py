"""Gives the docstrings of the packages the form that Sphinx expects.

They have Google sections, which napoleon reads. This adds what it does not know: paragraphs as
``Shapes: ...``, examples at the end without a heading, and the function of NumPy that has the name
of an operation. Annotations that say nothing and private base classes are left out.
"""

import re
import sys

import numpy as np
from public_names import PACKAGES, home_of, public_names
from sphinx.pycode import ModuleAnalyzer
from sphinx.util.inspect import signature
from sphinx.util.typing import stringify_annotation

__all__ = ["constructor_annotations", "numpy_name", "prepare", "public_bases", "setup"]

FIELD = re.compile(r"^(Shapes?|Memory): (.+)$")
SECTION = re.compile(r"^(Args|Attributes|Raises|Returns|Yields|Note|Warning):$")
SHORT = ("attribute", "property", "data")
EMPTY = ("Any", "None", "~typing.Any", "typing.Any")


def prepare(lines):
    """Return the lines of a docstring as napoleon reads them.

    ``Shapes: ...`` and the section ``Returns:`` become fields, since napoleon would take the text
    before a colon as a type; the first example gets a heading.
    """
    result = []
    field = heading = False
    for number, line in enumerate(lines):
        match = FIELD.match(line)
        if match or line == "Returns:":
            first = match[2] if match else lines[number + 1].strip()
            result.append(f":{match[1] if match else 'returns'}: {first}")
            field = "line" if match else "section"
        elif field == "section" and lines[number - 1] == "Returns:":
            pass  # is the first line of the field
        elif field == "section" and line.startswith("    "):
            result.append(line)
        elif field == "line" and line.strip():
            result.append(f"    {line.lstrip()}")
        else:
            field = False
            if line.startswith(">>> ") and not heading:
                result += [".. rubric:: Examples", ""]
                heading = True
            result.append(line)
    return result


def numpy_name(full_name):
    """Return the function of NumPy with the name of an operation of nn_tensor, or None."""
    package, _, name = full_name.rpartition(".")
    function = getattr(np, name, None) if package == "nn_tensor" else None
    return f"numpy.{name}" if callable(function) and not isinstance(function, type) else None


def public_bases(bases):
    """Return base classes, private ones replaced by what they derive from."""
    found = []
    for base in bases:
        package = getattr(base, "__module__", "").partition(".")[0]
        if home_of(base) or (not package.startswith("nn_") and base is not object):
            found.append(base)
        elif package.startswith("nn_"):
            found += public_bases(base.__bases__)
    return list(dict.fromkeys(found))


def constructor_annotations(cls):
    """Return the annotations of the arguments of a constructor, as Sphinx writes them.

    Sphinx takes those of attributes of the class for them, where both have one name.
    """
    try:
        parameters = signature(cls.__init__, bound_method=True).parameters.values()
    except (TypeError, ValueError):
        return {}
    known = [p for p in parameters if p.annotation is not p.empty]
    return {p.name: stringify_annotation(p.annotation, "smart") for p in known}


def _first_example(lines):
    starts = (n for n, line in enumerate(lines) if line.startswith(".. rubric:: Examples"))
    return next(starts, len(lines))


_unchanged = {}


def _annotations(app, name):
    document = getattr(app.env, "current_document", None)
    return getattr(document, "autodoc_annotations", {}).get(name, {})


def _prepare(app, what, name, obj, options, lines):
    lines[:] = prepare(lines)
    _unchanged[name] = list(lines)


def _complete(app, what, name, obj, options, lines):
    before = _unchanged.pop(name, lines)
    if what in SHORT and not any(SECTION.match(line) for line in before):
        lines[:] = before  # napoleon takes the text before a colon as the type of an attribute
    added = []
    has_fields = any(line.startswith(":") for line in lines)
    result = _annotations(app, name).get("return")
    if what in ("function", "method") and result and not has_fields:
        added = ["", f":rtype: {result}", ""]  # Sphinx would put it below the examples
    if what == "function" and (same := numpy_name(name)):
        added += ["", f".. seealso:: :py:obj:`{same}`", ""]
    place = _first_example(lines)
    lines[place:place] = added


def _drop_any(app, objtype, name, obj, options, args, retann):
    annotations = _annotations(app, name)
    if objtype == "class":
        annotations.update(constructor_annotations(obj))
    for key in [key for key, text in annotations.items() if text in EMPTY]:
        del annotations[key]


def _drop_private(app, name, obj, options, bases):
    bases[:] = public_bases(bases) or [object]


def _skip_requests(app, what, name, obj, skip, options):
    """Leave out the methods that scikit-learn adds to estimators, and documents itself."""
    return True if re.fullmatch(r"set_\w+_request", name) else None


def _forget_overloads(app):
    """Show one signature of a function: overloads are for type checkers."""
    packages = {package for package in PACKAGES if public_names(package)}  # imports them
    for name in [name for name in sys.modules if name.partition(".")[0] in packages]:
        analyzer = ModuleAnalyzer.for_module(name)
        analyzer.analyze()
        analyzer.overloads.clear()


def setup(app):
    """Register the extension."""
    app.connect("builder-inited", _forget_overloads)
    app.connect("autodoc-process-docstring", _prepare, priority=400)  # napoleon has 500
    app.connect("autodoc-process-docstring", _complete, priority=600)
    app.connect("autodoc-process-signature", _drop_any, priority=900)
    app.connect("autodoc-process-bases", _drop_private)
    app.connect("autodoc-skip-member", _skip_requests)
    return {"parallel_read_safe": True, "parallel_write_safe": True}

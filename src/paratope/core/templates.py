"""Pages and cards from Jinja templates, which stand in a folder beside the code that fills them."""

import functools
from typing import Any


def render(wing: str, template: str, **values: Any) -> str:
    """A template of ``paratope/WING/templates`` with its values; what is put into HTML is escaped.

    A name that the template asks for and does not get is an error.
    """
    return _environment(wing).get_template(template).render(**values)


@functools.cache
def _environment(wing: str) -> Any:
    import jinja2

    return jinja2.Environment(
        loader=jinja2.PackageLoader(f"paratope.{wing}"),
        autoescape=jinja2.select_autoescape(),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )

"""Pages and cards from Jinja templates, which stand in a folder beside the code that fills them."""

from typing import Any


def render(wing: str, template: str, **values: Any) -> str:
    """A template of ``paratope/WING/templates`` with its values; what is put into HTML is escaped.

    A name that the template asks for and does not get is an error.
    """
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.PackageLoader(f"paratope.{wing}"),
        autoescape=jinja2.select_autoescape(),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    return environment.get_template(template).render(**values)

"""A page as one HTML file that needs no network: it contains its styles and the chart library."""

from __future__ import annotations

from contextlib import suppress
from functools import cache
from importlib import resources
from importlib.metadata import version
from importlib.util import find_spec

from kerascnn.analysis.pages.blocks import Chart, Charts, Page

MISSING = "The HTML report needs jinja2 and vl-convert-python: pip install 'kerascnn[report]'."


def available() -> bool:
    """Return whether the packages that write pages are installed."""
    return find_spec("jinja2") is not None and find_spec("vl_convert") is not None


def check_installed(charts: bool = True) -> None:
    """Refuse to write pages without the packages that this needs; those without charts need jinja2 alone.

    Raises:
        ModuleNotFoundError: The extra `report` is not installed; the message says how to get it.
    """
    if not (available() if charts else find_spec("jinja2")):
        raise ModuleNotFoundError(MISSING)


def render(page: Page) -> str:
    """Write the HTML of a page.

    Raises:
        ModuleNotFoundError: The extra `report` is not installed; the message says how to get it.
    """
    drawn = any(isinstance(block, Chart | Charts) for section in page.sections for block in section.blocks)
    check_installed(drawn)
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("kerascnn.analysis.pages"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("page.html.jinja").render(
        page=page,
        style=_text("page.css"),
        script=_text("page.js"),
        library=_library() if drawn else "",
        licences=_text("licences.txt") if drawn else "",
    )


def _text(name: str) -> str:
    return resources.files("kerascnn.analysis.pages").joinpath("templates", name).read_text(encoding="utf-8")


@cache
def _library() -> str:
    """Bundle Vega, Vega-Lite and Vega-Embed, which vl-convert contains, as one script that defines `vegaEmbed`.

    Bundling takes three seconds, so the script is kept beside the fetched weights, one for each version of vl-convert.
    """
    import vl_convert

    from kerascnn.files import replacing
    from kerascnn.weights.sources import cache_folder

    kept = cache_folder().parent / "charts" / f"vega-{version('vl-convert-python')}.js"
    with suppress(OSError):
        return kept.read_text(encoding="utf-8")
    bundle = vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;").replace("</script", r"<\/script")
    with suppress(OSError):  # a home that nothing can be written to
        kept.parent.mkdir(parents=True, exist_ok=True)
        with replacing(kept) as partial:
            partial.write_text(bundle, encoding="utf-8")
    return str(bundle)

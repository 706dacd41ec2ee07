"""One self-contained HTML file: a template's name and its values flow in, a page flows out.

A page holds its scripts, styles, figures and pictures, and its content security policy forbids it
to load or send anything. Figures are drawn when they come into view, tables sort by their heads,
colours follow the reader's choice of light or dark (``report.js``, ``report.css.j2``).
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from markupsafe import Markup, escape

from fourierkd.errors import ConfigError
from fourierkd.run_dir import write_atomic

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

STUDY, RUNS = "fourierkd: report of a study", "fourierkd: report of runs"  # who made a file
# The named buttons only: plotly's default bar has one that sends the data to its makers.
PLOT_CONFIG = {
    "displaylogo": False,
    "responsive": True,
    "modeBarButtons": [["toImage", "zoom2d", "pan2d", "resetScale2d"]],
}
_HEAD = 2000  # bytes of a file in which its maker is named


def write_page(path: Path, template: str, values: Mapping[str, Any]) -> None:
    """Render a template of this folder that extends ``page.html.j2``.

    Args:
        path: of the page.
        template: its file name.
        values: of the template; ``title``, ``generator`` (one of the above) and ``sections``
            (id -> title, for the list of contents) among them.
    """
    import jinja2
    from plotly.offline import get_plotlyjs

    from fourierkd.analysis.figures import FONT

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        keep_trailing_newline=True,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    shared = {
        "font": Markup(FONT),
        "plotly_js": Markup(get_plotlyjs()),
        "plot_config": Markup(json.dumps(PLOT_CONFIG)),
    }
    write_atomic(path, environment.get_template(template).render(shared | dict(values)))


def require_ours(path: Path, generator: str) -> None:
    """Refuse to replace a file that was not written as such a page or picture.

    Raises:
        ConfigError: the file is somebody else's.
    """
    if not path.exists():
        return
    with open(path, "rb") as file:
        ours = generator.encode() in file.read(_HEAD)
    if not ours:
        raise ConfigError(
            f"a file that is no {generator.partition(': ')[2]} is not replaced",
            value=str(path),
            fix="choose another, --out FILE",
        )


def figure_html(figure: Figure, name: str, label: str) -> Markup:
    """A figure's place on the page and its data, which ``report.js`` draws.

    Args:
        figure: its layout has a height.
        name: unique on the page.
        label: what it shows, for those who do not see it.
    """
    data = figure.to_json().replace("<", "\\u003c")  # no end of the script inside of it
    return Markup(
        f'<div class="plot"><div id="plot-{escape(name)}" class="figure" role="group" '
        f'aria-label="{escape(label)}" style="height:{figure.layout.height}px">'
        f'</div><script type="application/json">{data}</script></div>'
    )


def inlined(png: Path) -> str:
    """A picture as an address that holds it."""
    return "data:image/png;base64," + base64.b64encode(png.read_bytes()).decode()

"""SVG elements, and the light and dark colors of a diagram."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from html import escape

_STYLE = """
.page { fill: #ffffff } .card { fill: #f6f8fa; stroke: #d1d9e0 } .bar { fill: #d1d9e0 } .share { fill: #0969da }
text { fill: #1f2328; font-family: "Segoe UI", "Helvetica Neue", Arial, "DejaVu Sans", sans-serif; font-size: 11px }
.note { font-size: 9px; fill: #59636e } .strong { font-weight: 600 } .head { font-size: 15px; font-weight: 600 }
.line { fill: none; stroke: #59636e; stroke-width: 1.2 } .tip { fill: #59636e } .frame { fill: none; stroke: #59636e;
stroke-dasharray: 4 3 } .conv { fill: #ddf4ff; stroke: #54aeff }
.pool { fill: #ffebe9; stroke: #ff8182 } .dense { fill: #fbefff; stroke: #c297ff }
.join { fill: #fff8c5; stroke: #d4a72c } .small, .other, .input, .model { fill: #ffffff; stroke: #818b98 }
@media (prefers-color-scheme: dark) {
.page { fill: #0d1117 } .card { fill: #151b23; stroke: #3d444d } .bar { fill: #3d444d } .share { fill: #4493f8 }
text { fill: #f0f6fc } .note { fill: #b7bdc8 } .line, .frame { stroke: #9198a1 } .tip { fill: #9198a1 }
.conv { fill: #0c2d6b; stroke: #388bfd } .pool { fill: #67060c; stroke: #f85149 }
.dense { fill: #3c1e70; stroke: #a371f7 } .join { fill: #4b2900; stroke: #d29922 }
.small, .other, .input, .model { fill: #212830; stroke: #656c76 } }
"""

Point = tuple[float, float]


@dataclass
class Canvas:
    """SVG elements; cards and lines are below boxes and text."""

    below: list[str] = field(default_factory=list)
    above: list[str] = field(default_factory=list)

    def rectangle(self, x: float, y: float, width: float, height: float, kind: str, radius: int = 4) -> None:
        """Draw a card, a frame or a bar of the style `kind`; boxes, whose styles begin with `box`, are above lines."""
        layer = self.above if kind.startswith("box") else self.below
        layer.append(
            f'<rect class="{kind}" x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}" rx="{radius}"/>'
        )

    def text(self, x: float, y: float, text: str, kind: str = "", anchor: str = "start", turned: bool = False) -> None:
        """Write a text of the style `kind`; if turned, from bottom to top."""
        turn = f' transform="rotate(-90 {x:.1f} {y:.1f})"' if turned else ""
        anchor = f' text-anchor="{anchor}"' if anchor != "start" else ""
        kind = f' class="{kind}"' if kind else ""
        self.above.append(f'<text{kind} x="{x:.1f}" y="{y:.1f}"{anchor}{turn}>{escape(text)}</text>')

    def line(self, points: Iterable[Point], arrow: bool = False) -> None:
        """Draw a line through points, with a tip at the last one if it is an arrow."""
        points = list(dict.fromkeys(points))
        if len(points) < 2:
            return
        self.below.append(f'<path class="line" d="M{" L".join(f"{x:.1f} {y:.1f}" for x, y in points)}"/>')
        if arrow:
            (x0, y0), (x, y) = points[-2:]
            dx, dy = (x > x0) - (x < x0), (y > y0) - (y < y0)
            corners = [(x, y), (x - 5 * dx - 3 * dy, y - 5 * dy - 3 * dx), (x - 5 * dx + 3 * dy, y - 5 * dy + 3 * dx)]
            self.below.append(f'<path class="tip" d="M{" L".join(f"{a:.1f} {b:.1f}" for a, b in corners)} Z"/>')

    def svg(self, width: float, height: float, title: str, description: str) -> str:
        """Return the text of the file."""
        lines = [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height:.0f}" '
            f'width="{width:.0f}" height="{height:.0f}" role="img">',
            f"<title>{escape(title)}</title>",
            f"<desc>{escape(description)}</desc>",
            f"<style>{_STYLE}</style>",
            f'<rect class="page" width="{width:.0f}" height="{height:.0f}"/>',
            *self.below,
            *self.above,
            "</svg>",
        ]
        return "\n".join(lines) + "\n"

"""The rows that have a rival as bars in an SVG, for light and dark pages."""

from collections.abc import Iterable, Sequence
from html import escape

from bench.report import short
from bench.rows import Row

WIDTH, LEFT, RIGHT = 1000, 380, 380  # pixels: all, for the names, for the figures
LINE, TOP, BAR = 26, 56, 14
MOST = 4.0  # the ratio at which a bar is cut off
EVEN = 0.05  # a difference that another run may turn round

_STYLE = """
.page { fill: #ffffff }
text { font: 13px system-ui, sans-serif; fill: #1f2328 }
.title { font-weight: 600; font-size: 15px }
.note { fill: #59636e }
.better { fill: #1a7f37 }
.worse { fill: #bc4c00 }
.even { fill: #818b98 }
.equal { stroke: #59636e; stroke-dasharray: 3 3 }
@media (prefers-color-scheme: dark) {
  .page { fill: #0d1117 }
  text { fill: #e6edf3 }
  .note { fill: #9198a1 }
  .better { fill: #3fb950 }
  .worse { fill: #f0883e }
  .equal { stroke: #9198a1 }
}
"""


def as_svg(rows: Iterable[Row]) -> str:
    """A bar for each ratio, from left to right; the dashed line is where both are equal."""
    compared = [row for row in rows if row.ratio is not None]
    scale = (WIDTH - LEFT - RIGHT) / min(MOST, max([row.ratio or 0 for row in compared] + [1.5]))
    height = TOP + LINE * len(compared) + 10
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img">',
            "<title>How many times as good as its rivals MD5 light is</title>",
            f"<style>{_STYLE}</style>",
            f'<path class="page" d="M0 0H{WIDTH}V{height}H0Z"/>',
            '<text x="0" y="18" class="title">How many times as good as …</text>',
            '<text x="0" y="38" class="note">Longer is better, the dashed line is a draw.</text>',
            *_bars(compared, scale),
            f'<path class="equal" d="M{LEFT + scale:.0f} {TOP - 8}V{height - 8}"/>',
            "</svg>\n",
        ]
    )


def _bars(rows: Sequence[Row], scale: float) -> Iterable[str]:
    for number, row in enumerate(rows):
        assert row.ratio is not None
        y = TOP + LINE * number
        width = min(row.ratio, MOST) * scale
        kind = "even" if abs(row.ratio - 1) < EVEN else "better" if row.ratio > 1 else "worse"
        text_x = LEFT + max(width, scale) + 8  # beyond the dashed line
        figures = f"{short(row.our_median)} : {short(row.rival_median)} {row.unit}"
        text_y = y + BAR - 2
        yield f'<text x="{LEFT - 10}" y="{text_y}" text-anchor="end">{escape(row.name)}</text>'
        yield f'<rect class="{kind}" x="{LEFT}" y="{y}" width="{width:.0f}" height="{BAR}" rx="2"/>'
        yield (
            f'<text x="{text_x:.0f}" y="{text_y}">{row.ratio:.2f}&#215; '
            f'{escape(row.rival_name)} <tspan class="note">({escape(figures)})</tspan></text>'
        )

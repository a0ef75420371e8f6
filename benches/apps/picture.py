"""Three panels over one axis of time, as SVG: load, instances, latency. Light and dark by the reader's preference.

Job: draw the rows of `wave.py`. Not here: measuring.
"""

import math

WIDTH, LEFT, RIGHT, TOP = 960, 64, 24, 34
PANEL, GAP, BOTTOM = 150, 52, 44
# Between two numbers on the axis of time.
STEP_S = 15
STYLE = """\
svg { background: #fff; font: 13px system-ui, sans-serif; }
text { fill: #333; } .axis { fill: #666; font-size: 12px; } .title { font-weight: 600; }
.grid { stroke: #e4e4e4; stroke-width: 1; } .line { fill: none; stroke-width: 2; stroke-linejoin: round; }
.a { stroke: #1f6fb4; } .a-fill { fill: #1f6fb4; fill-opacity: .16; } .a-text { fill: #1f6fb4; }
.b { stroke: #b4541f; } .b-text { fill: #b4541f; } .dash { stroke-dasharray: 5 4; }
.bad { stroke: #c01530; } .bad-text { fill: #c01530; }
@media (prefers-color-scheme: dark) {
svg { background: #14171a; } text { fill: #ddd; } .axis { fill: #9aa0a6; } .grid { stroke: #2c3136; }
.a { stroke: #6db3ee; } .a-fill { fill: #6db3ee; } .a-text { fill: #6db3ee; }
.b { stroke: #f0a064; } .b-text { fill: #f0a064; } .bad { stroke: #ff6b81; } .bad-text { fill: #ff6b81; }
}"""


class Panel:
    """One of them: from its values to places."""

    def __init__(self, index, seconds, ticks, scale):
        self.top = TOP + index * (PANEL + GAP)
        self.seconds, self.ticks, self.scale = seconds, ticks, scale

    def x(self, second):
        return LEFT + (WIDTH - LEFT - RIGHT) * second / self.seconds

    def y(self, value):
        return self.top + PANEL * (1 - self.scale(value))

    def frame(self, title, unit):
        """Grid, numbers, title; `title` is pairs of text and class."""
        out = []
        for tick in self.ticks:
            y = self.y(tick)
            out.append(f'<path class="grid" d="M{LEFT} {y:.1f}H{WIDTH - RIGHT}"/>')
            out.append(f'<text class="axis" x="{LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{tick:g}</text>')
        out += [f'<path class="grid" d="M{self.x(second):.1f} {self.top}v{PANEL}"/>' for second in range(0, self.seconds + 1, STEP_S)]
        words = "".join(f'<tspan class="{kind}" dx="{14 if at else 0}">{text}</tspan>' for at, (text, kind) in enumerate(title))
        out.append(f'<text x="{LEFT}" y="{self.top - 12}">{words}</text>')
        middle = self.top + PANEL / 2
        out.append(f'<text class="axis" transform="translate(16 {middle}) rotate(-90)" text-anchor="middle">{unit}</text>')
        return out

    def line(self, points, kind):
        """`points` are (second, value); None is a gap."""
        d, pen = [], "M"
        for second, value in points:
            if value is None:
                pen = "M"
                continue
            d.append(f"{pen}{self.x(second):.1f} {self.y(value):.1f}")
            pen = "L"
        return f'<path class="line {kind}" d="{"".join(d)}"/>'

    def steps(self, points, kind):
        """The same, each value held until the next."""
        held = []
        for (second, value), (until, _) in zip(points, [*points[1:], (self.seconds, None)]):
            held += [(second, value), (until, value)]
        return self.line(held, kind)

    def area(self, points, kind):
        """Down to the axis."""
        d = "".join(f"L{self.x(second):.1f} {self.y(value):.1f}" for second, value in points)
        first, last = self.x(points[0][0]), self.x(points[-1][0])
        return f'<path class="{kind}" d="M{first:.1f} {self.top + PANEL}{d}L{last:.1f} {self.top + PANEL}Z"/>'


def draw(rows):
    """The whole picture."""
    seconds = len(rows)
    at = [row["second"] for row in rows]
    column = lambda name: [(second, row[name]) for second, row in zip(at, rows)]
    most = max(max(row["offered"], row["answered"]) for row in rows)
    top = math.ceil(most / 50) * 50
    load = Panel(0, seconds, range(0, top + 1, 50), lambda value: value / top)
    fleet = Panel(1, seconds, range(0, 5), lambda value: value / 4)
    # Decades, from 10 ms on: less is the app's own work.
    slowest = max((row["p99_ms"] or 0.0) for row in rows)
    decades = max(2, math.ceil(math.log10(max(slowest, 10.0) / 10.0)))
    log = lambda value: max(0.0, math.log10(max(value, 10.0) / 10.0) / decades)
    latency = Panel(2, seconds, [10 * 10**step for step in range(decades + 1)], log)
    failed = sum(row["failed"] for row in rows)
    out = load.frame(
        [("Load", "title"), ("offered", "b-text"), ("answered", "a-text"), (f"failed: {failed}", "bad-text")], "requests a second")
    out += [load.area(column("answered"), "a-fill"), load.line(column("answered"), "a"), load.line(column("offered"), "b dash")]
    out += [f'<circle class="bad" r="3" cx="{load.x(row["second"]):.1f}" cy="{load.y(0):.1f}"/>' for row in rows if row["failed"]]
    out += fleet.frame([("Instances", "title"), ("ready", "a-text"), ("CPU time they use, cores", "b-text")], "instances, cores")
    out += [fleet.steps(column("ready"), "a"), fleet.line([(second, row["cpu_percent"] / 100) for second, row in zip(at, rows)], "b")]
    out += latency.frame([("Time to answer", "title"), ("half within (p50)", "a-text"), ("99 of 100 within (p99)", "b-text")], "ms, logarithmic")
    out += [latency.line(column("p99_ms"), "b"), latency.line(column("p50_ms"), "a")]
    height = latency.top + PANEL + BOTTOM
    for second in range(0, seconds + 1, STEP_S):
        out.append(f'<text class="axis" x="{latency.x(second):.1f}" y="{latency.top + PANEL + 18}" text-anchor="middle">{second}</text>')
    out.append(f'<text class="axis" x="{(LEFT + WIDTH - RIGHT) / 2}" y="{height - 6}" text-anchor="middle">seconds</text>')
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img">'
    label = "<title>An app scaled by CPU time under a wave of load</title>"
    return "\n".join([head, label, f"<style>{STYLE}</style>", *out, "</svg>", ""])

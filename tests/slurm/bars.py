#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""bars.py PAGE.html {PLAN START END LOOK}…: the calendar of a page draws each plan's bars from START to END (seconds
since the epoch) with that look. Says what is wrong and exits 1."""
import sys
from html.parser import HTMLParser


class Calendar(HTMLParser):
    def __init__(self):
        super().__init__()
        self.axis = None
        self.bars = []

    def handle_starttag(self, tag, attributes):
        values = dict(attributes)
        if tag == "svg" and "timeline" in values.get("class", "").split():
            self.axis = {name: float(values[f"data-{name}"]) for name in ("from", "until", "left", "width")}
        if tag == "rect" and "data-plan" in values:
            self.bars.append(values)

    def x_of(self, time):
        return self.axis["left"] + (time - self.axis["from"]) / (self.axis["until"] - self.axis["from"]) * self.axis["width"]


def problems(calendar, plan, start, end, look):
    bars = [bar for bar in calendar.bars if bar["data-plan"] == plan]
    if not bars:
        yield f"{plan}: no bar"
    for bar in bars:
        left, width = float(bar["x"]), float(bar["width"])
        if abs(left - calendar.x_of(start)) > 1 or abs(left + width - calendar.x_of(end)) > 1:
            yield f"{plan}: bar {left} to {left + width}, wanted {calendar.x_of(start)} to {calendar.x_of(end)}"
        if look not in bar["class"].split():
            yield f"{plan}: looks {bar['class']}, wanted {look}"


def main():
    page, *wanted = sys.argv[1:]
    calendar = Calendar()
    with open(page, encoding="utf-8") as file:
        calendar.feed(file.read())
    if calendar.axis is None:
        sys.exit(f"{page}: no timeline")
    found = [text for i in range(0, len(wanted), 4)
             for text in problems(calendar, wanted[i], float(wanted[i + 1]), float(wanted[i + 2]), wanted[i + 3])]
    sys.exit("\n".join(found) or 0)


if __name__ == "__main__":
    main()

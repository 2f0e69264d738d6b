/** A line of a few numbers in a row of a table; its shape says what a column of them cannot. */

import { svg } from "./dom.js";

const WIDTH = 60;
const HEIGHT = 16;

export class Spark {
  /** @param {number} slots How many numbers fill its width. */
  constructor(slots) {
    this.slots = slots;
    this.path = svg("path", { class: "spark-line", d: "" });
    this.area = svg("path", { class: "spark-area", d: "" });
    this.element = svg("svg", {
      class: "spark",
      viewBox: `0 0 ${WIDTH} ${HEIGHT}`,
      preserveAspectRatio: "none",
      "aria-hidden": "true",
    });
    this.element.append(this.area, this.path);
    this.drawn = "";
  }

  /** @param {readonly number[]} values The newest last. */
  draw(values) {
    const line = linePath(values.slice(-this.slots), this.slots);
    if (line === this.drawn) return;
    this.drawn = line;
    this.path.setAttribute("d", line);
    const first = line.slice(1).split(/[ ,]/, 1)[0];
    this.area.setAttribute("d", line && `${line}L${WIDTH},${HEIGHT}L${first},${HEIGHT}Z`);
  }
}

/** @param {readonly number[]} values @param {number} slots */
export function linePath(values, slots) {
  if (values.length < 2) return "";
  const max = Math.max(...values, 0);
  const left = slots - values.length;
  const points = values.map((value, index) => {
    const x = ((left + index) / (slots - 1)) * WIDTH;
    const y = HEIGHT - 1.5 - (max > 0 ? (value / max) * (HEIGHT - 3) : 0);
    return `${x.toFixed(1)},${y.toFixed(1)}`;
  });
  return `M${points.join("L")}`;
}

/** A plot of the last half hour: lines and areas on a canvas, a crosshair that all plots share. */

import { el, setText } from "./dom.js";
import { clock, minute } from "./format.js";
import { largest, minuteTicks, niceScale, runs } from "./scale.js";
import { STEPS_MAX } from "./series.js";

const LEFT = 44;
const RIGHT = 8;
const TOP = 8;
const BOTTOM = 18;
const TICK_MINUTES = 5;
const NARROW = 300;

/**
 * @typedef {object} Line
 * @property {string} label
 * @property {string} color A custom property of the style sheet, such as `--blue`.
 * @property {"area" | "line" | "dashed"} shape
 * @property {(series: import("./series.js").Series) => (number | null)[]} values
 *
 * @typedef {object} Plot
 * @property {string} title @property {string} unit
 * @property {Line[]} lines
 * @property {(value: unknown) => string} format Of a value in the legend.
 * @property {(value: number) => string} tick Of a value at the axis.
 * @property {number} least What the axis reaches at least.
 */

/** Which step all plots point at; null: the latest. */
export class Crosshair {
  /** @type {number | null} */ step = null;
  /** @type {(() => void)[]} */ #viewers = [];

  /** @param {() => void} viewer */
  watch(viewer) {
    this.#viewers.push(viewer);
  }

  /** @param {number | null} step */
  move(step) {
    if (step === this.step) return;
    this.step = step;
    for (const viewer of this.#viewers) viewer();
  }
}

export class Chart {
  /** @type {Plot} */ #plot;
  /** @type {Crosshair} */ #crosshair;
  /** @type {import("./series.js").Series | null} */ #series = null;
  /** @type {(number | null)[][]} */ #values = [];
  #width = 0;
  #height = 0;

  /** @param {Plot} plot @param {Crosshair} crosshair */
  constructor(plot, crosshair) {
    this.#plot = plot;
    this.#crosshair = crosshair;
    this.canvas = el("canvas", {
      class: "plot",
      attributes: { tabindex: "0", role: "img" },
      on: {
        pointermove: (event) => this.#point(event),
        pointerdown: (event) => this.#point(event),
        pointerleave: () => crosshair.move(null),
        blur: () => crosshair.move(null),
        keydown: (event) => this.#key(event),
      },
    });
    this.when = el("span", { class: "when" });
    this.numbers = plot.lines.map(() => el("b", { class: "number" }));
    const legend = plot.lines.map((line, index) =>
      el("span", { class: "legend-item" },
        el("i", { class: `swatch ${line.shape} ${line.color.slice(2)}` }),
        el("span", {}, line.label), this.numbers[index]));
    this.element = el("section", { class: "panel chart" },
      el("header", {},
        el("h2", {}, plot.title, " ", el("small", {}, plot.unit)), this.when,
        el("div", { class: "legend" }, ...legend)),
      this.canvas);
    crosshair.watch(() => this.draw());
    new ResizeObserver(() => this.#resize()).observe(this.canvas);
  }

  /** @param {import("./series.js").Series} series */
  show(series) {
    this.#series = series;
    this.#values = this.#plot.lines.map((line) => line.values(series));
    this.draw();
  }

  #resize() {
    const ratio = window.devicePixelRatio || 1;
    this.#width = this.canvas.clientWidth;
    this.#height = this.canvas.clientHeight;
    this.canvas.width = Math.round(this.#width * ratio);
    this.canvas.height = Math.round(this.#height * ratio);
    this.draw();
  }

  // -- pointing

  /** @param {PointerEvent} event */
  #point(event) {
    const plot = this.#width - LEFT - RIGHT;
    const step = Math.round(((event.offsetX - LEFT) / plot) * (STEPS_MAX - 1));
    this.#crosshair.move(step < 0 || step >= STEPS_MAX ? null : step);
  }

  /** @param {KeyboardEvent} event */
  #key(event) {
    const move = { ArrowLeft: -1, ArrowRight: 1, PageUp: -60, PageDown: 60 }[event.key];
    if (move === undefined) return;
    event.preventDefault();
    const from = this.#crosshair.step ?? STEPS_MAX - 1;
    this.#crosshair.move(Math.min(Math.max(from + move, 0), STEPS_MAX - 1));
  }

  // -- drawing

  draw() {
    this.#tellNumbers();
    const context = this.canvas.getContext("2d");
    if (!context || !this.#width) return;
    const ratio = window.devicePixelRatio || 1;
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    context.clearRect(0, 0, this.#width, this.#height);
    const style = getComputedStyle(this.canvas);
    const scale = niceScale(largest(this.#values), this.#plot.least);
    const bottom = this.#height - BOTTOM;
    const y = (/** @type {number} */ value) => bottom - (value / scale.top) * (bottom - TOP);
    this.#drawAxes(context, style, scale.ticks, y);
    this.#plot.lines.forEach((line, index) => {
      this.#drawLine(context, style.getPropertyValue(line.color), line.shape, this.#values[index], y);
    });
    this.#drawCrosshair(context, style, y);
  }

  /** Where a step stands; the last one stands at the right edge. @param {number} step */
  #x(step) {
    return LEFT + (step / (STEPS_MAX - 1)) * (this.#width - LEFT - RIGHT);
  }

  #drawAxes(context, style, ticks, y) {
    context.font = `10px ${style.fontFamily}`;
    context.lineWidth = 1;
    context.fillStyle = style.getPropertyValue("--faint");
    context.textBaseline = "middle";
    context.textAlign = "right";
    for (const tick of ticks) {
      const at = Math.round(y(tick)) + 0.5;
      context.strokeStyle = style.getPropertyValue(tick === 0 ? "--axis" : "--grid");
      context.beginPath();
      context.moveTo(LEFT, at);
      context.lineTo(this.#width - RIGHT, at);
      context.stroke();
      context.fillText(this.#plot.tick(tick), LEFT - 6, at);
    }
    if (!this.#series?.ends_at) return;
    const every = this.#width < NARROW ? TICK_MINUTES * 2 : TICK_MINUTES;
    const to = this.#series.ends_at * 1000;
    const from = to - (STEPS_MAX - 1) * this.#series.step_s * 1000;
    context.textAlign = "center";
    context.textBaseline = "alphabetic";
    for (const tick of minuteTicks(from, to, every)) {
      const x = this.#x(((tick - from) / (to - from)) * (STEPS_MAX - 1));
      if (x < LEFT + 12 || x > this.#width - RIGHT - 12) continue;
      context.fillText(minute(tick), x, this.#height - 4);
    }
  }

  /** @param {CanvasRenderingContext2D} context @param {string} color @param {Line["shape"]} shape
   * @param {(number | null)[]} values @param {(value: number) => number} y */
  #drawLine(context, color, shape, values, y) {
    const offset = STEPS_MAX - values.length;
    context.strokeStyle = context.fillStyle = color;
    context.lineWidth = 1.4;
    context.lineJoin = "round";
    context.setLineDash(shape === "dashed" ? [4, 2.5] : []);
    for (const { start, end } of runs(values)) {
      context.beginPath();
      for (let index = start; index < end; index++) {
        context.lineTo(this.#x(offset + index), y(/** @type {number} */ (values[index])));
      }
      context.stroke();
      if (end - start === 1) {
        context.fillRect(this.#x(offset + start) - 1, y(values[start] ?? 0) - 1, 2, 2);
      }
      if (shape !== "area") continue;
      context.lineTo(this.#x(offset + end - 1), y(0));
      context.lineTo(this.#x(offset + start), y(0));
      context.globalAlpha = 0.16;
      context.fill();
      context.globalAlpha = 1;
    }
    context.setLineDash([]);
  }

  #drawCrosshair(context, style, y) {
    const step = this.#crosshair.step;
    if (step === null) return;
    const x = Math.round(this.#x(step)) + 0.5;
    context.strokeStyle = style.getPropertyValue("--muted");
    context.lineWidth = 1;
    context.beginPath();
    context.moveTo(x, TOP);
    context.lineTo(x, this.#height - BOTTOM);
    context.stroke();
    this.#plot.lines.forEach((line, index) => {
      const value = this.#at(index, step);
      if (value === null) return;
      context.fillStyle = style.getPropertyValue(line.color);
      context.beginPath();
      context.arc(x, y(value), 3, 0, 2 * Math.PI);
      context.fill();
    });
  }

  /** @param {number} line @param {number} step @returns {number | null} */
  #at(line, step) {
    const values = this.#values[line] ?? [];
    return values[step - (STEPS_MAX - values.length)] ?? null;
  }

  /** The legend says the values under the crosshair, else the latest. */
  #tellNumbers() {
    const step = this.#crosshair.step ?? STEPS_MAX - 1;
    const said = this.#plot.lines.map((line, index) => {
      const text = this.#plot.format(this.#at(index, step));
      setText(this.numbers[index], text);
      return `${line.label} ${text}`;
    });
    const pointed = this.#crosshair.step !== null && this.#series?.ends_at;
    const back = (STEPS_MAX - 1 - step) * (this.#series?.step_s ?? 0);
    const at = pointed ? (this.#series.ends_at - back) * 1000 : null;
    setText(this.when, at === null ? "" : clock(at));
    const label = `${this.#plot.title} ${this.#plot.unit}: ${said.join(", ")}`
      + (at === null ? "" : ` at ${clock(at)}`);
    if (this.canvas.getAttribute("aria-label") !== label) {
      this.canvas.setAttribute("aria-label", label);
    }
  }
}

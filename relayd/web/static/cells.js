/** What stands in cells: text, states with a shape, meters, spark lines. */

import { el, setClass, setShown, setText, setTitle } from "./dom.js";
import { Spark } from "./spark.js";

/** @param {(row: any) => string} text @param {(row: any) => string} [title] */
export function textCell(text, title) {
  return (/** @type {HTMLElement} */ cell) => (/** @type {any} */ row) => {
    setText(cell, text(row));
    if (title) setTitle(cell, title(row));
  };
}

/**
 * A state by a shape, a colour and a word.
 *
 * @param {(row: any) => {mark: string, word: string, title?: string}} stateOf The mark is a class:
 *   `good`, `busy`, `idle`, `warn`, `trial`, `bad`, `off`, `gone`.
 */
export function stateCell(stateOf) {
  return (/** @type {HTMLElement} */ cell) => {
    const mark = el("i", { class: "mark", attributes: { "aria-hidden": "true" } });
    const word = el("span");
    cell.append(mark, word);
    return (/** @type {any} */ row) => {
      const state = stateOf(row);
      setClass(mark, `mark ${state.mark}`);
      setText(word, state.word);
      setTitle(cell, state.title ?? "");
    };
  };
}

/** @param {(row: any) => readonly number[]} values @param {number} slots @param {string} title */
export function sparkCell(values, slots, title) {
  return (/** @type {HTMLElement} */ cell) => {
    const spark = new Spark(slots);
    cell.title = title;
    cell.append(spark.element);
    return (/** @type {any} */ row) => spark.draw(values(row));
  };
}

/**
 * How much of something is used: parts of one bar, then words.
 *
 * @param {(row: any) => {parts: {name: string, share: number}[], text: string, title?: string}} of
 * @param {string[]} names Of the parts, in order: each is a class.
 */
export function meterCell(of, names) {
  return (/** @type {HTMLElement} */ cell) => {
    const bars = names.map((name) => el("i", { class: `bar ${name}` }));
    const text = el("span", { class: "meter-text" });
    const bar = el("span", { class: "meter", attributes: { "aria-hidden": "true" } }, ...bars);
    cell.append(bar, text);
    return (/** @type {any} */ row) => {
      const meter = of(row);
      bars.forEach((part, index) => {
        const share = meter.parts.find(({ name }) => name === names[index])?.share ?? 0;
        const width = `${(Math.min(Math.max(share, 0), 1) * 100).toFixed(1)}%`;
        if (part.style.width !== width) part.style.width = width;
      });
      setShown(bar, meter.parts.length > 0);
      setText(text, meter.text);
      setTitle(cell, meter.title ?? "");
    };
  };
}
